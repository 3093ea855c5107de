"""What is really happening: episodes, windows, realised quality, verdicts, single predictions. Asks the monitor."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from gyrostat.events.v1 import events_pb2
from gyrostat.monitor.v1 import monitor_pb2
from gyrostat_client.blocking import Blocking, blocking
from gyrostat_client.calls import Endpoint, pages
from gyrostat_common.errors import InvalidInput
from gyrostat_common.times import to_proto


class AsyncEpisodes:
    """Stretches of event time in which something changed."""

    def __init__(self, monitor: Endpoint) -> None:
        self._monitor = monitor

    async def list(
        self, model: str = "", *, open_only: bool = False, kind: str = "", limit: int | None = 100
    ) -> Sequence[monitor_pb2.Episode]:
        """Episodes, newest first; `kind` is "data", "prediction", "performance", "data_quality", …"""
        number = _kind(kind)
        return await pages(
            lambda size, token: self._monitor.unary(
                "ListEpisodes",
                monitor_pb2.ListEpisodesRequest(
                    model=model, open_only=open_only, page_size=size, page_token=token, kind=number
                ),
                monitor_pb2.ListEpisodesResponse,
            ),
            lambda page: page.episodes,
            limit,
        )

    async def get(self, episode_id: str) -> monitor_pb2.Episode:
        """One episode with its history."""
        request = monitor_pb2.GetEpisodeRequest(id=episode_id)
        return (await self._monitor.unary("GetEpisode", request, monitor_pb2.GetEpisodeResponse)).episode


class AsyncQuality:
    """Realised quality and everything known of predictions."""

    def __init__(self, monitor: Endpoint) -> None:
        self._monitor = monitor

    async def get(
        self,
        model: str,
        *,
        start: datetime | None = None,
        end: datetime | None = None,
        by: str = "",
        live: bool = False,
    ) -> Sequence[monitor_pb2.Quality]:
        """Quality per version and role in event time, whole or by "day" or "month"; `live` adds version 0."""
        request = monitor_pb2.GetQualityRequest(model=model, by=by, live=live, to=to_proto(end))
        _set_from(request, start)
        reply = await self._monitor.unary("GetQuality", request, monitor_pb2.GetQualityResponse, timeout_s=60)
        return list(reply.rows)

    async def windows(
        self,
        model: str,
        *,
        version: int = 0,
        start: datetime | None = None,
        end: datetime | None = None,
        limit: int | None = 100,
    ) -> Sequence[monitor_pb2.WindowReport]:
        """Reports of event-time windows."""

        def request(size: int, token: str) -> monitor_pb2.ListWindowsRequest:
            made = monitor_pb2.ListWindowsRequest(
                model=model, version=version, to=to_proto(end), page_size=size, page_token=token
            )
            _set_from(made, start)
            return made

        return await pages(
            lambda size, token: self._monitor.unary(
                "ListWindows", request(size, token), monitor_pb2.ListWindowsResponse
            ),
            lambda page: page.windows,
            limit,
        )

    async def judgements(
        self, model: str = "", *, rollout_id: str = "", limit: int | None = 100
    ) -> Sequence[monitor_pb2.Judgement]:
        """Verdicts on roll-outs, newest first."""
        return await pages(
            lambda size, token: self._monitor.unary(
                "ListJudgements",
                monitor_pb2.ListJudgementsRequest(model=model, rollout_id=rollout_id, page_size=size, page_token=token),
                monitor_pb2.ListJudgementsResponse,
            ),
            lambda page: page.judgements,
            limit,
        )

    async def prediction(self, prediction_id: str, *, model: str = "") -> monitor_pb2.GetPredictionResponse:
        """Every version's answer to a prediction, its outcomes, and where it lies in the log."""
        request = monitor_pb2.GetPredictionRequest(id=prediction_id, model=model)
        return await self._monitor.unary("GetPrediction", request, monitor_pb2.GetPredictionResponse, timeout_s=60)

    async def status(self, model: str = "") -> monitor_pb2.GetMonitorStatusResponse:
        """Watermarks, lag, what was archived, parked, expired."""
        request = monitor_pb2.GetMonitorStatusRequest(model=model)
        return await self._monitor.unary("GetMonitorStatus", request, monitor_pb2.GetMonitorStatusResponse)


def _kind(word: str) -> Any:
    """The number of a kind's word; InvalidInput when it is none."""
    if not word:
        return events_pb2.DRIFT_KIND_UNSPECIFIED
    try:
        return events_pb2.DriftKind.Value(f"DRIFT_KIND_{word.upper()}")
    except ValueError:
        words = [name.removeprefix("DRIFT_KIND_").lower() for name in list(events_pb2.DriftKind.keys())[1:]]
        raise InvalidInput(f"{word!r} is no kind of episode; there are {', '.join(words)}") from None


class Episodes(Blocking):
    """AsyncEpisodes without `await`."""

    list = blocking(AsyncEpisodes.list)
    get = blocking(AsyncEpisodes.get)


class QualityReports(Blocking):
    """AsyncQuality without `await`."""

    get = blocking(AsyncQuality.get)
    windows = blocking(AsyncQuality.windows)
    judgements = blocking(AsyncQuality.judgements)
    prediction = blocking(AsyncQuality.prediction)
    status = blocking(AsyncQuality.status)


def _set_from(request: monitor_pb2.GetQualityRequest | monitor_pb2.ListWindowsRequest, start: datetime | None) -> None:
    """Sets the field named `from`, which is a keyword of Python."""
    if (stamp := to_proto(start)) is not None:
        getattr(request, "from").CopyFrom(stamp)
