"""Values and messages hold the same, both ways; and documents come back as they went."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gyrostat.events.v1.events_pb2 import ServingPlan
from gyrostat.registry.v1 import model_pb2, registry_pb2
from gyrostat_common.errors import InvalidInput
from gyrostat_registry.domain.plan import Phase, Plan, PlannedVersion, Shadow
from gyrostat_registry.domain.rollout import Rollout, State, Step
from gyrostat_registry.domain.run import DatasetSnapshot, Metric, Run
from gyrostat_registry.domain.spec import (
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
)
from gyrostat_registry.domain.version import Artifact, Signature, TensorSpec
from gyrostat_registry.service.mapping import filled, opened
from gyrostat_registry.store.documents import dumped, loaded

TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=8)
TIMES = st.datetimes(datetime(1980, 1, 1), datetime(2100, 1, 1)).map(lambda at: at.replace(tzinfo=UTC))
WHOLE = st.integers(0, 2**31 - 1)
SHARE = st.floats(0, 1)


ARTIFACT = st.builds(Artifact, TEXT, WHOLE, TEXT, TEXT)
SIGNATURE = st.builds(
    Signature,
    *[st.lists(st.builds(TensorSpec, TEXT, TEXT, st.lists(st.integers(-1, 9)).map(tuple)), max_size=2).map(tuple)] * 2,
)
SPEC = st.builds(
    ModelSpec,
    revision=WHOLE, owner=TEXT, team=TEXT, description=TEXT, task=st.sampled_from(Task), score_output=TEXT,
    entity_input=TEXT, slices=st.lists(TEXT, max_size=2).map(tuple),
    label=st.builds(LabelPolicy, WHOLE, WHOLE, SHARE),
    sensitivity=st.dictionaries(TEXT, st.sampled_from(Sensitivity), max_size=3),
    log_sample_rate=st.none() | SHARE, autopilot=st.sampled_from(Mode),
    monitor=st.builds(MonitorPolicy, WHOLE, WHOLE, WHOLE, SHARE, SHARE, SHARE, WHOLE, WHOLE),
    retrain=st.builds(
        RetrainPolicy, st.lists(TEXT, max_size=2).map(tuple), WHOLE, WHOLE, TEXT, TEXT, TEXT, SHARE, WHOLE
    ),
    rollout=st.builds(
        RolloutPolicy, st.lists(WHOLE, max_size=3).map(tuple), WHOLE, WHOLE, WHOLE, SHARE, SHARE, WHOLE, WHOLE,
        st.lists(st.builds(GateThreshold, TEXT, st.floats(allow_nan=False)), max_size=2).map(tuple), WHOLE,
    ),
    engine=st.builds(
        EngineSettings, WHOLE, WHOLE, WHOLE, st.sampled_from(GraphOptimization), st.lists(TEXT, max_size=2).map(tuple),
        st.builds(WarmUp, st.lists(WHOLE, max_size=2).map(tuple), TEXT),
        st.builds(Batching, st.booleans(), WHOLE, WHOLE), st.builds(QueueLimits, WHOLE, WHOLE), st.booleans(),
    ),
    labels=st.dictionaries(TEXT, TEXT, max_size=2),
)  # fmt: skip
PLANNED = st.builds(
    PlannedVersion, WHOLE, ARTIFACT, SIGNATURE, st.none() | ARTIFACT, st.just(("v1",)), st.none() | ARTIFACT
)
PLAN = st.builds(
    Plan,
    environment=TEXT, model=TEXT, revision=WHOLE, made_at=TIMES, spec=SPEC, event_time=st.none() | TIMES,
    champion=st.none() | PLANNED, canary=st.none() | PLANNED, canary_weight=WHOLE,
    shadows=st.lists(st.builds(Shadow, PLANNED, st.booleans(), SHARE, TEXT), max_size=2).map(tuple),
    fallback=st.none() | PLANNED, rollout_id=TEXT, judge_version=WHOLE, judge_baseline=WHOLE,
    step_started_at=st.none() | TIMES, rollout_started_at=st.none() | TIMES, phase=st.sampled_from(Phase),
    reason=TEXT, actor=TEXT,
)  # fmt: skip
STEP = st.builds(Step, st.sampled_from(State), WHOLE, st.none() | TIMES, TIMES, TEXT, TEXT, WHOLE)
ROLLOUT = st.builds(
    Rollout,
    id=TEXT, environment=TEXT, model=TEXT, version=WHOLE, state=st.sampled_from(State), actor=TEXT, created_at=TIMES,
    from_version=WHOLE, weight=WHOLE, step=WHOLE, held=st.booleans(), steps=st.lists(STEP, max_size=2).map(tuple),
    cause=TEXT, correlation_id=TEXT, approvals=st.lists(TEXT, max_size=2).map(tuple), by_hand=st.booleans(),
)  # fmt: skip
SNAPSHOT = st.builds(
    DatasetSnapshot, st.dictionaries(TEXT, WHOLE, max_size=2), TEXT, TEXT, WHOLE, st.none() | TIMES, st.none() | TIMES,
    st.dictionaries(TEXT, WHOLE, max_size=2), st.none() | ARTIFACT, st.lists(TEXT, max_size=2).map(tuple),
)  # fmt: skip
RUN = st.builds(
    Run,
    id=TEXT, model=TEXT, status=TEXT, params=st.dictionaries(TEXT, TEXT, max_size=2),
    metrics=st.lists(st.builds(Metric, TEXT, SHARE, WHOLE, st.none() | TIMES), max_size=2).map(tuple),
    snapshot=st.none() | SNAPSHOT, started_at=st.none() | TIMES, version=WHOLE,
    cost=st.dictionaries(TEXT, SHARE, max_size=2),
)  # fmt: skip


@given(SPEC)
def test_a_spec_survives_the_wire_and_the_store(spec: ModelSpec) -> None:
    assert opened(ModelSpec, filled(model_pb2.ModelSpec(), spec)) == spec
    assert loaded(ModelSpec, dumped(spec)) == spec


@given(PLAN)
def test_a_plan_survives_the_wire_and_the_store(plan: Plan) -> None:
    assert opened(Plan, filled(ServingPlan(), plan)) == plan
    assert loaded(Plan, dumped(plan)) == plan


@given(ROLLOUT)
def test_a_rollout_survives_the_wire_and_the_store(rollout: Rollout) -> None:
    assert opened(Rollout, filled(registry_pb2.Rollout(), rollout)) == rollout
    assert loaded(Rollout, dumped(rollout)) == rollout


@given(RUN)
def test_a_run_survives_the_wire_and_the_store(run: Run) -> None:
    assert opened(Run, filled(model_pb2.Run(), run)) == run
    assert loaded(Run, dumped(run)) == run


def test_an_enum_number_that_the_contract_lacks_is_refused() -> None:
    with pytest.raises(InvalidInput, match="Task has no value 77"):
        opened(ModelSpec, model_pb2.ModelSpec(task=77))  # type: ignore[arg-type]
