"""Outcomes by entity of a model whose entity input may not be kept: only what its predictions hold names one, and
nothing else is taken in, archived or quoted."""

from pathlib import Path

import pytest

from gyrostat.events.v1 import events_pb2 as pb
from gyrostat.registry.v1 import model_pb2 as models
from gyrostat_monitor.domain.errors import OutcomeInvalid
from gyrostat_monitor.events import decoding
from gyrostat_monitor.usecases.outcomes import Given
from support.frames import a_frame, a_plan, an_outcome, prediction_id
from support.monitor import HOUR_US, observe, outbox_topics, received, stamp, take_in

T0 = 1_362_096_000_000_000
CANARY, KEPT = "canary-card-5d81", "0123456789abcdef"


async def plan(core, kept):
    spec = models.ModelSpec(
        task=models.TASK_BINARY, score_output="probabilities", entity_input="card", sensitivity={"card": kept},
        monitor=models.MonitorPolicy(lateness_s=60), owner="ops@example.org",
    )  # fmt: skip
    await core.plans(decoding.plan(a_plan(1, 1, spec=spec)), "plan-event")


def about(entity):
    ref = pb.PredictionRef(entity=pb.PredictionRef.ByEntity(entity=entity, at=stamp(T0 + 10)))
    return an_outcome(ref, 1, T0 + HOUR_US)


def holding(folder: Path, text: str) -> list[Path]:
    return [file for file in folder.rglob("*") if file.is_file() and text.encode() in file.read_bytes()]


@pytest.mark.parametrize(
    ("kept", "entity", "instead"),
    [
        ("SENSITIVITY_HASH", CANARY, "16 hex digits, its prediction id or its request id"),
        ("SENSITIVITY_HASH", KEPT.upper(), "16 hex digits"),
        ("SENSITIVITY_DROP", CANARY, "by its prediction id or its request id"),
        ("SENSITIVITY_DROP", KEPT, "not kept"),
        ("SENSITIVITY_BUCKET", CANARY, "not kept"),
    ],
)
async def test_an_entity_that_no_prediction_holds_is_refused_by_every_way_in(
    core, tmp_path: Path, kept, entity, instead
):
    await plan(core, kept)
    message = about(entity)
    outcome = decoding.outcome(received(message, "backend-1"))
    with pytest.raises(OutcomeInvalid, match=instead) as by_topic:
        await take_in(core, [message])
    given = Given("flights", outcome.ref, 1.0, outcome.observed_us, None, "", 1.0)
    with pytest.raises(OutcomeInvalid, match=instead) as by_call:
        await core.record([given])
    assert await core.archiving.outcomes([outcome]) == 0
    assert not [text for text in (str(by_topic.value), str(by_call.value)) if entity in text]
    assert await outbox_topics(core) == []
    assert await core.joins.parked("flights") == 0
    assert holding(tmp_path, entity) == []


async def test_an_outcome_that_names_the_digest_finds_its_prediction_and_is_archived(core):
    await plan(core, "SENSITIVITY_HASH")
    await observe(core, [a_frame(1, [prediction_id(0)], [T0], [0.8], entities=[KEPT])])
    await observe(core, [a_frame(2, [prediction_id(1)], [T0 + HOUR_US], [0.8])])
    await take_in(core, [about(KEPT)])
    (status,) = await core.queries.status("flights")
    assert status.counters["outcomes_joined"] == 1
    assert await core.archiving.outcomes([decoding.outcome(received(about(KEPT), "backend-1"))]) == 1


async def test_an_outcome_that_the_join_refuses_is_not_archived_either(core):
    await plan(core, "SENSITIVITY_PLAIN")
    named = about("N123")
    named.model = "../../etc"
    odd, fine = (decoding.outcome(received(m, f"o-{n}")) for n, m in enumerate((named, about("N123"))))
    assert await core.archiving.outcomes([odd, fine]) == 1
    assert await core.archive.models("outcomes") == ["flights"]
