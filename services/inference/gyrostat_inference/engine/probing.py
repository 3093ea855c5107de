"""Whether rows of several requests may run together: tried with numbers, in the trial process.

They may where this changes no byte of any answer: rows that run alone, in pairs, in any other number and in any order
come out as they do in one big run. Kernels that add up in another order for another number of rows are found here, and
so are outputs that have no row for each row. No tolerance: an answer must not depend on who else asked.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from gyrostat_inference.domain import batching
from gyrostat_inference.domain.errors import RunTooLong, ScoringFailed
from gyrostat_inference.domain.plan import Signature, TensorSpec
from gyrostat_inference.domain.samples import samples_of
from gyrostat_inference.domain.tensors import DTYPES
from gyrostat_inference.engine.graph import Graph

Arrays = Mapping[str, npt.NDArray[Any]]

ROWS = (256, 64)
SIZES = (1, 1, 1, 1, 2, 2, 2, 3, 3, 4, 5, 6, 7, 8, 9, 13, 16, 17, 31, 32, 33, 48, 63)
# What is as slow as that gains nothing from company, and would keep its version from being loaded for long.
LONGEST_S = 1.0
# For dimensions that the graph leaves open, beside the rows.
OPEN = (7, 32, 65)
_WORDS = np.array(["", "a", "b", "yes", "no", *(f"k{n}" for n in range(16))], dtype=object)


def why_alone(graph: Graph, samples_json: str = "") -> str:
    """Why requests must not run together; "": they may."""
    signature = graph.signature
    if why := batching.alone_by_shape(signature):
        return why
    tried = False
    try:
        for rows in _rows_to_try(graph, samples_json):
            tried = True
            if why := _differs(graph, rows):
                return why
    except RunTooLong:
        return f"a run of it may take longer than {LONGEST_S:g} s"
    except ScoringFailed as error:
        return f"some numbers of rows fail: {error}"
    return "" if tried else "no rows were found to try it with"


def _rows_to_try(graph: Graph, samples_json: str) -> Iterator[Arrays]:
    """The samples where there are enough, and made-up ones: for each size of an open dimension the wildest it takes."""
    draw = np.random.default_rng(20)
    signature = graph.signature
    samples, _ = samples_of(samples_json, signature)
    for sample in samples:
        if len(next(iter(sample.values()))) > 3:
            yield {name: np.resize(values, (ROWS[0], *values.shape[1:])) for name, values in sample.items()}
    for size in OPEN if batching.has_open_shapes(signature) else (1,):
        for wild in (True, False):
            made = {spec.name: _made(spec, size, wild, draw) for spec in signature.inputs}
            if _scores(graph, {name: values[:1] for name, values in made.items()}):
                yield made
                break


def _made(spec: TensorSpec, open_size: int, wild: bool, draw: np.random.Generator) -> npt.NDArray[Any]:
    shape = (ROWS[0], *(open_size if size == -1 else size for size in spec.shape[1:]))
    if spec.datatype == "BYTES":
        return draw.choice(_WORDS, shape)
    kind = DTYPES[spec.datatype]
    if spec.datatype == "BF16":
        return (draw.normal(size=shape).astype(np.float32).view(np.uint32) >> 16).astype(np.uint16)
    if kind.kind == "f":
        return draw.normal(scale=3.0 if wild else 0.5, size=shape).astype(kind)
    return draw.integers(0, 100 if wild and kind.kind != "b" else 2, shape).astype(kind)


def _scores(graph: Graph, inputs: Arrays) -> bool:
    try:
        graph.run(inputs, LONGEST_S)
    except RunTooLong:
        raise
    except ScoringFailed:
        return False
    return True


def _differs(graph: Graph, made: Arrays) -> str:
    """How rows in company differ from rows alone; "" when they do not. Raises ScoringFailed."""
    one = {name: values[:1] for name, values in made.items()}
    took = min(_seconds(graph, one) for _ in range(3))
    count = next((rows for rows in ROWS if rows * took < LONGEST_S), 0)
    if not count:
        return f"a run of one row takes {took * 1e3:.0f} ms"
    draw = np.random.default_rng(21)
    whole = graph.run({name: values[:count] for name, values in made.items()}, LONGEST_S)
    for spec, array in zip(graph.signature.outputs, whole, strict=True):
        if array.shape[:1] != (count,):
            return f"output '{spec.name}' is {list(array.shape)} for {count} rows"
    for size in (*SIZES, count):
        places = draw.permutation(count)[:size]
        some = graph.run({name: values[places] for name, values in made.items()}, LONGEST_S)
        if other := _other(graph.signature, whole, some, places):
            return f"output '{other}' of a row differs in a run of {size} from a run of {count}"
    return ""


def _seconds(graph: Graph, inputs: Arrays) -> float:
    began = time.perf_counter()
    graph.run(inputs, LONGEST_S)
    return time.perf_counter() - began


def _other(
    signature: Signature, whole: Sequence[npt.NDArray[Any]], some: Sequence[npt.NDArray[Any]], places: npt.NDArray[Any]
) -> str:
    """The first output that is not the same to the byte; "" when all are."""
    for spec, expected, found in zip(signature.outputs, whole, some, strict=True):
        wanted = expected[places]
        if found.shape != wanted.shape or found.dtype != wanted.dtype:
            return spec.name
        same = found.tolist() == wanted.tolist() if found.dtype == object else found.tobytes() == wanted.tobytes()
        if not same:
            return spec.name
    return ""
