"""Plumbing that all four services need and none owns."""

import os

# gRPC's handlers run in every forked child and, under uvloop, kill one child in forty with SIGSEGV before it becomes
# the program it was started for (ADR 0018). We fork only to exec: they have nothing to do. Read when grpc is loaded.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "false")
# ONNX Runtime's wheel for Linux otherwise tells its makers that and where it runs: two threads, a file below the home
# folder and connections to the outside, from its import on (ADR 0187). Read when onnxruntime is loaded.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
