"""PyTriton's side of `make bench-peers`: the model file behind its `bind`, run by ONNX Runtime with one thread.

`python pytriton_server.py MODEL GRPC-PORT HTTP-PORT METRICS-PORT`, in PyTriton's own environment.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import onnxruntime as ort
from pytriton.decorators import batch  # type: ignore[import-not-found]
from pytriton.model_config import DynamicBatcher, ModelConfig, Tensor  # type: ignore[import-not-found]
from pytriton.triton import Triton, TritonConfig  # type: ignore[import-not-found]

MOST_ROWS = 4096
DTYPES = {"tensor(float)": np.float32, "tensor(int64)": np.int64}


def tensor(node: Any) -> Tensor:
    """A row's shape: Triton has no tensors without dimensions."""
    shape = tuple(size if isinstance(size, int) else -1 for size in node.shape[1:]) or (1,)
    return Tensor(name=node.name, dtype=DTYPES[node.type], shape=shape)


def main() -> None:
    model, grpc_port, http_port, metrics_port = sys.argv[1:]
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]

    @batch  # type: ignore[untyped-decorator]
    def infer(**inputs: np.ndarray) -> dict[str, np.ndarray]:
        values = zip(names, session.run(names, inputs), strict=True)
        return {name: value.reshape(-1, 1) if value.ndim == 1 else value for name, value in values}

    config = TritonConfig(grpc_port=int(grpc_port), http_port=int(http_port), metrics_port=int(metrics_port))
    with Triton(config=config) as triton:
        triton.bind(
            model_name="bench",
            infer_func=infer,
            inputs=[tensor(node) for node in session.get_inputs()],
            outputs=[tensor(node) for node in session.get_outputs()],
            config=ModelConfig(max_batch_size=MOST_ROWS, batcher=DynamicBatcher(max_queue_delay_microseconds=0)),
            strict=False,
        )
        triton.serve()


if __name__ == "__main__":
    main()
