"""Plumbing that all four services need and none owns."""
