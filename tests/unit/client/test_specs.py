import pytest

from gyrostat.registry.v1 import model_pb2
from gyrostat_client import specs

YAML = """
owner: risk@example.org
task: binary
autopilot: on
sensitivity: {email: hash, amount: bucket}
retrain:
  on: [performance]
  cooldown_s: 86400
  parameters_json: {num_leaves: 31}
rollout:
  steps: [100, 10000]
  gates:
    - {number: size.bytes, at_most: 50000000}
"""


def test_a_spec_is_written_in_the_words_of_the_contract():
    spec = specs.read(YAML)
    assert (spec.task, spec.autopilot) == (model_pb2.TASK_BINARY, model_pb2.AUTOPILOT_MODE_ON)
    assert spec.sensitivity["email"] == model_pb2.SENSITIVITY_HASH
    assert list(spec.rollout.steps) == [100, 10000]
    assert spec.rollout.gates[0].at_most == 5e7
    assert spec.retrain.parameters_json == '{"num_leaves": 31}'


def test_what_is_written_is_read_back_the_same():
    spec = specs.read(YAML)
    spec.log_sample_rate = 0.5
    assert specs.read(specs.write(spec)) == spec
    assert specs.read(specs.write(spec, as_json=True)) == spec


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("ownr: a", "unknown field ownr; did you mean owner"),
        ("rollout: {step: [1]}", r"unknown field rollout.step; did you mean rollout.steps"),
        ("task: classification", "task: 'classification' is none of binary, multiclass, regression"),
        ("rollout: 3", "rollout: a mapping is wanted"),
        ("slices: a", "slices: a list is wanted"),
        ("retrain: {min_rows: many}", "retrain.min_rows: 'many' does not fit"),
        ("- a", "a spec is a mapping"),
        ("a: [", "no YAML or JSON"),
    ],
)
def test_a_wrong_spec_is_refused_by_field(text, complaint):
    with pytest.raises(specs.BadSpec, match=complaint):
        specs.read(text)


def test_the_diff_ignores_the_revision():
    before, after = specs.read(YAML), specs.read(YAML)
    after.revision = 9
    assert specs.diff(before, after) == []
    after.owner = "fraud@example.org"
    assert "+owner: fraud@example.org" in specs.diff(before, after)


def test_what_the_file_does_not_name_stays_as_it_is():
    before = specs.read(YAML)
    after = specs.read("retrain: {cooldown_s: 60}\nsensitivity: {phone: drop}", onto=before)
    assert after.retrain.cooldown_s == 60
    assert list(after.retrain.on) == ["performance"]
    assert dict(after.sensitivity) == {"phone": model_pb2.SENSITIVITY_DROP}
    assert after.owner == before.owner


def test_a_threshold_of_zero_is_written():
    assert "at_most: 0.0" in specs.write(specs.read("rollout: {gates: [{number: parity.label_flips, at_most: 0}]}"))


def test_a_threshold_that_asks_for_nothing_survives_a_round_trip() -> None:
    read = specs.read("rollout: {gates: [{number: parity.max_difference, at_most: .inf}]}")
    assert read.rollout.gates[0].at_most == float("inf")
    for as_json in (False, True):
        assert specs.read(specs.write(read, as_json=as_json)) == read
