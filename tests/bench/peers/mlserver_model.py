"""MLServer's side of `make bench-peers`: the model file behind its MLModel, run by ONNX Runtime with one thread.

Imported by MLServer in its own environment.
"""

from __future__ import annotations

import onnxruntime as ort
from mlserver import MLModel  # type: ignore[import-not-found]
from mlserver.codecs import NumpyCodec  # type: ignore[import-not-found]
from mlserver.types import InferenceRequest, InferenceResponse  # type: ignore[import-not-found]


class Onnx(MLModel):
    """What the documentation shows for a model of one's own."""

    async def load(self) -> bool:
        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        file = self.settings.parameters.uri
        self._session = ort.InferenceSession(file, options, providers=["CPUExecutionProvider"])
        self._names = [output.name for output in self._session.get_outputs()]
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        feed = {tensor.name: NumpyCodec.decode_input(tensor) for tensor in payload.inputs}
        values = self._session.run(self._names, feed)
        outputs = [NumpyCodec.encode_output(name, value) for name, value in zip(self._names, values, strict=True)]
        return InferenceResponse(model_name=self.name, model_version="1", id=payload.id, outputs=outputs)
