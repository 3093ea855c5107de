"""Builders of prediction.logged frames, outcomes and plans, as inference, backends and the registry make them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import numpy as np
from google.protobuf.timestamp_pb2 import Timestamp

from gyrostat.events.v1 import events_pb2 as pb
from gyrostat.registry.v1 import model_pb2 as models
from gyrostat_common.bus import Event

WALL = datetime(2026, 11, 1, tzinfo=UTC)


def stamp(us: int) -> Timestamp:
    """A time."""
    return Timestamp(seconds=us // 1_000_000, nanos=us % 1_000_000 * 1000)


def prediction_id(n: int) -> UUID:
    """The n-th prediction id: shaped like a UUIDv7, spread in its last bits."""
    return UUID(int=(1_700_000_000_000 + n << 80) | (7 << 76) | (2 << 62) | (n * 0x9E3779B97F4A7C15 & ((1 << 62) - 1)))


def column(name: str, values: Sequence[Any] | np.ndarray[Any, Any], shape: Sequence[int] = ()) -> pb.Column:
    """Texts become BYTES; float arrays FP32; integers INT64. None is missing."""
    present = [v is not None for v in values]
    validity = b"" if all(present) else np.packbits(present, bitorder="little").tobytes()
    array = np.asarray(values)
    if array.dtype.kind in "OUS":
        texts = [str(v).encode() if v is not None else b"" for v in values]
        data = b"".join(len(t).to_bytes(4, "little") + t for t in texts)
        return pb.Column(name=name, datatype="BYTES", shape=shape, values=data, validity=validity)
    if array.dtype.kind == "f":
        return pb.Column(
            name=name, datatype="FP32", shape=shape, values=array.astype("<f4").tobytes(), validity=validity
        )
    return pb.Column(name=name, datatype="INT64", shape=shape, values=array.astype("<i8").tobytes(), validity=validity)


def a_frame(
    frame_no: int,
    ids: Sequence[UUID],
    event_us: Sequence[int],
    scores: Sequence[float],
    inputs: Mapping[str, Sequence[Any]] | None = None,
    *,
    stream: str = "spool/flights/0",
    model: str = "flights",
    version: int = 1,
    role: int = pb.ROLE_ANSWER,
    variant: str = "champion",
    revision: int = 1,
    rollout_id: str = "",
    rows: Sequence[int] | None = None,
    latency_us: int = 900,
    **more: Any,
) -> pb.PredictionLogged:
    """A frame of a binary model with one score a row."""
    n = len(ids)
    both = np.stack([1 - np.asarray(scores), np.asarray(scores)], axis=1).reshape(-1)
    return pb.PredictionLogged(
        stream=stream, frame_no=frame_no, model=model, version=version, role=role, variant=variant,
        plan_revision=revision, rollout_id=rollout_id, rows=n, prediction_ids=b"".join(i.bytes for i in ids),
        row_numbers=np.asarray(rows if rows is not None else [0] * n, "<u4").tobytes(),
        event_times_us=np.asarray(event_us, "<i8").tobytes(), arrival_times_us=np.asarray(event_us, "<i8").tobytes(),
        latencies_us=np.full(n, latency_us, "<u4").tobytes(),
        inputs=[column(name, values) for name, values in (inputs or {}).items()],
        outputs=[column("label", np.asarray(scores) >= 0.5), column("probabilities", both.astype(np.float32), [2])],
        **more,
    )  # fmt: skip


def an_outcome(
    id_: UUID | pb.PredictionRef, value: float, observed_us: int, *, model: str = "flights", row: int = 0, **more: Any
) -> pb.OutcomeRecorded:
    """An outcome by prediction id, or by any reference."""
    ref = id_ if isinstance(id_, pb.PredictionRef) else pb.PredictionRef(prediction_id=f"{id_}/{row}")
    more.setdefault("recorded_at", stamp(observed_us))
    return pb.OutcomeRecorded(model=model, prediction=ref, value=value, observed_at=stamp(observed_us), **more)


def a_plan(revision: int = 1, champion: int = 1, profile: str = "", **more: Any) -> pb.ServingPlan:
    """A plan of the model `flights`. `spec` is a ModelSpec or nothing."""
    spec = more.pop("spec", None) or models.ModelSpec(task=models.TASK_BINARY, score_output="probabilities")
    versions = more.pop("profiles", {})
    plan = pb.ServingPlan(environment="production", model="flights", revision=revision, spec=spec, **more)
    for version, sha in {champion: profile, **versions}.items():
        if version == champion:
            plan.champion.CopyFrom(planned(version, sha))
    return plan


def planned(version: int, profile: str = "") -> pb.PlannedVersion:
    """A version as a plan names it."""
    return pb.PlannedVersion(number=version, profile=models.Artifact(sha256=profile) if profile else None)


def said(payload: Any, key: str = "flights", partition: int | None = None, source: str = "test", **more: Any) -> Event:
    """An event of the test's own."""
    return Event(payload=payload, key=key, subject=key, source=source, time=WALL, partition=partition, **more)
