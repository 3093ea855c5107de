"""What is looked at in a request's fields, and metadata both ways."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gyrostat_front.headers import fields_of, percent, timeout_of
from gyrostat_front.hpack import Decoder
from support.http2 import asking, block


def read(**more: str):
    return Decoder().decode(block(asking("/test.Lane/Call", **more)))


def test_a_plain_request_has_nothing_odd():
    headers = read(grpc_timeout="1500m")
    assert (headers.odd, headers.path, headers.timeout_s) == ("", b"/test.Lane/Call", 1.5)


@pytest.mark.parametrize(
    ("raw", "seconds"), [("1H", 3600.0), ("2M", 120.0), ("3S", 3.0), ("4m", 0.004), ("5u", 5e-6), ("99999999n", 0.1)]
)
def test_timeouts_have_six_units(raw: str, seconds: float):
    assert timeout_of(raw.encode()) == pytest.approx(seconds, rel=1e-6)


@pytest.mark.parametrize("raw", ["", "S", "1", "1s", "-1S", "123456789S", "1.5S", "1SS", "1S\n"])
def test_anything_else_is_no_timeout(raw: str):
    assert timeout_of(raw.encode()) < 0


@pytest.mark.parametrize(
    ("more", "odd"),
    [
        ({":method": "GET"}, "method"),
        ({"content_type": "text/plain"}, "type"),
        ({"content_type": "application/grpc+proto"}, ""),
        ({"content_type": "application/grpcx"}, "type"),
        ({"grpc_encoding": "snappy"}, "encoding"),
        ({"grpc_encoding": "gzip"}, ""),
        ({"grpc_timeout": "0S"}, "timeout"),
        ({"content_length": "5"}, "length"),
        ({"te": "gzip"}, "length"),
    ],
)
def test_what_is_odd_about_a_request(more: dict[str, str], odd: str):
    assert read(**more).odd == odd


@given(st.lists(st.tuples(st.sampled_from(["x-a", "x-b-bin"]), st.binary(max_size=20)), max_size=6))
def test_binary_metadata_come_back_as_they_were(given):
    metadata = [(name, value if name.endswith("-bin") else value.hex()) for name, value in given]
    sent = [(name.decode(), value.decode()) for name, value in fields_of(metadata)]
    assert list(Decoder().decode(block([*asking("/a/b"), *sent])).metadata()) == metadata


def test_metadata_are_without_what_is_gRPCs_own():
    names = {name for name, _ in read(user_agent="me", grpc_timeout="1S", x_mine="1").metadata()}
    assert names == {"user-agent", "x-mine"}


def test_of_a_name_that_comes_twice_the_first_is_the_one():
    fields = [*asking("/a/b"), ("x-a", "1"), ("x-b", "2"), ("x-a", "3")]
    assert Decoder().decode(block(fields)).text("x-a") == "1"


def test_a_binary_value_that_is_not_base64_is_told():
    with pytest.raises(ValueError, match="base64"):
        read(x_bin="*").metadata()


@pytest.mark.parametrize(
    "pair", [("UPPER", "a"), ("a b", "a"), ("grpc-status", "0"), ("x", "a\nb"), ("x", "ä"), ("", "a")]
)
def test_metadata_that_gRPC_does_not_allow_are_refused(pair: tuple[str, str]):
    with pytest.raises(ValueError, match=r"metadata|ASCII"):
        fields_of([pair])


def test_a_message_is_percent_encoded():
    assert percent("100 %, größer\n") == b"100 %25, gr%C3%B6%C3%9Fer%0A"
