"""Questions: windows, episodes, quality, predictions, judgements, status. Read only."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from gyrostat_common.times import from_us, to_us
from gyrostat_monitor.domain.errors import EpisodeUnknown, PageTokenInvalid, PredictionUnknown
from gyrostat_monitor.domain.frames import ANSWER, is_model_name, parse_row_id, row_id
from gyrostat_monitor.domain.history import Judged, Told
from gyrostat_monitor.domain.joins import Key
from gyrostat_monitor.domain.quality import QualitySums
from gyrostat_monitor.domain.repeats import repeats
from gyrostat_monitor.domain.windows import Span, Window
from gyrostat_monitor.usecases.known import Known
from gyrostat_monitor.usecases.ports import ArchiveTables, Stores

DEFAULT_PAGE, LARGEST_PAGE = 100, 1_000
EVER = Span(-(1 << 62), 1 << 62)


@dataclass(frozen=True)
class QualityRow:
    """Realised quality of one version (0: the live line) in one role over one range."""

    version: int
    role: str
    span: Span
    sums: QualitySums
    metrics: Mapping[str, float]


@dataclass(frozen=True)
class PredictionFound:
    """Everything known of one prediction."""

    id: str
    model: str
    answers: Sequence[Mapping[str, Any]]
    outcomes: Sequence[Mapping[str, Any]]
    winner: str
    episodes: Sequence[str]


@dataclass(frozen=True)
class ModelStatus:
    """Where the monitor stands with a model."""

    model: str
    watermark_us: int | None
    rows: Mapping[str, int]
    counters: Mapping[str, int]
    parked: int
    coverage: float
    lag_s: float
    state: str
    open_episodes: Sequence[str] = field(default_factory=tuple)


class Queries:
    """Answers questions."""

    def __init__(self, stores: Stores, archive: ArchiveTables, known: Known) -> None:
        self._records, self._counts = stores.records, stores.counts
        self._joins, self._history = stores.joins, stores.history
        self._archive, self._known = archive, known

    async def windows(self, model: str, version: int, span: Span, size: int, token: str) -> tuple[list[Window], str]:
        """By start and version."""
        limit = page_size(size)
        after = None
        if token:
            start, _, of = token.partition("/")
            after = (_number(start), _number(of))
        found = await self._counts.windows(model, version, span, limit, after)
        last = found[-1] if len(found) == limit else None
        return found, f"{last.span.start_us}/{last.version}" if last else ""

    async def episodes(
        self, model: str, kind: str, open_only: bool, size: int, token: str
    ) -> tuple[Sequence[Told], str]:
        """Newest first."""
        limit = page_size(size)
        found = await self._history.episodes(model, kind, open_only, limit, _number(token) if token else None)
        return found, str(found[-1].number) if len(found) == limit else ""

    async def episode(self, id: str) -> Told:
        """Raises EpisodeUnknown."""
        found = await self._history.episode(id)
        if found is None:
            raise EpisodeUnknown(f"no episode {id!r}")
        return found

    async def judgements(self, model: str, rollout: str, size: int, token: str) -> tuple[Sequence[Judged], str]:
        """Newest first."""
        limit = page_size(size)
        found = await self._history.judgements(model, rollout, limit, _number(token) if token else None)
        return found, str(found[-1].number) if len(found) == limit else ""

    async def quality(self, model: str, span: Span, by: str, live: bool) -> list[QualityRow]:
        """Per version and role, and the live line as version 0; split into months or days (UTC) when asked."""
        task = self._known.policy(model).task
        parts: dict[tuple[int, int, str], list[QualitySums]] = defaultdict(list)
        spans: dict[int, Span] = {}
        for (_, version, role, tick_us), sums in await self._counts.quality(model, span):
            period = _period(tick_us, by, span)
            spans[period.start_us] = period
            parts[period.start_us, version, role].append(sums)
            if live and role == ANSWER:
                parts[period.start_us, 0, ANSWER].append(sums)
        out = []
        for (start, version, role), found in sorted(parts.items()):
            total = QualitySums()
            for sums in found:
                total = total.plus(sums)
            out.append(QualityRow(version, role, spans[start], total, total.metrics(task)))
        return out

    async def prediction(self, text: str, model: str) -> PredictionFound:
        """From the archive. Raises PredictionUnknown, OutcomeInvalid for what is no id."""
        key = parse_row_id(text)
        name = row_id(*key)
        wanted = [model] if model else await self._archive.models("predictions")
        for candidate in filter(is_model_name, wanted):
            answers = await self._answers(candidate, key)
            if answers:
                # An event that was sent again, for its ack was lost, has a row more.
                once = {(o["source"], o["event_id"]): o for o in await self._archive.rows("outcomes", candidate, name)}
                ranked = sorted(once.values(), key=lambda o: (o["recorded_at"], o["event_id"]))
                winner = ranked[-1]["event_id"] if ranked else ""
                episodes = await self._history.episodes_of_row(name)
                return PredictionFound(name, candidate, answers, ranked, winner, episodes)
        where = f" of model {model!r}" if model else ""
        raise PredictionUnknown(f"no prediction {name}{where} in the archive (yet)")

    async def _answers(self, model: str, key: Key) -> Sequence[Mapping[str, Any]]:
        """The archive's rows, each with `repeated`: whether it answers an id anew, and so is not counted."""
        known = [answer.event_us for answer in await self._joins.answers(model, [key])]
        found = await self._archive.rows("predictions", model, row_id(*key), min(known, default=None))
        return [{**row, "repeated": again} for row, again in zip(found, repeats(found), strict=True)]

    async def status(self, model: str) -> list[ModelStatus]:
        """One model, or all."""
        return [await self._status(name) for name in ([model] if model else await self._records.models())]

    async def _status(self, model: str) -> ModelStatus:
        progress = await self._records.progress(model)
        counters = await self._records.counters(model)
        rows = {name.removeprefix("rows/"): n for name, n in counters.items() if name.startswith("rows/")}
        opened = await self._history.open_episodes(model)
        plan = self._known.plan(model)
        profile = await self._known.profile(model, plan.champion) if plan and plan.champion else None
        if profile is None:
            state = "no profile"
        elif opened:
            state = "drifting"
        else:
            state = "stable" if plan and f"data/{plan.champion}" in progress else "learning"
        return ModelStatus(
            model, int(progress["watermark"]) if "watermark" in progress else None, rows, counters,
            await self._joins.parked(model), *coverage_and_lag(counters), state, [e.id for e in opened],
        )  # fmt: skip


def coverage_and_lag(counters: Mapping[str, int]) -> tuple[float, float]:
    """Share of answers with an outcome, and the median seconds between them, from a model's counters."""
    answers = sum(n for name, n in counters.items() if name.startswith("rows/") and name.endswith(f"/{ANSWER}"))
    answers -= counters.get(f"repeated/{ANSWER}", 0)
    lags = {int(name.removeprefix("lag/")): n for name, n in counters.items() if name.startswith("lag/")}
    sums = QualitySums(predictions=answers, outcomes=sum(lags.values()), lags=lags)
    return sums.coverage(), sums.median_lag_s()


def page_size(size: int) -> int:
    """Default 100, at most 1,000."""
    return min(size, LARGEST_PAGE) if size > 0 else DEFAULT_PAGE


def _number(token: str) -> int:
    if token.isascii() and token.removeprefix("-").isdecimal() and len(token) < 19:
        return int(token)
    raise PageTokenInvalid(f"page token {token[:80]!r} is none of ours")


def _period(tick_us: int, by: str, span: Span) -> Span:
    """The calendar month or day (UTC) of a tick, or the whole span."""
    if by not in ("month", "day"):
        return span
    at = from_us(tick_us)
    if by == "day":
        start = at.replace(hour=0, minute=0, second=0, microsecond=0)
        return Span(to_us(start), to_us(start + timedelta(days=1)))
    start = datetime(at.year, at.month, 1, tzinfo=UTC)
    return Span(to_us(start), to_us((start + timedelta(days=32)).replace(day=1)))
