"""Header blocks: the examples of RFC 7541 (appendix C), what another implementation writes, what must be refused."""

from __future__ import annotations

from typing import Any

import hpack
import pytest
from hpack import NeverIndexedHeaderTuple
from hpack.huffman import HuffmanEncoder
from hpack.huffman_constants import REQUEST_CODES, REQUEST_CODES_LENGTH
from hypothesis import given, settings
from hypothesis import strategies as st

from gyrostat_front import huffman
from gyrostat_front.frames import COMPRESSION_ERROR, Violation
from gyrostat_front.headers import Continued, Headers
from gyrostat_front.hpack import MOST_CHANGES, Decoder, field
from support.http2 import asking, block, integer

TEXT = HuffmanEncoder(REQUEST_CODES, REQUEST_CODES_LENGTH)
REQUESTS = {
    "C.3, plain": (
        "828684410f7777772e6578616d706c652e636f6d",
        "828684be58086e6f2d6361636865",
        "828785bf400a637573746f6d2d6b65790c637573746f6d2d76616c7565",
    ),
    "C.4, Huffman": (
        "828684418cf1e3c2e5f23a6ba0ab90f4ff",
        "828684be5886a8eb10649cbf",
        "828785bf408825a849e95ba97d7f8925a849e95bb8e8b4bf",
    ),
}
READ = (
    [(":method", b"GET"), (":scheme", b"http"), (":path", b"/"), (":authority", b"www.example.com")],
    [
        (":method", b"GET"),
        (":scheme", b"http"),
        (":path", b"/"),
        (":authority", b"www.example.com"),
        ("cache-control", b"no-cache"),
    ],
    [
        (":method", b"GET"),
        (":scheme", b"https"),
        (":path", b"/index.html"),
        (":authority", b"www.example.com"),
        ("custom-key", b"custom-value"),
    ],
)
SINGLE = {
    "C.2.1 a literal that enters the table": ("400a637573746f6d2d6b65790d637573746f6d2d686561646572", "custom-key", 1),
    "C.2.2 a literal that does not": ("040c2f73616d706c652f70617468", ":path", 0),
    "C.2.3 a literal that never may": ("100870617373776f726406736563726574", "password", 0),
    "C.2.4 a field of the static table": ("82", ":method", 0),
}


@pytest.mark.parametrize("example", REQUESTS)
def test_the_requests_of_the_rfc_are_read_one_after_the_other(example: str):
    decoder = Decoder()
    for raw, fields in zip(REQUESTS[example], READ, strict=True):
        assert decoder.decode(bytes.fromhex(raw)).pairs == fields


@pytest.mark.parametrize("example", SINGLE)
def test_each_representation_of_the_rfc_is_read(example: str):
    raw, name, entries = SINGLE[example]
    decoder = Decoder()
    assert [pair[0] for pair in decoder.decode(bytes.fromhex(raw)).pairs] == [name]
    if entries:
        assert decoder.decode(b"\xbe").pairs[0][0] == name
    else:
        with pytest.raises(Violation):
            decoder.decode(b"\xbe")


def test_the_responses_of_the_rfc_are_read_with_a_table_that_evicts():
    blocks = (
        "488264025885aec3771a4b6196d07abe941054d444a8200595040b8166e082a62d1bff6e919d29ad171863c78f0b97c8e9ae82ae43d3",
        "4883640effc1c0bf",
        "88c16196d07abe941054d444a8200595040b8166e084a62d1bffc05a839bd9ab77ad94e7821dd7f2e6c7b335dfdfcd5b3960d5af2708"
        "7f3672c1ab270fb5291f9587316065c003ed4ee5b1063d5007",
    )
    decoder = Decoder(most_table_bytes=256)
    read = [decoder.decode(bytes.fromhex(raw)).pairs for raw in blocks]
    assert [dict(pairs)[":status"] for pairs in read] == [b"302", b"307", b"200"]
    assert read[1][1:] == read[0][1:]
    assert dict(read[2])["set-cookie"] == b"foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1"


@given(st.binary())
def test_huffman_reads_what_another_implementation_writes(text: bytes):
    assert huffman.decode(TEXT.encode(text)) == text


@pytest.mark.parametrize(
    "raw",
    [b"\x00", b"\xff\xff\xff\xff", b"\x1f\xff\xff", b"\x1e"],
    ids=["padding of zeros", "the end's code", "eight bits of padding and more", "padding with a zero"],
)
def test_huffman_refuses_what_is_no_text(raw: bytes):
    with pytest.raises(ValueError, match=r"padding|end"):
        huffman.decode(raw)


NAMES = st.text("abcdefghijklmnopqrstuvwxyz0123456789-", min_size=1, max_size=12).map(lambda name: f"x-{name}")
VALUES = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=60)
BLOCKS = st.lists(st.lists(st.tuples(NAMES, VALUES), max_size=8), min_size=1, max_size=12)


@settings(max_examples=50)
@given(BLOCKS, st.booleans(), st.lists(st.integers(0, 4096), max_size=12))
def test_every_block_means_what_was_written_whatever_came_before(blocks, huffman_too, sizes):
    """The other side's table, ours, and what is remembered of whole blocks stay in step."""
    encoder, decoder = hpack.Encoder(), Decoder()
    for n, fields in enumerate(blocks * 2):
        if n < len(sizes):
            encoder.header_table_size = sizes[n]
        assert decoder.decode(encoder.encode(fields, huffman=huffman_too)).pairs == [
            (name, text.encode()) for name, text in fields
        ]


def test_a_block_that_is_remembered_is_read_again_when_the_table_has_changed():
    decoder = Decoder()
    decoder.decode(b"\x40\x03x-a\x011")
    for _ in range(3):
        assert decoder.decode(b"\x82\xbe").pairs[1] == ("x-a", b"1")
    decoder.decode(b"\x40\x03x-b\x012")
    assert decoder.decode(b"\x82\xbe").pairs[1] == ("x-b", b"2")


@pytest.mark.parametrize(
    "raw",
    [
        b"\x80",
        b"\xbe",
        b"\xff\xff\xff\xff\xff\xff\xff\xff",
        b"\x7f",
        b"\x40\x03x-",
        b"\x40\x03x-a\x7f\xff\xff\xff\xff\x07",
        b"\x40\x03x-a\xff\x01" + b"\x1f" * 127,
        b"\x40\x03x-a\x81\x00",
        b"\x3f\xe2\x1f",
        b"\x82\x20",
        b"\x00",
    ],
    ids=[
        "index 0",
        "an entry that is not there",
        "a number without an end",
        "half a number",
        "a short name",
        "a value longer than its block",
        "a Huffman value longer than its block",
        "Huffman padding",
        "a larger table than is allowed",
        "a table size behind a field",
        "half a field",
    ],
)
def test_a_block_that_cannot_be_read_is_a_compression_error(raw: bytes):
    with pytest.raises(Violation) as caught:
        Decoder().decode(raw)
    assert caught.value.code == COMPRESSION_ERROR


def test_a_bomb_of_one_entry_repeated_is_large_and_kept_nowhere():
    decoder = Decoder(most_list_bytes=16_384)
    decoder.decode(block([("x-a", "y")]) + b"\x40\x03x-b" + integer(4000, 7) + b"z" * 4000)
    headers = decoder.decode(b"\xbe" * 16_000)
    assert headers.large
    assert len(headers.pairs) <= 5


@pytest.mark.parametrize(
    ("fields", "wrong"),
    [
        ({"X-Upper": "1"}, True),
        ({"connection": "close"}, True),
        ({":unknown": "1"}, True),
        ({"x-line": "a\nb"}, True),
        ({"x-empty": ""}, False),
        ({"x-tab": "a\tb"}, False),
    ],
)
def test_fields_that_http_2_forbids_are_told(fields: dict[str, str], wrong: bool):
    given = [*asking("/a/b"), *fields.items()]
    assert bool(Decoder().decode(block(given)).malformed()) is wrong


def test_a_name_that_came_with_a_forbidden_value_may_come_with_another():
    decoder = Decoder()
    assert decoder.decode(b"\x40\x03x-a\x01\n").wrong
    assert not decoder.decode(b"\x7e\x01b").wrong


@given(NAMES, st.binary(max_size=300))
def test_what_we_write_is_read_by_another_implementation(name: str, value: bytes):
    read = hpack.Decoder().decode(field(name.encode(), value), raw=True)
    assert [(bytes(n), bytes(v)) for n, v in read] == [(name.encode(), value)]


LONG = "x" * 900
FURTHER = st.sampled_from(
    [
        ("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
        ("grpc-timeout", "1S"),
        ("grpc-timeout", "nonsense"),
        ("x-empty", ""),
        ("x-empty", "not"),
        ("x-long", LONG),
        ("x-token", LONG[:200]),
        ("te", "gzip"),
        ("te", "trailers"),
        ("content-length", "5"),
        ("content-type", "text/plain"),
        ("grpc-encoding", "gzip"),
        ("connection", "close"),
        (":path", "/a/c"),
    ]
)
ASKED = st.tuples(st.sampled_from(["/a/b", "/a/b", "/a/c"]), st.lists(FURTHER, max_size=3), st.booleans())


def all_of(headers: Headers) -> object:
    texts = [headers.text(name) for name, _ in FURTHER.elements] + [headers.text(":path")]
    looked_at = (headers.path, headers.timeout_s, headers.odd, headers.wrong, headers.large, headers.malformed())
    return headers.pairs, headers.kinds, looked_at, headers.encoding, texts


@settings(max_examples=300)
@given(st.lists(ASKED, min_size=3, max_size=12), st.booleans(), st.lists(st.sampled_from([4096, 4096, 0, 0, 60])))
def test_a_block_means_the_same_to_whoever_knows_how_others_began(asked, huffman_too, sizes):
    """Fields that never change are indexed, of the others a few: as gRPC's own library writes them."""
    encoder, knowing, forgetful = hpack.Encoder(), Decoder(1300), Decoder(1300)
    for n, (path, further, changes) in enumerate(asked):
        if n < len(sizes):
            encoder.header_table_size = sizes[n]
        varying = [*further, ("x-n", str(n))]
        fields: list[Any] = [*asking(path), ("x-empty", ""), *(NeverIndexedHeaderTuple(*one) for one in varying)]
        raw = encoder.encode([*fields, ("x-m", str(n))] if changes else fields, huffman=huffman_too)
        forgetful.rest()
        assert all_of(knowing.decode(raw)) == all_of(forgetful.decode(raw))


def test_what_blocks_begin_with_is_read_once():
    decoder, begins = Decoder(), block(asking("/a/b"))
    for n in range(3):
        headers = decoder.decode(begins + block([("x-n", str(n)), ("grpc-timeout", f"{n + 1}S")]))
        assert (headers.text("x-n"), headers.timeout_s, headers.odd) == (str(n), n + 1.0, "")
    assert isinstance(headers, Continued)
    assert decoder.decode(begins + block([("x-n", "x" * 16_384)])).odd == "large"


def test_what_blocks_begin_with_is_read_again_when_the_table_has_changed():
    decoder, begins = Decoder(), block(asking("/a/b")) + b"\xbe"
    decoder.decode(b"\x40\x03x-a\x011")
    for n in range(3):
        assert decoder.decode(begins + block([("x-n", str(n))])).text("x-a") == "1"
    decoder.decode(b"\x40\x03x-b\x012")
    assert decoder.decode(begins + block([("x-n", "3")])).text("x-b") == "2"


def test_a_long_value_that_is_known_must_still_be_whole():
    decoder, begins, raw = Decoder(), b"\x00\x03x-a", b"\x1f" * 130
    assert (
        decoder.decode(begins + b"\xff\x03" + raw).pairs
        == decoder.decode(b"\x82" + begins + b"\xff\x03" + raw).pairs[1:]
    )
    with pytest.raises(Violation):
        decoder.decode(begins + b"\xff\x04" + raw)


@pytest.mark.parametrize("byte", [b"\x00", b"\x10", b"\x40"], ids=["not indexed", "never indexed", "indexed in vain"])
def test_without_a_table_no_literal_changes_it(byte: bytes):
    decoder = Decoder()
    decoder.decode(b"\x20" + block(asking("/a/b")))
    for n in range(3):
        headers = decoder.decode(block(asking("/a/b")) + byte + block([("x-n", str(n))])[1:])
    assert isinstance(headers, Continued)
    assert not decoder.restless


def test_a_table_that_never_rests_is_told():
    decoder = Decoder()
    for n in range(MOST_CHANGES):
        assert not decoder.restless
        decoder.decode(b"\x40" + block([("x-n", str(n))])[1:])
    assert decoder.restless


@pytest.mark.parametrize("text", [b"0a-" * 20, b"00f067aa0ba902b7-" * 3, b"plain and \xff\x00\n long" * 2, b"{~}" * 20])
def test_long_texts_are_read_as_short_ones_are_whatever_they_end_with(text: bytes):
    for count in range(len(text) - 8, len(text) + 1):
        raw = TEXT.encode(text[:count])
        assert huffman.decode(raw) == text[:count]
        for last in range(256):
            for other in (raw[:-1] + bytes([last]), raw + bytes([last])):
                assert outcome(huffman.by_table, other) == outcome(huffman.decode, other)


def outcome(read, raw: bytes) -> bytes | str:
    try:
        return read(raw)
    except ValueError as error:
        return str(error)
