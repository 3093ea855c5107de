import io
import json
import re
import subprocess
import sys
import time

import pytest
from rich.console import Console
from typer.main import get_command

from gyrostat.registry.v1 import registry_pb2
from gyrostat_client import Client, Unreachable, status
from gyrostat_client.cli.app import app
from gyrostat_client.cli.overview import page
from support.fakes import EPISODE, PREDICTION, ROLLOUT, RUN

ONNX = "model.onnx"
INPUTS = ("--input", "amount=12.5", "--input", "country=CH")

# Every command that asks a service, with a line that works on the fakes.
COMMANDS = [
    ("status",),
    ("explain", "fraud@champion"),
    ("explain", f"{PREDICTION}/0"),
    ("predict", "fraud", *INPUTS),
    ("train", "fraud", "--reason", "why"),
    ("promote", "fraud:3", "--reason", "why", "--wait", "0"),
    ("rollback", "fraud", "--reason", "why", "--no-wait"),
    ("retire", "fraud", "--reason", "why", "--yes"),
    ("autopilot",),
    ("autopilot", "fraud"),
    ("autopilot", "fraud", "off", "--reason", "why"),
    ("autopilot", "--all", "propose"),
    ("models", "list"),
    ("models", "show", "fraud"),
    ("models", "create", "churn", "--owner", "ada@example.org", "--task", "binary"),
    ("spec", "get", "fraud"),
    ("versions", "list", "fraud"),
    ("versions", "show", "models:/fraud@champion"),
    ("versions", "archive", "fraud:2"),
    ("versions", "alias", "fraud:3", "v2"),
    ("runs", "list"),
    ("runs", "show", RUN),
    ("runs", "why"),
    ("runs", "cancel", RUN),
    ("rollouts", "list", "--model", "fraud"),
    ("rollouts", "show", ROLLOUT),
    ("rollouts", "start", "fraud:2"),
    ("rollouts", "approve", ROLLOUT),
    ("plans", "show", "fraud"),
    ("plans", "history", "fraud"),
    ("audit", "list", "--by", "ada"),
    ("topics", "repair", "serving.plan", "--yes"),
    ("episodes", "list", "--open"),
    ("episodes", "show", EPISODE),
    ("quality", "show", "fraud", "--by", "month"),
    ("quality", "windows", "fraud"),
    ("quality", "verdicts"),
    ("outcomes", "record", "--model", "fraud", "--prediction", PREDICTION, "--value", "1"),
    ("datasets", "list"),
    ("topics", "list"),
    ("topics", "apply", "--dry-run"),
]


def leaves(command=None, path=()):
    """Every command of the tree with its words."""
    command = command or get_command(app)
    for name, child in getattr(command, "commands", {}).items():
        if hasattr(child, "commands"):
            yield from leaves(child, (*path, name))
        else:
            yield (*path, name), child


@pytest.mark.parametrize("words", COMMANDS, ids=lambda words: " ".join(words[:3]))
def test_every_command_prints_a_table_and_valid_json(services, run, words):
    shown = run(*words)
    assert shown.exit_code == 0, shown.output
    assert shown.stdout.strip()
    # Lines that are meant to be copied, and those with ids, are never broken.
    tables = [line for line in shown.stdout.splitlines() if not re.match(r"grpcurl|kafka-topics|next:|roll-out", line)]
    assert all(len(line) <= 100 for line in tables), max(tables, key=len)
    printed = run(*words, "--json") if words[:2] != ("models", "create") else run("models", "create", "other", "--json")
    assert printed.exit_code == 0, printed.output
    json.loads(printed.stdout)


@pytest.mark.parametrize(
    ("words", "command"), list(leaves()), ids=lambda value: " ".join(value) if isinstance(value, tuple) else ""
)
def test_every_command_has_json_help_and_an_example(run, words, command):
    assert command.epilog.startswith("Example: gyrostat ")
    assert any("--json" in parameter.opts for parameter in command.params), "no --json"
    assert command.help
    assert run(*words, "--help").exit_code == 0


def test_the_examples_name_the_command_they_belong_to():
    for words, command in leaves():
        assert command.epilog.startswith(f"Example: gyrostat {' '.join(words)}"), words


@pytest.mark.parametrize(
    "words", [words for words in COMMANDS if words[0] not in ("topics",)], ids=lambda words: " ".join(words[:3])
)
def test_a_service_that_does_not_answer_is_exit_3_and_names_the_address(run, monkeypatch, words):
    for name in ("REGISTRY", "INFERENCE", "MONITOR", "TRAINER"):
        monkeypatch.setenv(f"GYROSTAT_CLIENT__{name}_ADDRESS", "127.0.0.1:1")
    monkeypatch.setenv("GYROSTAT_CLIENT__TRIES", "1")
    result = run(*words)
    assert result.exit_code == 3, result.output
    assert "127.0.0.1:1" in result.stderr
    assert "make up" in result.stderr
    assert "Traceback" not in result.output
    as_json = run(*words, "--json")
    assert as_json.exit_code == 3
    assert json.loads(as_json.stderr)["exit_code"] == 3
    assert as_json.stdout == ""


def test_addresses_are_given_anywhere_on_the_line(services, run, monkeypatch):
    address = services.addresses["registry"]
    monkeypatch.setenv("GYROSTAT_CLIENT__REGISTRY_ADDRESS", "127.0.0.1:1")
    assert run("models", "list", "--registry", address).exit_code == 0
    assert run("--registry", address, "models", "list").exit_code == 0
    assert run("models", f"--registry={address}", "list", "--actor", "bob").exit_code == 0
    assert services.registry.actors[-1] == "bob"


def test_status_shows_the_loop_on_one_page(services, run, read):
    found = read("status")
    (model,) = found["models"]
    assert (model["champion"], model["shadows"], model["autopilot"], model["state"]) == (4, [3], "on", "stable")
    assert model["open_episodes"] == [EPISODE]
    (replica,) = found["replicas"]
    assert replica["behind"] == ["fraud"]
    assert replica["failed"] == ["fraud:4 digest"]
    assert found["lag_records"] == {"prediction.logged": 12}
    shown = run("status").stdout
    assert "2013-07-04" in shown
    assert "87%" in shown


def test_status_goes_on_without_the_monitor_and_says_so(services, run, read, monkeypatch):
    monkeypatch.setenv("GYROSTAT_CLIENT__MONITOR_ADDRESS", "127.0.0.1:1")
    found = read("status")
    assert found["models"][0]["watermark"] is None
    assert "monitor does not answer at 127.0.0.1:1" in found["notes"][0]


def test_predict_prints_answer_version_id_and_the_same_call_for_grpcurl(services, run, read, tmp_path):
    (tmp_path / "row.json").write_text('{"amount": 12.5, "country": "CH"}')
    by_file = read("predict", "fraud", tmp_path / "row.json")
    assert by_file["outputs"]["probabilities"] == [[0.875, 0.125]]
    assert (by_file["version"], by_file["prediction_id"]) == ("4", PREDICTION)
    shown = run("predict", "fraud", *INPUTS).stdout
    assert PREDICTION in shown
    line = next(line for line in shown.splitlines() if line.startswith("grpcurl"))
    assert services.addresses["inference"] in line
    body = json.loads(re.search(r"-d '(.*)' unix", line).group(1))
    assert body["inputs"][1]["contents"] == {"bytes_contents": ["Q0g="]}


def test_predict_reads_rows_from_stdin(services, read):
    rows = '[{"amount": 1, "country": "CH"}, {"amount": 2, "country": "DE"}]'
    assert len(read("predict", "fraud:4", "-", input=rows)["outputs"]["probabilities"]) == 2


def test_explain_walks_from_a_prediction_to_the_promotion(services, run, read):
    found = read("explain", f"{PREDICTION}/0")
    assert found["missing"] == []
    kinds = set()

    def walk(link):
        kinds.add(link["kind"])
        for child in link["links"]:
            walk(child)

    walk(found["chain"])
    assert kinds >= {
        "prediction",
        "outcome",
        "version",
        "run",
        "snapshot",
        "episode",
        "exemplar",
        "promotion",
        "rollout",
    }
    assert "no link is missing" in run("explain", "fraud:4").stdout


def test_explain_names_every_missing_link(services, run, read):
    services.monitor.episodes.clear()
    services.registry.runs[RUN].ClearField("snapshot")
    found = read("explain", "fraud@champion")
    assert [gap["kind"] for gap in found["missing"]] == ["snapshot", "episode"]
    assert "2 links missing" in run("explain", "fraud@champion").stdout
    services.registry.runs.clear()
    assert [gap["kind"] for gap in read("explain", "fraud:4")["missing"]] == ["run", "episode"]


def test_a_version_pushed_by_hand_has_no_missing_link(services, read):
    assert read("explain", "fraud:1")["missing"] == []


def test_training_is_waited_for_and_its_end_is_the_exit_code(services, run):
    assert run("train", "fraud", "--wait").exit_code == 0
    services.trainer.ending = "rejected"
    failed = run("train", "fraud", "--wait", "--json")
    assert failed.exit_code == 1
    assert [json.loads(line)["progress"]["stage"] for line in failed.stdout.splitlines()] == ["snapshot", "fit", "done"]
    assert run("runs", "watch", RUN).exit_code == 1


def test_a_proposed_roll_out_is_approved_by_model_version_or_id(services, run):
    from gyrostat.registry.v1 import registry_pb2

    for what in ("fraud", "fraud:4", "fraud@champion", ROLLOUT):
        services.registry.rollouts[0].state = registry_pb2.ROLLOUT_STATE_PROPOSED
        assert run("approve", what, "--reason", "read").exit_code == 0, what
        assert services.registry.calls[-1].rollout_id == ROLLOUT


def test_retiring_asks_first(services, run):
    assert run("retire", "fraud", "--reason", "x", input="n\n").exit_code == 1
    assert run("retire", "fraud", "--reason", "x", input="y\n").exit_code == 0


def test_a_version_is_pushed_with_an_alias_and_downloaded(services, run, tmp_path):
    (tmp_path / ONNX).write_bytes(b"onnx")
    result = run("versions", "push", "fraud", tmp_path / ONNX, "--alias", "v3", "--hold")
    assert result.exit_code == 0, result.output
    assert "registered fraud:5" in result.stdout
    assert run("versions", "download", "fraud:v3", "--into", tmp_path / "back.onnx").exit_code == 0
    assert (tmp_path / "back.onnx").read_bytes() == b"onnx"


def test_a_spec_is_got_edited_compared_and_applied(services, run, tmp_path):
    file = tmp_path / "fraud.yaml"
    file.write_text(run("spec", "get", "fraud").stdout)
    assert "no difference" in run("spec", "diff", "fraud", file).stdout
    file.write_text(file.read_text().replace("risk@example.org", "ada@example.org"))
    assert "+owner: ada@example.org" in run("spec", "diff", "fraud", file).stdout
    assert "revision 4" in run("spec", "apply", "fraud", file).stdout
    assert services.registry.models["fraud"].spec.owner == "ada@example.org"
    file.write_text(file.read_text().replace("ada@", "bob@"))
    refused = run("spec", "apply", "fraud", file)  # the file still says revision 3
    assert refused.exit_code == 1
    assert "revision 4" in refused.stderr


def test_outcomes_and_datasets_come_from_files(services, run, tmp_path):
    (tmp_path / "o.jsonl").write_text(
        json.dumps({"prediction_id": PREDICTION, "value": 1, "observed_at": "2013-07-04T12:00:00Z"})
    )
    assert "recorded 1 outcome" in run("outcomes", "record", tmp_path / "o.jsonl", "--model", "fraud").stdout
    (tmp_path / "rows.parquet").write_bytes(b"rows")
    assert "fraud-2012" in run("datasets", "import", "fraud-2012", tmp_path / "rows.parquet").stdout
    assert "fraud-2012" in run("datasets", "list").stdout


def test_the_kafka_topics_lines_need_no_kafka(run):
    lines = run("topics", "apply", "--dry-run").stdout.splitlines()
    assert any("--topic serving.plan --partitions 1" in line and "cleanup.policy=compact" in line for line in lines)
    assert all(line.startswith("kafka-topics.sh --bootstrap-server ") for line in lines)


@pytest.mark.parametrize(
    "words", [("topics", "check"), ("topics", "apply"), ("events", "tail"), ("events", "show", "x")]
)
def test_kafka_that_does_not_answer_is_exit_3(run, words):
    result = run(*words, "--kafka", "127.0.0.1:1")
    assert result.exit_code == 3, result.output
    assert "Kafka does not answer at 127.0.0.1:1" in result.stderr


def test_doctor_names_what_is_wrong_and_fails(services, run, read):
    result = run("doctor", "--json")
    checks = {(check["name"], check["state"]) for check in json.loads(result.stdout)}
    assert result.exit_code == 3
    assert checks >= {
        ("registry", "ok"),
        ("trainer", "ok"),
        ("kafka", "unreachable"),
        ("protobuf", "ok"),
        ("clocks", "ok"),
    }
    services.health.set("", 2)
    checks = {(check["name"], check["state"]) for check in json.loads(run("doctor", "--json").stdout)}
    assert ("registry", "failed") in checks


def test_help_comes_fast_because_nothing_heavy_is_imported():
    code = (
        "import sys, gyrostat_client.cli.app; heavy = ('grpc', 'numpy', 'pydantic', 'google.protobuf', 'aiokafka'); "
        "print([name for name in heavy if name in sys.modules])"
    )
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
    )


def test_unreachable_is_quick(run):
    began = time.monotonic()
    with pytest.raises(Unreachable):
        raise run("models", "list", "--registry", "127.0.0.1:1", "--trace").exception
    assert time.monotonic() - began < 5


@pytest.mark.parametrize("words", [("rollouts", "list"), ("episodes", "list")])
def test_a_list_is_narrowed_to_a_model_with_or_without_the_option(services, read, words):
    assert len(read(*words, "fraud")) == len(read(*words, "--model", "fraud")) == 1
    assert read(*words, "other") == []


@pytest.mark.parametrize("width", [80, 100])
def test_status_breaks_no_word_and_fits_the_terminal(services, width):
    services.registry.replicas[0].revisions.clear()
    services.monitor.status.models[0].outcomes_parked = 1200
    plan = services.registry.plans["fraud"][0]
    plan.canary.number, plan.canary_weight = 5, 500
    services.registry.rollouts[0].state = registry_pb2.ROLLOUT_STATE_CANARY
    services.registry.rollouts[0].held = True
    with Client() as client:
        found = client.portal.call(status.status(client.asynchronous))
    console = Console(width=width, record=True, file=io.StringIO())
    console.print(page(found, width))
    shown = console.export_text()
    assert all(len(line) <= width for line in shown.splitlines())
    words = ("canary", "5 at 5 %", "shadow 3", "canary v4", "held", "2013-07-04", "stable", "87%", "nothing yet")
    assert [word for word in words if word not in shown] == []
    assert "fraud's outcomes: 1,200 wait for their prediction" in shown
    assert ("propose" in shown or " on " in shown) is (width >= 100)


def test_a_key_of_the_plan_topic_is_repaired_after_a_question(services, run, read):
    mended = registry_pb2.PlanTopicRepair(key=b"production/fraud", action="republish", revision=7, found="offset 3")
    foreign = registry_pb2.PlanTopicRepair(key=b"\xff", action="remove", found="offset 4")
    services.registry.unreadable = [mended, foreign]
    command = ("topics", "repair", "serving.plan", "--reason", "stray script")
    assert [one["done"] for one in read(*command, "--dry-run")] == [False, False]
    refused = run(*command, input="n\n")
    assert refused.exit_code == 1
    assert "would publish revision 7 again" in refused.stdout
    assert "\\xff: would write a tombstone" in refused.stdout
    assert run(*command, "--json", input="").exit_code == 1
    assert len(services.registry.unreadable) == 2
    one = read(*command, "--key", "production/fraud", "--yes")
    assert one == [{"key": "production/fraud", "action": "republish", "revision": 7, "found": "offset 3", "done": True}]
    assert run(*command, input="y\n").exit_code == 0
    assert services.registry.unreadable == []
    assert "nothing to repair" in run(*command).stdout
    assert run("topics", "repair", "model.promoted").exit_code == 2


def test_the_switch_for_all_models_can_be_looked_at(services, run):
    run("autopilot", "--all", "propose", "--reason", "audit")
    assert run("autopilot").stdout.strip() == "all models: propose"
    assert run("autopilot", "off").exit_code == 2


def test_nothing_is_an_empty_list_in_json(services, read):
    services.trainer.datasets.clear()
    assert read("datasets", "list") == []


def test_a_promotion_says_which_replicas_serve_it_and_which_do_not(services, run):
    shown = run("promote", "fraud:3", "--reason", "why", "--wait", "0")
    assert shown.stdout.splitlines()[1:3] == [
        "no replica serves it yet",
        "not by replica-a: still at plan revision 2; fraud:4 is not loaded: digest",
    ]
    assert "replica" not in run("promote", "fraud:3", "--reason", "why", "--no-wait").stdout
