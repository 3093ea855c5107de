"""compose.yaml, Dockerfile and Procfile say the same thing, and what they say exists.

No container is started here: the file is held against the parts of the compose specification that it uses, against the
Procfile, and against each service's settings.
"""

from __future__ import annotations

import importlib
import re
from typing import Any

import jsonschema
import pytest
import yaml

from gyrostat_common.settings import ServiceSettings, variables
from gyrostat_local.plan import DEFAULT_PORTS, ROOT, SERVICES, read_procfile

STRINGS = {"type": "array", "items": {"type": "string"}}
COMMAND = {"oneOf": [{"type": "string"}, STRINGS]}
HEALTH = {
    "type": "object",
    "additionalProperties": False,
    "required": ["test"],
    "properties": {
        "test": STRINGS,
        "retries": {"type": "integer"},
        **{name: {"type": "string", "pattern": r"^\d+s$"} for name in ("interval", "timeout", "start_period")},
    },
}
CONDITIONS = ["service_started", "service_healthy", "service_completed_successfully"]
SERVICE = {
    "type": "object",
    "additionalProperties": False,
    "required": ["image"],
    "properties": {
        "image": {"type": "string"},
        "build": {
            "type": "object",
            "additionalProperties": False,
            "properties": {"context": {"type": "string"}, "args": {"type": "object"}},
        },
        "command": COMMAND,
        "entrypoint": COMMAND,
        "environment": {"type": "object", "additionalProperties": {"type": "string"}},
        "volumes": STRINGS,
        "ports": STRINGS,
        "restart": {"enum": ["no", "always", "on-failure", "unless-stopped"]},
        "stop_grace_period": {"type": "string", "pattern": r"^\d+s$"},
        "depends_on": {
            "type": "object",
            "additionalProperties": {
                "type": "object",
                "additionalProperties": False,
                "required": ["condition"],
                "properties": {"condition": {"enum": CONDITIONS}},
            },
        },
        "healthcheck": HEALTH,
    },
}
SPECIFICATION = {
    "type": "object",
    "additionalProperties": False,
    "patternProperties": {"^x-": {}},
    "required": ["services"],
    "properties": {
        "name": {"type": "string", "pattern": "^[a-z0-9][a-z0-9_-]*$"},
        "services": {"type": "object", "additionalProperties": SERVICE},
        "volumes": {"type": "object", "additionalProperties": {"type": ["object", "null"]}},
    },
}


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    return dict(yaml.safe_load((ROOT / "compose.yaml").read_text()))


def test_it_has_the_shape_of_the_compose_specification(compose: dict[str, Any]) -> None:
    jsonschema.validate(compose, SPECIFICATION)


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_is_started_by_the_procfiles_command(compose: dict[str, Any], name: str) -> None:
    assert compose["services"][name]["command"] == read_procfile()[name]


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_is_given_only_settings_that_it_has(compose: dict[str, Any], name: str) -> None:
    settings = importlib.import_module(f"gyrostat_{name}.settings").Settings
    assert issubclass(settings, ServiceSettings)
    known = {variable for variable, _, _ in variables(settings)}
    given = {variable for variable in compose["services"][name]["environment"] if variable.startswith("GYROSTAT_")}
    assert given - known == set()


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_has_a_health_check_on_the_port_it_is_given(compose: dict[str, Any], name: str) -> None:
    grpc, metrics = DEFAULT_PORTS[name]
    service = compose["services"][name]
    assert service["ports"] == [f"127.0.0.1:{port}:{port}" for port in (grpc, metrics)]
    assert f"127.0.0.1:{metrics}/readyz" in service["healthcheck"]["test"][-1]
    assert service["environment"][f"GYROSTAT_{name.upper()}__GRPC_ADDRESS"].endswith(f":{grpc}")


def test_nothing_is_published_beyond_loopback(compose: dict[str, Any]) -> None:
    ports = [port for service in compose["services"].values() for port in service.get("ports", [])]
    assert ports
    assert [port for port in ports if not port.startswith("127.0.0.1:")] == []


def test_every_file_and_volume_it_mounts_exists(compose: dict[str, Any]) -> None:
    for service in compose["services"].values():
        for mount in service.get("volumes", []):
            source = mount.partition(":")[0]
            assert (ROOT / source).is_file() if source.startswith(".") else source in compose["volumes"]


def test_every_dependency_exists_and_can_meet_its_condition(compose: dict[str, Any]) -> None:
    services = compose["services"]
    for service in services.values():
        for name, how in service.get("depends_on", {}).items():
            assert "healthcheck" in services[name] or how["condition"] != "service_healthy"


def test_foreign_images_are_pinned_and_kafka_is_the_version_of_the_pom(compose: dict[str, Any]) -> None:
    foreign = {s["image"] for s in compose["services"].values() if "build" not in s}
    assert all(re.search(r":.*\d", image) for image in foreign)
    pom = (ROOT / "deploy/kafka/pom.xml").read_text()
    version = re.search(r"<kafka.version>(.+)</kafka.version>", pom)
    assert version is not None
    assert compose["services"]["kafka"]["image"] == f"apache/kafka:{version[1]}"


def test_the_dockerfile_copies_what_exists() -> None:
    text = (ROOT / "Dockerfile").read_text()
    copied = [line.split()[1] for line in text.splitlines() if line.startswith("COPY ") and "--from" not in line]
    for path in copied:
        for name in SERVICES:
            assert (ROOT / path.replace("${SERVICE}", name)).exists()


def test_the_collector_has_every_part_that_its_pipelines_name() -> None:
    collector = yaml.safe_load((ROOT / "deploy/otel/collector.yaml").read_text())
    for pipeline in collector["service"]["pipelines"].values():
        for part, names in pipeline.items():
            assert set(names) <= collector[part].keys()
