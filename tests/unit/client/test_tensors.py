import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gyrostat_client.tensors import bfloat16, cast, columns, datatype_of, readable, shaped
from gyrostat_common.errors import InvalidInput


@pytest.mark.parametrize(
    ("values", "shape", "expected"),
    [
        (1.5, [-1, 1], (1, 1)),
        ([1, 2, 3], [-1, 1], (3, 1)),
        ([1, 2, 3], [-1, 3], (1, 3)),
        ([[1, 2], [3, 4]], [-1, 2], (2, 2)),
        ([1, 2], [-1], (2,)),
        (7, None, (1, 1)),
        ([7, 8], None, (2, 1)),
    ],
)
def test_values_take_the_rank_that_the_model_declares(values, shape, expected):
    assert shaped("amount", values, shape).shape == expected


def test_too_many_dimensions_are_refused():
    with pytest.raises(InvalidInput, match="amount: 3 dimensions given, the model has 2"):
        shaped("amount", [[[1]]], [-1, 1])


def test_rows_of_different_lengths_are_refused():
    with pytest.raises(InvalidInput, match="different lengths"):
        shaped("amount", [[1, 2], [3]], [-1, 2])


def test_none_is_nan_in_numbers_and_empty_in_text():
    numbers = cast("amount", np.array([1.0, None], dtype=object), "FP32")
    assert numbers[0] == 1.0
    assert np.isnan(numbers[1])
    assert cast("country", np.array(["CH", None], dtype=object), "BYTES").tolist() == [b"CH", b""]


def test_numbers_written_as_text_are_read_and_other_text_is_refused():
    assert cast("amount", np.array(["1.5", "2"]), "FP32").tolist() == [1.5, 2.0]
    with pytest.raises(InvalidInput, match="'many' is not a number"):
        cast("amount", np.array(["1", "many"]), "FP32")


@pytest.mark.parametrize("value", [1.5, 300, -1, float("nan")])
def test_a_whole_number_type_takes_only_what_fits(value):
    with pytest.raises(InvalidInput, match="whole numbers from 0 to 255"):
        cast("count", np.array([value]), "UINT8")


@given(
    st.lists(
        st.floats(width=32, allow_nan=False, allow_infinity=False, allow_subnormal=False).filter(
            lambda value: abs(value) < 1e38
        ),
        min_size=1,
    )
)
def test_a_bfloat16_is_within_one_part_in_128(values):
    array = np.array(values, "<f4")
    back = readable(bfloat16(array), "BF16")
    assert np.allclose(back, array, rtol=1 / 128, atol=1e-37)


def test_inputs_come_as_mapping_rows_or_data_frame():
    class Frame:
        columns = ("amount",)

        def __getitem__(self, name):
            return [1.0, 2.0]

    assert columns({"amount": 1}) == {"amount": 1}
    assert columns([{"amount": 1}, {"amount": 2}]) == {"amount": [1, 2]}
    assert columns(Frame())["amount"].tolist() == [1.0, 2.0]
    with pytest.raises(InvalidInput, match="data frame"):
        columns(3)


def test_the_datatype_of_values_without_metadata():
    assert [datatype_of(values) for values in ([1.5], [1], ["a"], [True], np.array([1.5]), [1.0, None])] == [
        "FP32",
        "INT64",
        "BYTES",
        "BOOL",
        "FP64",
        "FP32",
    ]
