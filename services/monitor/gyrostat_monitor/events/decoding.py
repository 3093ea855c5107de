"""Events to domain values. Defaults of the ModelSpec are filled in here and nowhere else."""

from __future__ import annotations

import numpy as np
from google.protobuf.timestamp_pb2 import Timestamp

from gyrostat.events.v1 import events_pb2 as pb
from gyrostat.registry.v1 import model_pb2 as models
from gyrostat_common.bus import Received
from gyrostat_common.times import checked_us
from gyrostat_monitor.domain.columns import ColumnValues, decode_column
from gyrostat_monitor.domain.errors import FrameInvalid, OutcomeInvalid
from gyrostat_monitor.domain.frames import (
    ANSWER,
    NAME_BYTES,
    SHADOW,
    Frame,
    bits,
    fixed_width,
    is_model_name,
    is_name,
    times_us,
)
from gyrostat_monitor.domain.outcomes import Outcome, Ref, by_prediction
from gyrostat_monitor.domain.plan import Phase, Plan, ProfileRef, Rollout
from gyrostat_monitor.domain.policy import DIGEST, NOT_KEPT, PLAIN, Policy, RolloutPolicy

PRODUCTION = "production"
_TASKS = {models.TASK_MULTICLASS: "multiclass", models.TASK_REGRESSION: "regression"}
_ENTITY_KEPT = {
    models.SENSITIVITY_UNSPECIFIED: PLAIN, models.SENSITIVITY_PLAIN: PLAIN, models.SENSITIVITY_HASH: DIGEST,
}  # fmt: skip
_PHASES = {
    pb.ROLLOUT_PHASE_SHADOW: Phase.SHADOW,
    pb.ROLLOUT_PHASE_CANARY: Phase.CANARY,
    pb.ROLLOUT_PHASE_GUARD: Phase.GUARD,
}


def microseconds(stamp: Timestamp) -> int:
    """Microseconds since 1970; 0 when absent. Raises InvalidInput for what no datetime can be."""
    return checked_us(stamp.seconds * 1_000_000 + stamp.nanos // 1_000)


def frame(m: pb.PredictionLogged) -> Frame:
    """Raises FrameInvalid when the columns do not fit."""
    n = m.rows
    if not m.stream or m.frame_no <= 0 or not m.model or m.version <= 0:
        raise FrameInvalid("a frame names its stream, number, model and version")
    if not is_model_name(m.model):
        raise FrameInvalid(f"{m.model[:80]!r} is no model: 1 to 63 of a-z, 0-9, - and _")
    for name in (m.stream, m.environment, m.variant, m.rollout_id):
        if not is_name(name):
            raise FrameInvalid(f"{name[:80]!r} is longer than {NAME_BYTES:,} bytes, or holds a NUL")
    if len(m.prediction_ids) != 16 * n:
        raise FrameInvalid(f"{len(m.prediction_ids)} bytes of prediction ids for {n} rows")
    for what, given in (("request_ids", m.request_ids), ("entities", m.entities)):
        if given and len(given) != n:
            raise FrameInvalid(f"{len(given)} {what} for {n} rows")
    return Frame(
        m.stream, m.frame_no, m.environment or PRODUCTION, m.model, m.version,
        SHADOW if m.role == pb.ROLE_SHADOW else ANSWER, m.variant, m.plan_revision, m.rollout_id,
        tuple(m.prediction_ids[i : i + 16] for i in range(0, 16 * n, 16)),
        fixed_width(m.row_numbers, "<u4", n, "row_numbers").astype(np.int64),
        times_us(m.event_times_us, n, "event_times_us"), times_us(m.arrival_times_us, n, "arrival_times_us"),
        fixed_width(m.latencies_us, "<u4", n, "latencies_us").astype(np.int64) if m.latencies_us else np.zeros(n,
        np.int64),
        bits(m.future_event_times, n), tuple(_column(c, n) for c in m.inputs), tuple(_column(c, n) for c in m.outputs),
        tuple(m.request_ids), tuple(m.entities), {t.row: t.traceparent for t in m.traces},
    )  # fmt: skip


def _column(c: pb.Column, rows: int) -> ColumnValues:
    return decode_column(c.name, c.datatype, tuple(c.shape), c.values, c.validity, rows)


def ref(m: pb.PredictionRef) -> Ref:
    """Raises OutcomeInvalid when it names nothing."""
    kind = m.WhichOneof("by")
    if kind == "prediction_id":
        return by_prediction(m.prediction_id)
    if kind == "request" and m.request.request_id:
        return Ref(request=(m.request.request_id, m.request.row))
    if kind == "entity" and m.entity.entity and m.entity.HasField("at"):
        return Ref(entity=(m.entity.entity, microseconds(m.entity.at)))
    raise OutcomeInvalid("the outcome names no prediction: give prediction_id, or request, or entity with a time")


def outcome(received: Received) -> Outcome:
    """With the log's time as the time of its coming. Raises OutcomeInvalid."""
    event = received.event
    m = event.payload
    assert isinstance(m, pb.OutcomeRecorded)
    if not m.HasField("observed_at"):
        raise OutcomeInvalid("observed_at is required: when it became true")
    recorded = microseconds(m.recorded_at) if m.HasField("recorded_at") else received.timestamp_ms * 1000
    place = f"{received.topic}/{received.partition}"
    return Outcome(
        event.id, m.model, ref(m.prediction), m.value, microseconds(m.observed_at), recorded,
        received.timestamp_ms * 1000, m.source, m.weight or 1.0, place, received.offset, event_source=event.source,
    )  # fmt: skip


def plan(m: pb.ServingPlan, correlation_id: str = "") -> Plan:
    """With the spec's defaults filled in."""
    versions = [m.champion, m.canary, m.fallback, *(s.version for s in m.shadows)]
    profiles = {
        v.number: ProfileRef(v.profile.sha256, v.profile.uri) if v.profile.sha256 else None
        for v in versions
        if v.number
    }
    rollout = None
    if m.rollout_id and m.judge_version and m.phase in _PHASES:
        started = microseconds(m.rollout_started_at)
        step = microseconds(m.step_started_at) or started
        rollout = Rollout(m.rollout_id, _PHASES[m.phase], m.judge_version, m.judge_baseline, started, step)
    return Plan(
        m.model, m.environment or PRODUCTION, m.revision, m.champion.number, m.canary.number,
        tuple(s.version.number for s in m.shadows), profiles, policy(m.spec), rollout_policy(m.spec.rollout), rollout,
        correlation_id,
    )  # fmt: skip


def policy(spec: models.ModelSpec) -> Policy:
    """Monitoring as the spec says, defaults for what is absent."""
    d, w, label = Policy(), spec.monitor, spec.label
    entity = spec.sensitivity.get(spec.entity_input, models.SENSITIVITY_UNSPECIFIED)
    return Policy(
        _TASKS.get(spec.task, "binary"), spec.score_output, spec.entity_input,
        _ENTITY_KEPT.get(entity, NOT_KEPT), spec.owner or spec.team,
        w.window_s or d.window_s, w.min_window_rows or d.min_window_rows, w.lateness_s or d.lateness_s, w.fdr or d.fdr,
        w.effect_floor or d.effect_floor, w.loss_floor or d.loss_floor, w.confirm_windows or d.confirm_windows,
        label.horizon_s or d.horizon_s, label.lag_s, label.decision_threshold or d.threshold,
    )  # fmt: skip


def rollout_policy(r: models.RolloutPolicy) -> RolloutPolicy:
    """Judging as the spec says, defaults for what is absent."""
    d = RolloutPolicy()
    return RolloutPolicy(
        r.min_paired_rows or d.min_paired_rows, r.min_exposure or d.min_exposure, r.max_step_s or d.max_step_s,
        r.loss_margin or d.loss_margin, r.alpha or d.alpha, r.guard_s or d.guard_s,
    )  # fmt: skip
