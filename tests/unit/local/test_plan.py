"""What will run where."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gyrostat_local.plan import (
    BOOTSTRAP,
    DEFAULT_PORTS,
    KAFKA,
    PREFIX,
    REST,
    REST_PORT,
    SERVICES,
    STATE,
    make_plan,
    read_procfile,
)


@pytest.fixture(autouse=True)
def _no_kafka_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(BOOTSTRAP, raising=False)
    monkeypatch.delenv(PREFIX, raising=False)


def test_the_procfile_starts_kafka_and_the_four_services() -> None:
    assert tuple(read_procfile()) == (KAFKA, *SERVICES)


def test_comments_and_empty_lines_of_a_procfile_start_nothing(tmp_path: Path) -> None:
    file = tmp_path / "Procfile"
    file.write_text("# a comment\n\nweb: serve --at :80\n")
    assert read_procfile(file) == {"web": "serve --at :80"}


def test_default_ports_are_the_documented_ones(tmp_path: Path) -> None:
    plan = make_plan(tmp_path)
    assert {name: (place.grpc, place.metrics) for name, place in plan.places.items()} == {
        name: (f"127.0.0.1:{grpc}", f"127.0.0.1:{metrics}") for name, (grpc, metrics) in DEFAULT_PORTS.items()
    }
    assert plan.places["inference"].rest == f"127.0.0.1:{REST_PORT}"
    assert plan.bootstrap == "127.0.0.1:9092"


def test_every_process_learns_the_folder_kafka_and_the_registry(tmp_path: Path) -> None:
    plan = make_plan(tmp_path)
    told = plan.environment
    assert told["GYROSTAT_DATA__FOLDER"] == str(tmp_path)
    assert told[BOOTSTRAP] == plan.bootstrap
    assert told["GYROSTAT_TRAINER__REGISTRY_ADDRESS"] == plan.places["registry"].grpc
    assert told["GYROSTAT_CLIENT__MONITOR_ADDRESS"] == plan.places["monitor"].grpc


def test_an_existing_kafka_is_used_and_none_is_started(tmp_path: Path) -> None:
    plan = make_plan(tmp_path, environ={BOOTSTRAP: "kafka.example:9092"})
    assert plan.bootstrap == "kafka.example:9092"
    assert KAFKA not in plan.names


def test_a_system_keeps_its_topic_prefix_and_a_given_one_wins(tmp_path: Path) -> None:
    given = {BOOTSTRAP: "kafka.example:9092"}
    assert make_plan(tmp_path, "default", given).environment[PREFIX] == ""
    assert make_plan(tmp_path, "default", given | {PREFIX: "mine."}).environment[PREFIX] == "mine."
    assert PREFIX not in make_plan(tmp_path, "default").environment
    (tmp_path / STATE).write_text(json.dumps({"topic_prefix": "demo-1."}))
    assert make_plan(tmp_path, "default", given).environment[PREFIX] == "demo-1."


def test_an_address_that_was_given_wins(tmp_path: Path) -> None:
    plan = make_plan(tmp_path, environ={"GYROSTAT_REGISTRY__GRPC_ADDRESS": "127.0.0.1:7777"})
    assert plan.places["registry"].grpc == "127.0.0.1:7777"
    assert plan.environment["GYROSTAT_TRAINER__REGISTRY_ADDRESS"] == "127.0.0.1:7777"


def test_the_rest_twin_may_be_left_out(tmp_path: Path) -> None:
    assert make_plan(tmp_path, environ={REST: ""}).environment[REST] == ""
    assert make_plan(tmp_path, environ={REST: ""}).places["inference"].rest == ""


def test_nothing_listens_beyond_loopback(tmp_path: Path) -> None:
    plan = make_plan(tmp_path)
    addresses = [plan.bootstrap, *(a for place in plan.places.values() for a in (place.grpc, place.metrics))]
    addresses.append(plan.places["inference"].rest)
    assert all(address.startswith("127.0.0.1:") for address in addresses)
