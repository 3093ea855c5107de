"""The ModelSpec: one versioned description of a model. Unset numbers are 0 on the wire and filled here, once.

Every number states its default and its range where it is declared; `settled` fills and checks them all, so that every
spec that leaves the registry is complete and every reader of a plan may trust it.
"""

import dataclasses
import json
import math
import re
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, TypeVar

from gyrostat_registry.domain.errors import BadSpec, SignatureMismatch
from gyrostat_registry.domain.version import Signature

DAY = 86_400
_EPISODE_KINDS = ("data", "prediction", "concept", "performance", "data_quality", "fairness")
_DEFAULT_STEPS = (100, 500, 2_500, 10_000)
_LONGEST_TEXT = 4_096
_MOST_ENTRIES = 1_024
_MOST_WARM_ROWS = 100_000
_PROVIDER = re.compile(r"[A-Za-z0-9]{1,64}ExecutionProvider")
_INPUT = {"name", "datatype", "shape", "data"}


class Task(StrEnum):
    """What a model predicts."""

    UNSPECIFIED = "unspecified"
    BINARY = "binary"
    MULTICLASS = "multiclass"
    REGRESSION = "regression"


class Sensitivity(StrEnum):
    """What may be kept of an input."""

    UNSPECIFIED = "unspecified"
    PLAIN = "plain"
    HASH = "hash"
    BUCKET = "bucket"
    DROP = "drop"


class Mode(StrEnum):
    """Who decides about roll-outs."""

    UNSPECIFIED = "unspecified"
    ON = "on"
    PROPOSE = "propose"
    OFF = "off"


class GraphOptimization(StrEnum):
    """How far ONNX Runtime rewrites a graph before it runs."""

    UNSPECIFIED = "unspecified"
    DISABLED = "disabled"
    BASIC = "basic"
    EXTENDED = "extended"
    ALL = "all"


def _number(default: float, low: float, high: float) -> Any:
    """A number whose 0 means `default`, and that must lie in [low, high] afterwards."""
    return field(default=0, metadata={"unset_means": default, "least": low, "most": high})


@dataclass(frozen=True)
class LabelPolicy:
    """How outcomes behave. Seconds of event time."""

    horizon_s: int = _number(7 * DAY, 1, 3_650 * DAY)
    lag_s: int = _number(0, 0, 3_650 * DAY)
    decision_threshold: float = _number(0.5, 0.0, 1.0)


@dataclass(frozen=True)
class MonitorPolicy:
    """How windows are cut and what counts as an effect. Seconds of event time."""

    window_s: int = _number(DAY, 1, 366 * DAY)
    min_window_rows: int = _number(1_000, 1, 10**9)
    lateness_s: int = _number(300, 0, 366 * DAY)
    fdr: float = _number(0.01, 1e-9, 0.5)
    effect_floor: float = _number(0.2, 0.0, 100.0)
    loss_floor: float = _number(0.05, 0.0, 100.0)
    confirm_windows: int = _number(2, 1, 1_000)
    alarm_budget_days: int = _number(90, 1, 36_500)


@dataclass(frozen=True)
class RetrainPolicy:
    """When and how the trainer makes a candidate. Seconds of event time."""

    on: tuple[str, ...] = ()
    cooldown_s: int = _number(14 * DAY, 1, 3_650 * DAY)
    min_rows: int = _number(2_000, 1, 10**12)
    pipeline: str = ""
    parameters_json: str = ""
    dataset: str = ""
    holdout_share: float = _number(0.2, 0.001, 0.9)
    max_runs_per_30_days: int = _number(10, 1, 100_000)


@dataclass(frozen=True)
class GateThreshold:
    """`number` is "<gate>.<name>"; it passes up to and including `at_most`."""

    number: str
    at_most: float


@dataclass(frozen=True)
class RolloutPolicy:
    """How a version goes live. Weights per 10,000; seconds of event time."""

    steps: tuple[int, ...] = ()
    min_paired_rows: int = _number(500, 1, 10**12)
    min_exposure: int = _number(200, 1, 10**12)
    max_step_s: int = _number(2 * DAY, 1, 3_650 * DAY)
    loss_margin: float = _number(0.005, 0.0, 1e9)
    alpha: float = _number(0.01, 1e-9, 0.5)
    guard_s: int = _number(14 * DAY, 1, 3_650 * DAY)
    max_rollout_s: int = _number(60 * DAY, 1, 3_650 * DAY)
    gates: tuple[GateThreshold, ...] = ()
    max_promotions_per_7_days: int = _number(3, 1, 100_000)


@dataclass(frozen=True)
class WarmUp:
    """What a version runs before its first caller pays for it."""

    rows: tuple[int, ...] = ()
    samples_json: str = ""


@dataclass(frozen=True)
class Batching:
    """How requests that arrive together are run."""

    off: bool = False
    max_delay_us: int = _number(0, 0, 1_000_000)
    max_batch_rows: int = _number(256, 1, 10**6)


@dataclass(frozen=True)
class QueueLimits:
    """What may wait for a run."""

    max_rows: int = _number(16_384, 1, 10**8)
    max_ms: int = _number(1_000, 1, 600_000)


@dataclass(frozen=True)
class EngineSettings:
    """How ONNX Runtime opens and runs the model."""

    intra_op_threads: int = _number(1, 1, 256)
    max_rows: int = _number(4_096, 1, 10**7)
    inter_op_threads: int = _number(1, 1, 256)
    optimization: GraphOptimization = GraphOptimization.UNSPECIFIED
    execution_providers: tuple[str, ...] = ()
    warm_up: WarmUp = WarmUp()
    batching: Batching = Batching()
    queue: QueueLimits = QueueLimits()
    deterministic: bool = False


@dataclass(frozen=True)
class ModelSpec:
    """The whole description. `revision` grows by one with every change."""

    revision: int = 0
    owner: str = ""
    team: str = ""
    description: str = ""
    task: Task = Task.UNSPECIFIED
    score_output: str = ""
    entity_input: str = ""
    slices: tuple[str, ...] = ()
    label: LabelPolicy = LabelPolicy()
    sensitivity: dict[str, Sensitivity] = field(default_factory=dict)
    log_sample_rate: float | None = None
    autopilot: Mode = Mode.UNSPECIFIED
    monitor: MonitorPolicy = MonitorPolicy()
    retrain: RetrainPolicy = RetrainPolicy()
    rollout: RolloutPolicy = RolloutPolicy()
    engine: EngineSettings = EngineSettings()
    labels: dict[str, str] = field(default_factory=dict)


DEFAULT_GATES = (
    GateThreshold("parity.max_difference", 1e-5),
    GateThreshold("parity.label_flips", 0.0),
    GateThreshold("quality.loss_delta_upper", 0.0),
    GateThreshold("calibration.ece", 0.10),
    GateThreshold("latency.ratio", 3.0),
    GateThreshold("size.bytes", 50e6),
)

P = TypeVar("P", LabelPolicy, MonitorPolicy, RetrainPolicy, RolloutPolicy, EngineSettings, Batching, QueueLimits)


def settled(spec: ModelSpec) -> ModelSpec:
    """The spec with every default filled in and every value checked; BadSpec names the field and what it may be."""
    _check_texts(spec)
    if spec.task is Task.UNSPECIFIED:
        raise BadSpec("spec.task: binary, multiclass or regression; it decides losses and gates")
    rate = 1.0 if spec.log_sample_rate is None else spec.log_sample_rate
    if not 0.0 <= rate <= 1.0:
        raise BadSpec(f"spec.log_sample_rate {rate}: 0 to 1")
    label = _filled(spec.label, "label")
    if label.lag_s > label.horizon_s:
        raise BadSpec(f"spec.label.lag_s {label.lag_s}: an outcome later than horizon_s {label.horizon_s} is ignored")
    return replace(
        spec,
        log_sample_rate=rate,
        autopilot=Mode.PROPOSE if spec.autopilot is Mode.UNSPECIFIED else spec.autopilot,
        sensitivity={
            name: Sensitivity.PLAIN if kept is Sensitivity.UNSPECIFIED else kept
            for name, kept in sorted(spec.sensitivity.items())
        },
        label=label,
        monitor=_filled(spec.monitor, "monitor"),
        retrain=_retrain(_filled(spec.retrain, "retrain")),
        rollout=_rollout(_filled(spec.rollout, "rollout")),
        engine=_engine(_filled(spec.engine, "engine")),
    )


def check_against(spec: ModelSpec, signature: Signature) -> None:
    """SignatureMismatch when the spec names an input or output that the graph does not have.

    A sensitivity for an input that does not exist is refused too: behind a misspelt name the real one would be logged.
    """
    inputs = {tensor.name for tensor in signature.inputs}
    outputs = {tensor.name for tensor in signature.outputs}
    if spec.score_output and spec.score_output not in outputs:
        raise SignatureMismatch(f"spec.score_output {spec.score_output!r} is no output; outputs: {_listed(outputs)}")
    named = [("entity_input", spec.entity_input)] if spec.entity_input else []
    named += [("slices", name) for name in spec.slices] + [("sensitivity", name) for name in spec.sensitivity]
    for part, name in named:
        if name not in inputs:
            raise SignatureMismatch(f"spec.{part} names {name!r}, which is no input; inputs: {_listed(inputs)}")


def _listed(names: set[str]) -> str:
    shown = sorted(names)[:40]
    return ", ".join(shown) + (" …" if len(names) > len(shown) else "")


def _filled(policy: P, part: str) -> P:
    values: dict[str, Any] = {}
    for declared in dataclasses.fields(policy):
        if "unset_means" not in declared.metadata:
            continue
        value = getattr(policy, declared.name) or declared.metadata["unset_means"]
        low, high = declared.metadata["least"], declared.metadata["most"]
        if not (math.isfinite(value) and low <= value <= high):
            raise BadSpec(f"spec.{part}.{declared.name} {value}: {low} to {high}")
        values[declared.name] = value
    return replace(policy, **values)


def _retrain(policy: RetrainPolicy) -> RetrainPolicy:
    kinds = policy.on or ("performance", "concept")
    for kind in kinds:
        if kind not in _EPISODE_KINDS:
            raise BadSpec(f"spec.retrain.on {kind[:80]!r}: one of {', '.join(_EPISODE_KINDS)}")
    parameters = policy.parameters_json or "{}"
    try:
        if not isinstance(json.loads(parameters), dict):
            raise BadSpec("spec.retrain.parameters_json: a JSON object expected")
    except (ValueError, RecursionError) as exc:
        raise BadSpec(f"spec.retrain.parameters_json is not JSON: {exc}") from exc
    return replace(policy, on=kinds, pipeline=policy.pipeline or "tabular", parameters_json=parameters)


def _rollout(policy: RolloutPolicy) -> RolloutPolicy:
    steps = policy.steps or _DEFAULT_STEPS
    if list(steps) != sorted(set(steps)) or steps[0] < 1 or steps[-1] != 10_000:
        raise BadSpec(f"spec.rollout.steps {list(steps)[:20]}: ascending, per 10,000, ending with 10,000")
    thresholds = {gate.number: gate for gate in DEFAULT_GATES}
    for gate in policy.gates:
        if "." not in gate.number or math.isnan(gate.at_most):
            raise BadSpec(f"spec.rollout.gates {gate.number[:80]!r}: '<gate>.<number>' and a number expected")
        thresholds[gate.number] = gate
    return replace(policy, steps=tuple(steps), gates=tuple(thresholds.values()))


def _engine(settings: EngineSettings) -> EngineSettings:
    for name in settings.execution_providers:
        if not _PROVIDER.fullmatch(name):
            raise BadSpec(
                f"spec.engine.execution_providers {name[:80]!r}: a name such as CUDAExecutionProvider expected"
            )
    if len(set(settings.execution_providers)) < len(settings.execution_providers):
        raise BadSpec("spec.engine.execution_providers: each at most once")
    warm_up = settings.warm_up
    for rows in warm_up.rows:
        if not 1 <= rows <= settings.max_rows:
            raise BadSpec(f"spec.engine.warm_up.rows {rows}: 1 to max_rows {settings.max_rows}")
    if sum(warm_up.rows) > _MOST_WARM_ROWS:
        raise BadSpec(f"spec.engine.warm_up.rows: {sum(warm_up.rows)} in all, at most {_MOST_WARM_ROWS}")
    if warm_up.samples_json and (wrong := samples_problem(warm_up.samples_json)):
        raise BadSpec(f"spec.engine.warm_up.samples_json: {wrong}")
    return replace(
        settings,
        optimization=(
            GraphOptimization.ALL if settings.optimization is GraphOptimization.UNSPECIFIED else settings.optimization
        ),
        batching=_filled(settings.batching, "engine.batching"),
        queue=_filled(settings.queue, "engine.queue"),
    )


def samples_problem(text: str | bytes) -> str:
    """Why this is no JSON of samples; "" when it is. Whether they fit the graph is seen when it is loaded."""
    try:
        read = json.loads(text)
    except (ValueError, RecursionError) as exc:
        return f"no JSON: {exc}"
    samples = read if isinstance(read, list) else [read]
    if not 1 <= len(samples) <= _MOST_ENTRIES:
        return f"{len(samples)} samples; 1 to {_MOST_ENTRIES} expected"
    for sample in samples:
        inputs = sample.get("inputs") if isinstance(sample, dict) else None
        if not isinstance(inputs, list) or not all(isinstance(each, dict) and each.keys() >= _INPUT for each in inputs):
            return 'a body {"inputs": [{"name", "datatype", "shape", "data"}, …]} or a list of them expected'
    return ""


def _check_texts(spec: ModelSpec) -> None:
    texts = {
        "owner": spec.owner, "team": spec.team, "description": spec.description, "score_output": spec.score_output,
        "entity_input": spec.entity_input, "retrain.pipeline": spec.retrain.pipeline,
        "retrain.dataset": spec.retrain.dataset,
    }  # fmt: skip
    for name, text in texts.items():
        if len(text) > _LONGEST_TEXT:
            raise BadSpec(f"spec.{name}: at most {_LONGEST_TEXT} characters")
    documents = {
        "retrain.parameters_json": spec.retrain.parameters_json,
        "engine.warm_up.samples_json": spec.engine.warm_up.samples_json,
    }
    for name, text in documents.items():
        if len(text) > 65_536:
            raise BadSpec(f"spec.{name}: at most 65,536 characters")
    counts = {
        "slices": spec.slices, "sensitivity": spec.sensitivity, "labels": spec.labels,
        "rollout.steps": spec.rollout.steps, "rollout.gates": spec.rollout.gates, "retrain.on": spec.retrain.on,
        "engine.execution_providers": spec.engine.execution_providers, "engine.warm_up.rows": spec.engine.warm_up.rows,
    }  # fmt: skip
    for name, entries in counts.items():
        if len(entries) > _MOST_ENTRIES:
            raise BadSpec(f"spec.{name}: at most {_MOST_ENTRIES} entries")
