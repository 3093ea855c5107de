"""Triton's side of `make bench-peers`: model.py of its Python backend. What arrived together is run together, by ONNX
Runtime with one thread. Imported by the stub of the Python backend that is named in bench_peers.py.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import triton_python_backend_utils as pb_utils  # type: ignore[import-not-found]


class TritonPythonModel:
    """The backend's own name for it."""

    def initialize(self, arguments: dict[str, Any]) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        file = Path(arguments["model_repository"]) / arguments["model_version"] / "model.onnx"
        self._session = ort.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
        self._inputs = [node.name for node in self._session.get_inputs()]
        self._outputs = [node.name for node in self._session.get_outputs()]

    def execute(self, requests: list[Any]) -> list[Any]:
        feeds = [
            {name: pb_utils.get_input_tensor_by_name(request, name).as_numpy() for name in self._inputs}
            for request in requests
        ]
        if len(feeds) == 1:
            return [self._response(self._session.run(self._outputs, feeds[0]))]
        joined = {name: np.concatenate([feed[name] for feed in feeds]) for name in self._inputs}
        values = self._session.run(self._outputs, joined)
        responses, start = [], 0
        for feed in feeds:
            end = start + len(feed[self._inputs[0]])
            responses.append(self._response([value[start:end] for value in values]))
            start = end
        return responses

    def _response(self, values: list[np.ndarray]) -> Any:
        shaped = [value.reshape(-1, 1) if value.ndim == 1 else value for value in values]
        tensors = [pb_utils.Tensor(name, value) for name, value in zip(self._outputs, shaped, strict=True)]
        return pb_utils.InferenceResponse(output_tensors=tensors)
