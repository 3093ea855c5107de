"""What a caller can ask: the Open Inference Protocol, and what Prometheus scrapes."""
