"""What travels beside a message."""

from __future__ import annotations

from typing import Any

import grpc
import pytest

from gyrostat_common import oip
from support.echo import a_request

EVERY_BYTE = bytes(range(256))


async def echoed(stub: oip.Stub, *metadata: tuple[str, str | bytes]) -> tuple[dict[str, str], list[tuple[str, Any]]]:
    """What the handler saw, and the trailing metadata that it set."""
    call = stub.ModelInfer(a_request("metadata"), metadata=metadata)
    reply = await call
    seen = {key: value.string_param for key, value in reply.parameters.items()}
    return seen, [(key, value) for key, value in await call.trailing_metadata() if key.startswith("echo-")]


async def test_texts_go_there_and_back(stub: oip.Stub):
    text = "".join(map(chr, range(0x20, 0x7F))).strip()
    seen, back = await echoed(stub, ("echo-text", text), ("other", "x"))
    assert (seen["echo-text"], seen["other"]) == (text, "x")
    assert back == [("echo-text", text)]


@pytest.mark.parametrize("length", [0, 1, 2, 3, 256])
async def test_bytes_go_there_and_back(stub: oip.Stub, length: int):
    seen, back = await echoed(stub, ("echo-raw-bin", EVERY_BYTE[:length]))
    assert seen["echo-raw-bin"] == EVERY_BYTE[:length].hex()
    assert back == [("echo-raw-bin", EVERY_BYTE[:length])]


async def test_a_name_that_comes_twice_is_there_twice_in_order(stub: oip.Stub):
    given = [("echo-a", "1"), ("echo-b", "2"), ("echo-a", "3"), ("echo-c-bin", b"\0"), ("echo-c-bin", b"\1")]
    _, back = await echoed(stub, *given)
    assert [pair for pair in back if pair[0] == "echo-a"] == [("echo-a", "1"), ("echo-a", "3")]
    assert [pair for pair in back if pair[0] == "echo-c-bin"] == [("echo-c-bin", b"\0"), ("echo-c-bin", b"\1")]
    assert len(back) == len(given)


async def test_thousands_of_calls_with_names_of_their_own_are_told_apart(stub: oip.Stub):
    """The header table turns over many times."""
    for n in range(300):
        value = f"{n}-{'x' * (n % 97)}"
        seen, back = await echoed(stub, (f"echo-{n % 50}", value), ("steady", "the same"))
        assert (seen[f"echo-{n % 50}"], seen["steady"]) == (value, "the same")
        assert back == [(f"echo-{n % 50}", value)]


async def test_what_the_wire_needs_is_not_shown(stub: oip.Stub):
    seen, _ = await echoed(stub, ("mine", "1"))
    assert not [name for name in seen if name.startswith((":", "grpc-")) or name in ("te", "content-type")]
    assert "user-agent" in seen


async def test_six_kilobytes_are_taken(stub: oip.Stub):
    value = "v" * 6000
    seen, _ = await echoed(stub, ("large", value))
    assert seen["large"] == value


async def test_a_hundred_kilobytes_are_refused_and_the_next_call_answered(stub: oip.Stub):
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await echoed(stub, ("large", "v" * 100_000))
    assert caught.value.code() in (
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.INTERNAL,
    )
    assert (await stub.ServerLive(oip.ServerLiveRequest(), wait_for_ready=True)).live
