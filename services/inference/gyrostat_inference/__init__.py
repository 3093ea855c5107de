"""Inference answers, and records every answer."""

__version__ = "0.1.0"
