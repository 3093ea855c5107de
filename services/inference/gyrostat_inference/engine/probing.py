"""Whether rows of several requests may run together: tried with numbers, in the trial process.

They may where this changes no byte of any answer: rows that run alone, in pairs, in any other number and in any order
come out as they do in one big run. Kernels that add up in another order for another number of rows are found here, and
so are outputs that have no row for each row. No tolerance: an answer must not depend on who else asked.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from operator import itemgetter
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
# So many rows of one kind.
Rows = Callable[[int], Arrays]

ROWS = (256, 64)
SIZES = (1, 1, 1, 1, 2, 2, 2, 3, 3, 4, 5, 6, 7, 8, 9, 13, 16, 17, 31, 32, 33, 48, 63)
# What is as slow or as large as that gains nothing from company, and must not keep its version from being loaded.
LONGEST_S, ALL_S, MOST_BYTES = 1.0, 5.0, 32 * 1024**2
# For dimensions that the graph leaves open, beside the rows.
OPEN = (7, 32, 65)
_WORDS = np.array(["", "a", "b", "yes", "no", *(f"k{n}" for n in range(16))], dtype=object)


def why_alone(graph: Graph, samples_json: str = "", now: Callable[[], float] = time.process_time) -> str:
    """Why requests must not run together; "": they may. Takes a few seconds of the processor at most, by `now`."""
    if why := batching.alone_by_shape(graph.signature):
        return why
    until, tried = now() + ALL_S, False
    try:
        for rows in _rows_to_try(graph, samples_json):
            tried = True
            if why := _differs(graph, rows, until, now):
                return why
    except RunTooLong:
        return f"a run of it may take longer than {LONGEST_S:g} s"
    except ScoringFailed as error:
        return f"some numbers of rows fail: {error}"
    except MemoryError:
        return "its rows are too large to try it"
    return "" if tried else "no rows were found to try it with"


def _rows_to_try(graph: Graph, samples_json: str) -> Iterator[Rows]:
    """The largest sample, if it has a few rows, and made-up ones: for each size of an open dimension the wildest that
    the graph takes.
    """
    signature = graph.signature
    samples, _ = samples_of(samples_json, signature)
    largest = max(samples, key=_count, default={})
    if largest and _count(largest) > 3:
        yield lambda rows: {name: np.resize(values, (rows, *values.shape[1:])) for name, values in largest.items()}
    for size in OPEN if batching.has_open_shapes(signature) else (1,):
        for wild in (True, False):
            made = partial(_made, signature, size, wild)
            if _scores(graph, made(1)):
                yield made
                break


def _count(sample: Arrays) -> int:
    return len(next(iter(sample.values())))


def _made(signature: Signature, open_size: int, wild: bool, rows: int) -> Arrays:
    draw = np.random.default_rng(20)
    return {spec.name: _values(spec, rows, open_size, wild, draw) for spec in signature.inputs}


def _values(spec: TensorSpec, rows: int, open_size: int, wild: bool, draw: np.random.Generator) -> npt.NDArray[Any]:
    shape = (rows, *(open_size if size == -1 else size for size in spec.shape[1:]))
    if spec.datatype == "BYTES":
        return draw.choice(_WORDS, shape)
    kind = DTYPES[spec.datatype]
    if kind.kind == "f" or spec.datatype == "BF16":
        numbers = draw.standard_normal(shape, np.float32) * np.float32(3.0 if wild else 0.5)
        return numbers.astype(kind) if kind.kind == "f" else (numbers.view(np.uint32) >> 16).astype(np.uint16)
    return draw.integers(0, 100 if wild and kind.kind != "b" else 2, shape).astype(kind)


def _scores(graph: Graph, inputs: Arrays) -> bool:
    try:
        graph.run(inputs, LONGEST_S)
    except RunTooLong:
        raise
    except ScoringFailed:
        return False
    return True


def _differs(graph: Graph, rows: Rows, until: float, now: Callable[[], float]) -> str:
    """How rows in company differ from rows alone; "" when they do not. Raises ScoringFailed, MemoryError."""
    one = rows(1)
    took, answered = min((_timed(graph, one) for _ in range(3)), key=itemgetter(0))
    size = sum(values.nbytes for values in (*one.values(), *answered))
    count = next((rows for rows in ROWS if rows * took < LONGEST_S and rows * size <= MOST_BYTES), 0)
    if not count:
        return f"a row and its answer have {size:,} bytes and take {took * 1e3:.1f} ms: nothing is gained in company"
    draw, made = np.random.default_rng(21), rows(count)
    whole = graph.run(made, LONGEST_S)
    for spec, array in zip(graph.signature.outputs, whole, strict=True):
        if array.shape[:1] != (count,):
            return f"output '{spec.name}' is {list(array.shape)} for {count} rows"
    for some in (*SIZES, count):
        if now() > until:
            return f"trying it took longer than {ALL_S:g} s"
        places = draw.permutation(count)[:some]
        found = graph.run({name: values[places] for name, values in made.items()}, LONGEST_S)
        if other := _other(graph.signature, whole, found, places):
            return f"output '{other}' of a row differs in a run of {some} from a run of {count}"
    return ""


def _timed(graph: Graph, inputs: Arrays) -> tuple[float, Sequence[npt.NDArray[Any]]]:
    began = time.process_time()
    arrays = graph.run(inputs, LONGEST_S)
    return time.process_time() - began, arrays


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
