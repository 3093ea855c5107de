"""Frames as events: golden content, and spans only for what was sampled."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any

import pytest

from gyrostat.events.v1 import events_pb2 as pb
from gyrostat_common.bus import MemoryBus, Received, Route
from gyrostat_common.errors import InvalidInput
from gyrostat_inference.domain.books import Books
from gyrostat_inference.domain.cuts import Cut, Number
from gyrostat_inference.domain.entries import ColumnSpec, Group, Rows
from gyrostat_inference.domain.frames import cut
from gyrostat_inference.events.frames import FrameSender, frame_message
from support.spans import recorded

GROUP = Group(
    "production", "flights", 4, 1, "champion", 7, "r", (ColumnSpec("x", "INT64", ()),), (ColumnSpec("y", "FP32", (2,)),)
)
BOOKS = Books("answer-1", accepted=3, logged=0)
SAMPLED = "00-" + "a" * 32 + "-" + "b" * 16 + "-01"
OTHER = "00-" + "c" * 32 + "-" + "d" * 16 + "-01"


def entry(rows: int, **fields: Any) -> Rows:
    made = Rows(
        1, rows, 100, 200, 30, False, b"p" * 16, b"", b"", b"", False,
        [struct.pack(f"<{rows}q", *range(rows)), struct.pack(f"<{2 * rows}f", *range(2 * rows))],
    )  # fmt: skip
    return made._replace(**fields)


def message(*entries: Rows) -> pb.PredictionLogged:
    placed, sequence = [], 1
    for each in entries:
        placed.append((sequence, each))
        sequence += each.rows
    (frame,), _ = cut(placed, {1: GROUP})
    return frame_message(frame, Number("flights", 2, 9), Cut(1, 3, 1_000), BOOKS, "replica")


def test_a_frame_says_everything_about_its_rows():
    said = message(entry(2, request_id=b"r1", entities=b"UA"), entry(1, future=True, traceparent=SAMPLED.encode()))
    assert (said.stream, said.frame_no, said.first_sequence, said.last_sequence) == ("answer-1/flights/2", 9, 1, 3)
    assert (said.model, said.version, said.role, said.variant, said.plan_revision, said.rollout_id) == (
        "flights", 4, pb.ROLE_ANSWER, "champion", 7, "r",
    )  # fmt: skip
    assert said.rows == 3
    assert said.prediction_ids == b"p" * 48
    assert struct.unpack("<3I", said.row_numbers) == (0, 1, 0)
    assert list(said.request_ids) == ["r1", "r1", ""]
    assert list(said.entities) == ["UA", "UA", ""]
    assert struct.unpack("<3q", said.event_times_us) == (100,) * 3
    assert struct.unpack("<3q", said.arrival_times_us) == (200,) * 3
    assert struct.unpack("<3I", said.latencies_us) == (30,) * 3
    assert said.future_event_times == b"\x04"
    assert struct.unpack("<3q", said.inputs[0].values) == (0, 1, 0)
    assert (list(said.outputs[0].shape), len(said.outputs[0].values)) == ([2], 24)
    assert [(trace.row, trace.traceparent) for trace in said.traces] == [(2, SAMPLED)]
    assert (said.books.accepted, said.books.waiting) == (3, 3)


def test_columns_that_nobody_filled_are_empty():
    said = message(entry(2))
    assert not said.request_ids
    assert not said.entities
    assert not said.future_event_times
    assert not said.traces


class Aside:
    def __init__(self) -> None:
        self.kept: dict[str, bytes] = {}

    def reject(self, name: str, value: bytes) -> None:
        self.kept[name] = value

    async def put_bytes(self, content: bytes) -> None:
        self.kept["artifact"] = content


async def send(*entries: Rows) -> Received:
    """What a reader of the log gets."""
    bus, heard = MemoryBus(), []

    async def hear(received: Received) -> None:
        heard.append(received)

    placed = [(1 + sum(e.rows for e in entries[:n]), each) for n, each in enumerate(entries)]
    (frame,), _ = cut(placed, {1: GROUP})
    async with bus.producer() as producer:
        await FrameSender(producer, Aside(), Aside(), "replica").send(
            frame, Number("flights", 1, 3), Cut(1, 3, 0), BOOKS
        )
    async with bus.consume("test", [Route(pb.PredictionLogged, hear)]):
        while not heard:
            import asyncio

            await asyncio.sleep(0)
    return heard[0]


async def test_a_frame_without_sampled_calls_makes_no_span():
    with recorded() as spans:
        received = await send(entry(2))
    assert not spans.finished()
    assert received.event.id == "answer-1/flights/1/3"
    assert received.partition == 1
    assert received.event.subject == "flights:4"


async def test_the_send_span_is_a_child_of_the_first_sampled_call_and_links_to_the_others():
    with recorded() as spans:
        received = await send(entry(1, traceparent=SAMPLED.encode()), entry(1), entry(1, traceparent=OTHER.encode()))
    (span,) = spans.named("send prediction.logged")
    assert span.parent is not None
    assert f"{span.parent.span_id:016x}" == "b" * 16
    assert [f"{link.context.trace_id:032x}" for link in span.links] == ["c" * 32]
    assert received.event.traceparent.startswith("00-" + "a" * 32)


class Refusing:
    async def send(self, event: object) -> tuple[int, int]:
        raise InvalidInput("too large")


async def test_a_refused_frame_is_put_aside():
    (frame,), _ = cut([(1, entry(1))], {1: GROUP})
    aside = Aside()
    with pytest.raises(InvalidInput):
        await FrameSender(Refusing(), aside, aside, "replica").send(frame, Number("flights", 0, 1), Cut(1, 1, 0), BOOKS)
    values: Mapping[str, bytes] = aside.kept
    assert pb.PredictionLogged.FromString(values["answer-1/flights/0/1"]).rows == 1
