"""A model `fraud` that was promoted because of an episode, in the fakes; and a micro-batch of its predictions."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import numpy as np

from gyrostat.events.v1 import events_pb2
from gyrostat.monitor.v1 import monitor_pb2
from gyrostat.registry.v1 import model_pb2, registry_pb2
from gyrostat.trainer.v1 import trainer_pb2
from gyrostat_common import oip
from gyrostat_common.times import to_proto
from support.fake_others import FakeMonitor, FakeTrainer
from support.fake_registry import FakeRegistry
from support.fakes import EPISODE, NOON, PREDICTION, ROLLOUT, RUN

ONNX = b"onnx bytes" * 500
ARTIFACT = model_pb2.Artifact(sha256=hashlib.sha256(ONNX).hexdigest(), size_bytes=len(ONNX), name="model.onnx")


def closed_loop(registry: FakeRegistry, monitor: FakeMonitor, trainer: FakeTrainer) -> None:
    """Fills in the whole chain."""
    _model(registry)
    _versions(registry)
    _run(registry, trainer)
    _rollout(registry)
    _plans(registry)
    _episode(monitor)
    _prediction(monitor)
    _monitoring(monitor)
    _judgement(monitor)


def _model(registry: FakeRegistry) -> None:
    """The model and who released what."""
    spec = model_pb2.ModelSpec(
        revision=3,
        owner="risk@example.org",
        task=model_pb2.TASK_BINARY,
        autopilot=model_pb2.AUTOPILOT_MODE_ON,
        sensitivity={"email": model_pb2.SENSITIVITY_HASH},
    )
    registry.models["fraud"] = model_pb2.Model(
        name="fraud",
        spec=spec,
        created_at=to_proto(NOON),
        created_by="ada",
        latest_version=4,
        aliases={"champion": 4, "v1.2": 3},
    )
    registry.modes["fraud"] = model_pb2.AUTOPILOT_MODE_ON
    registry.audit.append(
        registry_pb2.AuditEntry(
            number=1, at=to_proto(NOON), actor="ada", action="Promote", subject="fraud:3", reason="first"
        )
    )


def _versions(registry: FakeRegistry) -> None:
    """Three retired versions and the champion, which has a run and a cause."""
    registry.artifacts[ARTIFACT.sha256] = ONNX
    registry.versions["fraud"] = [
        model_pb2.ModelVersion(
            model="fraud",
            number=number,
            stage=model_pb2.STAGE_RETIRED,
            artifact=ARTIFACT,
            created_at=to_proto(NOON),
            created_by="ada",
        )
        for number in (1, 2, 3)
    ]
    registry.versions["fraud"].append(
        model_pb2.ModelVersion(
            model="fraud",
            number=4,
            stage=model_pb2.STAGE_CHAMPION,
            artifact=ARTIFACT,
            run_id=RUN,
            cause=EPISODE,
            created_at=to_proto(NOON),
            created_by="gyrostat-trainer",
            stage_reason="all gates passed",
            gates=[model_pb2.GateResult(gate="parity", numbers={"max_difference": 1e-7}, passed=True, reason="fine")],
        )
    )


def _run(registry: FakeRegistry, trainer: FakeTrainer) -> None:
    """The champion's run, as the registry and the trainer know it, and why it was started."""
    registry.runs[RUN] = model_pb2.Run(
        id=RUN,
        model="fraud",
        status="succeeded",
        causes=[EPISODE],
        started_at=to_proto(NOON),
        version=4,
        code_digest="c0de",
        created_by="gyrostat-trainer",
        cost={"wall_s": 2.5},
        snapshot=model_pb2.DatasetSnapshot(
            sha256="ab" * 32,
            rows=12345,
            tables={"predictions/fraud": 7},
            event_time_from=to_proto(NOON),
            event_time_to=to_proto(NOON),
            excluded=["rows of a data-quality episode"],
        ),
    )
    trainer.runs[RUN] = trainer_pb2.TrainingRun(
        run=registry.runs[RUN],
        progress=trainer_pb2.Progress(fraction=1.0, stage="done"),
        gates=registry.versions["fraud"][3].gates,
    )
    trainer.decisions.append(
        trainer_pb2.Decision(
            cause=EPISODE, model="fraud", action="train", reason="loss is 9 % worse", at=to_proto(NOON), run_id=RUN
        )
    )


def _rollout(registry: FakeRegistry) -> None:
    """Its roll-out, from shadow to promoted."""
    registry.rollouts.append(
        registry_pb2.Rollout(
            id=ROLLOUT,
            model="fraud",
            version=4,
            from_version=3,
            state=registry_pb2.ROLLOUT_STATE_PROMOTED,
            weight=10_000,
            cause=EPISODE,
            actor="gyrostat-registry",
            created_at=to_proto(NOON),
            steps=[
                registry_pb2.RolloutStep(
                    state=registry_pb2.ROLLOUT_STATE_SHADOW,
                    reason="gates passed",
                    plan_revision=2,
                    event_time=to_proto(NOON),
                    at=to_proto(NOON),
                    actor="gyrostat-registry",
                ),
                registry_pb2.RolloutStep(
                    state=registry_pb2.ROLLOUT_STATE_GUARD,
                    weight=10_000,
                    reason="loss is lower",
                    plan_revision=3,
                    event_time=to_proto(NOON),
                    at=to_proto(NOON),
                    actor="gyrostat-registry",
                ),
            ],
        )
    )


def _plans(registry: FakeRegistry) -> None:
    """Three plans, the newest first, and a replica that is behind."""
    registry.plans["fraud"] = [
        events_pb2.ServingPlan(
            environment="production",
            model="fraud",
            revision=revision,
            made_at=to_proto(NOON),
            actor="gyrostat-registry",
            reason="advance",
            rollout_id=ROLLOUT,
            champion=events_pb2.PlannedVersion(number=4 if revision == 3 else 3, artifact=ARTIFACT),
            fallback=events_pb2.PlannedVersion(number=3, artifact=ARTIFACT),
            shadows=[events_pb2.PlannedShadow(version=events_pb2.PlannedVersion(number=3), purpose="guard")],
        )
        for revision in (3, 2, 1)
    ]
    registry.replicas.append(
        events_pb2.PlanApplied(
            replica="replica-a",
            environment="production",
            at=to_proto(datetime.now(UTC)),
            revisions={"fraud": 2},
            versions=[events_pb2.AppliedVersion(model="fraud", version=4, revision=3, loaded=False, reason="digest")],
        )
    )


def _episode(monitor: FakeMonitor) -> None:
    """The episode that caused it all."""
    monitor.episodes.append(
        monitor_pb2.Episode(
            latest=events_pb2.DriftDetected(
                episode_id=EPISODE,
                model="fraud",
                version=3,
                kind=events_pb2.DRIFT_KIND_PERFORMANCE,
                state=events_pb2.EPISODE_STATE_RESOLVED,
                started_at=to_proto(NOON),
                watermark=to_proto(NOON),
                severity="warning",
                effect=0.09,
                summary="log loss 0.31 where 0.28 was expected",
                exemplars=[f"{PREDICTION}/0"],
                features=[
                    events_pb2.FeatureEvidence(
                        feature="amount", statistic="mean_shift_sd", value=0.4, reference=10, current=12
                    )
                ],
            ),
            transitions=[
                monitor_pb2.Episode.Transition(
                    state=events_pb2.EPISODE_STATE_CONFIRMED,
                    watermark=to_proto(NOON),
                    at=to_proto(NOON),
                    summary="two windows",
                    event_id="0198c2d4-eeee-7000-8000-000000000001",
                )
            ],
        )
    )


def _prediction(monitor: FakeMonitor) -> None:
    """A prediction that shows it: answered by the champion, by the one before as a shadow, with its outcome."""
    monitor.predictions[f"{PREDICTION}/0"] = monitor_pb2.GetPredictionResponse(
        id=f"{PREDICTION}/0",
        model="fraud",
        episode_ids=[EPISODE],
        answers=[
            monitor_pb2.ArchivedAnswer(
                version=4,
                role=events_pb2.ROLE_ANSWER,
                variant="champion",
                plan_revision=3,
                event_time=to_proto(NOON),
                inputs_json=json.dumps({"amount": 12.5}),
                outputs_json=json.dumps({"probabilities": [0.9, 0.1]}),
            ),
            monitor_pb2.ArchivedAnswer(version=3, role=events_pb2.ROLE_SHADOW, event_time=to_proto(NOON)),
        ],
        outcomes=[monitor_pb2.JoinedOutcome(value=1.0, source="bank", winner=True, observed_at=to_proto(NOON))],
    )


def _monitoring(monitor: FakeMonitor) -> None:
    """The model's state now: status, quality, a window."""
    monitor.status.CopyFrom(
        monitor_pb2.GetMonitorStatusResponse(
            archive_uri="file:///a",
            lag_records={"prediction.logged": 12},
            models=[
                monitor_pb2.ModelStatus(
                    model="fraud",
                    watermark=to_proto(NOON),
                    state="stable",
                    label_coverage=0.87,
                    open_episodes=[EPISODE],
                )
            ],
        )
    )
    monitor.rows.append(
        monitor_pb2.Quality(
            version=4,
            role=events_pb2.ROLE_ANSWER,
            predictions=1000,
            outcomes=870,
            coverage=0.87,
            to=to_proto(NOON),
            metrics={"auc": 0.75, "log_loss": 0.3},
        )
    )
    getattr(monitor.rows[0], "from").CopyFrom(to_proto(NOON))
    monitor.windows.append(
        monitor_pb2.WindowReport(
            model="fraud",
            version=4,
            closed=True,
            outcomes=10,
            quality={"log_loss": 0.3},
            window=events_pb2.Window(start=to_proto(NOON), end=to_proto(NOON), rows=1000),
            statistics=[monitor_pb2.WindowStatistic(scalar="amount", statistic="ks", value=0.3, significant=True)],
        )
    )


def _judgement(monitor: FakeMonitor) -> None:
    monitor.judgements.append(
        monitor_pb2.Judgement(
            at=to_proto(NOON),
            judged=events_pb2.CanaryJudged(
                rollout_id=ROLLOUT,
                model="fraud",
                version=4,
                baseline=3,
                verdict=events_pb2.VERDICT_ADVANCE,
                watermark=to_proto(NOON),
                paired_rows=600,
                rows_needed=500,
                summary="loss is lower",
            ),
        )
    )


def prediction_frame(rows: int = 3) -> events_pb2.PredictionLogged:
    """A micro-batch with a number, a text, a hashed, a dropped, an absent and a wide column."""

    def column(name: str, datatype: str, values: bytes, **fields: Any) -> events_pb2.Column:
        return events_pb2.Column(name=name, datatype=datatype, values=values, **fields)

    ids = [UUID(PREDICTION)] * rows
    us = int(NOON.timestamp() * 1_000_000)
    return events_pb2.PredictionLogged(
        stream="spool/fraud/0",
        frame_no=5,
        model="fraud",
        version=4,
        role=events_pb2.ROLE_ANSWER,
        variant="champion",
        plan_revision=3,
        rows=rows,
        prediction_ids=b"".join(one.bytes for one in ids),
        row_numbers=np.arange(rows, dtype="<u4").tobytes(),
        entities=[f"card-{row}" for row in range(rows)],
        event_times_us=np.full(rows, us, "<i8").tobytes(),
        arrival_times_us=np.full(rows, us, "<i8").tobytes(),
        latencies_us=np.full(rows, 1500, "<u4").tobytes(),
        future_event_times=bytes([0b010]),
        inputs=[
            column("amount", "FP32", np.arange(rows, dtype="<f4").tobytes(), validity=bytes([0b101])),
            column("country", "BYTES", oip.pack_bytes(["CH", "ÖSTERREICH", "DE"][:rows])),
            column(
                "email", "BYTES", oip.pack_bytes(["0123456789abcdef"] * rows), sensitivity=model_pb2.SENSITIVITY_HASH
            ),
            column("secret", "BYTES", b"", sensitivity=model_pb2.SENSITIVITY_DROP),
        ],
        outputs=[column("probabilities", "FP32", np.tile([0.25, 0.75], rows).astype("<f4").tobytes(), shape=[2])],
        traces=[events_pb2.RowTrace(row=1, traceparent="00-" + "a" * 32 + "-" + "b" * 16 + "-01")],
    )
