"""One ONNX graph, open: its signature in the protocol's words, and a run. For the service and for the trial process."""

import ctypes
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime as ort

from gyrostat_inference.domain.engine_settings import Opening, WarmUp
from gyrostat_inference.domain.errors import ModelRefused, RunTooLong, ScoringFailed
from gyrostat_inference.domain.plan import Signature, TensorSpec
from gyrostat_inference.domain.samples import runs_of, samples_of
from gyrostat_inference.engine import sessions
from gyrostat_inference.engine.limits import RunLimits

_DATATYPES = {
    "tensor(bool)": "BOOL",
    "tensor(uint8)": "UINT8",
    "tensor(uint16)": "UINT16",
    "tensor(uint32)": "UINT32",
    "tensor(uint64)": "UINT64",
    "tensor(int8)": "INT8",
    "tensor(int16)": "INT16",
    "tensor(int32)": "INT32",
    "tensor(int64)": "INT64",
    "tensor(float16)": "FP16",
    "tensor(float)": "FP32",
    "tensor(double)": "FP64",
    "tensor(bfloat16)": "BF16",
    "tensor(string)": "BYTES",
}
_NUMPY = {
    "BOOL": np.bool_,
    "UINT8": np.uint8,
    "UINT16": np.uint16,
    "UINT32": np.uint32,
    "UINT64": np.uint64,
    "INT8": np.int8,
    "INT16": np.int16,
    "INT32": np.int32,
    "INT64": np.int64,
    "FP16": np.float16,
    "FP32": np.float32,
    "FP64": np.float64,
    "BF16": np.uint16,
    "BYTES": np.object_,
}
_ONNX_BFLOAT16 = 16


class Graph:
    """Thread-safe. One intra-op thread makes answers equal to the byte, whatever else runs."""

    def __init__(self, name: str, path: Path, opening: Opening, limits: RunLimits) -> None:
        """Raises ModelRefused when ONNX Runtime cannot open the file, or a tensor has no datatype in the protocol."""
        providers, absent = sessions.providers_of(opening.providers, ort.get_available_providers())
        try:
            self._session = ort.InferenceSession(str(path), sessions.options_of(opening), providers=providers)
        except Exception as error:
            raise ModelRefused(f"ONNX Runtime cannot open it: {_line(error)}") from error
        self._name, self._limits = name, limits
        self.facts = dict(sessions.facts_of(opening, self._session.get_providers(), absent))
        self.signature = Signature(
            tuple(_spec("input", node) for node in self._session.get_inputs()),
            tuple(_spec("output", node) for node in self._session.get_outputs()),
        )
        self._output_names = [spec.name for spec in self.signature.outputs]
        every = (*self.signature.inputs, *self.signature.outputs)
        self._has_bfloat16 = any(spec.datatype == "BF16" for spec in every)

    def run(
        self,
        inputs: Mapping[str, npt.NDArray[Any]],
        within_s: float | None = None,
        gone: Callable[[], bool] | None = None,
    ) -> Sequence[npt.NDArray[Any]]:
        """All outputs, in the graph's order. Raises ScoringFailed; its message holds no values. RunTooLong: it was
        stopped after `within_s` (None: the longest run), or because nobody waits any more, which `gone` tells.
        """
        run = self._limits.begin(within_s, gone)
        try:
            if self._has_bfloat16:
                return self._run_with_bfloat16(inputs, run.options)
            outputs: Sequence[npt.NDArray[Any]] = self._session.run(self._output_names, inputs, run.options)
            return outputs
        except Exception as error:
            if run.options.terminate:
                limit_s = min(within_s or self._limits.longest_s, self._limits.longest_s)
                text = f"{self._name} did not come to an end with these inputs within {limit_s:g} s and was stopped"
                raise RunTooLong(text) from error
            raise ScoringFailed(f"{self._name} could not score these inputs: {_line(error)}") from error
        finally:
            self._limits.end(run)

    def _run_with_bfloat16(
        self, inputs: Mapping[str, npt.NDArray[Any]], options: ort.RunOptions
    ) -> Sequence[npt.NDArray[Any]]:
        """numpy has no bfloat16: its two bytes are uint16 here, and values go in and out by their memory."""
        values = {}
        for spec in self.signature.inputs:
            array = np.ascontiguousarray(inputs[spec.name])
            if spec.datatype == "BF16":
                values[spec.name] = ort.OrtValue.ortvalue_from_numpy_with_onnx_type(array, _ONNX_BFLOAT16)
            else:
                values[spec.name] = ort.OrtValue.ortvalue_from_numpy(array)
        outputs = self._session.run_with_ort_values(self._output_names, values, options)
        return [_array(spec, value) for spec, value in zip(self.signature.outputs, outputs, strict=True)]

    def warm(self, warm_up: WarmUp = WarmUp()) -> None:
        """The first run of a session is slow, and a caller would pay for it. Raises ScoringFailed."""
        samples, problem = samples_of(warm_up.samples_json, self.signature)
        nothing = {spec.name: _nothing(spec) for spec in self.signature.inputs}
        for inputs in runs_of(samples or [nothing], warm_up.rows, self.signature):
            self.run(inputs)
        self.facts["warm_up"] = f"{len(samples)} samples" if samples else "zeros"
        if problem:
            self.facts["warm_up_problem"] = problem


def _array(spec: TensorSpec, value: Any) -> npt.NDArray[Any]:
    if spec.datatype != "BF16":
        array: npt.NDArray[Any] = value.numpy()
        return array
    shape = tuple(value.shape())
    raw = ctypes.string_at(value.data_ptr(), 2 * math.prod(shape))
    return np.frombuffer(raw, np.uint16).reshape(shape)


def _nothing(spec: TensorSpec) -> npt.NDArray[Any]:
    shape = tuple(1 if size == -1 else size for size in spec.shape)
    if spec.datatype == "BYTES":
        return np.full(shape, "", dtype=object)
    return np.zeros(shape, _NUMPY[spec.datatype])


def _spec(kind: str, node: Any) -> TensorSpec:
    datatype = _DATATYPES.get(node.type)
    if datatype is None:
        hint = "; export it with zipmap off" if "map" in node.type else ""
        raise ModelRefused(f"{kind} '{node.name}' is {node.type}, which the protocol cannot carry{hint}")
    return TensorSpec(node.name, datatype, tuple(d if isinstance(d, int) and d >= 0 else -1 for d in node.shape))


def _line(error: Exception) -> str:
    """What ONNX Runtime says up to its status message, which may quote values."""
    text = str(error).split("Status Message:")[0].strip()
    return text.splitlines()[0][:300] if text else type(error).__name__
