"""Tensors against a signature: every refusal names model, tensor and what was expected."""

from collections.abc import Mapping

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gyrostat_inference.domain.errors import EmptyBatch, TooManyRows, WrongTensor
from gyrostat_inference.domain.plan import Signature, TensorSpec
from gyrostat_inference.domain.tensors import DTYPES, Columns, Form, Tensor, chosen_outputs, rows_of, stacked

TWO = Signature(
    (TensorSpec("x", "FP32", (-1, 1)), TensorSpec("c", "BYTES", (-1, 1))), (TensorSpec("y", "FP32", (-1, 2)),)
)


def fp32(*shape: int) -> Tensor:
    values = np.zeros(shape, np.float32)
    return Tensor("FP32", values, values.tobytes())


def text(rows: int) -> Tensor:
    return Tensor("BYTES", np.full((rows, 1), "a", object), b"")


def rows(tensors: dict[str, Tensor], signature: Signature = TWO, known: frozenset[str] = frozenset(("x", "c"))) -> int:
    return rows_of("flights:4", signature, tensors, known, 100)


def test_rows_are_the_leading_dimension():
    assert rows({"x": fp32(3, 1), "c": text(3)}) == 3


@pytest.mark.parametrize(
    ("tensors", "error", "message"),
    [
        ({"x": fp32(3, 1)}, WrongTensor, "flights:4: input 'c' \\(BYTES \\[-1, 1\\]\\) is missing; got 'x'"),
        ({}, WrongTensor, "is missing; got no inputs"),
        ({"x": text(3), "c": text(3)}, WrongTensor, "input 'x' is FP32 \\[-1, 1\\], got BYTES \\[3, 1\\]"),
        ({"x": fp32(3, 2), "c": text(3)}, WrongTensor, "input 'x' is FP32 \\[-1, 1\\], got FP32 \\[3, 2\\]"),
        ({"x": fp32(3), "c": text(3)}, WrongTensor, "got FP32 \\[3\\]"),
        ({"x": fp32(3, 1), "c": text(2)}, WrongTensor, "input 'c' has 2 rows, the inputs before it 3"),
        ({"x": fp32(3, 1), "c": text(3), "z": fp32(3, 1)}, WrongTensor, "no input is named 'z'; inputs: 'x' \\(FP32"),
        ({"x": fp32(0, 1), "c": text(0)}, EmptyBatch, "flights:4: the request has no rows"),
        ({"x": fp32(101, 1), "c": text(101)}, TooManyRows, "101 rows in one request; at most 100"),
    ],
)
def test_what_does_not_fit_is_refused_in_words(tensors: dict[str, Tensor], error: type[Exception], message: str):
    with pytest.raises(error, match=message):
        rows(tensors)


def test_an_input_of_another_live_version_is_left_out():
    known = frozenset(("x", "c", "old"))
    assert rows({"x": fp32(3, 1), "c": text(3), "old": fp32(3, 1)}, known=known) == 3


def test_without_a_batch_dimension_the_whole_request_is_one_row():
    matrix = Signature((TensorSpec("m", "FP32", (2, 3)),), ())
    assert rows({"m": fp32(2, 3)}, matrix, frozenset("m")) == 1


def test_outputs_are_chosen_by_name():
    assert chosen_outputs("flights:4", TWO, []) == [0]
    assert chosen_outputs("flights:4", TWO, ["y"]) == [0]
    with pytest.raises(WrongTensor, match="no output is named 'z'; outputs: y"):
        chosen_outputs("flights:4", TWO, ["z"])


SHAPES = st.lists(st.integers(0, 4), min_size=1, max_size=5)


@given(SHAPES, st.sampled_from(["FP32", "BF16", "BOOL", "BYTES"]), st.data())
def test_rows_of_several_requests_are_stacked_as_they_are_however_they_came(
    rows: list[int], datatype: str, data: st.DataObject
):
    """Raw by their form, or read already."""
    calls: list[Mapping[str, Tensor]] = []
    for n, count in enumerate(rows):
        if datatype == "BYTES":
            read = np.array([[f"{n}-{row}", "b"] for row in range(count)], dtype=object).reshape(count, 2)
            raw = b""
        else:
            raw = data.draw(st.binary(min_size=count * 2 * DTYPES[datatype].itemsize, max_size=count * 8 + 8))
            raw = raw[: count * 2 * DTYPES[datatype].itemsize]
            read = np.frombuffer(raw, DTYPES[datatype]).reshape(count, 2)
        form = Form([("w", "FP32", ()), ("x", datatype, (count, 2))], ())
        tensor = Tensor(datatype, read, raw)
        if data.draw(st.booleans()):
            calls.append({"x": tensor})
        else:
            calls.append(Columns(form, [b"\0" * 4, raw], {"x": tensor} if datatype == "BYTES" else None))
    found = stacked("x", calls)
    expected = np.concatenate([call["x"].values for call in calls])
    assert (found.dtype, found.shape, found.tobytes()) == (expected.dtype, expected.shape, expected.tobytes()) or (
        found.tolist() == expected.tolist()
    )


def test_the_tensors_of_a_form_are_a_mapping():
    form = Form([("a", "FP32", (1, 2)), ("b", "INT64", ())], ())
    tensors = Columns(form, [np.array([1, 2], "<f4").tobytes(), np.array(7, "<i8").tobytes()])
    assert list(tensors) == ["a", "b"]
    assert len(tensors) == 2
    assert tensors["a"].values.tolist() == [[1.0, 2.0]]
    assert tensors["a"] is tensors["a"]
    assert tensors["b"].values.tolist() == 7
    assert tensors.get("c") is None
    assert form.sizes == [8, 8]
    assert Form([("t", "BYTES", (3,))], ()).sizes == [-1]
