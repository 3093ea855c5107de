"""Tensors as JSON has them, and samples cut into runs."""

from __future__ import annotations

import json
import math
import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from gyrostat_inference.domain.errors import WrongTensor
from gyrostat_inference.domain.json_tensors import array_of, values_of
from gyrostat_inference.domain.plan import Signature, TensorSpec
from gyrostat_inference.domain.samples import runs_of, samples_of

KINDS = {
    "BOOL": "?",
    "UINT8": "<u1",
    "INT16": "<i2",
    "INT64": "<i8",
    "UINT64": "<u8",
    "FP16": "<f2",
    "FP32": "<f4",
    "FP64": "<f8",
}
SIGNATURE = Signature((TensorSpec("x", "FP32", (-1, 2)), TensorSpec("c", "BYTES", (1,))), ())


@given(st.data(), st.sampled_from(list(KINDS)))
def test_what_goes_out_comes_back_to_the_bit(data: st.DataObject, datatype: str) -> None:
    array = data.draw(
        arrays.arrays(KINDS[datatype], arrays.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3))
    )
    values = json.loads(json.dumps(values_of(datatype, array), allow_nan=False))
    back = array_of(datatype, array.shape, values, "x")
    assert back.dtype == array.dtype
    assert np.array_equal(back, array, equal_nan=array.dtype.kind == "f")
    if 0 not in array.shape and array.ndim:
        nested = json.loads(json.dumps(array.tolist()))
        assert np.array_equal(array_of(datatype, array.shape, nested, "x"), array, equal_nan=array.dtype.kind == "f")


@given(st.lists(st.floats(width=32), max_size=5))
def test_a_bfloat16_is_the_nearest(values: list[float]) -> None:
    kept = values_of("BF16", array_of("BF16", [len(values)], values_of("FP32", np.array(values, "<f4")), "x"))
    for value, found in zip(values, kept, strict=True):
        if isinstance(found, str):
            assert not math.isfinite(value) or abs(value) > 3.38e38
        else:
            assert found == pytest.approx(value, rel=2**-8, abs=1e-38)


@pytest.mark.parametrize(
    ("datatype", "shape", "data", "said"),
    [
        ("FP31", [1], [1], "unknown datatype 'FP31'"),
        ("FP32", [2], [1], r"shape \[2\] needs 2 values, got 1"),
        ("FP32", [-1, -1], [1], "negative dimension"),
        ("FP32", [1] * 40, [1], "40 dimensions"),
        ("FP32", [1], 1, "its data is no list"),
        ("FP32", [1], {"0": 1}, "its data is no list"),
        ("FP32", [2, 2], [[1, 2], [3]], "nested lists"),
        ("FP32", [2, 2], [[1, 2, 3, 4]], r"needs 2 rows, got 1"),
        ("FP32", [2, 2], [[1, 2], 3], "nested lists"),
        ("FP32", [1], [[[1]]], "an element of FP32 is a number"),
        ("FP32", [1], ["one"], "an element of FP32 is a number"),
        ("FP32", [1], [True], "an element of FP32 is a number"),
        ("FP32", [1], [None], "an element of FP32 is a number"),
        ("FP32", [1], [1e300], "a value does not fit FP32"),
        ("FP16", [1], [70000], "a value does not fit FP16"),
        ("FP64", [1], [10**400], "a value does not fit FP64"),
        ("INT32", [1], [1.0], "an element of INT32 is a whole number"),
        ("INT8", [1], [128], "a value does not fit INT8"),
        ("UINT8", [1], [-1], "a value does not fit UINT8"),
        ("INT64", [1], [2**63], "a value does not fit INT64"),
        ("BOOL", [1], [1], "an element of BOOL is true or false"),
        ("BYTES", [1], [1], "an element of BYTES is a text"),
    ],
)
def test_what_does_not_fit_is_refused_in_words(datatype: str, shape: list[int], data: Any, said: str) -> None:
    with pytest.raises(WrongTensor, match=f"^x: .*{said}|^x: {said}"):
        array_of(datatype, shape, data, "x")


def a_sample(*rows: list[float], text: str = "a") -> dict[str, Any]:
    return {
        "inputs": [
            {"name": "x", "datatype": "FP32", "shape": [len(rows), 2], "data": list(rows)},
            {"name": "c", "datatype": "BYTES", "shape": [1], "data": [text]},
        ]
    }


def test_samples_are_run_as_they_are_or_in_the_sizes_asked_for() -> None:
    samples, problem = samples_of(json.dumps([a_sample([1, 2], [3, 4]), a_sample([5, 6])]), SIGNATURE)
    assert problem == ""
    assert [len(run["x"]) for run in runs_of(samples, (), SIGNATURE)] == [2, 1]
    one, five = runs_of(samples, (1, 5), SIGNATURE)
    assert one["x"].tolist() == [[1, 2]]
    assert five["x"][:, 0].tolist() == [1, 3, 5, 1, 3]
    assert five["c"].tolist() == ["a"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "no JSON"),
        ("[" * 100_000, "no JSON"),
        ("3", "sample 1: no name, datatype"),
        ('{"inputs": [{"name": "x"}]}', "sample 1: no name, datatype"),
        (json.dumps(a_sample([1, 2]) | {"inputs": []}), r"input 'x' \(FP32 \[-1, 2\]\) is missing"),
        (json.dumps(a_sample()), "has no rows"),
    ],
)
def test_a_sample_that_does_not_fit_is_left_out_and_said(text: str, said: str) -> None:
    samples, problem = samples_of(text, SIGNATURE)
    assert samples == []
    assert re.search(said, problem)
    good = json.dumps([3, a_sample([1, 2])])
    assert len(samples_of(good, SIGNATURE)[0]) == 1
