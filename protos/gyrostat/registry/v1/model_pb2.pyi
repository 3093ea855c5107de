import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Task(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    TASK_UNSPECIFIED: _ClassVar[Task]
    TASK_BINARY: _ClassVar[Task]
    TASK_MULTICLASS: _ClassVar[Task]
    TASK_REGRESSION: _ClassVar[Task]

class Sensitivity(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SENSITIVITY_UNSPECIFIED: _ClassVar[Sensitivity]
    SENSITIVITY_PLAIN: _ClassVar[Sensitivity]
    SENSITIVITY_HASH: _ClassVar[Sensitivity]
    SENSITIVITY_BUCKET: _ClassVar[Sensitivity]
    SENSITIVITY_DROP: _ClassVar[Sensitivity]

class AutopilotMode(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    AUTOPILOT_MODE_UNSPECIFIED: _ClassVar[AutopilotMode]
    AUTOPILOT_MODE_ON: _ClassVar[AutopilotMode]
    AUTOPILOT_MODE_PROPOSE: _ClassVar[AutopilotMode]
    AUTOPILOT_MODE_OFF: _ClassVar[AutopilotMode]

class GraphOptimization(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    GRAPH_OPTIMIZATION_UNSPECIFIED: _ClassVar[GraphOptimization]
    GRAPH_OPTIMIZATION_DISABLED: _ClassVar[GraphOptimization]
    GRAPH_OPTIMIZATION_BASIC: _ClassVar[GraphOptimization]
    GRAPH_OPTIMIZATION_EXTENDED: _ClassVar[GraphOptimization]
    GRAPH_OPTIMIZATION_ALL: _ClassVar[GraphOptimization]

class Stage(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    STAGE_UNSPECIFIED: _ClassVar[Stage]
    STAGE_CANDIDATE: _ClassVar[Stage]
    STAGE_REJECTED: _ClassVar[Stage]
    STAGE_SHADOW: _ClassVar[Stage]
    STAGE_CANARY: _ClassVar[Stage]
    STAGE_CHAMPION: _ClassVar[Stage]
    STAGE_RETIRED: _ClassVar[Stage]
    STAGE_ARCHIVED: _ClassVar[Stage]
TASK_UNSPECIFIED: Task
TASK_BINARY: Task
TASK_MULTICLASS: Task
TASK_REGRESSION: Task
SENSITIVITY_UNSPECIFIED: Sensitivity
SENSITIVITY_PLAIN: Sensitivity
SENSITIVITY_HASH: Sensitivity
SENSITIVITY_BUCKET: Sensitivity
SENSITIVITY_DROP: Sensitivity
AUTOPILOT_MODE_UNSPECIFIED: AutopilotMode
AUTOPILOT_MODE_ON: AutopilotMode
AUTOPILOT_MODE_PROPOSE: AutopilotMode
AUTOPILOT_MODE_OFF: AutopilotMode
GRAPH_OPTIMIZATION_UNSPECIFIED: GraphOptimization
GRAPH_OPTIMIZATION_DISABLED: GraphOptimization
GRAPH_OPTIMIZATION_BASIC: GraphOptimization
GRAPH_OPTIMIZATION_EXTENDED: GraphOptimization
GRAPH_OPTIMIZATION_ALL: GraphOptimization
STAGE_UNSPECIFIED: Stage
STAGE_CANDIDATE: Stage
STAGE_REJECTED: Stage
STAGE_SHADOW: Stage
STAGE_CANARY: Stage
STAGE_CHAMPION: Stage
STAGE_RETIRED: Stage
STAGE_ARCHIVED: Stage

class TensorSpec(_message.Message):
    __slots__ = ("name", "datatype", "shape")
    NAME_FIELD_NUMBER: _ClassVar[int]
    DATATYPE_FIELD_NUMBER: _ClassVar[int]
    SHAPE_FIELD_NUMBER: _ClassVar[int]
    name: str
    datatype: str
    shape: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, name: _Optional[str] = ..., datatype: _Optional[str] = ..., shape: _Optional[_Iterable[int]] = ...) -> None: ...

class Signature(_message.Message):
    __slots__ = ("inputs", "outputs")
    INPUTS_FIELD_NUMBER: _ClassVar[int]
    OUTPUTS_FIELD_NUMBER: _ClassVar[int]
    inputs: _containers.RepeatedCompositeFieldContainer[TensorSpec]
    outputs: _containers.RepeatedCompositeFieldContainer[TensorSpec]
    def __init__(self, inputs: _Optional[_Iterable[_Union[TensorSpec, _Mapping]]] = ..., outputs: _Optional[_Iterable[_Union[TensorSpec, _Mapping]]] = ...) -> None: ...

class Artifact(_message.Message):
    __slots__ = ("sha256", "size_bytes", "uri", "name")
    SHA256_FIELD_NUMBER: _ClassVar[int]
    SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    URI_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    sha256: str
    size_bytes: int
    uri: str
    name: str
    def __init__(self, sha256: _Optional[str] = ..., size_bytes: _Optional[int] = ..., uri: _Optional[str] = ..., name: _Optional[str] = ...) -> None: ...

class LabelPolicy(_message.Message):
    __slots__ = ("horizon_s", "lag_s", "decision_threshold")
    HORIZON_S_FIELD_NUMBER: _ClassVar[int]
    LAG_S_FIELD_NUMBER: _ClassVar[int]
    DECISION_THRESHOLD_FIELD_NUMBER: _ClassVar[int]
    horizon_s: int
    lag_s: int
    decision_threshold: float
    def __init__(self, horizon_s: _Optional[int] = ..., lag_s: _Optional[int] = ..., decision_threshold: _Optional[float] = ...) -> None: ...

class MonitorPolicy(_message.Message):
    __slots__ = ("window_s", "min_window_rows", "lateness_s", "fdr", "effect_floor", "loss_floor", "confirm_windows", "alarm_budget_days")
    WINDOW_S_FIELD_NUMBER: _ClassVar[int]
    MIN_WINDOW_ROWS_FIELD_NUMBER: _ClassVar[int]
    LATENESS_S_FIELD_NUMBER: _ClassVar[int]
    FDR_FIELD_NUMBER: _ClassVar[int]
    EFFECT_FLOOR_FIELD_NUMBER: _ClassVar[int]
    LOSS_FLOOR_FIELD_NUMBER: _ClassVar[int]
    CONFIRM_WINDOWS_FIELD_NUMBER: _ClassVar[int]
    ALARM_BUDGET_DAYS_FIELD_NUMBER: _ClassVar[int]
    window_s: int
    min_window_rows: int
    lateness_s: int
    fdr: float
    effect_floor: float
    loss_floor: float
    confirm_windows: int
    alarm_budget_days: int
    def __init__(self, window_s: _Optional[int] = ..., min_window_rows: _Optional[int] = ..., lateness_s: _Optional[int] = ..., fdr: _Optional[float] = ..., effect_floor: _Optional[float] = ..., loss_floor: _Optional[float] = ..., confirm_windows: _Optional[int] = ..., alarm_budget_days: _Optional[int] = ...) -> None: ...

class RetrainPolicy(_message.Message):
    __slots__ = ("on", "cooldown_s", "min_rows", "pipeline", "parameters_json", "dataset", "holdout_share", "max_runs_per_30_days")
    ON_FIELD_NUMBER: _ClassVar[int]
    COOLDOWN_S_FIELD_NUMBER: _ClassVar[int]
    MIN_ROWS_FIELD_NUMBER: _ClassVar[int]
    PIPELINE_FIELD_NUMBER: _ClassVar[int]
    PARAMETERS_JSON_FIELD_NUMBER: _ClassVar[int]
    DATASET_FIELD_NUMBER: _ClassVar[int]
    HOLDOUT_SHARE_FIELD_NUMBER: _ClassVar[int]
    MAX_RUNS_PER_30_DAYS_FIELD_NUMBER: _ClassVar[int]
    on: _containers.RepeatedScalarFieldContainer[str]
    cooldown_s: int
    min_rows: int
    pipeline: str
    parameters_json: str
    dataset: str
    holdout_share: float
    max_runs_per_30_days: int
    def __init__(self, on: _Optional[_Iterable[str]] = ..., cooldown_s: _Optional[int] = ..., min_rows: _Optional[int] = ..., pipeline: _Optional[str] = ..., parameters_json: _Optional[str] = ..., dataset: _Optional[str] = ..., holdout_share: _Optional[float] = ..., max_runs_per_30_days: _Optional[int] = ...) -> None: ...

class GateThreshold(_message.Message):
    __slots__ = ("number", "at_most")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    AT_MOST_FIELD_NUMBER: _ClassVar[int]
    number: str
    at_most: float
    def __init__(self, number: _Optional[str] = ..., at_most: _Optional[float] = ...) -> None: ...

class RolloutPolicy(_message.Message):
    __slots__ = ("steps", "min_paired_rows", "min_exposure", "max_step_s", "loss_margin", "alpha", "guard_s", "max_rollout_s", "gates", "max_promotions_per_7_days")
    STEPS_FIELD_NUMBER: _ClassVar[int]
    MIN_PAIRED_ROWS_FIELD_NUMBER: _ClassVar[int]
    MIN_EXPOSURE_FIELD_NUMBER: _ClassVar[int]
    MAX_STEP_S_FIELD_NUMBER: _ClassVar[int]
    LOSS_MARGIN_FIELD_NUMBER: _ClassVar[int]
    ALPHA_FIELD_NUMBER: _ClassVar[int]
    GUARD_S_FIELD_NUMBER: _ClassVar[int]
    MAX_ROLLOUT_S_FIELD_NUMBER: _ClassVar[int]
    GATES_FIELD_NUMBER: _ClassVar[int]
    MAX_PROMOTIONS_PER_7_DAYS_FIELD_NUMBER: _ClassVar[int]
    steps: _containers.RepeatedScalarFieldContainer[int]
    min_paired_rows: int
    min_exposure: int
    max_step_s: int
    loss_margin: float
    alpha: float
    guard_s: int
    max_rollout_s: int
    gates: _containers.RepeatedCompositeFieldContainer[GateThreshold]
    max_promotions_per_7_days: int
    def __init__(self, steps: _Optional[_Iterable[int]] = ..., min_paired_rows: _Optional[int] = ..., min_exposure: _Optional[int] = ..., max_step_s: _Optional[int] = ..., loss_margin: _Optional[float] = ..., alpha: _Optional[float] = ..., guard_s: _Optional[int] = ..., max_rollout_s: _Optional[int] = ..., gates: _Optional[_Iterable[_Union[GateThreshold, _Mapping]]] = ..., max_promotions_per_7_days: _Optional[int] = ...) -> None: ...

class Batching(_message.Message):
    __slots__ = ("off", "max_delay_us", "max_batch_rows")
    OFF_FIELD_NUMBER: _ClassVar[int]
    MAX_DELAY_US_FIELD_NUMBER: _ClassVar[int]
    MAX_BATCH_ROWS_FIELD_NUMBER: _ClassVar[int]
    off: bool
    max_delay_us: int
    max_batch_rows: int
    def __init__(self, off: _Optional[bool] = ..., max_delay_us: _Optional[int] = ..., max_batch_rows: _Optional[int] = ...) -> None: ...

class QueueLimits(_message.Message):
    __slots__ = ("max_rows", "max_ms")
    MAX_ROWS_FIELD_NUMBER: _ClassVar[int]
    MAX_MS_FIELD_NUMBER: _ClassVar[int]
    max_rows: int
    max_ms: int
    def __init__(self, max_rows: _Optional[int] = ..., max_ms: _Optional[int] = ...) -> None: ...

class WarmUp(_message.Message):
    __slots__ = ("rows", "samples_json")
    ROWS_FIELD_NUMBER: _ClassVar[int]
    SAMPLES_JSON_FIELD_NUMBER: _ClassVar[int]
    rows: _containers.RepeatedScalarFieldContainer[int]
    samples_json: str
    def __init__(self, rows: _Optional[_Iterable[int]] = ..., samples_json: _Optional[str] = ...) -> None: ...

class EngineSettings(_message.Message):
    __slots__ = ("intra_op_threads", "max_rows", "inter_op_threads", "optimization", "execution_providers", "warm_up", "batching", "queue", "deterministic")
    INTRA_OP_THREADS_FIELD_NUMBER: _ClassVar[int]
    MAX_ROWS_FIELD_NUMBER: _ClassVar[int]
    INTER_OP_THREADS_FIELD_NUMBER: _ClassVar[int]
    OPTIMIZATION_FIELD_NUMBER: _ClassVar[int]
    EXECUTION_PROVIDERS_FIELD_NUMBER: _ClassVar[int]
    WARM_UP_FIELD_NUMBER: _ClassVar[int]
    BATCHING_FIELD_NUMBER: _ClassVar[int]
    QUEUE_FIELD_NUMBER: _ClassVar[int]
    DETERMINISTIC_FIELD_NUMBER: _ClassVar[int]
    intra_op_threads: int
    max_rows: int
    inter_op_threads: int
    optimization: GraphOptimization
    execution_providers: _containers.RepeatedScalarFieldContainer[str]
    warm_up: WarmUp
    batching: Batching
    queue: QueueLimits
    deterministic: bool
    def __init__(self, intra_op_threads: _Optional[int] = ..., max_rows: _Optional[int] = ..., inter_op_threads: _Optional[int] = ..., optimization: _Optional[_Union[GraphOptimization, str]] = ..., execution_providers: _Optional[_Iterable[str]] = ..., warm_up: _Optional[_Union[WarmUp, _Mapping]] = ..., batching: _Optional[_Union[Batching, _Mapping]] = ..., queue: _Optional[_Union[QueueLimits, _Mapping]] = ..., deterministic: _Optional[bool] = ...) -> None: ...

class ModelSpec(_message.Message):
    __slots__ = ("revision", "owner", "team", "description", "task", "score_output", "entity_input", "slices", "label", "sensitivity", "log_sample_rate", "autopilot", "monitor", "retrain", "rollout", "engine", "labels")
    class SensitivityEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: Sensitivity
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[Sensitivity, str]] = ...) -> None: ...
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    REVISION_FIELD_NUMBER: _ClassVar[int]
    OWNER_FIELD_NUMBER: _ClassVar[int]
    TEAM_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    TASK_FIELD_NUMBER: _ClassVar[int]
    SCORE_OUTPUT_FIELD_NUMBER: _ClassVar[int]
    ENTITY_INPUT_FIELD_NUMBER: _ClassVar[int]
    SLICES_FIELD_NUMBER: _ClassVar[int]
    LABEL_FIELD_NUMBER: _ClassVar[int]
    SENSITIVITY_FIELD_NUMBER: _ClassVar[int]
    LOG_SAMPLE_RATE_FIELD_NUMBER: _ClassVar[int]
    AUTOPILOT_FIELD_NUMBER: _ClassVar[int]
    MONITOR_FIELD_NUMBER: _ClassVar[int]
    RETRAIN_FIELD_NUMBER: _ClassVar[int]
    ROLLOUT_FIELD_NUMBER: _ClassVar[int]
    ENGINE_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    revision: int
    owner: str
    team: str
    description: str
    task: Task
    score_output: str
    entity_input: str
    slices: _containers.RepeatedScalarFieldContainer[str]
    label: LabelPolicy
    sensitivity: _containers.ScalarMap[str, Sensitivity]
    log_sample_rate: float
    autopilot: AutopilotMode
    monitor: MonitorPolicy
    retrain: RetrainPolicy
    rollout: RolloutPolicy
    engine: EngineSettings
    labels: _containers.ScalarMap[str, str]
    def __init__(self, revision: _Optional[int] = ..., owner: _Optional[str] = ..., team: _Optional[str] = ..., description: _Optional[str] = ..., task: _Optional[_Union[Task, str]] = ..., score_output: _Optional[str] = ..., entity_input: _Optional[str] = ..., slices: _Optional[_Iterable[str]] = ..., label: _Optional[_Union[LabelPolicy, _Mapping]] = ..., sensitivity: _Optional[_Mapping[str, Sensitivity]] = ..., log_sample_rate: _Optional[float] = ..., autopilot: _Optional[_Union[AutopilotMode, str]] = ..., monitor: _Optional[_Union[MonitorPolicy, _Mapping]] = ..., retrain: _Optional[_Union[RetrainPolicy, _Mapping]] = ..., rollout: _Optional[_Union[RolloutPolicy, _Mapping]] = ..., engine: _Optional[_Union[EngineSettings, _Mapping]] = ..., labels: _Optional[_Mapping[str, str]] = ...) -> None: ...

class Model(_message.Message):
    __slots__ = ("name", "spec", "created_at", "created_by", "latest_version", "aliases")
    class AliasesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    NAME_FIELD_NUMBER: _ClassVar[int]
    SPEC_FIELD_NUMBER: _ClassVar[int]
    CREATED_AT_FIELD_NUMBER: _ClassVar[int]
    CREATED_BY_FIELD_NUMBER: _ClassVar[int]
    LATEST_VERSION_FIELD_NUMBER: _ClassVar[int]
    ALIASES_FIELD_NUMBER: _ClassVar[int]
    name: str
    spec: ModelSpec
    created_at: _timestamp_pb2.Timestamp
    created_by: str
    latest_version: int
    aliases: _containers.ScalarMap[str, int]
    def __init__(self, name: _Optional[str] = ..., spec: _Optional[_Union[ModelSpec, _Mapping]] = ..., created_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., created_by: _Optional[str] = ..., latest_version: _Optional[int] = ..., aliases: _Optional[_Mapping[str, int]] = ...) -> None: ...

class GateResult(_message.Message):
    __slots__ = ("gate", "numbers", "passed", "reason", "not_measured")
    class NumbersEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    GATE_FIELD_NUMBER: _ClassVar[int]
    NUMBERS_FIELD_NUMBER: _ClassVar[int]
    PASSED_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    NOT_MEASURED_FIELD_NUMBER: _ClassVar[int]
    gate: str
    numbers: _containers.ScalarMap[str, float]
    passed: bool
    reason: str
    not_measured: str
    def __init__(self, gate: _Optional[str] = ..., numbers: _Optional[_Mapping[str, float]] = ..., passed: _Optional[bool] = ..., reason: _Optional[str] = ..., not_measured: _Optional[str] = ...) -> None: ...

class ModelVersion(_message.Message):
    __slots__ = ("model", "number", "stage", "artifact", "signature", "profile", "run_id", "gates", "cause", "correlation_id", "created_at", "created_by", "description", "tags", "stage_reason", "causation_id", "warm_up")
    class TagsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    MODEL_FIELD_NUMBER: _ClassVar[int]
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    STAGE_FIELD_NUMBER: _ClassVar[int]
    ARTIFACT_FIELD_NUMBER: _ClassVar[int]
    SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    PROFILE_FIELD_NUMBER: _ClassVar[int]
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    GATES_FIELD_NUMBER: _ClassVar[int]
    CAUSE_FIELD_NUMBER: _ClassVar[int]
    CORRELATION_ID_FIELD_NUMBER: _ClassVar[int]
    CREATED_AT_FIELD_NUMBER: _ClassVar[int]
    CREATED_BY_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    TAGS_FIELD_NUMBER: _ClassVar[int]
    STAGE_REASON_FIELD_NUMBER: _ClassVar[int]
    CAUSATION_ID_FIELD_NUMBER: _ClassVar[int]
    WARM_UP_FIELD_NUMBER: _ClassVar[int]
    model: str
    number: int
    stage: Stage
    artifact: Artifact
    signature: Signature
    profile: Artifact
    run_id: str
    gates: _containers.RepeatedCompositeFieldContainer[GateResult]
    cause: str
    correlation_id: str
    created_at: _timestamp_pb2.Timestamp
    created_by: str
    description: str
    tags: _containers.ScalarMap[str, str]
    stage_reason: str
    causation_id: str
    warm_up: Artifact
    def __init__(self, model: _Optional[str] = ..., number: _Optional[int] = ..., stage: _Optional[_Union[Stage, str]] = ..., artifact: _Optional[_Union[Artifact, _Mapping]] = ..., signature: _Optional[_Union[Signature, _Mapping]] = ..., profile: _Optional[_Union[Artifact, _Mapping]] = ..., run_id: _Optional[str] = ..., gates: _Optional[_Iterable[_Union[GateResult, _Mapping]]] = ..., cause: _Optional[str] = ..., correlation_id: _Optional[str] = ..., created_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., created_by: _Optional[str] = ..., description: _Optional[str] = ..., tags: _Optional[_Mapping[str, str]] = ..., stage_reason: _Optional[str] = ..., causation_id: _Optional[str] = ..., warm_up: _Optional[_Union[Artifact, _Mapping]] = ...) -> None: ...

class Metric(_message.Message):
    __slots__ = ("name", "value", "step", "at")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    AT_FIELD_NUMBER: _ClassVar[int]
    name: str
    value: float
    step: int
    at: _timestamp_pb2.Timestamp
    def __init__(self, name: _Optional[str] = ..., value: _Optional[float] = ..., step: _Optional[int] = ..., at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class DatasetSnapshot(_message.Message):
    __slots__ = ("tables", "filter", "sha256", "rows", "event_time_from", "event_time_to", "frames", "copy", "excluded")
    class TablesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    class FramesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    TABLES_FIELD_NUMBER: _ClassVar[int]
    FILTER_FIELD_NUMBER: _ClassVar[int]
    SHA256_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    EVENT_TIME_FROM_FIELD_NUMBER: _ClassVar[int]
    EVENT_TIME_TO_FIELD_NUMBER: _ClassVar[int]
    FRAMES_FIELD_NUMBER: _ClassVar[int]
    COPY_FIELD_NUMBER: _ClassVar[int]
    EXCLUDED_FIELD_NUMBER: _ClassVar[int]
    tables: _containers.ScalarMap[str, int]
    filter: str
    sha256: str
    rows: int
    event_time_from: _timestamp_pb2.Timestamp
    event_time_to: _timestamp_pb2.Timestamp
    frames: _containers.ScalarMap[str, int]
    copy: Artifact
    excluded: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, tables: _Optional[_Mapping[str, int]] = ..., filter: _Optional[str] = ..., sha256: _Optional[str] = ..., rows: _Optional[int] = ..., event_time_from: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., event_time_to: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., frames: _Optional[_Mapping[str, int]] = ..., copy: _Optional[_Union[Artifact, _Mapping]] = ..., excluded: _Optional[_Iterable[str]] = ...) -> None: ...

class Run(_message.Message):
    __slots__ = ("id", "model", "status", "params", "metrics", "tags", "snapshot", "code_digest", "environment_digest", "causes", "correlation_id", "started_at", "ended_at", "version", "error", "cost", "created_by")
    class ParamsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    class TagsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    class CostEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    ID_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    PARAMS_FIELD_NUMBER: _ClassVar[int]
    METRICS_FIELD_NUMBER: _ClassVar[int]
    TAGS_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOT_FIELD_NUMBER: _ClassVar[int]
    CODE_DIGEST_FIELD_NUMBER: _ClassVar[int]
    ENVIRONMENT_DIGEST_FIELD_NUMBER: _ClassVar[int]
    CAUSES_FIELD_NUMBER: _ClassVar[int]
    CORRELATION_ID_FIELD_NUMBER: _ClassVar[int]
    STARTED_AT_FIELD_NUMBER: _ClassVar[int]
    ENDED_AT_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    COST_FIELD_NUMBER: _ClassVar[int]
    CREATED_BY_FIELD_NUMBER: _ClassVar[int]
    id: str
    model: str
    status: str
    params: _containers.ScalarMap[str, str]
    metrics: _containers.RepeatedCompositeFieldContainer[Metric]
    tags: _containers.ScalarMap[str, str]
    snapshot: DatasetSnapshot
    code_digest: str
    environment_digest: str
    causes: _containers.RepeatedScalarFieldContainer[str]
    correlation_id: str
    started_at: _timestamp_pb2.Timestamp
    ended_at: _timestamp_pb2.Timestamp
    version: int
    error: str
    cost: _containers.ScalarMap[str, float]
    created_by: str
    def __init__(self, id: _Optional[str] = ..., model: _Optional[str] = ..., status: _Optional[str] = ..., params: _Optional[_Mapping[str, str]] = ..., metrics: _Optional[_Iterable[_Union[Metric, _Mapping]]] = ..., tags: _Optional[_Mapping[str, str]] = ..., snapshot: _Optional[_Union[DatasetSnapshot, _Mapping]] = ..., code_digest: _Optional[str] = ..., environment_digest: _Optional[str] = ..., causes: _Optional[_Iterable[str]] = ..., correlation_id: _Optional[str] = ..., started_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., ended_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., version: _Optional[int] = ..., error: _Optional[str] = ..., cost: _Optional[_Mapping[str, float]] = ..., created_by: _Optional[str] = ...) -> None: ...
