"""Hypothesis strategies: ModelInfer requests for the model `flights` of support.live_models, mostly usual, some odd."""

from __future__ import annotations

import struct

import numpy as np
from hypothesis import strategies as st

from gyrostat_common import oip
from gyrostat_inference.domain.tensors import DTYPES

SIZES = {name: dtype.itemsize for name, dtype in DTYPES.items()}
words = st.lists(st.sampled_from([b"", b"k1", b"\xc3\xa4", b"\xff"]), max_size=6)
SOUND, ODD = [[1, 3], [2, 3], [2, 1], [4], [], [0, 2]], [[5, 1], [-1, 2], [2**40, 2**40]]


@st.composite
def tensors(draw: st.DrawFn, odd: bool) -> tuple[str, list[int], bytes]:
    """(datatype, shape, raw); odd: perhaps nothing of it fits."""
    datatype = draw(st.sampled_from(["FP32", "FP32", "INT64", "BOOL", "BF16", "BYTES", *(["COLOUR"] if odd else [])]))
    shape = draw(st.sampled_from(SOUND + ODD if odd else SOUND))
    count = int(np.prod([max(size, 0) for size in shape])) if all(size < 9 for size in shape) else 1
    if datatype == "BYTES":
        said = draw(words) if odd else [b"k1"] * count
        raw = b"".join(struct.pack("<I", len(word)) + word for word in said)
    else:
        raw = draw(st.binary(min_size=count * SIZES.get(datatype, 1), max_size=count * SIZES.get(datatype, 1)))
    return datatype, shape, raw + b"\0" if odd and draw(st.booleans()) else raw


PARAMETERS = {
    "gyrostat_prediction_id": ["0188d2a6-0000-7000-8000-000000000001", "no id", 5],
    "gyrostat_entity": ["UA", 7, "a\0b", "e" * 130, True, ""],
    "gyrostat_event_time": ["2013-03-01T12:00:00Z", 5, "noon", -1],
    "gyrostat_colour": ["red"],
    "sequence_id": [0, 1],
    "content_type": ["np"],
}
said = st.dictionaries(st.sampled_from(sorted(PARAMETERS)), st.integers(0, 9), max_size=3)


@st.composite
def requests(draw: st.DrawFn) -> oip.ModelInferRequest:
    """Mostly usual; a fifth may be odd in any way."""
    odd = draw(st.integers(0, 4)) == 0
    request = oip.ModelInferRequest(
        model_name=draw(st.sampled_from(["flights", "flights", "trains", ""])),
        model_version=draw(st.sampled_from(["", "", "4", "champion"])),
        id=draw(st.sampled_from(["", "r1", "i" * 127, "i" * 128, *(["a\0b", "i" * 200, "i" * 1100] if odd else [])])),
    )
    if odd or draw(st.integers(0, 3)) == 0:
        for name, place in draw(said).items():
            request.parameters[name].CopyFrom(oip.parameter(PARAMETERS[name][place % len(PARAMETERS[name])]))
    names = draw(st.lists(st.sampled_from(["x", "y", "", "ü"]), min_size=1, max_size=3, unique=not odd))
    for name in names:
        datatype, shape, raw = draw(tensors(odd))
        tensor = request.inputs.add(name=name, datatype=datatype, shape=shape)
        if odd and draw(st.integers(0, 5)) == 0:
            tensor.parameters["shared_memory_region"].string_param = "mine"
        if odd and draw(st.integers(0, 5)) == 0:
            tensor.contents.fp32_contents.append(1.0)
        request.raw_input_contents.append(raw)
    if odd and draw(st.integers(0, 5)) == 0:
        request.raw_input_contents.append(b"more")
    for name in draw(st.sampled_from([[], [], ["y"], ["y", "z"]])):
        output = request.outputs.add(name=name)
        if odd and draw(st.integers(0, 5)) == 0:
            output.parameters["classification"].int64_param = 2
    return request


def records(message: bytes) -> list[bytes]:
    """The message's records, one by one; all of its fields have a length."""
    found, at = [], 0
    while at < len(message):
        begin, at = at, at + 1
        size = shift = 0
        while True:
            size |= (message[at] & 127) << shift
            at, shift = at + 1, shift + 7
            if message[at - 1] < 128:
                break
        at += size
        found.append(message[begin:at])
    return found


@st.composite
def changed(draw: st.DrawFn, request: oip.ModelInferRequest) -> oip.ModelInferRequest:
    """Other values, another id, other parameters: what a head does not hold; or one raw tensor too many."""
    other = oip.ModelInferRequest()
    other.CopyFrom(request)
    if draw(st.booleans()):
        other.id = draw(st.sampled_from(["", "r9", "\0"]))
    if draw(st.booleans()):
        other.parameters.clear()
        for name, place in draw(said).items():
            other.parameters[name].CopyFrom(oip.parameter(PARAMETERS[name][place % len(PARAMETERS[name])]))
    raws = [bytes(len(raw)) if draw(st.booleans()) else raw for raw in request.raw_input_contents]
    if raws and draw(st.integers(0, 5)) == 0:
        raws[0] = raws[0] + b"\0" if draw(st.booleans()) else raws[0][:-1]
    if draw(st.integers(0, 5)) == 0:
        raws = raws[:-1] if draw(st.booleans()) else [*raws, b""]
    del other.raw_input_contents[:]
    other.raw_input_contents.extend(raws)
    return other
