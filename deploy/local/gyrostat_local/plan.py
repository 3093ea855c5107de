"""What will run where: commands from the Procfile, an address for each process, the environment they share.

Values only: nothing is started here. Called by `gyrostat_local.system` and the command line.
"""

from __future__ import annotations

import json
import os
import socket
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from gyrostat_local.readiness import free_port

ROOT = Path(__file__).resolve().parents[3]
KAFKA = "kafka"
SERVICES = ("registry", "inference", "monitor", "trainer")
DEFAULT_PORTS = {"registry": (8011, 8012), "inference": (8001, 8002), "monitor": (8021, 8022), "trainer": (8031, 8032)}
KAFKA_PORTS = (9092, 9093)
REST_PORT, REST = 8000, "GYROSTAT_INFERENCE__REST_ADDRESS"
BOOTSTRAP = "GYROSTAT_KAFKA__BOOTSTRAP_SERVERS"
PREFIX = "GYROSTAT_KAFKA__TOPIC_PREFIX"
STATE = "system.json"
LOOPBACK = "127.0.0.1"

Ports = Literal["default", "free"]


def read_procfile(file: Path = ROOT / "Procfile") -> dict[str, str]:
    """Return the command of each process by its name, in the file's order."""
    lines = [line.strip() for line in file.read_text().splitlines()]
    pairs = [line.partition(":") for line in lines if line and not line.startswith("#")]
    return {name.strip(): command.strip() for name, _, command in pairs}


@dataclass(frozen=True)
class Place:
    """Where one service listens: gRPC and metrics, both host:port, and inference's REST; empty: it has none."""

    grpc: str
    metrics: str
    rest: str = ""


@dataclass(frozen=True)
class Plan:
    """One machine's layout. `own_kafka` is false when an existing Kafka was named."""

    folder: Path
    places: dict[str, Place]
    bootstrap: str
    kafka_ports: tuple[int, int]
    own_kafka: bool
    environment: dict[str, str]

    @property
    def names(self) -> tuple[str, ...]:
        """The processes to run, Kafka first."""
        return ((KAFKA,) if self.own_kafka else ()) + SERVICES

    def log(self, name: str) -> Path:
        """The file that takes this process's output."""
        return self.folder / "logs" / f"{name}.log"


def make_plan(folder: Path, ports: Ports = "default", environ: Mapping[str, str] | None = None) -> Plan:
    """Lay out the system: `default` takes the documented ports, `free` any that nobody listens on.

    `environ` is added to this process's own environment; an address given there for a service wins over ours. A system
    on free ports is one of many: on a Kafka that is not its own it gets topics of its own, and keeps their prefix in
    its folder.
    """
    folder = folder.absolute()
    given = {**os.environ, **(environ or {})}
    own_kafka = not given.get(BOOTSTRAP)
    kafka_ports = KAFKA_PORTS if ports == "default" else (free_port(), free_port())
    bootstrap = f"{LOOPBACK}:{kafka_ports[0]}" if own_kafka else given[BOOTSTRAP]
    places = {name: _place(name, ports, given) for name in SERVICES}
    environment = given | _environment(folder, places, bootstrap, kafka_ports)
    # A name that outlives the process: else each restart leaves a replica that has fallen silent.
    environment.setdefault("GYROSTAT_INFERENCE__REPLICA", socket.gethostname())
    if not own_kafka and PREFIX not in given:
        environment[PREFIX] = _prefix_of(folder, "" if ports == "default" else f"{folder.name}-{uuid.uuid4().hex[:8]}.")
    return Plan(folder, places, bootstrap, kafka_ports, own_kafka, environment)


def _prefix_of(folder: Path, new: str) -> str:
    state = folder / STATE
    return str(json.loads(state.read_text()).get("topic_prefix", new)) if state.exists() else new


def _place(name: str, ports: Ports, given: Mapping[str, str]) -> Place:
    numbers = DEFAULT_PORTS[name] if ports == "default" else (free_port(), free_port())
    prefix = f"GYROSTAT_{name.upper()}__"
    grpc = given.get(f"{prefix}GRPC_ADDRESS", f"{LOOPBACK}:{numbers[0]}")
    metrics = given.get(f"{prefix}METRICS_ADDRESS", f"{LOOPBACK}:{numbers[1]}")
    if name != "inference":
        return Place(grpc, metrics)
    rest = given.get(REST)
    if rest is None:
        rest = f"{LOOPBACK}:{REST_PORT if ports == 'default' else free_port()}"
    return Place(grpc, metrics, rest)


def _environment(
    folder: Path, places: Mapping[str, Place], bootstrap: str, kafka_ports: tuple[int, int]
) -> dict[str, str]:
    """Return what every process is told: data folder, Kafka, its own and each other's addresses."""
    told = {
        "GYROSTAT_DATA__FOLDER": str(folder),
        BOOTSTRAP: bootstrap,
        "KAFKA_PORT": str(kafka_ports[0]),
        "KAFKA_CONTROLLER_PORT": str(kafka_ports[1]),
        "GYROSTAT_TRAINER__REGISTRY_ADDRESS": places["registry"].grpc,
        "GYROSTAT_INFERENCE__REGISTRY_ADDRESS": places["registry"].grpc,
    }
    for name, place in places.items():
        told[f"GYROSTAT_{name.upper()}__GRPC_ADDRESS"] = place.grpc
        told[f"GYROSTAT_{name.upper()}__METRICS_ADDRESS"] = place.metrics
        told[f"GYROSTAT_CLIENT__{name.upper()}_ADDRESS"] = place.grpc
    told[REST] = places["inference"].rest
    return told
