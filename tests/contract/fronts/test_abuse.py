"""Peers that mean harm: memory stays bounded, honest clients are answered meanwhile, and afterwards all is given back.

Each server is a process of its own; its memory and its sockets are read from /proc.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from interop.echo_process import Addresses, echo
from support import abuse
from support.http2 import ENHANCE_YOUR_CALM
from support.waiting import eventually

MEGABYTE = 1 << 20
# As small as a test wants them; how they compare with the defaults is said in docs/interop.md.
LIMITS = {
    "handshake_s": 1.0,
    "frame_s": 1.0,
    "request_s": 1.0,
    "stalled_s": 1.0,
    "held_bytes": 2 * MEGABYTE,
    "all_held_bytes": 64 * MEGABYTE,
    "unsent_bytes": 1 * MEGABYTE,
    "all_unsent_bytes": 64 * MEGABYTE,
}
PATIENT = abuse.kinds([abuse.idle, abuse.headers_never_twice])
STRICT = abuse.kinds(
    [
        abuse.half_open,
        abuse.slow,
        abuse.slow_requests,
        abuse.closed_windows,
        abuse.never_reading,
        abuse.half_messages,
        abuse.giant_header,
        abuse.hpack_bomb,
    ]
)
MOST_MEGABYTES = 240
"""What they ask for together is 600 and more, each time; the server that suffers them all keeps its heap."""


@dataclass(frozen=True)
class Victim:
    """A server, and what it has in memory when nobody has done anything yet."""

    at: Addresses
    fresh_bytes: int


@pytest.fixture(scope="module", params=["grpcio", "own"])
def victim(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Victim]:
    with echo(request.param, tmp_path_factory.mktemp("echo"), **LIMITS) as at:
        yield Victim(at, abuse.resident_bytes(at.pid))


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Victim]:
    with echo("own", tmp_path_factory.mktemp("echo"), **LIMITS) as at:
        yield Victim(at, abuse.resident_bytes(at.pid))


async def suffered(attack: abuse.Attack, victim: Victim, attacked: str = "") -> abuse.Codes:
    """Runs the attack on the address (else the one without TLS) beside an honest client."""
    at = victim.at
    port = _port(at.plain)
    abuse.forget_most(at.pid)
    sockets, end = abuse.descriptors(at.pid), asyncio.Event()
    honest = asyncio.create_task(abuse.answered_meanwhile(port, end))
    try:
        codes = await attack(_port(attacked or at.plain))
    finally:
        end.set()
        took = await honest
    grown = (abuse.resident_bytes(at.pid, most=True) - victim.fresh_bytes) / MEGABYTE
    print(f"{grown:.0f} MB more at most, {len(took)} honest calls, the slowest {max(took):.2f} s")
    assert grown < MOST_MEGABYTES
    assert took
    await eventually(lambda: abuse.descriptors(at.pid) <= sockets + 2, "every socket is given back")
    return codes


def _port(address: str) -> int:
    return int(address.rpartition(":")[2])


@pytest.mark.parametrize("attack", PATIENT)
async def test_what_is_allowed_in_thousands_does_no_harm(victim: Victim, attack: str):
    await suffered(PATIENT[attack], victim)


@pytest.mark.parametrize("attack", STRICT)
async def test_who_takes_too_long_or_too_much_is_ended(ours: Victim, attack: str):
    await suffered(STRICT[attack], ours)


async def test_who_begins_no_tls_is_ended(ours: Victim):
    await suffered(abuse.half_open, ours, ours.at.tls)


@pytest.mark.parametrize("flood", abuse.FLOODS)
async def test_who_floods_is_told_to_calm_down_and_ended(ours: Victim, flood: str):
    """The kernel takes the GOAWAY back from who goes on sending: then the end has no code."""
    assert await suffered(abuse.FLOODS[flood], ours) <= {ENHANCE_YOUR_CALM, None}
