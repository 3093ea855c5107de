"""Inference answers, and records every answer."""
