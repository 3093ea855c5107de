"""What is refused of a request before anything of it is decoded."""

from __future__ import annotations

import numpy as np
import pytest

from gyrostat_common import oip
from gyrostat_common.errors import InvalidInput
from gyrostat_inference.domain.errors import TooManyRows, UnknownParameter, WrongParameter, WrongTensor
from gyrostat_inference.service.decoding import EVENT_TIME, PREDICTION_ID, call_of


def a_request(**parameters: str | int) -> oip.ModelInferRequest:
    request = oip.ModelInferRequest(model_name="flights")
    for name, value in parameters.items():
        request.parameters[name].CopyFrom(oip.parameter(value))
    return request


def test_rows_are_counted_before_bytes_are_decoded():
    request = a_request()
    oip.add_input(request, "country", np.array([[b"\xff"]] * 9, dtype=object))  # not text: decoding would say so
    with pytest.raises(TooManyRows, match="9 rows in one request; at most 8"):
        call_of(request, (), max_rows=8)
    with pytest.raises(WrongTensor, match="UTF-8"):
        call_of(request, (), max_rows=9)


def test_a_shape_that_the_bytes_cannot_fill_is_refused_before_they_are_decoded():
    request = a_request()
    oip.add_input(request, "country", np.array([[b"\xff"]] * 9, dtype=object))
    request.inputs[0].shape[:] = [12, 1]
    with pytest.raises(WrongTensor, match="needs 12 BYTES elements, got 45 bytes"):
        call_of(request, ())


def test_elements_beyond_the_shape_are_refused_before_they_are_decoded():
    request = a_request()
    oip.add_input(request, "country", np.array([[b"\xff"]] * 9, dtype=object))
    request.inputs[0].shape[:] = [2, 1]
    with pytest.raises(WrongTensor, match="needs 2 BYTES elements, 35 bytes follow"):
        call_of(request, ())


@pytest.mark.parametrize("datatype", ["FP32", "BYTES"])
@pytest.mark.parametrize("shape", [[1] * 65, [0, 2**63 - 1, 65535], [2**62, 2**62, 0]])
def test_a_shape_that_no_tensor_has_is_refused(datatype: str, shape: list[int]):
    request = a_request()
    request.inputs.add(name="x", datatype=datatype, shape=shape)
    request.raw_input_contents.append(bytes(4) if 0 not in shape else b"")
    with pytest.raises(InvalidInput, match="input 'x': "):
        call_of(request, ())


def test_a_parameter_of_a_requested_output_is_not_ignored():
    request = a_request()
    request.outputs.add(name="probabilities").parameters["classification"].int64_param = 2
    with pytest.raises(UnknownParameter, match="'classification' of output 'probabilities'"):
        call_of(request, ())


@pytest.mark.parametrize("given", ["0001-01-01T00:00:00Z", "1969-12-31T23:59:59Z", -1])
def test_an_event_time_before_1970_is_refused(given: str | int):
    with pytest.raises(WrongParameter, match="gyrostat_event_time is before 1970-01-01"):
        call_of(a_request(**{EVENT_TIME: given}), ())


@pytest.mark.parametrize(("name", "value"), [(PREDICTION_ID, "1"), (EVENT_TIME, "noon")])
def test_a_known_parameter_with_a_bad_value_has_a_reason_of_its_own(name: str, value: str):
    with pytest.raises(WrongParameter, match=name):
        call_of(a_request(**{name: value}), ())


def test_an_unknown_parameter_is_told():
    with pytest.raises(UnknownParameter, match="gyrostat_colour"):
        call_of(a_request(gyrostat_colour="red"), ())


@pytest.mark.parametrize(
    ("name", "value"),
    [("sequence_id", 7), ("sequence_id", "a"), ("sequence_start", True), ("priority", 1), ("timeout", 1000)],
)
def test_what_triton_has_and_we_have_not_is_refused_not_ignored(name: str, value: str | int):
    with pytest.raises(UnknownParameter, match=f"'{name}' is not served: "):
        call_of(a_request(**{name: value}), ())


def test_what_asks_for_nothing_and_hints_for_other_servers_pass():
    call_of(a_request(sequence_id=0, priority=0, sequence_end=False, content_type="np"), ())


def test_shared_memory_is_refused():
    request = a_request()
    oip.add_input(request, "x", np.zeros((1, 1), np.float32))
    request.inputs[0].parameters["shared_memory_region"].string_param = "mine"
    with pytest.raises(UnknownParameter, match="'shared_memory_region' of input 'x'"):
        call_of(request, ())


@pytest.mark.parametrize("text", ["i" * 1025, "ü" * 513, "a\0b"], ids=["long", "long in bytes", "NUL"])
def test_a_name_that_goes_with_every_row_is_bounded(text: str):
    request = a_request()
    request.id = text
    with pytest.raises(WrongParameter, match="id h"):
        call_of(request, ())
    with pytest.raises(WrongParameter, match="gyrostat_entity h"):
        call_of(a_request(gyrostat_entity=text), ())
    with pytest.raises(WrongParameter, match="gyrostat_entity h"):
        call_of(a_request(), (("gyrostat-entity", text),))


@pytest.mark.parametrize(
    ("name", "value"),
    [("gyrostat_entity", True), ("gyrostat_entity", 1.5), (PREDICTION_ID, 7), (EVENT_TIME, True), (EVENT_TIME, 1.0)],
)
def test_a_parameter_of_the_wrong_kind_is_refused(name: str, value: float):
    with pytest.raises(WrongParameter, match=name):
        call_of(a_request(**{name: value}), ())


def test_a_parameter_without_a_value_is_refused_and_a_number_names_an_entity():
    request = a_request()
    request.parameters["gyrostat_entity"].SetInParent()
    with pytest.raises(WrongParameter, match="gyrostat_entity has no value"):
        call_of(request, ())
    assert call_of(a_request(gyrostat_entity=4711), ()).entity == "4711"
