"""ONNX Runtime over rows.

Any model whose inputs are named columns. One thread, so that a score is the same every time.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from gyrostat_trainer.domain.errors import JobFailed, NotInRows
from gyrostat_trainer.pipelines.contract import carried

BATCH_ROWS = 8_192
_NUMBERS = {
    "tensor(float)": "FP32",
    "tensor(double)": "FP64",
    "tensor(float16)": "FP16",
    "tensor(bool)": "BOOL",
    **{f"tensor({kind}{bits})": f"{kind}{bits}".upper() for kind in ("int", "uint") for bits in (8, 16, 32, 64)},
}
TEXT = "tensor(string)"


class Scorer:
    """One model, opened."""

    def __init__(self, path: Path, task: str, score_output: str = "") -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        try:
            self._session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as exc:
            raise JobFailed(f"{path.name} is not a model that ONNX Runtime opens: {str(exc)[:300]}") from exc
        self._task = task
        self._inputs = self._session.get_inputs()
        _check_rows_suffice(path, self._inputs)
        self._output = self._score_output(score_output)

    @property
    def inputs(self) -> list[str]:
        return [i.name for i in self._inputs]

    def _score_output(self, wanted: str) -> str:
        outputs = self._session.get_outputs()
        if wanted:
            if wanted not in [o.name for o in outputs]:
                raise JobFailed(f"the model has no output {wanted!r}; it has {', '.join(o.name for o in outputs)}")
            return wanted
        for output in outputs:
            if output.type in ("tensor(float)", "tensor(double)"):
                return str(output.name)
        raise JobFailed("the model has no floating output to take the score from")

    def scores(self, rows: pa.Table) -> NDArray[np.float64]:
        """[n]: probability of class 1 or prediction.

        [n, classes] for multiclass. Columns that are missing are NaN or "".
        """
        feed = self.feed(rows)
        parts = []
        for start in range(0, rows.num_rows, BATCH_ROWS):
            batch = {name: values[start : start + BATCH_ROWS] for name, values in feed.items()}
            parts.append(np.asarray(self._session.run([self._output], batch)[0], dtype=np.float64))
        out = np.concatenate(parts) if parts else np.empty((0, 1))
        if self._task == "multiclass":
            return out.reshape(len(out), -1)
        return out.reshape(len(out), -1)[:, -1]

    def feed(self, rows: pa.Table) -> dict[str, NDArray[Any]]:
        """The rows as the model's input tensors."""
        feed = {}
        for node in self._inputs:
            sizes = [size if isinstance(size, int) and size > 0 else 1 for size in node.shape[1:]]
            known = rows if sizes in ([], [1]) else rows.select([])
            values = self._column(known, rows.num_rows, node.name, node.type)
            feed[node.name] = np.tile(values.reshape(-1, *[1] * len(sizes)), (1, *sizes))
        return feed

    def _column(self, rows: pa.Table, count: int, name: str, kind: str) -> NDArray[Any]:
        present = name in rows.column_names
        if kind == TEXT:
            if not present:
                return np.full(count, "", dtype=object)
            texts = pc.fill_null(rows.column(name).cast(pa.string()), "")
            return np.asarray(texts.to_numpy(zero_copy_only=False), dtype=object)
        if kind not in _NUMBERS:
            raise JobFailed(f"input {name!r} is {kind}; a row has numbers and text")
        if not present:
            return carried(np.full(count, np.nan), _NUMBERS[kind])
        numbers = rows.column(name).cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
        return carried(numbers, _NUMBERS[kind])

    def request(self, rows: pa.Table) -> Callable[[], float]:
        """A call that runs these rows once, as a request would, and returns its seconds."""
        feed = self.feed(rows)

        def once() -> float:
            begin = time.perf_counter()
            self._session.run(None, feed)
            return time.perf_counter() - begin

        return once


def _check_rows_suffice(path: Path, inputs: list[Any]) -> None:
    """NotInRows when the model computes with an input that has more than one value a row; one that it only takes may
    be anything.
    """
    wide = {i.name: i for i in inputs if _is_wide(i.shape)}
    for name in sorted(wide.keys() & _read(onnx.load(path, load_external_data=False).graph) if wide else ()):
        what = f"{name} {wide[name].type} {wide[name].shape}"
        raise NotInRows(f"the model computes with {what}, and a row has one value for each input")


def _is_wide(shape: list[Any]) -> bool:
    return len(shape) > 2 or (len(shape) == 2 and isinstance(shape[1], int) and shape[1] > 1)


def _read(graph: Any) -> set[str]:
    """The names that the nodes of a graph read, in its inner graphs too."""
    found = {output.name for output in graph.output}
    for node in graph.node:
        found |= set(node.input)
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                found |= _read(inner)
    return found
