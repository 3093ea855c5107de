"""Records of the log: anybody who may write a topic can put anything there, and a reader of ours goes on."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

import pytest
from google.protobuf.message import Message

from fuzz import mutating
from fuzz.conftest import Fuzz
from gyrostat.events.v1 import events_pb2 as pb
from gyrostat_common import bus
from gyrostat_common.bus import Event, Received, codec
from gyrostat_common.times import from_proto
from gyrostat_inference.events.plans import plan_of
from gyrostat_monitor.events import decoding
from gyrostat_monitor.store.arrow import outcome_table, prediction_table
from gyrostat_registry.events import heard
from gyrostat_trainer import events as trainer
from support import frames, golden

GOOD: dict[Any, Message] = {
    topic.message: golden.filled(topic.message) for topic in bus.contract.events() if topic.message is not None
}
FRAME = frames.a_frame(
    3, [frames.prediction_id(n) for n in range(5)], [1_700_000_000_000_000 + n for n in range(5)],
    [0.1, 0.2, 0.3, 0.4, 0.5], {"wind": [1.0, 2.0, None, 4.0, 5.0], "carrier": ["AA", "B6", None, "DL", "UA"]},
)  # fmt: skip

GOOD[pb.OutcomeRecorded] = frames.an_outcome(frames.prediction_id(1), 1.0, 1_700_000_000_000_000)


def received(payload: Message) -> Received:
    """As the bus hands it over."""
    return Received(event=golden.an_event(payload), topic="any", partition=0, offset=0, timestamp_ms=1_700_000_000_000)


def a_record(random: Random) -> codec.Incoming:
    """A record with something wrong in its headers, key or value."""
    good = codec.encode(golden.an_event(random.choice(list(GOOD.values()))))
    headers, key, value = [*good.headers], good.key, good.value
    for _ in range(random.randint(1, 3)):
        at = random.randrange(len(headers)) if headers else 0
        match random.randrange(5):
            case 0 if headers:
                headers[at] = (headers[at][0], mutating.text(random, headers[at][1].decode(errors="replace")).encode())
            case 1 if headers:
                headers[at] = (headers[at][0], mutating.raw(random, headers[at][1]))
            case 2 if headers:
                del headers[at]
            case 3:
                key = random.choice((None, b"", mutating.raw(random, good.key or b"")))
            case _:
                value = random.choice((None, mutating.raw(random, good.value or b"")))
    return codec.Incoming(
        topic=good.topic, partition=0, offset=0, key=key, value=value, headers=tuple(headers), timestamp_ms=0
    )


def test_a_record_is_an_event_or_undecodable(fuzz: Fuzz) -> None:
    fuzz(a_record, codec.decode)


def test_a_frame_is_decoded_for_windows_and_archive_or_refused(fuzz: Fuzz) -> None:
    def read(message: pb.PredictionLogged) -> None:
        frame = decoding.frame(message)
        for column in (*frame.inputs, *frame.outputs):
            column.scalars()
            if not column.is_text:
                column.matrix()
        prediction_table([frame], None)

    fuzz(lambda random: mutating.message(random, FRAME), read)


def handled(read: Callable[[Any], object]) -> Callable[[Received], object]:
    """A decoder that takes the payload alone."""
    return lambda event: read(event.event.payload)


def heard_by(read: Callable[[Event], object]) -> Callable[[Received], object]:
    """A decoder that takes the event."""
    return lambda event: read(event.event)


READERS: dict[str, tuple[type[Message], Callable[[Received], object]]] = {
    "monitor-plan": (pb.ServingPlan, handled(decoding.plan)),
    "monitor-outcome": (pb.OutcomeRecorded, lambda event: outcome_table([decoding.outcome(event)], None)),
    "inference-plan": (pb.ServingPlan, handled(plan_of)),
    "trainer-plan": (pb.ServingPlan, handled(trainer.facts_from)),
    "trainer-episode": (pb.DriftDetected, heard_by(trainer.episode_from)),
    "trainer-promotion": (pb.ModelPromoted, handled(lambda said: from_proto(said.watermark))),
    "registry-verdict": (pb.CanaryJudged, heard.judgement_of),
    "registry-episode": (pb.DriftDetected, heard.episode_of),
    "registry-training": (pb.TrainingFinished, heard.training_of),
    "registry-heartbeat": (pb.PlanApplied, handled(lambda said: from_proto(said.at))),
}


@pytest.mark.parametrize("reader", READERS)
def test_an_event_of_the_right_type_is_understood_or_refused(fuzz: Fuzz, reader: str) -> None:
    kind, read = READERS[reader]
    fuzz(lambda random: received(mutating.message(random, GOOD[kind])), read)
