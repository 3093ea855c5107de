import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from gyrostat.events.v1 import events_pb2 as _events_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Outcome(_message.Message):
    __slots__ = ("model", "prediction", "value", "observed_at", "recorded_at", "source", "weight")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    PREDICTION_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    OBSERVED_AT_FIELD_NUMBER: _ClassVar[int]
    RECORDED_AT_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    WEIGHT_FIELD_NUMBER: _ClassVar[int]
    model: str
    prediction: _events_pb2.PredictionRef
    value: float
    observed_at: _timestamp_pb2.Timestamp
    recorded_at: _timestamp_pb2.Timestamp
    source: str
    weight: float
    def __init__(self, model: _Optional[str] = ..., prediction: _Optional[_Union[_events_pb2.PredictionRef, _Mapping]] = ..., value: _Optional[float] = ..., observed_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., recorded_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., source: _Optional[str] = ..., weight: _Optional[float] = ...) -> None: ...

class RecordOutcomesRequest(_message.Message):
    __slots__ = ("request_id", "outcomes")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    OUTCOMES_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    outcomes: _containers.RepeatedCompositeFieldContainer[Outcome]
    def __init__(self, request_id: _Optional[str] = ..., outcomes: _Optional[_Iterable[_Union[Outcome, _Mapping]]] = ...) -> None: ...

class RecordOutcomesResponse(_message.Message):
    __slots__ = ("accepted", "event_ids")
    ACCEPTED_FIELD_NUMBER: _ClassVar[int]
    EVENT_IDS_FIELD_NUMBER: _ClassVar[int]
    accepted: int
    event_ids: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, accepted: _Optional[int] = ..., event_ids: _Optional[_Iterable[str]] = ...) -> None: ...

class WindowStatistic(_message.Message):
    __slots__ = ("scalar", "statistic", "value", "p_adjusted", "significant")
    SCALAR_FIELD_NUMBER: _ClassVar[int]
    STATISTIC_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    P_ADJUSTED_FIELD_NUMBER: _ClassVar[int]
    SIGNIFICANT_FIELD_NUMBER: _ClassVar[int]
    scalar: str
    statistic: str
    value: float
    p_adjusted: float
    significant: bool
    def __init__(self, scalar: _Optional[str] = ..., statistic: _Optional[str] = ..., value: _Optional[float] = ..., p_adjusted: _Optional[float] = ..., significant: _Optional[bool] = ...) -> None: ...

class WindowReport(_message.Message):
    __slots__ = ("model", "version", "window", "revision", "closed", "statistics", "outcomes", "quality", "role")
    class QualityEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    MODEL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    WINDOW_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    CLOSED_FIELD_NUMBER: _ClassVar[int]
    STATISTICS_FIELD_NUMBER: _ClassVar[int]
    OUTCOMES_FIELD_NUMBER: _ClassVar[int]
    QUALITY_FIELD_NUMBER: _ClassVar[int]
    ROLE_FIELD_NUMBER: _ClassVar[int]
    model: str
    version: int
    window: _events_pb2.Window
    revision: int
    closed: bool
    statistics: _containers.RepeatedCompositeFieldContainer[WindowStatistic]
    outcomes: int
    quality: _containers.ScalarMap[str, float]
    role: _events_pb2.Role
    def __init__(self, model: _Optional[str] = ..., version: _Optional[int] = ..., window: _Optional[_Union[_events_pb2.Window, _Mapping]] = ..., revision: _Optional[int] = ..., closed: _Optional[bool] = ..., statistics: _Optional[_Iterable[_Union[WindowStatistic, _Mapping]]] = ..., outcomes: _Optional[int] = ..., quality: _Optional[_Mapping[str, float]] = ..., role: _Optional[_Union[_events_pb2.Role, str]] = ...) -> None: ...

class ListWindowsRequest(_message.Message):
    __slots__ = ("model", "version", "to", "page_size", "page_token")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    FROM_FIELD_NUMBER: _ClassVar[int]
    TO_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    model: str
    version: int
    to: _timestamp_pb2.Timestamp
    page_size: int
    page_token: str
    def __init__(self, model: _Optional[str] = ..., version: _Optional[int] = ..., to: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ..., **kwargs) -> None: ...

class ListWindowsResponse(_message.Message):
    __slots__ = ("windows", "next_page_token")
    WINDOWS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    windows: _containers.RepeatedCompositeFieldContainer[WindowReport]
    next_page_token: str
    def __init__(self, windows: _Optional[_Iterable[_Union[WindowReport, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class Episode(_message.Message):
    __slots__ = ("latest", "transitions")
    class Transition(_message.Message):
        __slots__ = ("state", "watermark", "at", "summary", "event_id", "told")
        STATE_FIELD_NUMBER: _ClassVar[int]
        WATERMARK_FIELD_NUMBER: _ClassVar[int]
        AT_FIELD_NUMBER: _ClassVar[int]
        SUMMARY_FIELD_NUMBER: _ClassVar[int]
        EVENT_ID_FIELD_NUMBER: _ClassVar[int]
        TOLD_FIELD_NUMBER: _ClassVar[int]
        state: _events_pb2.EpisodeState
        watermark: _timestamp_pb2.Timestamp
        at: _timestamp_pb2.Timestamp
        summary: str
        event_id: str
        told: _events_pb2.DriftDetected
        def __init__(self, state: _Optional[_Union[_events_pb2.EpisodeState, str]] = ..., watermark: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., summary: _Optional[str] = ..., event_id: _Optional[str] = ..., told: _Optional[_Union[_events_pb2.DriftDetected, _Mapping]] = ...) -> None: ...
    LATEST_FIELD_NUMBER: _ClassVar[int]
    TRANSITIONS_FIELD_NUMBER: _ClassVar[int]
    latest: _events_pb2.DriftDetected
    transitions: _containers.RepeatedCompositeFieldContainer[Episode.Transition]
    def __init__(self, latest: _Optional[_Union[_events_pb2.DriftDetected, _Mapping]] = ..., transitions: _Optional[_Iterable[_Union[Episode.Transition, _Mapping]]] = ...) -> None: ...

class ListEpisodesRequest(_message.Message):
    __slots__ = ("model", "open_only", "page_size", "page_token", "kind")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    OPEN_ONLY_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    model: str
    open_only: bool
    page_size: int
    page_token: str
    kind: _events_pb2.DriftKind
    def __init__(self, model: _Optional[str] = ..., open_only: _Optional[bool] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ..., kind: _Optional[_Union[_events_pb2.DriftKind, str]] = ...) -> None: ...

class ListEpisodesResponse(_message.Message):
    __slots__ = ("episodes", "next_page_token")
    EPISODES_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    episodes: _containers.RepeatedCompositeFieldContainer[Episode]
    next_page_token: str
    def __init__(self, episodes: _Optional[_Iterable[_Union[Episode, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class GetEpisodeRequest(_message.Message):
    __slots__ = ("id",)
    ID_FIELD_NUMBER: _ClassVar[int]
    id: str
    def __init__(self, id: _Optional[str] = ...) -> None: ...

class GetEpisodeResponse(_message.Message):
    __slots__ = ("episode",)
    EPISODE_FIELD_NUMBER: _ClassVar[int]
    episode: Episode
    def __init__(self, episode: _Optional[_Union[Episode, _Mapping]] = ...) -> None: ...

class Quality(_message.Message):
    __slots__ = ("version", "role", "to", "predictions", "outcomes", "coverage", "metrics")
    class MetricsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    VERSION_FIELD_NUMBER: _ClassVar[int]
    ROLE_FIELD_NUMBER: _ClassVar[int]
    FROM_FIELD_NUMBER: _ClassVar[int]
    TO_FIELD_NUMBER: _ClassVar[int]
    PREDICTIONS_FIELD_NUMBER: _ClassVar[int]
    OUTCOMES_FIELD_NUMBER: _ClassVar[int]
    COVERAGE_FIELD_NUMBER: _ClassVar[int]
    METRICS_FIELD_NUMBER: _ClassVar[int]
    version: int
    role: _events_pb2.Role
    to: _timestamp_pb2.Timestamp
    predictions: int
    outcomes: int
    coverage: float
    metrics: _containers.ScalarMap[str, float]
    def __init__(self, version: _Optional[int] = ..., role: _Optional[_Union[_events_pb2.Role, str]] = ..., to: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., predictions: _Optional[int] = ..., outcomes: _Optional[int] = ..., coverage: _Optional[float] = ..., metrics: _Optional[_Mapping[str, float]] = ..., **kwargs) -> None: ...

class GetQualityRequest(_message.Message):
    __slots__ = ("model", "to", "by", "live")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    FROM_FIELD_NUMBER: _ClassVar[int]
    TO_FIELD_NUMBER: _ClassVar[int]
    BY_FIELD_NUMBER: _ClassVar[int]
    LIVE_FIELD_NUMBER: _ClassVar[int]
    model: str
    to: _timestamp_pb2.Timestamp
    by: str
    live: bool
    def __init__(self, model: _Optional[str] = ..., to: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., by: _Optional[str] = ..., live: _Optional[bool] = ..., **kwargs) -> None: ...

class GetQualityResponse(_message.Message):
    __slots__ = ("rows",)
    ROWS_FIELD_NUMBER: _ClassVar[int]
    rows: _containers.RepeatedCompositeFieldContainer[Quality]
    def __init__(self, rows: _Optional[_Iterable[_Union[Quality, _Mapping]]] = ...) -> None: ...

class ArchivedAnswer(_message.Message):
    __slots__ = ("version", "role", "variant", "plan_revision", "event_time", "arrival_time", "inputs_json", "outputs_json", "stream", "frame_no", "rollout_id", "traceparent", "delta_version", "repeated")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    ROLE_FIELD_NUMBER: _ClassVar[int]
    VARIANT_FIELD_NUMBER: _ClassVar[int]
    PLAN_REVISION_FIELD_NUMBER: _ClassVar[int]
    EVENT_TIME_FIELD_NUMBER: _ClassVar[int]
    ARRIVAL_TIME_FIELD_NUMBER: _ClassVar[int]
    INPUTS_JSON_FIELD_NUMBER: _ClassVar[int]
    OUTPUTS_JSON_FIELD_NUMBER: _ClassVar[int]
    STREAM_FIELD_NUMBER: _ClassVar[int]
    FRAME_NO_FIELD_NUMBER: _ClassVar[int]
    ROLLOUT_ID_FIELD_NUMBER: _ClassVar[int]
    TRACEPARENT_FIELD_NUMBER: _ClassVar[int]
    DELTA_VERSION_FIELD_NUMBER: _ClassVar[int]
    REPEATED_FIELD_NUMBER: _ClassVar[int]
    version: int
    role: _events_pb2.Role
    variant: str
    plan_revision: int
    event_time: _timestamp_pb2.Timestamp
    arrival_time: _timestamp_pb2.Timestamp
    inputs_json: str
    outputs_json: str
    stream: str
    frame_no: int
    rollout_id: str
    traceparent: str
    delta_version: int
    repeated: bool
    def __init__(self, version: _Optional[int] = ..., role: _Optional[_Union[_events_pb2.Role, str]] = ..., variant: _Optional[str] = ..., plan_revision: _Optional[int] = ..., event_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., arrival_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., inputs_json: _Optional[str] = ..., outputs_json: _Optional[str] = ..., stream: _Optional[str] = ..., frame_no: _Optional[int] = ..., rollout_id: _Optional[str] = ..., traceparent: _Optional[str] = ..., delta_version: _Optional[int] = ..., repeated: _Optional[bool] = ...) -> None: ...

class JoinedOutcome(_message.Message):
    __slots__ = ("value", "observed_at", "recorded_at", "ingested_at", "source", "event_id", "winner")
    VALUE_FIELD_NUMBER: _ClassVar[int]
    OBSERVED_AT_FIELD_NUMBER: _ClassVar[int]
    RECORDED_AT_FIELD_NUMBER: _ClassVar[int]
    INGESTED_AT_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    EVENT_ID_FIELD_NUMBER: _ClassVar[int]
    WINNER_FIELD_NUMBER: _ClassVar[int]
    value: float
    observed_at: _timestamp_pb2.Timestamp
    recorded_at: _timestamp_pb2.Timestamp
    ingested_at: _timestamp_pb2.Timestamp
    source: str
    event_id: str
    winner: bool
    def __init__(self, value: _Optional[float] = ..., observed_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., recorded_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., ingested_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., source: _Optional[str] = ..., event_id: _Optional[str] = ..., winner: _Optional[bool] = ...) -> None: ...

class GetPredictionRequest(_message.Message):
    __slots__ = ("id", "model")
    ID_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    id: str
    model: str
    def __init__(self, id: _Optional[str] = ..., model: _Optional[str] = ...) -> None: ...

class GetPredictionResponse(_message.Message):
    __slots__ = ("id", "model", "answers", "outcomes", "episode_ids")
    ID_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    ANSWERS_FIELD_NUMBER: _ClassVar[int]
    OUTCOMES_FIELD_NUMBER: _ClassVar[int]
    EPISODE_IDS_FIELD_NUMBER: _ClassVar[int]
    id: str
    model: str
    answers: _containers.RepeatedCompositeFieldContainer[ArchivedAnswer]
    outcomes: _containers.RepeatedCompositeFieldContainer[JoinedOutcome]
    episode_ids: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, id: _Optional[str] = ..., model: _Optional[str] = ..., answers: _Optional[_Iterable[_Union[ArchivedAnswer, _Mapping]]] = ..., outcomes: _Optional[_Iterable[_Union[JoinedOutcome, _Mapping]]] = ..., episode_ids: _Optional[_Iterable[str]] = ...) -> None: ...

class ListJudgementsRequest(_message.Message):
    __slots__ = ("model", "rollout_id", "page_size", "page_token")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    ROLLOUT_ID_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    model: str
    rollout_id: str
    page_size: int
    page_token: str
    def __init__(self, model: _Optional[str] = ..., rollout_id: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class Judgement(_message.Message):
    __slots__ = ("judged", "at", "event_id")
    JUDGED_FIELD_NUMBER: _ClassVar[int]
    AT_FIELD_NUMBER: _ClassVar[int]
    EVENT_ID_FIELD_NUMBER: _ClassVar[int]
    judged: _events_pb2.CanaryJudged
    at: _timestamp_pb2.Timestamp
    event_id: str
    def __init__(self, judged: _Optional[_Union[_events_pb2.CanaryJudged, _Mapping]] = ..., at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., event_id: _Optional[str] = ...) -> None: ...

class ListJudgementsResponse(_message.Message):
    __slots__ = ("judgements", "next_page_token")
    JUDGEMENTS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    judgements: _containers.RepeatedCompositeFieldContainer[Judgement]
    next_page_token: str
    def __init__(self, judgements: _Optional[_Iterable[_Union[Judgement, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class GetMonitorStatusRequest(_message.Message):
    __slots__ = ("model",)
    MODEL_FIELD_NUMBER: _ClassVar[int]
    model: str
    def __init__(self, model: _Optional[str] = ...) -> None: ...

class ModelStatus(_message.Message):
    __slots__ = ("model", "watermark", "archived_rows", "duplicate_frames", "outcomes_received", "outcomes_joined", "outcomes_parked", "outcomes_expired", "outcomes_duplicate", "label_coverage", "label_lag_s", "state", "open_episodes", "repeated_rows")
    class ArchivedRowsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    MODEL_FIELD_NUMBER: _ClassVar[int]
    WATERMARK_FIELD_NUMBER: _ClassVar[int]
    ARCHIVED_ROWS_FIELD_NUMBER: _ClassVar[int]
    DUPLICATE_FRAMES_FIELD_NUMBER: _ClassVar[int]
    OUTCOMES_RECEIVED_FIELD_NUMBER: _ClassVar[int]
    OUTCOMES_JOINED_FIELD_NUMBER: _ClassVar[int]
    OUTCOMES_PARKED_FIELD_NUMBER: _ClassVar[int]
    OUTCOMES_EXPIRED_FIELD_NUMBER: _ClassVar[int]
    OUTCOMES_DUPLICATE_FIELD_NUMBER: _ClassVar[int]
    LABEL_COVERAGE_FIELD_NUMBER: _ClassVar[int]
    LABEL_LAG_S_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    OPEN_EPISODES_FIELD_NUMBER: _ClassVar[int]
    REPEATED_ROWS_FIELD_NUMBER: _ClassVar[int]
    model: str
    watermark: _timestamp_pb2.Timestamp
    archived_rows: _containers.ScalarMap[str, int]
    duplicate_frames: int
    outcomes_received: int
    outcomes_joined: int
    outcomes_parked: int
    outcomes_expired: int
    outcomes_duplicate: int
    label_coverage: float
    label_lag_s: float
    state: str
    open_episodes: _containers.RepeatedScalarFieldContainer[str]
    repeated_rows: int
    def __init__(self, model: _Optional[str] = ..., watermark: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., archived_rows: _Optional[_Mapping[str, int]] = ..., duplicate_frames: _Optional[int] = ..., outcomes_received: _Optional[int] = ..., outcomes_joined: _Optional[int] = ..., outcomes_parked: _Optional[int] = ..., outcomes_expired: _Optional[int] = ..., outcomes_duplicate: _Optional[int] = ..., label_coverage: _Optional[float] = ..., label_lag_s: _Optional[float] = ..., state: _Optional[str] = ..., open_episodes: _Optional[_Iterable[str]] = ..., repeated_rows: _Optional[int] = ...) -> None: ...

class GetMonitorStatusResponse(_message.Message):
    __slots__ = ("models", "lag_records", "archive_uri", "alerts")
    class LagRecordsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    MODELS_FIELD_NUMBER: _ClassVar[int]
    LAG_RECORDS_FIELD_NUMBER: _ClassVar[int]
    ARCHIVE_URI_FIELD_NUMBER: _ClassVar[int]
    ALERTS_FIELD_NUMBER: _ClassVar[int]
    models: _containers.RepeatedCompositeFieldContainer[ModelStatus]
    lag_records: _containers.ScalarMap[str, int]
    archive_uri: str
    alerts: _containers.RepeatedCompositeFieldContainer[FiringAlert]
    def __init__(self, models: _Optional[_Iterable[_Union[ModelStatus, _Mapping]]] = ..., lag_records: _Optional[_Mapping[str, int]] = ..., archive_uri: _Optional[str] = ..., alerts: _Optional[_Iterable[_Union[FiringAlert, _Mapping]]] = ...) -> None: ...

class FiringAlert(_message.Message):
    __slots__ = ("alert_id", "summary", "severity", "owner", "since")
    ALERT_ID_FIELD_NUMBER: _ClassVar[int]
    SUMMARY_FIELD_NUMBER: _ClassVar[int]
    SEVERITY_FIELD_NUMBER: _ClassVar[int]
    OWNER_FIELD_NUMBER: _ClassVar[int]
    SINCE_FIELD_NUMBER: _ClassVar[int]
    alert_id: str
    summary: str
    severity: str
    owner: str
    since: _timestamp_pb2.Timestamp
    def __init__(self, alert_id: _Optional[str] = ..., summary: _Optional[str] = ..., severity: _Optional[str] = ..., owner: _Optional[str] = ..., since: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...
