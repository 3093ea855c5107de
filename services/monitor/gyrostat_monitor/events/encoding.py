"""Domain values to event payloads; the service's replies use the same words."""

from __future__ import annotations

import math
from collections.abc import Mapping

from google.protobuf.timestamp_pb2 import Timestamp

from gyrostat.events.v1 import events_pb2 as pb
from gyrostat_common.times import from_us, to_proto
from gyrostat_monitor.domain.episodes import Episode, State
from gyrostat_monitor.domain.findings import Kind, Statistic
from gyrostat_monitor.domain.judge import Guard, Judgement, Verdict
from gyrostat_monitor.domain.outcomes import Outcome, Ref
from gyrostat_monitor.domain.windows import Span

KINDS = {
    Kind.DATA: pb.DRIFT_KIND_DATA, Kind.PREDICTION: pb.DRIFT_KIND_PREDICTION,
    Kind.PERFORMANCE: pb.DRIFT_KIND_PERFORMANCE, Kind.DATA_QUALITY: pb.DRIFT_KIND_DATA_QUALITY,
}  # fmt: skip
STATES = {
    State.OPENED: pb.EPISODE_STATE_OPENED, State.CONFIRMED: pb.EPISODE_STATE_CONFIRMED,
    State.RESOLVED: pb.EPISODE_STATE_RESOLVED, State.SUPERSEDED: pb.EPISODE_STATE_SUPERSEDED,
}  # fmt: skip
VERDICTS = {
    Verdict.CONTINUE: pb.VERDICT_CONTINUE, Verdict.ADVANCE: pb.VERDICT_ADVANCE, Verdict.ROLL_BACK: pb.VERDICT_ROLL_BACK,
}  # fmt: skip
MOST_FEATURES = 20


def stamp(us: int | None) -> Timestamp | None:
    """None stays absent."""
    return None if us is None else to_proto(from_us(us))


def window(span: Span, rows: int) -> pb.Window:
    """A window with its row count."""
    return pb.Window(start=stamp(span.start_us), end=stamp(span.end_us), rows=rows)


def evidence(s: Statistic) -> pb.FeatureEvidence:
    """One feature's part."""
    return pb.FeatureEvidence(
        feature=s.scalar, statistic=s.statistic, value=s.value, p_adjusted=s.p_adjusted, reference=s.reference,
        current=s.current, text=s.text,
    )  # fmt: skip


def episode(e: Episode) -> pb.DriftDetected:
    """An episode as it is told."""
    return pb.DriftDetected(
        episode_id=e.id, environment=e.environment, model=e.model, version=e.version, kind=KINDS[e.kind],
        state=STATES[e.state], watermark=stamp(e.watermark_us), started_at=stamp(e.started_us),
        ended_at=stamp(e.ended_us),
        window=window(e.window, e.rows), severity=e.severity_word, severity_score=e.severity, effect=e.effect,
        features=[evidence(s) for s in e.evidence[:MOST_FEATURES]], exemplars=list(e.exemplars),
        offsets=dict(e.offsets), summary=f"{e.model}:{e.version} {e.state}: {e.summary}",
    )  # fmt: skip


def guard(g: Guard) -> pb.GuardEvidence:
    """One guard's part."""
    return pb.GuardEvidence(guard=g.name, numbers=_finite(g.numbers), verdict=VERDICTS[g.verdict], text=g.text)


def _finite(numbers: Mapping[str, float]) -> dict[str, float]:
    return {k: v for k, v in numbers.items() if math.isfinite(v)}


def judged(
    rollout_id: str,
    environment: str,
    model: str,
    versions: tuple[int, int],
    revision: int,
    watermark_us: int,
    j: Judgement,
) -> pb.CanaryJudged:
    """A verdict as it is told. `versions` candidate and baseline."""
    return pb.CanaryJudged(
        rollout_id=rollout_id, environment=environment, model=model, version=versions[0], baseline=versions[1],
        plan_revision=revision, verdict=VERDICTS[j.verdict], guards=[guard(g) for g in j.guards],
        watermark=stamp(watermark_us), paired_rows=j.paired_rows, rows_needed=j.rows_needed, summary=j.summary,
        answers=j.answers,
    )  # fmt: skip


def ref(r: Ref) -> pb.PredictionRef:
    """How an outcome names its prediction."""
    if r.prediction is not None:
        return pb.PredictionRef(prediction_id=r.key)
    if r.request is not None:
        return pb.PredictionRef(request=pb.PredictionRef.ByRequest(request_id=r.request[0], row=r.request[1]))
    assert r.entity is not None
    return pb.PredictionRef(entity=pb.PredictionRef.ByEntity(entity=r.entity[0], at=stamp(r.entity[1])))


def outcome(o: Outcome) -> pb.OutcomeRecorded:
    """An accepted outcome."""
    return pb.OutcomeRecorded(
        model=o.model, prediction=ref(o.ref), value=o.value, observed_at=stamp(o.observed_us),
        recorded_at=stamp(o.recorded_us), source=o.source, weight=o.weight,
    )  # fmt: skip
