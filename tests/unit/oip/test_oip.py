"""The protocol's wire format, and that our copy of it lives beside Triton's in one process."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gyrostat_common import oip
from gyrostat_common.errors import InvalidInput

NUMERIC = [name for name in oip.NUMPY if name not in ("BYTES", "BF16")]


def in_fresh_process(code: str) -> str:
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


OURS = "import gyrostat_client; from gyrostat_common import oip; m = oip.ModelInferRequest(model_name='a')\n"
THEIRS = "import tritonclient.grpc as t; from tritonclient.grpc import service_pb2 as p; n = p.ModelInferRequest()\n"
BOTH = "n = p.ModelInferRequest.FromString(m.SerializeToString()); print(n.model_name)\n"


@pytest.mark.parametrize("order", [OURS + THEIRS, THEIRS + OURS], ids=["ours-first", "triton-first"])
def test_tritonclient_and_our_protocol_live_in_one_process(order: str):
    assert in_fresh_process(order + BOTH) == "a\n"


COMPARE = """
from gyrostat_common import oip
from tritonclient.grpc import service_pb2
theirs = service_pb2.DESCRIPTOR.pool

def named(message):
    return message.full_name if message else ''

def fields(message):
    kind = lambda f: (f.number, f.type, f.is_repeated, named(f.message_type), named(f.enum_type))
    return {field.name: kind(field) for field in message.fields}

def walk(message, seen):
    if message.full_name in seen or message.name == 'PropertiesEntry':
        return
    seen.add(message.full_name)
    a, b = fields(message), fields(theirs.FindMessageTypeByName(message.full_name))
    for name in sorted(set(a) ^ set(b)):
        print(message.full_name, name)
    assert {k: a[k] for k in a if k in b} == b, message.full_name
    for field in message.fields:
        if field.message_type:
            walk(field.message_type, seen)

seen = set()
for method in oip.POOL.FindServiceByName(oip.SERVICE).methods:
    other = service_pb2.DESCRIPTOR.services_by_name['GRPCInferenceService'].methods_by_name[method.name]
    assert (method.client_streaming, method.server_streaming) == (other.client_streaming, other.server_streaming)
    walk(method.input_type, seen)
    walk(method.output_type, seen)
assert len(seen) > 50
"""


def test_every_field_is_tritons_field_for_field():
    # `properties` is the Open Inference Protocol's own, which Triton lacks.
    assert in_fresh_process(COMPARE) == "inference.ModelMetadataResponse properties\n"


@pytest.mark.parametrize("datatype", NUMERIC)
def test_raw_contents_come_back_as_they_went(datatype: str):
    array = np.array([[0, 1, 1], [1, 0, 1]], dtype=oip.NUMPY[datatype])
    back = oip.from_raw(datatype, array.shape, oip.to_raw(array))
    assert back.dtype == array.dtype
    assert back.tolist() == array.tolist()
    assert oip.datatype_of(array) == datatype


@pytest.mark.parametrize("datatype", list(oip.CONTENTS_FIELD))
def test_typed_contents_come_back_as_they_went(datatype: str):
    array = np.array([[b"a", b""]], dtype=object) if datatype == "BYTES" else np.array([[1, 0]], oip.NUMPY[datatype])
    contents = oip.InferTensorContents()
    oip.fill_contents(contents, datatype, array)
    assert oip.from_contents(datatype, array.shape, contents).tolist() == array.tolist()


@given(st.lists(st.binary(max_size=20), max_size=20))
def test_bytes_elements_carry_a_four_byte_length(elements: list[bytes]):
    raw = oip.pack_bytes(elements)
    assert len(raw) == sum(4 + len(e) for e in elements)
    assert oip.unpack_bytes(raw) == elements


@pytest.mark.parametrize(
    ("datatype", "shape", "raw", "message"),
    [
        ("FP32", [2, 2], b"\0" * 12, "flights: input 'x': shape \\[2, 2\\] of FP32 needs 16 bytes, got 12"),
        ("FP99", [1], b"", "unknown datatype 'FP99'"),
        ("FP32", [-1], b"", "negative dimension"),
        ("BYTES", [1], b"\5\0\0\0abc", "ends 2 bytes past"),
        ("BYTES", [1], b"\5\0", "cut off"),
        ("BYTES", [2], b"\0\0\0\0", "needs 2 BYTES elements, got 1"),
    ],
)
def test_raw_that_does_not_fit_says_what_was_expected(datatype: str, shape: list[int], raw: bytes, message: str):
    with pytest.raises(InvalidInput, match=message):
        oip.from_raw(datatype, shape, raw, "flights: input 'x'")


@pytest.mark.parametrize(
    ("datatype", "shape", "contents", "message"),
    [
        ("FP32", [2], {"fp32_contents": [1.0]}, "needs 2 values in fp32_contents, got 1"),
        ("FP32", [1], {"fp64_contents": [1.0]}, "belong in fp32_contents, not in fp64_contents"),
        ("FP16", [1], {}, "raw bytes only"),
        ("INT8", [1], {"int_contents": [300]}, "does not fit INT8"),
        ("NONE", [1], {}, "is unknown"),
    ],
)
def test_typed_contents_that_do_not_fit_say_what_was_expected(
    datatype: str, shape: list[int], contents: dict[str, list[float]], message: str
):
    with pytest.raises(InvalidInput, match=message):
        oip.from_contents(datatype, shape, oip.InferTensorContents(**contents))


def test_a_type_outside_the_protocol_is_refused():
    with pytest.raises(InvalidInput, match="complex64"):
        oip.datatype_of(np.zeros(1, np.complex64))


def test_a_parameter_keeps_its_kind():
    for value in (True, 7, 0.5, "text"):
        assert oip.parameter_value(oip.parameter(value)) == value
    assert oip.parameter_value(oip.InferParameter()) is None
