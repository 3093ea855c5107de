import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from gyrostat.events.v1 import options_pb2 as _options_pb2
from gyrostat.registry.v1 import model_pb2 as _model_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Role(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ROLE_UNSPECIFIED: _ClassVar[Role]
    ROLE_ANSWER: _ClassVar[Role]
    ROLE_SHADOW: _ClassVar[Role]

class DriftKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    DRIFT_KIND_UNSPECIFIED: _ClassVar[DriftKind]
    DRIFT_KIND_DATA: _ClassVar[DriftKind]
    DRIFT_KIND_PREDICTION: _ClassVar[DriftKind]
    DRIFT_KIND_CONCEPT: _ClassVar[DriftKind]
    DRIFT_KIND_PERFORMANCE: _ClassVar[DriftKind]
    DRIFT_KIND_DATA_QUALITY: _ClassVar[DriftKind]
    DRIFT_KIND_FAIRNESS: _ClassVar[DriftKind]

class EpisodeState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    EPISODE_STATE_UNSPECIFIED: _ClassVar[EpisodeState]
    EPISODE_STATE_OPENED: _ClassVar[EpisodeState]
    EPISODE_STATE_CONFIRMED: _ClassVar[EpisodeState]
    EPISODE_STATE_RESOLVED: _ClassVar[EpisodeState]
    EPISODE_STATE_SUPERSEDED: _ClassVar[EpisodeState]

class Verdict(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    VERDICT_UNSPECIFIED: _ClassVar[Verdict]
    VERDICT_CONTINUE: _ClassVar[Verdict]
    VERDICT_ADVANCE: _ClassVar[Verdict]
    VERDICT_ROLL_BACK: _ClassVar[Verdict]

class Change(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    CHANGE_UNSPECIFIED: _ClassVar[Change]
    CHANGE_PROMOTED: _ClassVar[Change]
    CHANGE_ROLLED_BACK: _ClassVar[Change]
    CHANGE_RETIRED: _ClassVar[Change]

class RolloutPhase(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ROLLOUT_PHASE_UNSPECIFIED: _ClassVar[RolloutPhase]
    ROLLOUT_PHASE_SHADOW: _ClassVar[RolloutPhase]
    ROLLOUT_PHASE_CANARY: _ClassVar[RolloutPhase]
    ROLLOUT_PHASE_GUARD: _ClassVar[RolloutPhase]
ROLE_UNSPECIFIED: Role
ROLE_ANSWER: Role
ROLE_SHADOW: Role
DRIFT_KIND_UNSPECIFIED: DriftKind
DRIFT_KIND_DATA: DriftKind
DRIFT_KIND_PREDICTION: DriftKind
DRIFT_KIND_CONCEPT: DriftKind
DRIFT_KIND_PERFORMANCE: DriftKind
DRIFT_KIND_DATA_QUALITY: DriftKind
DRIFT_KIND_FAIRNESS: DriftKind
EPISODE_STATE_UNSPECIFIED: EpisodeState
EPISODE_STATE_OPENED: EpisodeState
EPISODE_STATE_CONFIRMED: EpisodeState
EPISODE_STATE_RESOLVED: EpisodeState
EPISODE_STATE_SUPERSEDED: EpisodeState
VERDICT_UNSPECIFIED: Verdict
VERDICT_CONTINUE: Verdict
VERDICT_ADVANCE: Verdict
VERDICT_ROLL_BACK: Verdict
CHANGE_UNSPECIFIED: Change
CHANGE_PROMOTED: Change
CHANGE_ROLLED_BACK: Change
CHANGE_RETIRED: Change
ROLLOUT_PHASE_UNSPECIFIED: RolloutPhase
ROLLOUT_PHASE_SHADOW: RolloutPhase
ROLLOUT_PHASE_CANARY: RolloutPhase
ROLLOUT_PHASE_GUARD: RolloutPhase

class Column(_message.Message):
    __slots__ = ("name", "datatype", "shape", "values", "validity", "sensitivity", "by_digest")
    NAME_FIELD_NUMBER: _ClassVar[int]
    DATATYPE_FIELD_NUMBER: _ClassVar[int]
    SHAPE_FIELD_NUMBER: _ClassVar[int]
    VALUES_FIELD_NUMBER: _ClassVar[int]
    VALIDITY_FIELD_NUMBER: _ClassVar[int]
    SENSITIVITY_FIELD_NUMBER: _ClassVar[int]
    BY_DIGEST_FIELD_NUMBER: _ClassVar[int]
    name: str
    datatype: str
    shape: _containers.RepeatedScalarFieldContainer[int]
    values: bytes
    validity: bytes
    sensitivity: _model_pb2.Sensitivity
    by_digest: bool
    def __init__(self, name: _Optional[str] = ..., datatype: _Optional[str] = ..., shape: _Optional[_Iterable[int]] = ..., values: _Optional[bytes] = ..., validity: _Optional[bytes] = ..., sensitivity: _Optional[_Union[_model_pb2.Sensitivity, str]] = ..., by_digest: _Optional[bool] = ...) -> None: ...

class RowTrace(_message.Message):
    __slots__ = ("row", "traceparent")
    ROW_FIELD_NUMBER: _ClassVar[int]
    TRACEPARENT_FIELD_NUMBER: _ClassVar[int]
    row: int
    traceparent: str
    def __init__(self, row: _Optional[int] = ..., traceparent: _Optional[str] = ...) -> None: ...

class PredictionLogged(_message.Message):
    __slots__ = ("stream", "frame_no", "first_sequence", "last_sequence", "environment", "model", "version", "role", "variant", "plan_revision", "rollout_id", "rows", "prediction_ids", "row_numbers", "request_ids", "entities", "event_times_us", "arrival_times_us", "latencies_us", "future_event_times", "inputs", "outputs", "traces", "replica", "books")
    STREAM_FIELD_NUMBER: _ClassVar[int]
    FRAME_NO_FIELD_NUMBER: _ClassVar[int]
    FIRST_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    LAST_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    ENVIRONMENT_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    ROLE_FIELD_NUMBER: _ClassVar[int]
    VARIANT_FIELD_NUMBER: _ClassVar[int]
    PLAN_REVISION_FIELD_NUMBER: _ClassVar[int]
    ROLLOUT_ID_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    PREDICTION_IDS_FIELD_NUMBER: _ClassVar[int]
    ROW_NUMBERS_FIELD_NUMBER: _ClassVar[int]
    REQUEST_IDS_FIELD_NUMBER: _ClassVar[int]
    ENTITIES_FIELD_NUMBER: _ClassVar[int]
    EVENT_TIMES_US_FIELD_NUMBER: _ClassVar[int]
    ARRIVAL_TIMES_US_FIELD_NUMBER: _ClassVar[int]
    LATENCIES_US_FIELD_NUMBER: _ClassVar[int]
    FUTURE_EVENT_TIMES_FIELD_NUMBER: _ClassVar[int]
    INPUTS_FIELD_NUMBER: _ClassVar[int]
    OUTPUTS_FIELD_NUMBER: _ClassVar[int]
    TRACES_FIELD_NUMBER: _ClassVar[int]
    REPLICA_FIELD_NUMBER: _ClassVar[int]
    BOOKS_FIELD_NUMBER: _ClassVar[int]
    stream: str
    frame_no: int
    first_sequence: int
    last_sequence: int
    environment: str
    model: str
    version: int
    role: Role
    variant: str
    plan_revision: int
    rollout_id: str
    rows: int
    prediction_ids: bytes
    row_numbers: bytes
    request_ids: _containers.RepeatedScalarFieldContainer[str]
    entities: _containers.RepeatedScalarFieldContainer[str]
    event_times_us: bytes
    arrival_times_us: bytes
    latencies_us: bytes
    future_event_times: bytes
    inputs: _containers.RepeatedCompositeFieldContainer[Column]
    outputs: _containers.RepeatedCompositeFieldContainer[Column]
    traces: _containers.RepeatedCompositeFieldContainer[RowTrace]
    replica: str
    books: SpoolBooks
    def __init__(self, stream: _Optional[str] = ..., frame_no: _Optional[int] = ..., first_sequence: _Optional[int] = ..., last_sequence: _Optional[int] = ..., environment: _Optional[str] = ..., model: _Optional[str] = ..., version: _Optional[int] = ..., role: _Optional[_Union[Role, str]] = ..., variant: _Optional[str] = ..., plan_revision: _Optional[int] = ..., rollout_id: _Optional[str] = ..., rows: _Optional[int] = ..., prediction_ids: _Optional[bytes] = ..., row_numbers: _Optional[bytes] = ..., request_ids: _Optional[_Iterable[str]] = ..., entities: _Optional[_Iterable[str]] = ..., event_times_us: _Optional[bytes] = ..., arrival_times_us: _Optional[bytes] = ..., latencies_us: _Optional[bytes] = ..., future_event_times: _Optional[bytes] = ..., inputs: _Optional[_Iterable[_Union[Column, _Mapping]]] = ..., outputs: _Optional[_Iterable[_Union[Column, _Mapping]]] = ..., traces: _Optional[_Iterable[_Union[RowTrace, _Mapping]]] = ..., replica: _Optional[str] = ..., books: _Optional[_Union[SpoolBooks, _Mapping]] = ...) -> None: ...

class SpoolBooks(_message.Message):
    __slots__ = ("spool_id", "accepted", "logged", "sampled_out", "waiting", "dropped")
    class DroppedEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    SPOOL_ID_FIELD_NUMBER: _ClassVar[int]
    ACCEPTED_FIELD_NUMBER: _ClassVar[int]
    LOGGED_FIELD_NUMBER: _ClassVar[int]
    SAMPLED_OUT_FIELD_NUMBER: _ClassVar[int]
    WAITING_FIELD_NUMBER: _ClassVar[int]
    DROPPED_FIELD_NUMBER: _ClassVar[int]
    spool_id: str
    accepted: int
    logged: int
    sampled_out: int
    waiting: int
    dropped: _containers.ScalarMap[str, int]
    def __init__(self, spool_id: _Optional[str] = ..., accepted: _Optional[int] = ..., logged: _Optional[int] = ..., sampled_out: _Optional[int] = ..., waiting: _Optional[int] = ..., dropped: _Optional[_Mapping[str, int]] = ...) -> None: ...

class PredictionRef(_message.Message):
    __slots__ = ("prediction_id", "request", "entity")
    class ByRequest(_message.Message):
        __slots__ = ("request_id", "row")
        REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
        ROW_FIELD_NUMBER: _ClassVar[int]
        request_id: str
        row: int
        def __init__(self, request_id: _Optional[str] = ..., row: _Optional[int] = ...) -> None: ...
    class ByEntity(_message.Message):
        __slots__ = ("entity", "at")
        ENTITY_FIELD_NUMBER: _ClassVar[int]
        AT_FIELD_NUMBER: _ClassVar[int]
        entity: str
        at: _timestamp_pb2.Timestamp
        def __init__(self, entity: _Optional[str] = ..., at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...
    PREDICTION_ID_FIELD_NUMBER: _ClassVar[int]
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    ENTITY_FIELD_NUMBER: _ClassVar[int]
    prediction_id: str
    request: PredictionRef.ByRequest
    entity: PredictionRef.ByEntity
    def __init__(self, prediction_id: _Optional[str] = ..., request: _Optional[_Union[PredictionRef.ByRequest, _Mapping]] = ..., entity: _Optional[_Union[PredictionRef.ByEntity, _Mapping]] = ...) -> None: ...

class OutcomeRecorded(_message.Message):
    __slots__ = ("model", "prediction", "value", "observed_at", "recorded_at", "source", "weight")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    PREDICTION_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    OBSERVED_AT_FIELD_NUMBER: _ClassVar[int]
    RECORDED_AT_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    WEIGHT_FIELD_NUMBER: _ClassVar[int]
    model: str
    prediction: PredictionRef
    value: float
    observed_at: _timestamp_pb2.Timestamp
    recorded_at: _timestamp_pb2.Timestamp
    source: str
    weight: float
    def __init__(self, model: _Optional[str] = ..., prediction: _Optional[_Union[PredictionRef, _Mapping]] = ..., value: _Optional[float] = ..., observed_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., recorded_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., source: _Optional[str] = ..., weight: _Optional[float] = ...) -> None: ...

class FeatureEvidence(_message.Message):
    __slots__ = ("feature", "statistic", "value", "p_adjusted", "reference", "current", "text")
    FEATURE_FIELD_NUMBER: _ClassVar[int]
    STATISTIC_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    P_ADJUSTED_FIELD_NUMBER: _ClassVar[int]
    REFERENCE_FIELD_NUMBER: _ClassVar[int]
    CURRENT_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    feature: str
    statistic: str
    value: float
    p_adjusted: float
    reference: float
    current: float
    text: str
    def __init__(self, feature: _Optional[str] = ..., statistic: _Optional[str] = ..., value: _Optional[float] = ..., p_adjusted: _Optional[float] = ..., reference: _Optional[float] = ..., current: _Optional[float] = ..., text: _Optional[str] = ...) -> None: ...

class Window(_message.Message):
    __slots__ = ("start", "end", "rows")
    START_FIELD_NUMBER: _ClassVar[int]
    END_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    start: _timestamp_pb2.Timestamp
    end: _timestamp_pb2.Timestamp
    rows: int
    def __init__(self, start: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., end: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., rows: _Optional[int] = ...) -> None: ...

class DriftDetected(_message.Message):
    __slots__ = ("episode_id", "environment", "model", "version", "kind", "state", "watermark", "started_at", "ended_at", "window", "severity", "severity_score", "effect", "features", "slice", "exemplars", "offsets", "summary")
    class OffsetsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    EPISODE_ID_FIELD_NUMBER: _ClassVar[int]
    ENVIRONMENT_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    WATERMARK_FIELD_NUMBER: _ClassVar[int]
    STARTED_AT_FIELD_NUMBER: _ClassVar[int]
    ENDED_AT_FIELD_NUMBER: _ClassVar[int]
    WINDOW_FIELD_NUMBER: _ClassVar[int]
    SEVERITY_FIELD_NUMBER: _ClassVar[int]
    SEVERITY_SCORE_FIELD_NUMBER: _ClassVar[int]
    EFFECT_FIELD_NUMBER: _ClassVar[int]
    FEATURES_FIELD_NUMBER: _ClassVar[int]
    SLICE_FIELD_NUMBER: _ClassVar[int]
    EXEMPLARS_FIELD_NUMBER: _ClassVar[int]
    OFFSETS_FIELD_NUMBER: _ClassVar[int]
    SUMMARY_FIELD_NUMBER: _ClassVar[int]
    episode_id: str
    environment: str
    model: str
    version: int
    kind: DriftKind
    state: EpisodeState
    watermark: _timestamp_pb2.Timestamp
    started_at: _timestamp_pb2.Timestamp
    ended_at: _timestamp_pb2.Timestamp
    window: Window
    severity: str
    severity_score: float
    effect: float
    features: _containers.RepeatedCompositeFieldContainer[FeatureEvidence]
    slice: str
    exemplars: _containers.RepeatedScalarFieldContainer[str]
    offsets: _containers.ScalarMap[str, int]
    summary: str
    def __init__(self, episode_id: _Optional[str] = ..., environment: _Optional[str] = ..., model: _Optional[str] = ..., version: _Optional[int] = ..., kind: _Optional[_Union[DriftKind, str]] = ..., state: _Optional[_Union[EpisodeState, str]] = ..., watermark: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., started_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., ended_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., window: _Optional[_Union[Window, _Mapping]] = ..., severity: _Optional[str] = ..., severity_score: _Optional[float] = ..., effect: _Optional[float] = ..., features: _Optional[_Iterable[_Union[FeatureEvidence, _Mapping]]] = ..., slice: _Optional[str] = ..., exemplars: _Optional[_Iterable[str]] = ..., offsets: _Optional[_Mapping[str, int]] = ..., summary: _Optional[str] = ...) -> None: ...

class TrainingFinished(_message.Message):
    __slots__ = ("run_id", "model", "causes", "status", "snapshot", "candidate_version", "gates", "error", "watermark")
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    CAUSES_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOT_FIELD_NUMBER: _ClassVar[int]
    CANDIDATE_VERSION_FIELD_NUMBER: _ClassVar[int]
    GATES_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    WATERMARK_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    model: str
    causes: _containers.RepeatedScalarFieldContainer[str]
    status: str
    snapshot: _model_pb2.DatasetSnapshot
    candidate_version: int
    gates: _containers.RepeatedCompositeFieldContainer[_model_pb2.GateResult]
    error: str
    watermark: _timestamp_pb2.Timestamp
    def __init__(self, run_id: _Optional[str] = ..., model: _Optional[str] = ..., causes: _Optional[_Iterable[str]] = ..., status: _Optional[str] = ..., snapshot: _Optional[_Union[_model_pb2.DatasetSnapshot, _Mapping]] = ..., candidate_version: _Optional[int] = ..., gates: _Optional[_Iterable[_Union[_model_pb2.GateResult, _Mapping]]] = ..., error: _Optional[str] = ..., watermark: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class GuardEvidence(_message.Message):
    __slots__ = ("guard", "numbers", "verdict", "text")
    class NumbersEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    GUARD_FIELD_NUMBER: _ClassVar[int]
    NUMBERS_FIELD_NUMBER: _ClassVar[int]
    VERDICT_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    guard: str
    numbers: _containers.ScalarMap[str, float]
    verdict: Verdict
    text: str
    def __init__(self, guard: _Optional[str] = ..., numbers: _Optional[_Mapping[str, float]] = ..., verdict: _Optional[_Union[Verdict, str]] = ..., text: _Optional[str] = ...) -> None: ...

class CanaryJudged(_message.Message):
    __slots__ = ("rollout_id", "environment", "model", "version", "baseline", "plan_revision", "verdict", "guards", "watermark", "paired_rows", "rows_needed", "summary", "answers")
    ROLLOUT_ID_FIELD_NUMBER: _ClassVar[int]
    ENVIRONMENT_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    BASELINE_FIELD_NUMBER: _ClassVar[int]
    PLAN_REVISION_FIELD_NUMBER: _ClassVar[int]
    VERDICT_FIELD_NUMBER: _ClassVar[int]
    GUARDS_FIELD_NUMBER: _ClassVar[int]
    WATERMARK_FIELD_NUMBER: _ClassVar[int]
    PAIRED_ROWS_FIELD_NUMBER: _ClassVar[int]
    ROWS_NEEDED_FIELD_NUMBER: _ClassVar[int]
    SUMMARY_FIELD_NUMBER: _ClassVar[int]
    ANSWERS_FIELD_NUMBER: _ClassVar[int]
    rollout_id: str
    environment: str
    model: str
    version: int
    baseline: int
    plan_revision: int
    verdict: Verdict
    guards: _containers.RepeatedCompositeFieldContainer[GuardEvidence]
    watermark: _timestamp_pb2.Timestamp
    paired_rows: int
    rows_needed: int
    summary: str
    answers: int
    def __init__(self, rollout_id: _Optional[str] = ..., environment: _Optional[str] = ..., model: _Optional[str] = ..., version: _Optional[int] = ..., baseline: _Optional[int] = ..., plan_revision: _Optional[int] = ..., verdict: _Optional[_Union[Verdict, str]] = ..., guards: _Optional[_Iterable[_Union[GuardEvidence, _Mapping]]] = ..., watermark: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., paired_rows: _Optional[int] = ..., rows_needed: _Optional[int] = ..., summary: _Optional[str] = ..., answers: _Optional[int] = ...) -> None: ...

class ModelPromoted(_message.Message):
    __slots__ = ("environment", "model", "change", "version_before", "version_after", "plan_revision", "rollout_id", "cause", "actor", "approvals", "evidence", "watermark")
    ENVIRONMENT_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    CHANGE_FIELD_NUMBER: _ClassVar[int]
    VERSION_BEFORE_FIELD_NUMBER: _ClassVar[int]
    VERSION_AFTER_FIELD_NUMBER: _ClassVar[int]
    PLAN_REVISION_FIELD_NUMBER: _ClassVar[int]
    ROLLOUT_ID_FIELD_NUMBER: _ClassVar[int]
    CAUSE_FIELD_NUMBER: _ClassVar[int]
    ACTOR_FIELD_NUMBER: _ClassVar[int]
    APPROVALS_FIELD_NUMBER: _ClassVar[int]
    EVIDENCE_FIELD_NUMBER: _ClassVar[int]
    WATERMARK_FIELD_NUMBER: _ClassVar[int]
    environment: str
    model: str
    change: Change
    version_before: int
    version_after: int
    plan_revision: int
    rollout_id: str
    cause: str
    actor: str
    approvals: _containers.RepeatedScalarFieldContainer[str]
    evidence: str
    watermark: _timestamp_pb2.Timestamp
    def __init__(self, environment: _Optional[str] = ..., model: _Optional[str] = ..., change: _Optional[_Union[Change, str]] = ..., version_before: _Optional[int] = ..., version_after: _Optional[int] = ..., plan_revision: _Optional[int] = ..., rollout_id: _Optional[str] = ..., cause: _Optional[str] = ..., actor: _Optional[str] = ..., approvals: _Optional[_Iterable[str]] = ..., evidence: _Optional[str] = ..., watermark: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class PlannedVersion(_message.Message):
    __slots__ = ("number", "artifact", "signature", "profile", "aliases", "warm_up")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    ARTIFACT_FIELD_NUMBER: _ClassVar[int]
    SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    PROFILE_FIELD_NUMBER: _ClassVar[int]
    ALIASES_FIELD_NUMBER: _ClassVar[int]
    WARM_UP_FIELD_NUMBER: _ClassVar[int]
    number: int
    artifact: _model_pb2.Artifact
    signature: _model_pb2.Signature
    profile: _model_pb2.Artifact
    aliases: _containers.RepeatedScalarFieldContainer[str]
    warm_up: _model_pb2.Artifact
    def __init__(self, number: _Optional[int] = ..., artifact: _Optional[_Union[_model_pb2.Artifact, _Mapping]] = ..., signature: _Optional[_Union[_model_pb2.Signature, _Mapping]] = ..., profile: _Optional[_Union[_model_pb2.Artifact, _Mapping]] = ..., aliases: _Optional[_Iterable[str]] = ..., warm_up: _Optional[_Union[_model_pb2.Artifact, _Mapping]] = ...) -> None: ...

class PlannedShadow(_message.Message):
    __slots__ = ("version", "pinned", "sample_rate", "purpose")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    PINNED_FIELD_NUMBER: _ClassVar[int]
    SAMPLE_RATE_FIELD_NUMBER: _ClassVar[int]
    PURPOSE_FIELD_NUMBER: _ClassVar[int]
    version: PlannedVersion
    pinned: bool
    sample_rate: float
    purpose: str
    def __init__(self, version: _Optional[_Union[PlannedVersion, _Mapping]] = ..., pinned: _Optional[bool] = ..., sample_rate: _Optional[float] = ..., purpose: _Optional[str] = ...) -> None: ...

class ServingPlan(_message.Message):
    __slots__ = ("environment", "model", "revision", "made_at", "event_time", "champion", "canary", "canary_weight", "shadows", "fallback", "spec", "rollout_id", "judge_version", "judge_baseline", "step_started_at", "reason", "actor", "rollout_started_at", "phase")
    ENVIRONMENT_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    MADE_AT_FIELD_NUMBER: _ClassVar[int]
    EVENT_TIME_FIELD_NUMBER: _ClassVar[int]
    CHAMPION_FIELD_NUMBER: _ClassVar[int]
    CANARY_FIELD_NUMBER: _ClassVar[int]
    CANARY_WEIGHT_FIELD_NUMBER: _ClassVar[int]
    SHADOWS_FIELD_NUMBER: _ClassVar[int]
    FALLBACK_FIELD_NUMBER: _ClassVar[int]
    SPEC_FIELD_NUMBER: _ClassVar[int]
    ROLLOUT_ID_FIELD_NUMBER: _ClassVar[int]
    JUDGE_VERSION_FIELD_NUMBER: _ClassVar[int]
    JUDGE_BASELINE_FIELD_NUMBER: _ClassVar[int]
    STEP_STARTED_AT_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    ACTOR_FIELD_NUMBER: _ClassVar[int]
    ROLLOUT_STARTED_AT_FIELD_NUMBER: _ClassVar[int]
    PHASE_FIELD_NUMBER: _ClassVar[int]
    environment: str
    model: str
    revision: int
    made_at: _timestamp_pb2.Timestamp
    event_time: _timestamp_pb2.Timestamp
    champion: PlannedVersion
    canary: PlannedVersion
    canary_weight: int
    shadows: _containers.RepeatedCompositeFieldContainer[PlannedShadow]
    fallback: PlannedVersion
    spec: _model_pb2.ModelSpec
    rollout_id: str
    judge_version: int
    judge_baseline: int
    step_started_at: _timestamp_pb2.Timestamp
    reason: str
    actor: str
    rollout_started_at: _timestamp_pb2.Timestamp
    phase: RolloutPhase
    def __init__(self, environment: _Optional[str] = ..., model: _Optional[str] = ..., revision: _Optional[int] = ..., made_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., event_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., champion: _Optional[_Union[PlannedVersion, _Mapping]] = ..., canary: _Optional[_Union[PlannedVersion, _Mapping]] = ..., canary_weight: _Optional[int] = ..., shadows: _Optional[_Iterable[_Union[PlannedShadow, _Mapping]]] = ..., fallback: _Optional[_Union[PlannedVersion, _Mapping]] = ..., spec: _Optional[_Union[_model_pb2.ModelSpec, _Mapping]] = ..., rollout_id: _Optional[str] = ..., judge_version: _Optional[int] = ..., judge_baseline: _Optional[int] = ..., step_started_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., reason: _Optional[str] = ..., actor: _Optional[str] = ..., rollout_started_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., phase: _Optional[_Union[RolloutPhase, str]] = ...) -> None: ...

class AppliedVersion(_message.Message):
    __slots__ = ("model", "version", "revision", "loaded", "reason")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    LOADED_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    model: str
    version: int
    revision: int
    loaded: bool
    reason: str
    def __init__(self, model: _Optional[str] = ..., version: _Optional[int] = ..., revision: _Optional[int] = ..., loaded: _Optional[bool] = ..., reason: _Optional[str] = ...) -> None: ...

class PlanApplied(_message.Message):
    __slots__ = ("replica", "environment", "at", "versions", "revisions", "books")
    class RevisionsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    REPLICA_FIELD_NUMBER: _ClassVar[int]
    ENVIRONMENT_FIELD_NUMBER: _ClassVar[int]
    AT_FIELD_NUMBER: _ClassVar[int]
    VERSIONS_FIELD_NUMBER: _ClassVar[int]
    REVISIONS_FIELD_NUMBER: _ClassVar[int]
    BOOKS_FIELD_NUMBER: _ClassVar[int]
    replica: str
    environment: str
    at: _timestamp_pb2.Timestamp
    versions: _containers.RepeatedCompositeFieldContainer[AppliedVersion]
    revisions: _containers.ScalarMap[str, int]
    books: _containers.RepeatedCompositeFieldContainer[SpoolBooks]
    def __init__(self, replica: _Optional[str] = ..., environment: _Optional[str] = ..., at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., versions: _Optional[_Iterable[_Union[AppliedVersion, _Mapping]]] = ..., revisions: _Optional[_Mapping[str, int]] = ..., books: _Optional[_Iterable[_Union[SpoolBooks, _Mapping]]] = ...) -> None: ...

class DatasetUpdated(_message.Message):
    __slots__ = ("dataset", "delta_version", "rows", "actor")
    DATASET_FIELD_NUMBER: _ClassVar[int]
    DELTA_VERSION_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    ACTOR_FIELD_NUMBER: _ClassVar[int]
    dataset: str
    delta_version: int
    rows: int
    actor: str
    def __init__(self, dataset: _Optional[str] = ..., delta_version: _Optional[int] = ..., rows: _Optional[int] = ..., actor: _Optional[str] = ...) -> None: ...

class MonitorBlocks(_message.Message):
    __slots__ = ("model", "version", "tick", "counts", "frames")
    class CountsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: MonitorBlocks.BinCounts
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[MonitorBlocks.BinCounts, _Mapping]] = ...) -> None: ...
    class BinCounts(_message.Message):
        __slots__ = ("counts",)
        COUNTS_FIELD_NUMBER: _ClassVar[int]
        counts: _containers.RepeatedScalarFieldContainer[int]
        def __init__(self, counts: _Optional[_Iterable[int]] = ...) -> None: ...
    class FramesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    MODEL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    TICK_FIELD_NUMBER: _ClassVar[int]
    COUNTS_FIELD_NUMBER: _ClassVar[int]
    FRAMES_FIELD_NUMBER: _ClassVar[int]
    model: str
    version: int
    tick: _timestamp_pb2.Timestamp
    counts: _containers.MessageMap[str, MonitorBlocks.BinCounts]
    frames: _containers.ScalarMap[str, int]
    def __init__(self, model: _Optional[str] = ..., version: _Optional[int] = ..., tick: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., counts: _Optional[_Mapping[str, MonitorBlocks.BinCounts]] = ..., frames: _Optional[_Mapping[str, int]] = ...) -> None: ...

class AlertRaised(_message.Message):
    __slots__ = ("alert_id", "rule", "model", "severity", "firing", "owner", "summary", "at", "evidence")
    class EvidenceEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    ALERT_ID_FIELD_NUMBER: _ClassVar[int]
    RULE_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    SEVERITY_FIELD_NUMBER: _ClassVar[int]
    FIRING_FIELD_NUMBER: _ClassVar[int]
    OWNER_FIELD_NUMBER: _ClassVar[int]
    SUMMARY_FIELD_NUMBER: _ClassVar[int]
    AT_FIELD_NUMBER: _ClassVar[int]
    EVIDENCE_FIELD_NUMBER: _ClassVar[int]
    alert_id: str
    rule: str
    model: str
    severity: str
    firing: bool
    owner: str
    summary: str
    at: _timestamp_pb2.Timestamp
    evidence: _containers.ScalarMap[str, str]
    def __init__(self, alert_id: _Optional[str] = ..., rule: _Optional[str] = ..., model: _Optional[str] = ..., severity: _Optional[str] = ..., firing: _Optional[bool] = ..., owner: _Optional[str] = ..., summary: _Optional[str] = ..., at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., evidence: _Optional[_Mapping[str, str]] = ...) -> None: ...
