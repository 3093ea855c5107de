"""The ML library of the registry: onnx, only to read what a graph declares."""
