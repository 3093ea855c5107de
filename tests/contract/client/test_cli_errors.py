"""What the command says when something goes wrong: one line, what to do next, and the exit code."""

import json
import re

import grpc
import pytest
import typer
from typer.testing import CliRunner

from gyrostat_client.cli.root import Root, told
from gyrostat_client.cli.session import Globals
from gyrostat_common.errors import NotFound
from support.fakes import PREDICTION

INPUTS = ("--input", "amount=12.5", "--input", "country=CH")


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("models", "show", "nothing"), 1, "there is no model 'nothing'"),
        (("versions", "show", "fraud:99"), 1, "there is no version fraud:99"),
        (("versions", "show", "Fraud!"), 2, "names no model"),
        (("promote", "fraud", "--reason", "x"), 2, "names no version"),
        (("promote", "fraud:3"), 2, "Missing option '--reason'"),
        (("promote", "fraud:99", "--reason", "x"), 1, "there is no version fraud:99"),
        (("autopilot", "fraud", "sometimes"), 2, "autopilot MODEL on|propose|off"),
        (("predict", "fraud", "--input", "amount"), 2, "is not name=value"),
        (("predict", "fraud"), 2, "give a FILE or --input"),
        (("predict", "other", *INPUTS), 1, "other is not served"),
        (("predict", "fraud", "--input", "amount=much", "--input", "country=CH"), 1, "'much' is not a number"),
        (("predict", "fraud", *INPUTS, "--event-time", "noon"), 2, "RFC 3339"),
        (("plans", "show", "fraud", "--at", "yesterday"), 2, "RFC 3339"),
        (("train", "fraud", "--until", "2013-07-04"), 2, "has no offset"),
        (("quality", "show", "fraud", "--from", "june"), 2, "neither a date"),
        (
            ("outcomes", "record", "--prediction", PREDICTION, "--value", "1", "--observed-at", "now"),
            2,
            "neither a date",
        ),
        (("outcomes", "record"), 2, "give a FILE, or --value"),
        (("outcomes", "record", "--model", "fraud", "--value", "1"), 1, "give exactly one"),
        (("episodes", "list", "--kind", "vibes"), 1, "there are data, prediction"),
        (("explain", "0198c2d4-ffff-7000-8000-000000000001"), 1, "no prediction"),
        (("approve", "fraud"), 1, "waits for approval"),
        (("versions", "push", "fraud", "not-there.onnx"), 2, "does not exist"),
        (("statsu",), 2, "status"),
    ],
    ids=lambda value: " ".join(value[:2]) if isinstance(value, tuple) else "",
)
def test_what_goes_wrong_is_said_in_one_line_with_its_exit_code(services, run, words, code, said):
    result = run(*words)
    assert result.exit_code == code, result.output
    assert said in re.sub(r"[\s│]+", " ", result.stderr), result.stderr
    assert "Traceback" not in result.output
    assert result.stdout == ""


def test_a_refusal_says_what_the_service_said_and_what_to_do(services, run):
    services.registry.fail["Promote"] = [(grpc.StatusCode.FAILED_PRECONDITION, "fraud:2 is archived")]
    result = run("promote", "fraud:2", "--reason", "x")
    assert result.exit_code == 1
    assert result.stderr.splitlines() == [
        "error: fraud:2 is archived",
        "next:  `gyrostat status` shows where things stand",
    ]


@pytest.mark.parametrize(
    ("words", "said", "hint"),
    [
        (("models", "list", "--bogus"), "No such option: --bogus", "`root models list --help`"),
        (("autopilot", "fraud", "sideways"), "autopilot MODEL on|propose|off", ""),
        (("versions", "push", "fraud", "missing.onnx"), "does not exist", "`root versions push --help`"),
        (("promote", "fraud:3"), "Missing option '--reason'", "`root promote --help`"),
        (("statsu",), "No such command 'statsu'", "`root --help`"),
        (("plans", "show", "fraud", "--at", "yesterday"), "'yesterday' is not an RFC 3339 time", ""),
    ],
    ids=lambda value: " ".join(value[:2]) if isinstance(value, tuple) else "",
)
def test_a_usage_error_with_json_is_an_object(services, run, words, said, hint):
    result = run(*words, "--json")
    assert result.exit_code == 2, result.output
    printed = json.loads(result.stderr)
    assert said in printed["error"]
    assert hint in printed["next"]
    assert printed["exit_code"] == 2
    assert result.stdout == ""


def test_what_is_not_found_says_where_to_look_for_its_own_kind():
    def hint(reason):
        error = NotFound("there is none")
        if reason:
            error.add_note(f"error-reason: {reason}")
        return told(error)[2]

    assert "runs list" in hint("RunUnknown")
    assert "rollouts list" in hint("RolloutNotFound")
    assert "episodes list" in hint("EpisodeUnknown")
    assert hint("") == hint("SomethingElse") == ""


def test_an_address_of_nobody_is_unreachable_and_shown_as_it_was_given(run):
    result = run("models", "list", "--registry", "nobody.invalid:1")
    assert result.exit_code == 3, result.output
    assert "registry does not answer at nobody.invalid:1" in result.stderr


def test_an_unknown_setting_is_named(services, run, monkeypatch):
    monkeypatch.setenv("GYROSTAT_CLIENT__REGISTRY_ADRESS", "a:1")
    result = run("models", "list")
    assert result.exit_code == 2
    assert "GYROSTAT_CLIENT__REGISTRY_ADRESS" in result.stderr
    assert "did you mean GYROSTAT_CLIENT__REGISTRY_ADDRESS" in result.stderr


def test_a_fault_of_ours_is_a_line_not_a_traceback():
    faulty = typer.Typer(cls=Root)

    @faulty.callback()
    def options(ctx: typer.Context, trace: bool = False) -> None:
        ctx.obj = Globals(trace=trace)

    @faulty.command()
    def surprise() -> None:
        raise KeyError("surprise")

    result = CliRunner().invoke(faulty, ["surprise"])
    assert result.exit_code == 1
    assert "KeyError: 'surprise'" in result.stderr
    assert "--trace" in result.stderr
    assert isinstance(CliRunner().invoke(faulty, ["surprise", "--trace"]).exception, KeyError)


def test_an_address_that_is_none_is_a_usage_error_that_says_what_is_expected(run):
    for option in ("--registry", "--kafka"):
        refused = run("models", "list", option, "nonsense")
        assert refused.exit_code == 2
        assert "address 'nonsense': expected host:port, such as" in refused.stderr
    told = run("models", "list", "--registry", "nonsense", "--json")
    assert json.loads(told.stderr)["exit_code"] == 2
