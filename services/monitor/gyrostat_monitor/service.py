"""What a caller can ask: decode, use case, encode."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp

from gyrostat.events.v1 import events_pb2 as pb
from gyrostat.monitor.v1 import monitor_pb2 as api
from gyrostat.monitor.v1.monitor_pb2_grpc import MonitorServiceServicer
from gyrostat_common import rpc
from gyrostat_common.database import Database
from gyrostat_common.times import from_us, to_proto
from gyrostat_monitor.domain.errors import OutcomeInvalid
from gyrostat_monitor.domain.findings import Kind
from gyrostat_monitor.domain.frames import ANSWER
from gyrostat_monitor.domain.history import Told
from gyrostat_monitor.domain.windows import Span, Window
from gyrostat_monitor.usecases.outcomes import Given, RecordOutcomes, check_count
from gyrostat_monitor.usecases.queries import EVER, ModelStatus, PredictionFound, QualityRow, Queries
from gyrostat_monitor.usecases.watch import Watch
from gyrostat_monitor.usecases.words import Words

Context = Any
ROLES = {ANSWER: pb.ROLE_ANSWER, "shadow": pb.ROLE_SHADOW}


class MonitorServicer(MonitorServiceServicer):
    """gyrostat.monitor.v1.MonitorService. `words` turns domain values into events' messages and back."""

    def __init__(
        self, database: Database, record: RecordOutcomes, queries: Queries, words: Words, watch: Watch,
        archive_uri: str,
    ) -> None:  # fmt: skip
        self._db, self._record, self._queries, self._words = database, record, queries, words
        self._watch, self._archive_uri = watch, archive_uri

    @rpc.once(lambda self: self._db)
    async def RecordOutcomes(self, request: api.RecordOutcomesRequest, context: Context) -> api.RecordOutcomesResponse:
        check_count(len(request.outcomes))
        ids = await self._record([self._given(i, o) for i, o in enumerate(request.outcomes)])
        return api.RecordOutcomesResponse(accepted=len(ids), event_ids=ids)

    def _given(self, index: int, o: api.Outcome) -> Given:
        try:
            ref = self._words.ref(o.prediction)
        except OutcomeInvalid as error:
            raise OutcomeInvalid(f"outcome {index}: {error}") from None
        return Given(
            o.model, ref, o.value, _us(o.observed_at, o.HasField("observed_at")),
            _us(o.recorded_at, o.HasField("recorded_at")), o.source, o.weight or 1.0,
        )  # fmt: skip

    async def ListWindows(self, request: api.ListWindowsRequest, context: Context) -> api.ListWindowsResponse:
        span = _span(request)
        found, token = await self._queries.windows(
            request.model, request.version, span, request.page_size, request.page_token
        )
        return api.ListWindowsResponse(windows=[self._window(w) for w in found], next_page_token=token)

    def _window(self, w: Window) -> api.WindowReport:
        stats = [
            api.WindowStatistic(
                scalar=s["scalar"], statistic=s["statistic"], value=_float(s["value"]),
                p_adjusted=_float(s["p_adjusted"]),
                significant=s["significant"],
            )
            for s in w.report.get("statistics", ())
        ]  # fmt: skip
        quality = {k: float(v) for k, v in w.report.get("quality", {}).items() if v is not None}
        return api.WindowReport(
            model=w.model, version=w.version, window=self._words.window(w.span, w.rows), revision=w.revision,
            closed=True,
            statistics=stats, outcomes=w.report.get("outcomes", 0), quality=quality, role=pb.ROLE_ANSWER,
        )  # fmt: skip

    async def ListEpisodes(self, request: api.ListEpisodesRequest, context: Context) -> api.ListEpisodesResponse:
        kind = _kind(request.kind)
        if kind is None:
            return api.ListEpisodesResponse()
        found, token = await self._queries.episodes(
            request.model, kind, request.open_only, request.page_size, request.page_token
        )
        return api.ListEpisodesResponse(episodes=[self._episode(t) for t in found], next_page_token=token)

    async def GetEpisode(self, request: api.GetEpisodeRequest, context: Context) -> api.GetEpisodeResponse:
        return api.GetEpisodeResponse(episode=self._episode(await self._queries.episode(request.id)))

    def _episode(self, told: Told) -> api.Episode:
        transitions = [
            api.Episode.Transition(
                state=self._words.state(t.state), watermark=self._words.stamp(t.watermark_us),
                at=self._words.stamp(t.at_us), summary=t.summary, event_id=t.event_id,
                told=self._words.episode(t.told),
            )
            for t in told.transitions
        ]  # fmt: skip
        return api.Episode(latest=self._words.episode(told.episode), transitions=transitions)

    async def GetQuality(self, request: api.GetQualityRequest, context: Context) -> api.GetQualityResponse:
        if request.by not in ("", "day", "month"):
            raise OutcomeInvalid(f'by {request.by!r}: use "month", "day" or nothing')
        rows = await self._queries.quality(request.model, _span(request), request.by, request.live)
        return api.GetQualityResponse(rows=[self._quality(r) for r in rows])

    def _quality(self, r: QualityRow) -> api.Quality:
        start = self._words.stamp(r.span.start_us) if r.span.start_us != EVER.start_us else None
        end = self._words.stamp(r.span.end_us) if r.span.end_us != EVER.end_us else None
        return api.Quality(
            version=r.version, role=ROLES[r.role], predictions=r.sums.predictions, outcomes=r.sums.outcomes,
            coverage=r.sums.coverage(), metrics=dict(r.metrics), to=end, **{"from": start},
        )  # fmt: skip

    async def GetPrediction(self, request: api.GetPredictionRequest, context: Context) -> api.GetPredictionResponse:
        return _prediction(await self._queries.prediction(request.id, request.model))

    async def ListJudgements(self, request: api.ListJudgementsRequest, context: Context) -> api.ListJudgementsResponse:
        found, token = await self._queries.judgements(
            request.model, request.rollout_id, request.page_size, request.page_token
        )
        rows = [
            api.Judgement(judged=self._words.judged(j), at=self._words.stamp(j.at_us), event_id=j.event_id)
            for j in found
        ]
        return api.ListJudgementsResponse(judgements=rows, next_page_token=token)

    async def GetMonitorStatus(
        self, request: api.GetMonitorStatusRequest, context: Context
    ) -> api.GetMonitorStatusResponse:
        models = [self._status(s) for s in await self._queries.status(request.model)]
        alerts = [
            api.FiringAlert(
                alert_id=one.alert.id, summary=one.alert.summary, severity=one.alert.severity, owner=one.owner,
                since=self._words.stamp(one.since_us),
            )
            for one in self._watch.firing()
        ]  # fmt: skip
        return api.GetMonitorStatusResponse(
            models=models, lag_records=dict(self._watch.waiting()), archive_uri=self._archive_uri, alerts=alerts
        )

    def _status(self, s: ModelStatus) -> api.ModelStatus:
        c = s.counters
        return api.ModelStatus(
            model=s.model, watermark=None if s.watermark_us is None else self._words.stamp(s.watermark_us),
            archived_rows=dict(s.rows), duplicate_frames=c.get("duplicate_frames", 0),
            outcomes_received=c.get("outcomes_received", 0), outcomes_joined=c.get("outcomes_joined", 0),
            outcomes_parked=s.parked, outcomes_expired=c.get("outcomes_expired", 0),
            outcomes_duplicate=c.get("outcomes_duplicate", 0), label_coverage=s.coverage,
            label_lag_s=0.0 if math.isnan(s.lag_s) else s.lag_s, state=s.state, open_episodes=list(s.open_episodes),
            repeated_rows=c.get("repeated/answer", 0) + c.get("repeated/shadow", 0),
        )  # fmt: skip


def _us(stamp: Timestamp, present: bool) -> int | None:
    """Raises InvalidInput for what is no time."""
    if not present:
        return None
    us = stamp.seconds * 1_000_000 + stamp.nanos // 1000
    if not 0 <= stamp.nanos < 1_000_000_000:
        raise OutcomeInvalid(f"{stamp.nanos} nanoseconds are not from 0 to 999,999,999")
    from_us(us)
    return us


def _span(request: Any) -> Span:
    start = _us(getattr(request, "from"), request.HasField("from"))
    end = _us(request.to, request.HasField("to"))
    return Span(EVER.start_us if start is None else start, EVER.end_us if end is None else end)


def _float(value: float | None) -> float:
    return math.nan if value is None else float(value)


def _kind(kind: int) -> str | None:
    """ "" for any; None for a kind that this monitor does not know."""
    known: dict[int, str] = {
        pb.DRIFT_KIND_UNSPECIFIED: "", pb.DRIFT_KIND_DATA: Kind.DATA, pb.DRIFT_KIND_PREDICTION: Kind.PREDICTION,
        pb.DRIFT_KIND_PERFORMANCE: Kind.PERFORMANCE, pb.DRIFT_KIND_DATA_QUALITY: Kind.DATA_QUALITY,
    }  # fmt: skip
    found = known.get(kind)
    return None if found is None else str(found)


def _prediction(found: PredictionFound) -> api.GetPredictionResponse:
    answers = [
        api.ArchivedAnswer(
            version=a["version"], role=ROLES[a["role"]], variant=a["variant"], plan_revision=a["plan_revision"],
            event_time=to_proto(a["event_time"]), arrival_time=to_proto(a["arrival_time"]),
            inputs_json=_tensors(a, "in_"), outputs_json=_tensors(a, "out_"), stream=a["stream"],
            frame_no=a["frame_no"],
            rollout_id=a["rollout_id"], traceparent=a["traceparent"] or "", delta_version=a["delta_version"],
            repeated=a["repeated"],
        )
        for a in sorted(found.answers, key=_standing)
    ]  # fmt: skip
    outcomes = [
        api.JoinedOutcome(
            value=o["value"], observed_at=to_proto(o["observed_at"]), recorded_at=to_proto(o["recorded_at"]),
            ingested_at=to_proto(o["ingested_at"]), source=o["source"], event_id=o["event_id"],
            winner=o["event_id"] == found.winner,
        )
        for o in found.outcomes
    ]  # fmt: skip
    return api.GetPredictionResponse(
        id=found.id, model=found.model, answers=answers, outcomes=outcomes, episode_ids=list(found.episodes)
    )


def _standing(row: Mapping[str, Any]) -> tuple[Any, ...]:
    """Answers before shadows, what counts first."""
    return row["role"], row["repeated"], row["variant"] == "pinned", row["version"], row["arrival_time"]


def _tensors(row: Mapping[str, Any], prefix: str) -> str:
    values = {k.removeprefix(prefix): _json(v) for k, v in row.items() if k.startswith(prefix) and v is not None}
    return json.dumps(values, ensure_ascii=False)


def _json(value: Any) -> Any:
    if isinstance(value, list):
        return [_json(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Decimal):
        return int(value)
    if isinstance(value, datetime | date):
        return value.isoformat()
    return value
