"""Samples to warm a version up with: read from JSON, fitted to its signature, and cut into runs of given sizes.

A sample that does not fit is left out with a word why, because warming up must not keep a good version from answering.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from gyrostat_common.errors import InvalidInput
from gyrostat_inference.domain.json_tensors import array_of
from gyrostat_inference.domain.plan import Signature
from gyrostat_inference.domain.tensors import Tensor, rows_of

Arrays = Mapping[str, npt.NDArray[Any]]
_MOST_ROWS = 10**6


def samples_of(text: str, signature: Signature) -> tuple[list[Arrays], str]:
    """The samples that fit, and why the first that does not was left out ("" when all fit)."""
    if not text:
        return [], ""
    try:
        read = json.loads(text)
    except (ValueError, RecursionError) as error:
        return [], f"the samples are no JSON: {error}"
    found, problem = [], ""
    for number, sample in enumerate(read if isinstance(read, list) else [read], 1):
        try:
            found.append(_sample(f"sample {number}", sample, signature))
        except InvalidInput as error:
            problem = problem or f"left out: {error}"
        except (TypeError, ValueError, KeyError, AttributeError):
            problem = problem or f"left out: sample {number}: no name, datatype, shape and data of each input"
    return found, problem


def runs_of(samples: Sequence[Arrays], rows: Sequence[int], signature: Signature) -> list[Arrays]:
    """What to run: the samples as they are, and, where sizes are given and rows are rows of tensors, so many rows of
    them, over and over.
    """
    if not rows or not samples or not signature.batched:
        return list(samples)
    whole = _joined(samples, signature)
    return [{spec.name: _cycled(whole[spec.name], size, spec.batched) for spec in signature.inputs} for size in rows]


def _sample(what: str, sample: Any, signature: Signature) -> Arrays:
    tensors = {}
    for given in sample["inputs"]:
        name, datatype, shape = str(given["name"]), str(given["datatype"]), [int(size) for size in given["shape"]]
        values = array_of(datatype, shape, given["data"], f"{what}: input '{name}'")
        tensors[name] = Tensor(datatype, values, b"")
    rows_of(what, signature, tensors, frozenset(), _MOST_ROWS)
    return {spec.name: tensors[spec.name].values for spec in signature.inputs}


def _joined(samples: Sequence[Arrays], signature: Signature) -> Arrays:
    """All rows of all samples, or the first sample where their shapes differ beyond rows."""
    first = samples[0]
    alike = all(
        sample[spec.name].shape[1:] == first[spec.name].shape[1:]
        for sample in samples
        for spec in signature.inputs
        if spec.batched
    )
    if not alike:
        return first
    return {
        spec.name: np.concatenate([sample[spec.name] for sample in samples]) if spec.batched else first[spec.name]
        for spec in signature.inputs
    }


def _cycled(values: npt.NDArray[Any], rows: int, batched: bool) -> npt.NDArray[Any]:
    return np.take(values, np.arange(rows) % len(values), axis=0) if batched else values
