"""A request that is understood by its head is understood as if it had been read: the same call, or the same refusal."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from google.protobuf.message import DecodeError
from hypothesis import given, settings
from hypothesis import strategies as st

from gyrostat_common import oip
from gyrostat_common.errors import GyrostatError
from gyrostat_common.ids import Uuids
from gyrostat_inference.domain.calls import Call
from gyrostat_inference.domain.live import LiveModels
from gyrostat_inference.domain.tensors import DTYPES
from gyrostat_inference.service.decoding import call_of
from gyrostat_inference.service.heads import Decoder, _split
from support.live_models import a_plan, live
from support.requests import changed, records, requests

MOST_ROWS = 4


def decoder(most_heads: int = 64) -> Decoder:
    models = LiveModels()
    models.swap(live(a_plan(spec=a_plan().spec.__class__(max_rows=MOST_ROWS))))
    return Decoder(models, Uuids(), most_heads)


def meaning(call: Call) -> dict[str, Any]:
    """All of it but clocks and minted ids."""
    tensors = {
        name: (t.datatype, tuple(t.shape), bytes(t.raw), t.values.dtype.str, t.values.shape, t.values.tolist())
        for name, t in call.tensors.items()
    }
    return {
        "said": (call.model, call.version, call.request_id, call.entity, call.event_time_us, call.traceparent),
        "tensors": repr(tensors),  # NaN equals itself in words
        "outputs": list(call.outputs),
    }


def outcome(decode: Any) -> tuple[Any, ...]:
    try:
        call = decode()
    except GyrostatError as error:
        return type(error), str(error)
    return "call", meaning(call), call.prediction_id


def understood(known: Decoder, request: oip.ModelInferRequest, message: bytes, metadata: Mapping[str, str]) -> Call:
    """As the lane does it: without protobuf where that can be."""
    call = known.known(message, lambda name: metadata.get(name, ""))
    return call or known.call_of(request, message, lambda name: metadata.get(name, ""))


def same(known: Decoder, message: bytes, metadata: Mapping[str, str], minted: bool) -> bool:
    """Whether both say the same of the message; True for a call, False for a refusal. Fails where they do not."""
    try:
        request = oip.ModelInferRequest.FromString(message)
    except DecodeError:
        assert known.known(message, lambda name: metadata.get(name, "")) is None
        return False
    most = MOST_ROWS if request.model_name == "flights" else None
    read = outcome(lambda: call_of(request, list(metadata.items()), most))
    found = outcome(lambda: understood(known, request, message, metadata))
    if read[0] != "call" or found[0] != "call":
        assert found == read
        return False
    assert found[1] == read[1]
    if not minted:
        assert found[2] == read[2]
    return True


@settings(max_examples=400, deadline=None)
@given(st.data())
def test_what_is_known_by_its_head_is_the_same_as_what_is_read(data: st.DataObject):
    known = decoder()
    request = data.draw(requests())
    for _ in range(3):
        message = request.SerializeToString(deterministic=True)
        metadata = data.draw(st.sampled_from([{}, {"gyrostat-entity": "DL"}, {"gyrostat-entity": "a\0"}]))
        minted = "gyrostat_prediction_id" not in request.parameters
        if same(known, message, metadata, minted) and _split(message, list(request.raw_input_contents)):
            same(known, message, metadata, minted)
        # The next one has the same head, or nearly.
        request = data.draw(changed(request))


# An id, a model, a version, a field that nobody knows, raw contents, a parameter without a name and one with.
ENTITY = b"\x22\x17\x0a\x0fgyrostat_entity\x12\x04\x1a\x02ZZ"
MORE = (b"\x1a\x02r7", b"\x0a\x07flights", b"\x12\x014", b"\x7a\x01z", b"\x3a\x00", b"\x22\x00", ENTITY)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_records_in_any_order_twice_or_unknown_change_nothing_about_that(data: st.DataObject):
    """Protobuf lets a sender put its records in any order, and more than once; the last one counts."""
    known = decoder()
    request = data.draw(requests())
    message = request.SerializeToString(deterministic=True)
    same(known, message, {}, True)
    parts = records(message)
    for _ in range(3):
        more = data.draw(st.lists(st.sampled_from(MORE), max_size=2))
        if data.draw(st.booleans()):
            mixed = data.draw(st.permutations([*parts, *more]))
        else:
            at = data.draw(st.integers(0, len(parts)))
            mixed = [*parts[:at], *more, *parts[at:]]
        strange = b"".join(mixed)
        for _ in range(2):
            same(known, strange, {}, True)
        same(known, message, {}, True)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_bytes_that_are_nearly_a_request_change_nothing_about_that(data: st.DataObject):
    known = decoder()
    message = bytearray(data.draw(requests()).SerializeToString())
    same(known, bytes(message), {}, True)
    if not message:
        return
    for _ in range(4):
        at = data.draw(st.integers(0, len(message) - 1))
        broken = bytearray(message)
        broken[at] = data.draw(st.integers(0, 255))
        for _ in range(2):
            same(known, bytes(broken), {}, True)


@pytest.mark.parametrize("last", [b"\x7a\x04ab:\0", b"\x32\x04\x0a\x02:\0", ENTITY[:1] + b"\x04\x0a\x02:\0"])
def test_what_only_looks_like_raw_contents_is_not_taken_for_them(last: bytes):
    """The end of another record may hold the bytes with which empty raw contents begin."""
    known = decoder()
    request = oip.ModelInferRequest(model_name="flights")
    request.inputs.add(name="x", datatype="FP32", shape=[0, 1])
    request.raw_input_contents.append(b"")
    usual = request.SerializeToString()
    assert same(known, usual, {}, True)
    assert same(known, usual, {}, True)
    raw, rest = usual[-2:], usual[:-2]
    for message in (raw + rest + last, rest + raw + last, raw + last, rest[:9] + raw + last):
        for _ in range(2):
            same(known, message, {}, True)
    assert same(known, usual, {}, True)


def a_request(rows: int = 1, **fields: Any) -> oip.ModelInferRequest:
    request = oip.ModelInferRequest(model_name="flights", **fields)
    oip.add_input(request, "x", np.zeros((rows, 1), np.float32))
    return request


def learnt(known: Decoder, request: oip.ModelInferRequest) -> Call:
    return understood(known, request, request.SerializeToString(), {})


def test_calls_of_one_form_share_it_whatever_their_ids_and_values():
    known = decoder()
    learnt(known, a_request())
    first, second = learnt(known, a_request(id="a")), learnt(known, a_request(id="b" * 127))
    assert first.form is not None
    assert first.form is second.form
    with_parameter = a_request(id="c")
    with_parameter.parameters["gyrostat_entity"].string_param = "UA"
    third = learnt(known, with_parameter)
    assert (third.form, third.entity, third.request_id) == (first.form, "UA", "c")
    assert learnt(known, a_request(rows=2)).form is None, "read, for it has another shape"
    assert learnt(known, a_request(rows=2)).form is not first.form


def test_what_is_known_needs_no_protobuf_unless_its_sizes_depend_on_values():
    known, nothing = decoder(), lambda _: ""
    learnt(known, a_request(id="a"))
    for request in (a_request(), a_request(id="bb"), a_request(id="b" * 127)):
        assert known.known(request.SerializeToString(), nothing) is not None
    other = a_request()
    other.inputs[0].name = "y"
    learnt(known, other)
    for request in (a_request(), other):
        assert known.known(request.SerializeToString(), nothing) is not None, "as long, and said otherwise"
    assert known.known(a_request(rows=2).SerializeToString(), nothing) is None
    assert known.known(a_request(id="b" * 128).SerializeToString(), nothing) is None
    texts = oip.ModelInferRequest(model_name="flights")
    oip.add_input(texts, "x", np.array([[b"LH"]], dtype=object))
    assert learnt(known, texts).form is None
    assert learnt(known, texts).form is not None
    assert known.known(texts.SerializeToString(), nothing) is None


def test_what_is_learnt_is_bounded():
    known = decoder(most_heads=3)
    for rows in (1, 2, 3, 4):
        learnt(known, a_request(rows))
    assert len(known._heads) == 1
    long = a_request()
    for n in range(400):
        long.outputs.add(name=f"output-{n}")
    learnt(known, long)
    assert len(known._heads) == 1
    assert len(known._tails) <= 3


@pytest.mark.parametrize("rows", [1, 5])
def test_a_known_head_still_has_its_limits(rows: int):
    """The limit of rows may have changed with the plan since the head was learnt."""
    models = LiveModels()
    known = Decoder(models, Uuids())
    request = a_request(rows)
    learnt(known, request)
    assert learnt(known, request).form is not None
    models.swap(live(a_plan(spec=a_plan().spec.__class__(max_rows=MOST_ROWS))))
    assert same(known, request.SerializeToString(), {}, True) is (rows == 1)


def test_the_prediction_id_of_a_known_head_is_the_callers_or_new():
    known = decoder()
    learnt(known, a_request())
    minted = {learnt(known, a_request()).prediction_id for _ in range(50)}
    assert len(minted) == 50
    own = a_request()
    own.parameters["gyrostat_prediction_id"].string_param = str(uuid.UUID(int=5))
    assert learnt(known, own).prediction_id == uuid.UUID(int=5).bytes


def test_datatypes_are_those_of_the_protocol():
    assert dict(DTYPES) == {name: dtype for name, dtype in oip.NUMPY.items() if name != "BYTES"}
