"""compose.yaml, Dockerfile and Procfile say the same thing, and what they say exists.

No container is started here: the file is held against the parts of the compose specification that it uses, against the
Procfile, against each service's settings, and against the S3 server that the tests run.
"""

from __future__ import annotations

import importlib
import re
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from gyrostat_common import storage
from gyrostat_common.settings import ServiceSettings, variables
from gyrostat_local.plan import DEFAULT_PORTS, REST_PORT, ROOT, SERVICES, make_plan, read_procfile
from support.objects import ObjectServer

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
        "init": {"type": "boolean"},
        "mem_limit": {"type": "string", "pattern": r"^\d+[mg]$"},
        "cap_drop": STRINGS,
        "security_opt": STRINGS,
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


def settings_of(name: str) -> type[ServiceSettings]:
    settings = importlib.import_module(f"gyrostat_{name}.settings").Settings
    assert issubclass(settings, ServiceSettings)
    return settings


def environment(compose: dict[str, Any], name: str) -> dict[str, str]:
    """What the container gets when no variable is set outside."""
    given = compose["services"][name]["environment"]
    return {variable: re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", value) for variable, value in given.items()}


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_accepts_every_setting_it_is_given(compose: dict[str, Any], name: str) -> None:
    settings = settings_of(name).load(environment(compose, name))  # an unknown variable or a wrong value raises
    known = {variable for variable, _, _ in variables(type(settings))}
    given = {variable for variable in environment(compose, name) if variable.startswith("GYROSTAT_")}
    assert given - known == set()


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_is_told_all_that_make_up_tells_it(compose: dict[str, Any], name: str, tmp_path: Path) -> None:
    told = make_plan(tmp_path, environ={}).environment
    mine = {variable for variable in told if variable.startswith(f"GYROSTAT_{name.upper()}__")}
    mine.discard("GYROSTAT_INFERENCE__REPLICA")  # a container has a host name of its own
    assert mine - environment(compose, name).keys() == set()


@pytest.mark.parametrize("name", SERVICES)
def test_an_address_leads_to_a_service_that_listens_there(compose: dict[str, Any], name: str) -> None:
    ports = {"kafka": 9092, "otel": 4317, "objects": 9000} | {other: DEFAULT_PORTS[other][0] for other in SERVICES}
    told = environment(compose, name)
    addresses = [
        value for variable, value in told.items() if re.search("REGISTRY_ADDRESS|BOOTSTRAP|ENDPOINT", variable)
    ]
    assert len(addresses) >= 3
    for address in addresses:
        host, _, port = address.removeprefix("http://").partition(":")
        assert host in compose["services"]
        assert ports[host] == int(port)


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_keeps_what_is_shared_in_the_object_store(compose: dict[str, Any], name: str) -> None:
    settings = settings_of(name).load(environment(compose, name))
    addresses = {field: value for field, value in settings if field.endswith("_uri")}
    assert "artifacts_uri" in addresses
    objects = compose["services"]["objects"]
    for address in addresses.values():
        bucket = re.match(r"s3://([^/]+)/\w+$", address)
        assert bucket is not None
        assert f"mkdir -p {objects['environment']['JCLOUDS_FILESYSTEM_BASEDIR']}/{bucket[1]} " in objects["command"][-1]


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_has_the_credentials_of_the_object_store(
    compose: dict[str, Any], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    told, objects = environment(compose, name), environment(compose, "objects")
    assert told["AWS_ACCESS_KEY_ID"] == objects["S3PROXY_IDENTITY"]
    assert told["AWS_SECRET_ACCESS_KEY"] == objects["S3PROXY_CREDENTIAL"]
    assert told["AWS_ENDPOINT_URL"].rpartition(":")[2] == objects["S3PROXY_ENDPOINT"].rpartition(":")[2]
    assert told["AWS_ALLOW_HTTP"] == "true"
    for variable in ("AWS_ENDPOINT_URL", "AWS_REGION", "AWS_ALLOW_HTTP", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(variable, told[variable])
    storage.opened(told[f"GYROSTAT_{name.upper()}__ARTIFACTS_URI"])


def test_the_object_stores_health_check_tells_well_from_gone(compose: dict[str, Any], objects: ObjectServer) -> None:
    _, *check = compose["services"]["objects"]["healthcheck"]["test"]

    def well(port: int) -> bool:
        command = [part.replace("/9000", f"/{port}") for part in check]
        return subprocess.run(command, stderr=subprocess.DEVNULL, timeout=30).returncode == 0

    assert "/9000" in check[-1]
    assert well(objects.port)
    assert not well(1)


def test_everything_has_a_limit_of_memory(compose: dict[str, Any]) -> None:
    assert [name for name, service in compose["services"].items() if "mem_limit" not in service] == []


def test_our_containers_need_no_rights(compose: dict[str, Any]) -> None:
    for name in SERVICES:
        service = compose["services"][name]
        assert (service["cap_drop"], service["security_opt"]) == (["ALL"], ["no-new-privileges:true"])


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_has_a_health_check_on_the_port_it_is_given(compose: dict[str, Any], name: str) -> None:
    grpc, metrics = DEFAULT_PORTS[name]
    service = compose["services"][name]
    rest = [REST_PORT] if name == "inference" else []
    assert service["ports"] == [f"127.0.0.1:{port}:{port}" for port in (grpc, metrics, *rest)]
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


def test_foreign_images_are_pinned_and_kafka_and_s3proxy_are_those_of_the_tests(compose: dict[str, Any]) -> None:
    foreign = {s["image"] for s in compose["services"].values() if "build" not in s}
    assert [image for image in foreign if not re.search(r":\d+\.\d+(\.\d+)?(-\w+)?$", image)] == []
    for name, image in (("kafka", "apache/kafka"), ("objects", "andrewgaul/s3proxy")):
        version = re.search(r"<(?:kafka|s3proxy)\.version>(.+)</", (ROOT / f"deploy/{name}/pom.xml").read_text())
        assert version is not None
        assert compose["services"][name]["image"] == f"{image}:{version[1]}"


def test_the_image_is_pinned_hashed_and_not_root() -> None:
    text = (ROOT / "Dockerfile").read_text()
    bases = re.findall(r"^FROM (\S+)", text, re.MULTILINE)
    assert len(set(bases)) == 1
    assert re.fullmatch(r"python:\d+\.\d+\.\d+-slim-\w+", bases[0])
    assert re.findall(r"^USER (.+)$", text, re.MULTILINE) == ["10001:10001"]
    installs = re.findall(r"pip install (.+)", text)
    assert all("--require-hashes" in line or "--no-deps" in line for line in installs)
    assert any("--require-hashes -r requirements.lock" in line for line in installs)
    assert not re.search(r"^ADD |curl|wget|latest|sudo", text, re.MULTILINE)
    assert text.count("apt-get install") == text.count("--no-install-recommends") == text.count("rm -rf /var/lib/apt")


def test_the_databases_are_those_that_the_services_name(compose: dict[str, Any]) -> None:
    made = re.findall(r"CREATE DATABASE (\w+);", (ROOT / "deploy/postgres/databases.sql").read_text())
    urls = [value for name in SERVICES for value in environment(compose, name).values() if "@postgres/" in value]
    assert sorted(made) == sorted(url.rpartition("/")[2] for url in urls)


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
