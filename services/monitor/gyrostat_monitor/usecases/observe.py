"""Takes in frames of predictions: ticks, join, streams, traffic of roll-outs; then lets the watermark do its work.

One transaction per batch, with the high-water marks of both sinks in it: whatever happens, a row counts once.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from gyrostat_common.profile import scalar_scores
from gyrostat_monitor.domain import ticks
from gyrostat_monitor.domain.frames import ANSWER, Floats, Frame, is_name, scores_of
from gyrostat_monitor.domain.joins import Key
from gyrostat_monitor.domain.judge import Traffic
from gyrostat_monitor.domain.plan import Plan
from gyrostat_monitor.domain.policy import Policy
from gyrostat_monitor.domain.quality import QualitySums
from gyrostat_monitor.domain.repeats import Heard, first_only
from gyrostat_monitor.domain.watermark import Stream
from gyrostat_monitor.usecases.advance import Advance
from gyrostat_monitor.usecases.join import Join
from gyrostat_monitor.usecases.known import Known
from gyrostat_monitor.usecases.ports import Stores

SINKS = ("windows", "join")


class Observe:
    """The handler of prediction.logged."""

    def __init__(self, stores: Stores, known: Known, join: Join, advance: Advance) -> None:
        self._records, self._counts, self._joins = stores.records, stores.counts, stores.joins
        self._known, self._join, self._advance = known, join, advance

    async def frames(self, frames: Sequence[Frame], positions: Mapping[str, int], cause: str) -> None:
        """Takes in a batch. `positions` topic partition → last offset; `cause` id of the last event. Raises
        PlanBehind.
        """
        mine = [f for f in frames if f.environment == self._known.environment]
        for frame in mine:
            await self._known.layout(frame.model, frame.version, int(frame.arrival_us.max(initial=0)))
        async with self._records.transaction():
            streams = {f.stream for f in mine}
            # The two sinks keep marks of their own; they share this transaction, so the lower one is the truth.
            waters = await self._records.high_waters(SINKS, streams)
            fresh, again, marks = _fresh(mine, waters)
            by_model: dict[str, list[Frame]] = defaultdict(list)
            for frame in fresh:
                by_model[frame.model].append(frame)
            for model, group in sorted(by_model.items()):
                await self._take_in(model, group)
            for model, n in sorted(again.items()):
                await self._records.count(model, {"duplicate_frames": n})
            await self._records.advance_marks(SINKS, marks)
            self._records.note_positions(positions)
            for model in sorted(by_model):
                await self._advance.model(model, cause)

    async def _take_in(self, model: str, frames: list[Frame]) -> None:
        policy, plan = self._known.policy(model), self._known.plan(model)
        requests = await self._add_names(model, policy, frames)
        await self._add_streams(model, frames)
        await self._count_rows(model, frames)
        counted = await self._first_only(model, frames)
        scores = [scores_of(f, policy.task, policy.score_output) for f in counted]
        await self._add_ticks(model, policy, counted, scores)
        keys = await self._add_answers(model, policy, counted, scores)
        if plan is not None:
            await self._add_traffic(plan, counted, scores)
        await self._join.predictions(model, keys, requests)

    async def _first_only(self, model: str, frames: list[Frame]) -> list[Frame]:
        """The rows that count: the first answer to each prediction, the first score of each shadow."""
        ids = {id_ for f in frames if f.counts for id_ in f.ids}
        kept = first_only(frames, Heard(await self._joins.scored(model, ids)))
        again = {f"repeated/{f.role}": 0 for f in frames}
        for frame, counted in zip(frames, kept, strict=True):
            again[f"repeated/{frame.role}"] += frame.rows - counted.rows
        await self._records.count(model, again)
        return [frame for frame in kept if frame.rows]

    async def _count_rows(self, model: str, frames: list[Frame]) -> None:
        taken: dict[str, int] = defaultdict(int)
        for frame in frames:
            taken[f"rows/{frame.version}/{frame.role}" if frame.counts else f"pinned/{frame.version}"] += frame.rows
        await self._records.count(model, taken)

    async def _add_ticks(self, model: str, policy: Policy, frames: list[Frame], scores: list[Floats]) -> None:
        tick_us = policy.tick_s * 1_000_000
        by_version: dict[int, list[int]] = defaultdict(list)
        predictions: dict[tuple[str, int, str, int], int] = defaultdict(int)
        for i, frame in enumerate(frames):
            if frame.answers:
                by_version[frame.version].append(i)
            if frame.counts:
                starts, rows = np.unique(frame.event_us // tick_us * tick_us, return_counts=True)
                for start, n in zip(starts.tolist(), rows.tolist(), strict=True):
                    predictions[model, frame.version, frame.role, start] += n
        added = {}
        for version, members in sorted(by_version.items()):
            layout = await self._known.layout(model, version)
            chosen = [frames[i] for i in members]
            scalar = np.concatenate([scalar_scores(policy.task, scores[i]) for i in members])
            for start, tick in ticks.count(layout, chosen, scalar, tick_us).items():
                added[model, version, start] = (layout.key, tick)
        await self._counts.add_ticks(added)
        await self._counts.add_quality({k: [(QualitySums(predictions=n), 1)] for k, n in predictions.items()})
        await self._note_late(model, [(version, start) for _, version, start in added])

    async def _note_late(self, model: str, touched: list[tuple[int, int]]) -> None:
        """Rows of closed windows: they revise their report and alarm nobody."""
        progress = await self._records.progress(model)
        latest: dict[str, str | None] = {}
        for version in sorted({v for v, _ in touched}):
            last = max(start for v, start in touched if v == version)
            if last > int(progress.get(f"last/{version}", -1)):
                latest[f"last/{version}"] = str(last)
            cursor = int(progress.get(f"data/{version}", 0))
            late = [start for v, start in touched if v == version and start < cursor]
            if late:
                await self._counts.mark_stale(model, version, late)
        await self._records.save_progress(model, latest)

    async def _add_names(self, model: str, policy: Policy, frames: list[Frame]) -> list[tuple[str, int]]:
        """The two other names of a prediction, those of a repeat too."""
        requests, entities = [], []
        for frame in frames:
            if frame.role == ANSWER:
                requests.extend(_requests(frame))
                entities.extend(_entities(frame, policy.entity_input))
        await self._joins.add_requests(model, requests)
        await self._joins.add_entities(model, entities)
        return [(r["request"], r["row"]) for r in requests]

    async def _add_answers(self, model: str, policy: Policy, frames: list[Frame], scores: list[Floats]) -> list[Key]:
        rows, keys = [], []
        for frame, score in zip(frames, scores, strict=True):
            role = (0 if frame.role == ANSWER else 1) if frame.counts else 2
            scalar = scalar_scores(policy.task, score).tolist()
            vectors = [v.tobytes() for v in score.astype("<f4")] if score.ndim == 2 else None
            numbers, events = frame.row_numbers.tolist(), frame.event_us.tolist()
            frame_keys = list(zip(frame.ids, numbers, strict=True))
            keys.extend(frame_keys)
            for i, (id_, row) in enumerate(frame_keys):
                rows.append(
                    {
                        "id": id_, "row": row, "version": frame.version, "role": role, "event_us": events[i],
                        "score": scalar[i] if scalar[i] == scalar[i] else None,
                        "vector": vectors[i] if vectors else None,
                    }
                )  # fmt: skip
        await self._joins.add_answers(model, rows)
        return keys

    async def _add_streams(self, model: str, frames: list[Frame]) -> None:
        now = self._known.now_us()
        streams = await self._records.streams(model)
        changed: dict[str, Stream] = {}
        for frame in frames:
            # Windows hold answers alone: a shadow that ended, or lags, must not hold event time back.
            if frame.rows and frame.role == ANSWER:
                before = changed.get(frame.stream) or streams.get(frame.stream) or Stream(0, 0)
                changed[frame.stream] = before.heard(int(frame.event_us.max()), now)
        if changed:
            await self._records.save_streams(model, changed)

    async def _add_traffic(self, plan: Plan, frames: list[Frame], scores: list[Floats]) -> None:
        """What both versions of the open roll-out did, by plan revision."""
        rollout = plan.rollout
        if rollout is None:
            return
        mine = [
            (f, s)
            for f, s in zip(frames, scores, strict=True)
            if f.rollout_id == rollout.id and f.counts and f.version in (rollout.candidate, rollout.baseline)
        ]
        if not mine:
            return
        known = await self._counts.traffic(plan.model, rollout.id)
        changed: dict[tuple[int, int], Traffic] = {}
        for frame, score in mine:
            key = (frame.plan_revision, frame.version)
            changed[key] = _with(changed.get(key) or known.get(key) or Traffic(), frame, score)
        await self._counts.save_traffic(plan.model, rollout.id, changed)


def _fresh(frames: Sequence[Frame], marks: Mapping[str, int]) -> tuple[list[Frame], dict[str, int], dict[str, int]]:
    """(frames above their stream's mark, model → repeated frames, new marks)."""
    fresh: list[Frame] = []
    again: dict[str, int] = defaultdict(int)
    new = dict(marks)
    for frame in sorted(frames, key=lambda f: (f.stream, f.frame_no)):
        if frame.frame_no <= new[frame.stream]:
            again[frame.model] += 1
        else:
            new[frame.stream] = frame.frame_no
            fresh.append(frame)
    return fresh, dict(again), {s: n for s, n in new.items() if n > marks[s]}


def _requests(frame: Frame) -> list[dict[str, Any]]:
    rows = zip(frame.request_ids, frame.ids, frame.row_numbers.tolist(), frame.arrival_us.tolist(),
               frame.event_us.tolist(), strict=False)  # fmt: skip
    return [
        {"request": r, "row": n, "id": i, "id_row": n, "arrival_us": a, "event_us": e}
        for r, i, n, a, e in rows
        if r and is_name(r)
    ]


def _entities(frame: Frame, entity_input: str) -> list[dict[str, Any]]:
    names: Sequence[str | None] = frame.entities
    if not names and entity_input:
        for column in frame.inputs:
            if column.name == entity_input and column.items == 1:
                values = column.scalars()
                names = [] if values is None else [None if v is None else str(v) for v in values]
    rows = zip(names, frame.ids, frame.row_numbers.tolist(), frame.event_us.tolist(), strict=False)
    return [{"entity": name, "id": i, "id_row": n, "event_us": e} for name, i, n, e in rows if name and is_name(name)]


def _with(traffic: Traffic, frame: Frame, score: Floats) -> Traffic:
    valid = np.isfinite(score).all(axis=1) if score.ndim == 2 else np.isfinite(score)
    latencies = dict(traffic.latencies)
    if frame.answers:
        steps = (4 * np.log2(np.maximum(frame.latency_us, 1))).astype(int)
        for step, n in zip(*np.unique(steps, return_counts=True), strict=True):
            latencies[int(step)] = latencies.get(int(step), 0) + int(n)
    return Traffic(
        traffic.answers + (frame.rows if frame.answers else 0), traffic.scored + frame.rows,
        traffic.invalid + int((~valid).sum()), latencies,
    )  # fmt: skip
