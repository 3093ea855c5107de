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
