"""KServe's side of `make bench-peers`: the model file behind its Model, run by ONNX Runtime with one thread.

`python kserve_server.py MODEL GRPC-PORT HTTP-PORT`, in KServe's own environment.
"""

from __future__ import annotations

import logging
import sys
from typing import Any

import onnxruntime as ort
from kserve import InferOutput, InferRequest, InferResponse, Model, ModelServer  # type: ignore[import-not-found]

DATATYPES = {"float32": "FP32", "int64": "INT64"}


class Onnx(Model):
    """What the documentation shows for a model of one's own; asynchronous, so that no thread is needed for it."""

    def __init__(self, file: str) -> None:
        super().__init__("bench")
        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self._session = ort.InferenceSession(file, options, providers=["CPUExecutionProvider"])
        self._names = [output.name for output in self._session.get_outputs()]
        self.ready = True

    def load(self) -> bool:
        return True

    async def predict(self, payload: InferRequest, headers: Any = None, response_headers: Any = None) -> InferResponse:
        values = self._session.run(self._names, {tensor.name: tensor.as_numpy() for tensor in payload.inputs})
        outputs = []
        for name, value in zip(self._names, values, strict=True):
            output = InferOutput(name=name, shape=list(value.shape), datatype=DATATYPES[value.dtype.name])
            output.set_data_from_numpy(value, binary_data=True)
            outputs.append(output)
        return InferResponse(response_id=payload.id, model_name=self.name, infer_outputs=outputs)


if __name__ == "__main__":
    logging.disable(logging.INFO)
    model, grpc_port, http_port = sys.argv[1:]
    options = {"enable_docs_url": False, "enable_latency_logging": False, "access_log_format": None}
    ModelServer(http_port=int(http_port), grpc_port=int(grpc_port), workers=1, **options).start([Onnx(model)])
