"""Specs, gates, names, pages, autopilot, runs, stages, signatures."""

import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gyrostat_common.errors import InvalidInput
from gyrostat_registry.domain.autopilot import braked, effective
from gyrostat_registry.domain.errors import BadName, BadPageToken, BadRun, BadSpec, RunOver, SignatureMismatch
from gyrostat_registry.domain.gates import judged
from gyrostat_registry.domain.names import checked_alias, checked_digest, checked_name, checked_run_id, version_number
from gyrostat_registry.domain.paging import page, token
from gyrostat_registry.domain.run import Metric, Run, checked, merged
from gyrostat_registry.domain.spec import (
    DEFAULT_GATES,
    Batching,
    EngineSettings,
    GateThreshold,
    GraphOptimization,
    LabelPolicy,
    Mode,
    ModelSpec,
    MonitorPolicy,
    QueueLimits,
    RetrainPolicy,
    RolloutPolicy,
    Sensitivity,
    Task,
    WarmUp,
    check_against,
    settled,
)
from gyrostat_registry.domain.version import (
    Artifact,
    GateResult,
    Signature,
    Stage,
    Standing,
    TensorSpec,
    Version,
    check_declared,
    refusals,
    stage_of,
)

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
BINARY = ModelSpec(task=Task.BINARY)


def a_version(**changes: object) -> Version:
    version = Version("flights", 3, Artifact("0" * 64, 10, "file:///x"), Signature(), NOON, "ann")
    return replace(version, **changes)  # type: ignore[arg-type]


def test_an_empty_spec_gets_every_default() -> None:
    spec = settled(BINARY)
    assert spec.autopilot is Mode.PROPOSE
    assert spec.log_sample_rate == 1.0
    assert spec.label == LabelPolicy(604_800, 0, 0.5)
    assert (spec.monitor.window_s, spec.monitor.min_window_rows, spec.monitor.confirm_windows) == (86_400, 1_000, 2)
    assert spec.retrain.on == ("performance", "concept")
    assert (spec.retrain.pipeline, spec.retrain.parameters_json) == ("tabular", "{}")
    assert spec.rollout.steps == (100, 500, 2_500, 10_000)
    assert spec.rollout.gates == DEFAULT_GATES
    assert spec.engine == EngineSettings(
        1, 4_096, 1, GraphOptimization.ALL, batching=Batching(False, 0, 256), queue=QueueLimits(16_384, 1_000)
    )
    assert settled(spec) == spec


def test_own_thresholds_join_the_defaults() -> None:
    own = (GateThreshold("latency.ratio", 9.0), GateThreshold("robustness.flips", 1.0))
    spec = settled(replace(BINARY, rollout=RolloutPolicy(gates=own)))
    limits = {gate.number: gate.at_most for gate in spec.rollout.gates}
    assert limits["latency.ratio"] == 9.0
    assert limits["robustness.flips"] == 1.0
    assert limits["parity.label_flips"] == 0.0


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"task": Task.UNSPECIFIED}, "task"),
        ({"log_sample_rate": 1.5}, "log_sample_rate"),
        ({"label": LabelPolicy(horizon_s=5, lag_s=6)}, "lag_s"),
        ({"label": LabelPolicy(horizon_s=-1)}, "horizon_s"),
        ({"label": LabelPolicy(decision_threshold=math.nan)}, "decision_threshold"),
        ({"monitor": MonitorPolicy(fdr=0.9)}, "fdr"),
        ({"retrain": RetrainPolicy(on=("boredom",))}, "boredom"),
        ({"retrain": RetrainPolicy(parameters_json="{")}, "parameters_json"),
        ({"retrain": RetrainPolicy(parameters_json="[1]")}, "parameters_json"),
        ({"rollout": RolloutPolicy(steps=(500, 100, 10_000))}, "steps"),
        ({"rollout": RolloutPolicy(steps=(100, 500))}, "steps"),
        ({"rollout": RolloutPolicy(steps=(0, 10_000))}, "steps"),
        ({"rollout": RolloutPolicy(gates=(GateThreshold("parity", 1.0),))}, "parity"),
        ({"engine": EngineSettings(intra_op_threads=10_000)}, "intra_op_threads"),
        ({"engine": EngineSettings(inter_op_threads=-1)}, "spec.engine.inter_op_threads"),
        ({"engine": EngineSettings(execution_providers=("cuda",))}, "spec.engine.execution_providers 'cuda'"),
        ({"engine": EngineSettings(execution_providers=("CPUExecutionProvider",) * 2)}, "each at most once"),
        ({"engine": EngineSettings(batching=Batching(max_delay_us=-1))}, "spec.engine.batching.max_delay_us"),
        ({"engine": EngineSettings(queue=QueueLimits(max_ms=10**9))}, "spec.engine.queue.max_ms"),
        ({"engine": EngineSettings(warm_up=WarmUp(rows=(0,)))}, "spec.engine.warm_up.rows 0"),
        ({"engine": EngineSettings(max_rows=8, warm_up=WarmUp(rows=(9,)))}, "spec.engine.warm_up.rows 9"),
        ({"engine": EngineSettings(warm_up=WarmUp(rows=(4_096,) * 100))}, "spec.engine.warm_up.rows"),
        ({"engine": EngineSettings(warm_up=WarmUp(samples_json="{"))}, "spec.engine.warm_up.samples_json: no JSON"),
        ({"engine": EngineSettings(warm_up=WarmUp(samples_json="[]"))}, "spec.engine.warm_up.samples_json: 0 samples"),
        ({"engine": EngineSettings(warm_up=WarmUp(samples_json='{"inputs": [{"name": "x"}]}'))}, "a body"),
        ({"engine": EngineSettings(warm_up=WarmUp(samples_json="[" * 100_000))}, "samples_json: at most"),
        ({"owner": "x" * 5_000}, "owner"),
        ({"slices": ("a",) * 2_000}, "slices"),
    ],
)
def test_a_spec_that_cannot_be_meant_is_refused_by_field(changes: dict[str, object], named: str) -> None:
    with pytest.raises(BadSpec, match=named):
        settled(replace(BINARY, **changes))  # type: ignore[arg-type]


def test_a_spec_must_name_tensors_that_exist() -> None:
    signature = Signature((TensorSpec("x", "FP32", (-1, 1)),), (TensorSpec("p", "FP32", (-1, 2)),))
    check_against(replace(BINARY, score_output="p", entity_input="x", slices=("x",)), signature)
    for bad in (
        {"score_output": "q"},
        {"entity_input": "y"},
        {"slices": ("y",)},
        {"sensitivity": {"y": Sensitivity.DROP}},
    ):
        with pytest.raises(SignatureMismatch, match=r"[xp]"):
            check_against(replace(BINARY, **bad), signature)  # type: ignore[arg-type]


X, P = TensorSpec("x", "INT64", (-1,)), TensorSpec("p", "FP32", (-1, 2))


@pytest.mark.parametrize(
    ("inputs", "outputs", "said"),
    [
        ((X,), (P,), ""),
        ((X,), (P, TensorSpec("more", "FP32", (-1,))), ""),
        ((X,), (TensorSpec("p", "FP32", (-1, -1)),), ""),
        ((TensorSpec("x", "FP32", (-1,)),), (P,), "input 'x' INT64 [-1] of the champion is FP32 [-1] here"),
        ((TensorSpec("x", "INT64", (-1, 1)),), (P,), "input 'x' INT64 [-1] of the champion is INT64 [-1, 1] here"),
        ((TensorSpec("x", "INT64", (8,)),), (P,), "input 'x' INT64 [-1] of the champion is INT64 [8] here"),
        ((X, TensorSpec("y", "FP32", (-1,))), (P,), "input 'y' FP32 [-1] is not among the champion's"),
        ((), (P,), "input 'x' INT64 [-1] of the champion is not there"),
        ((X,), (), "output 'p' FP32 [-1, 2] of the champion is not there"),
        ((X,), (TensorSpec("p", "FP32", (-1, 3)),), "output 'p' FP32 [-1, 2] of the champion is FP32 [-1, 3] here"),
    ],
)
def test_a_candidate_takes_and_answers_what_callers_know(
    inputs: tuple[TensorSpec, ...], outputs: tuple[TensorSpec, ...], said: str
) -> None:
    assert said in "; ".join(refusals(Signature(inputs, outputs), Signature((X,), (P,))))
    assert bool(said) == bool(refusals(Signature(inputs, outputs), Signature((X,), (P,))))


@given(value=st.floats(allow_nan=True), limit=st.floats(allow_nan=False, allow_infinity=False))
def test_a_number_passes_exactly_up_to_its_threshold(value: float, limit: float) -> None:
    [gate] = judged([GateResult("parity", {"d": value}, passed=True)], [GateThreshold("parity.d", limit)])
    assert gate.passed == (value <= limit)
    assert gate.reason


def test_numbers_without_a_threshold_are_shown_not_judged() -> None:
    [gate] = judged([GateResult("data", {"missing_share": 0.9})], [])
    assert gate.passed
    assert gate.reason == "shown, not judged"
    [told] = judged([GateResult("data", {"missing_share": 0.9}, reason="wind is missing in 90.0% of the rows")], [])
    assert told.reason == "shown, not judged: wind is missing in 90.0% of the rows"


def test_a_threshold_without_its_number_refuses_unless_the_gate_says_why() -> None:
    thresholds = [GateThreshold("parity.d", 1.0), GateThreshold("quality.delta", 0.0), GateThreshold("paritty.d", 1.0)]
    why = "there is no champion"
    came = [GateResult("parity", {"rows": 9.0}), GateResult("quality", {"loss": 1.0}, not_measured=why)]
    parity, quality, misspelt = judged(came, thresholds)
    assert not parity.passed
    assert parity.reason == "d did not come, and its threshold is 1"
    assert quality.passed
    assert quality.reason == f"not measured: {why}"
    assert (misspelt.gate, misspelt.passed) == ("paritty", False)
    assert [gate.passed for gate in judged(came, [GateThreshold("parity.d", float("inf"))])] == [True, True]
    assert judged([], thresholds) == ()


def test_every_default_threshold_wants_its_number() -> None:
    refused = [gate.gate for gate in judged([GateResult("data", {"rows": 1.0})], DEFAULT_GATES) if not gate.passed]
    assert sorted(refused) == ["calibration", "latency", "parity", "quality", "size"]


@pytest.mark.parametrize("name", ["", "1a", "A", "a b", "ä", "a" * 64, "a\n", "../x"])
def test_names_are_narrow(name: str) -> None:
    with pytest.raises(BadName):
        checked_name(name)


def test_aliases_do_not_look_like_what_follows_the_plan_or_like_numbers() -> None:
    assert checked_alias("v1.2") == "v1.2"
    for alias in ("champion", "canary", "challenger", "fallback", "latest", "3", "", "a b"):
        with pytest.raises(BadName):
            checked_alias(alias)


def test_references_runs_and_digests() -> None:
    assert version_number("7") == 7
    assert version_number("champion") is None
    for bad in ("0", "9" * 30):
        with pytest.raises(BadName):
            version_number(bad)
    assert checked_run_id("run:2013-11.a") == "run:2013-11.a"
    with pytest.raises(BadName):
        checked_run_id("a b")
    with pytest.raises(BadName):
        checked_digest("ABC")


@given(st.text(max_size=60))
def test_page_tokens_come_back_and_foreign_ones_are_refused(text: str) -> None:
    if text:
        assert page(7, token(text)).after == text
    try:
        opened = page(0, text)
    except BadPageToken:
        return
    assert text == "" or token(opened.after) == text or opened.after is not None


def test_page_sizes() -> None:
    assert page(0, "").size == 100
    for size in (-1, 1_001):
        with pytest.raises(InvalidInput):
            page(size, "")
    with pytest.raises(BadPageToken):
        _ = page(1, token("flights")).after_number


def test_the_stricter_switch_counts() -> None:
    order = [Mode.ON, Mode.PROPOSE, Mode.OFF]
    for i, model in enumerate(order):
        for j, everywhere in enumerate(order):
            assert effective(model, everywhere) is order[max(i, j)]


def test_the_brake_counts_event_time() -> None:
    now = NOON
    recent = [now - timedelta(days=d) for d in (1, 3, 6)]
    assert braked(recent, now, 3)
    assert not braked([*recent[:2], now - timedelta(days=7)], now, 3)
    assert braked([None, None, None], now, 3)


def test_a_run_gathers_and_does_not_start_again() -> None:
    run = checked(Run("r1", "flights", params={"a": "1"}, metrics=(Metric("auc", 0.7),), causes=("e1",)))
    assert run.status == "running"
    change = Run("r1", status="succeeded", params={"b": "2"}, metrics=(Metric("auc", 0.8, 1),), causes=("e1", "e2"))
    after = merged(run, change)
    assert (after.params, len(after.metrics), after.causes) == ({"a": "1", "b": "2"}, 2, ("e1", "e2"))
    with pytest.raises(RunOver):
        merged(after, Run("r1", status="running"))
    with pytest.raises(BadRun):
        merged(after, Run("r1", model="other"))
    with pytest.raises(BadRun):
        checked(Run("r1", "flights", status="dreaming"))
    with pytest.raises(BadRun):
        checked(Run("r1", "flights", metrics=(Metric("m", 1.0),) * 20_001))


@pytest.mark.parametrize(
    ("version", "standing", "stage"),
    [
        (a_version(archived=True), Standing(was_champion=True), Stage.ARCHIVED),
        (a_version(), Standing(champion_in=("production",), shadow_in=("staging",)), Stage.CHAMPION),
        (a_version(), Standing(canary_in=("production",)), Stage.CANARY),
        (a_version(), Standing(shadow_in=("production",)), Stage.SHADOW),
        (a_version(), Standing(was_champion=True), Stage.RETIRED),
        (a_version(), Standing(rolled_back="harm"), Stage.RETIRED),
        (a_version(gates=(GateResult("quality", passed=False, reason="worse"),)), Standing(), Stage.REJECTED),
        (a_version(gates=(GateResult("quality", passed=True),)), Standing(), Stage.CANDIDATE),
        (a_version(), Standing(), Stage.CANDIDATE),
    ],
)
def test_the_stage_is_a_view(version: Version, standing: Standing, stage: Stage) -> None:
    found, reason = stage_of(version, standing)
    assert found is stage
    assert reason


def test_a_declared_signature_must_be_the_graphs() -> None:
    graph = Signature((TensorSpec("x", "FP32", (-1, 1)),), (TensorSpec("p", "FP32", (-1, 2)),))
    check_declared(Signature(), graph)
    check_declared(Signature((TensorSpec("x", "FP32", (8, 1)),), (TensorSpec("p", "FP32"),)), graph)
    for bad in (TensorSpec("y", "FP32", (-1, 1)), TensorSpec("x", "FP64", (-1, 1)), TensorSpec("x", "FP32", (-1, 2))):
        with pytest.raises(SignatureMismatch, match="declared"):
            check_declared(Signature((bad,)), graph)
