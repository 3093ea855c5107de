"""Packed bodies of REST: every size comes back whole, bombs stop at the limit, and what is none is refused."""

from __future__ import annotations

import gzip
import random
import threading
import zlib

import pytest

from gyrostat_inference.service.packing import AT_ONCE_BYTES, PIECE_BYTES, NotPacked, packing, unpacked

MOST = 8 * 1024 * 1024


def bare(content: bytes) -> bytes:
    maker = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return maker.compress(content) + maker.flush()


PACKED = [("gzip", gzip.compress), ("deflate", zlib.compress), ("deflate", bare)]
SIZES = [0, 1, AT_ONCE_BYTES - 1, AT_ONCE_BYTES, AT_ONCE_BYTES + 1, PIECE_BYTES * 3, MOST]


def anything(count: int) -> bool:
    return True


@pytest.mark.parametrize("noise", [True, False], ids=["noise", "zeros"])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("name", "pack"), PACKED, ids=["gzip", "zlib", "bare"])
async def test_a_body_comes_back_whole(name: str, pack: object, size: int, noise: bool):
    content = random.Random(size).randbytes(size) if noise else bytes(size)
    assert await unpacked(pack(content), name, MOST, anything) == content  # type: ignore[operator]


@pytest.mark.parametrize(("name", "pack"), PACKED, ids=["gzip", "zlib", "bare"])
async def test_a_bomb_stops_at_the_limit_beside_the_loop(name: str, pack: object):
    taken: list[tuple[int, threading.Thread]] = []

    def take(count: int) -> bool:
        taken.append((count, threading.current_thread()))
        return True

    size = await unpacked(pack(bytes(8 * MOST)), name, MOST, take)  # type: ignore[operator]
    assert isinstance(size, int)
    assert MOST < size <= MOST + 1024 * 1024
    assert sum(count for count, _ in taken) == size
    assert {thread for _, thread in taken} == {threading.main_thread()}


async def test_a_bomb_stops_where_there_is_no_room_for_it():
    left = [1_000_000]

    def take(count: int) -> bool:
        left[0] -= count
        return left[0] >= 0

    assert await unpacked(gzip.compress(bytes(MOST)), "gzip", MOST, take) == 1_000_000 - left[0]
    assert left[0] > -2 * 1024 * 1024


@pytest.mark.parametrize(
    ("raw", "name", "words"),
    [
        (b"no gzip", "gzip", "the body is not gzip"),
        (b"\xff\xff", "deflate", "the body is not deflate"),
        (gzip.compress(b"abc")[:-4], "gzip", "the gzip is cut short"),
        (zlib.compress(bytes(3 * AT_ONCE_BYTES))[:-6], "deflate", "the deflate is cut short"),
        (gzip.compress(b"abc") + b"more", "gzip", "there is more behind the end of the gzip"),
        (gzip.compress(b"abc") + bytes(2 * PIECE_BYTES), "gzip", "there is more behind the end of the gzip"),
    ],
)
async def test_what_is_not_packed_so_is_refused(raw: bytes, name: str, words: str):
    with pytest.raises(NotPacked, match=words):
        await unpacked(raw, name, MOST, anything)


@pytest.mark.parametrize(
    ("given", "name"),
    [(None, ""), ("", ""), ("identity", ""), (" GZIP ", "gzip"), ("x-gzip", "gzip"), ("deflate", "deflate")],
)
def test_names_of_packings(given: str | None, name: str):
    assert packing(given) == name


@pytest.mark.parametrize("given", ["br", "zstd", "gzip, gzip", "gzip;q=1"])
def test_other_packings_are_not_known(given: str):
    with pytest.raises(LookupError):
        packing(given)
