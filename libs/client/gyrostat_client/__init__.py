"""Python SDK and the gyrostat command."""
