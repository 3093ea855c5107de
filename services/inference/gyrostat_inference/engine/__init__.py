"""ONNX Runtime: graphs tried out in a process of their own, then opened here."""

from gyrostat_inference.engine.limits import RunLimits
from gyrostat_inference.engine.onnx import OnnxEngine

__all__ = ["OnnxEngine", "RunLimits"]
