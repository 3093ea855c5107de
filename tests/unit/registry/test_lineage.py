"""The chain behind a version, whole and with links missing."""

from dataclasses import replace
from datetime import UTC, datetime

from gyrostat_registry.domain.evidence import Episode, Heard, Judgement, Promotion, TrainingEnd
from gyrostat_registry.domain.lineage import Facts, chain
from gyrostat_registry.domain.plan import Change
from gyrostat_registry.domain.rollout import Rollout, State, Step, Verdict
from gyrostat_registry.domain.run import DatasetSnapshot, Run
from gyrostat_registry.domain.version import Artifact, Signature, Version

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
EPISODE = "6f1c0b52-0a40-5b3e-8d6e-0f3f0c7a9d11"
VERSION = Version(
    "flights", 5, Artifact("a" * 64, 10, "file:///x"), Signature(), NOON, "trainer", run_id="run-9", cause=EPISODE,
    correlation_id=EPISODE, parent=4,
)  # fmt: skip
STEP = Step(State.GUARD, 10_000, NOON, NOON, "the evidence allows it", "registry", 7)
WHOLE = Facts(
    version=VERSION,
    stage="champion",
    run=Run("run-9", "flights", "succeeded", snapshot=DatasetSnapshot({"predictions": 12}, sha256="b" * 64, rows=900)),
    trainings=(TrainingEnd("t-event", "run-9", "flights", "succeeded", 5, (EPISODE,), "", NOON),),
    episodes=(
        Episode(
            EPISODE, "production", "flights", 4, "performance", "resolved", NOON, summary="loss up by 8 %",
            features=("dewp shifted",), exemplars=("later/9",),
            heard=(
                Heard("opened", NOON, "e1", NOON, "loss up", ("temp shifted",), ("0191/1",)),
                Heard("confirmed", NOON, "e2", NOON, "loss up by 8 %", ("visib shifted",), ("0192/3",)),
                Heard("confirmed", NOON, "e3", NOON, "loss up by 9 %", ("dewp shifted",), ("later/9",)),
            ),
        ),
    ),
    rollouts=(Rollout("r-1", "production", "flights", 5, State.GUARD, "registry", NOON, 4, steps=(STEP,)),),
    judgements=(
        Judgement("j-event", "r-1", "production", "flights", 5, 4, 6, Verdict.ADVANCE, NOON, NOON, outcome="advance"),
    ),
    promotions=(
        Promotion(
            "production", "flights", Change.PROMOTED, 4, 5, 7, "r-1", EPISODE, "registry", NOON, causation_id="j-event"
        ),
    ),
    parent=replace(VERSION, number=4),
)  # fmt: skip


def test_a_whole_chain_goes_from_effect_to_cause_and_misses_nothing() -> None:
    nodes, missing = chain(WHOLE)
    kinds = [node.kind for node in nodes]
    assert kinds == [
        "promotion", "rollout", "judgement", "version", "artifact", "run", "training", "snapshot", "episode", "parent",
    ]  # fmt: skip
    assert missing == ()
    episode = next(node for node in nodes if node.kind == "episode")
    assert "opened → confirmed" in episode.text


def test_the_episode_is_told_as_it_was_when_it_caused_the_training() -> None:
    for event_id, summary, exemplar in (
        ("", "loss up by 8 %", "0192/3"),
        ("e1", "loss up;", "0191/1"),
        ("e3", "loss up by 9 %", "later/9"),
    ):
        nodes, _ = chain(replace(WHOLE, version=replace(VERSION, causation_id=event_id)))
        text = next(node.text for node in nodes if node.kind == "episode")
        assert summary in text
        assert exemplar in text


def test_every_missing_link_is_named() -> None:
    bare = Facts(replace(VERSION, run_id="", cause=""), "candidate")
    assert [text.split(":")[0] for text in chain(bare)[1]] == ["run", "cause", "roll-out"]
    lost = replace(WHOLE, run=None, episodes=(), judgements=(), trainings=())
    assert [text.split(":")[0] for text in chain(lost)[1]] == ["run run-9", f"episode {EPISODE}", "judgement"]
    unlit = replace(WHOLE, episodes=(replace(WHOLE.episodes[0], heard=(Heard("opened", NOON, "e1", NOON),)),))
    unlit = replace(unlit, promotions=())
    assert [text.split(":")[0] for text in chain(unlit)[1]] == ["predictions", "promotion"]


def test_a_person_or_trigger_is_a_cause_and_not_a_missing_episode() -> None:
    nodes, missing = chain(replace(WHOLE, version=replace(VERSION, cause="ann"), episodes=()))
    assert ("trigger", "ann") in [(node.kind, node.id) for node in nodes]
    assert missing == ()


def test_an_episode_told_again_forgets_nothing() -> None:
    first = WHOLE.episodes[0]
    later = replace(
        first, state="resolved", exemplars=(), features=(), summary="", heard=(Heard("resolved", NOON, "e4", NOON),)
    )
    both = first.told_again(later)
    assert (both.state, both.exemplars, both.summary) == ("resolved", ("later/9",), "loss up by 8 %")
    assert [heard.state for heard in both.heard] == ["opened", "confirmed", "confirmed", "resolved"]
