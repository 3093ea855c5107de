"""Room of its own: what `clients`, `events` and `service` all say.

The trainer's values as messages of the contract, and a ModelSpec as the part of it that training needs.
"""

from __future__ import annotations

from google.protobuf.timestamp_pb2 import Timestamp

from gyrostat.registry.v1 import model_pb2
from gyrostat_common.times import from_us, to_proto
from gyrostat_trainer.domain.runs import Gate, Run, Snapshot
from gyrostat_trainer.domain.spec import TrainingSpec

_KEPT_AS_IT_IS = (model_pb2.SENSITIVITY_UNSPECIFIED, model_pb2.SENSITIVITY_PLAIN)
_TASKS = {model_pb2.TASK_MULTICLASS: "multiclass", model_pb2.TASK_REGRESSION: "regression"}


def stamp(us: int | None) -> Timestamp | None:
    """Microseconds as a Timestamp; None stays None."""
    return None if us is None else to_proto(from_us(us))


def spec_from(spec: model_pb2.ModelSpec) -> TrainingSpec:
    """What training needs of a spec; 0 and empty mean the documented default."""
    usual, retrain, label = TrainingSpec(), spec.retrain, spec.label
    return TrainingSpec(
        on=tuple(retrain.on) or usual.on,
        cooldown_s=retrain.cooldown_s or usual.cooldown_s,
        min_rows=retrain.min_rows or usual.min_rows,
        pipeline=retrain.pipeline or usual.pipeline,
        parameters_json=retrain.parameters_json,
        dataset=retrain.dataset,
        holdout_share=retrain.holdout_share or usual.holdout_share,
        max_runs_per_30_days=retrain.max_runs_per_30_days or usual.max_runs_per_30_days,
        task=_TASKS.get(spec.task, "binary"),
        score_output=spec.score_output,
        slices=tuple(spec.slices),
        horizon_s=label.horizon_s or usual.horizon_s,
        lag_s=label.lag_s,
        lateness_s=spec.monitor.lateness_s or usual.lateness_s,
        decision_threshold=label.decision_threshold or usual.decision_threshold,
        private=tuple(sorted(name for name, kept in spec.sensitivity.items() if kept not in _KEPT_AS_IT_IS)),
        revision=spec.revision,
    )


def gate(result: Gate) -> model_pb2.GateResult:
    """A gate with its numbers."""
    return model_pb2.GateResult(
        gate=result.gate,
        numbers=result.numbers,
        passed=result.passed,
        reason=result.reason,
        not_measured=result.not_measured,
    )


def gate_from(result: model_pb2.GateResult) -> Gate:
    """A gate as the registry judged it."""
    return Gate(result.gate, dict(result.numbers), result.passed, result.reason, result.not_measured)


def snapshot(rows: Snapshot) -> model_pb2.DatasetSnapshot:
    """The exact rows of a run."""
    copy = None
    if rows.copy_sha256:
        copy = model_pb2.Artifact(
            sha256=rows.copy_sha256, size_bytes=rows.copy_bytes, uri=rows.copy_uri, name="snapshot.arrow"
        )
    return model_pb2.DatasetSnapshot(
        tables=rows.tables,
        filter=rows.filter,
        sha256=rows.sha256,
        rows=rows.rows,
        event_time_from=stamp(rows.from_us),
        event_time_to=stamp(rows.to_us),
        frames=rows.frames,
        copy=copy,
        excluded=rows.excluded,
    )


def _asked(record: Run) -> dict[str, str]:
    """Who wanted what of a run and why: the registry's audit log is made of it."""
    said = {
        "reason": record.reason,
        "asked_at": from_us(record.created_at_us).isoformat(),
        "cancelled_by": record.cancelled_by,
        "cancel_reason": record.cancel_reason,
    }
    return {name: text for name, text in said.items() if text}


def run(record: Run) -> model_pb2.Run:
    """A run as the registry knows it."""
    at = stamp(record.ended_at_us or record.started_at_us)
    return model_pb2.Run(
        id=record.id,
        model=record.model,
        status=record.status,
        params=record.params,
        metrics=[model_pb2.Metric(name=name, value=value, at=at) for name, value in sorted(record.metrics.items())],
        tags={**record.tags, **_asked(record)},
        snapshot=snapshot(record.snapshot) if record.snapshot else None,
        code_digest=record.code_digest,
        environment_digest=record.environment_digest,
        causes=record.causes,
        correlation_id=record.correlation_id,
        started_at=stamp(record.started_at_us),
        ended_at=stamp(record.ended_at_us),
        version=record.version,
        error=record.error,
        cost=record.cost,
        created_by=record.created_by,
    )
