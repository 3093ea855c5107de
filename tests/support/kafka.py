"""Real brokers for tests: private, on free loopback ports, gone with the test session.

`kafka` is shared by the session (or the broker named by GYROSTAT_KAFKA__BOOTSTRAP_SERVERS); `fresh_kafka` is the same
broker under a topic prefix of the test's own; `own_broker` is one that the test may kill; `secure_kafka` asks for TLS
and SCRAM-SHA-512 and knows one more user per service.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from gyrostat_local.readiness import free_port, kafka_answers
from support.certificates import Authority

if TYPE_CHECKING:
    from gyrostat_common.settings import KafkaSettings

ROOT = Path(__file__).resolve().parents[2]
START_LIMIT_S = 60.0
ADMIN, ADMIN_PASSWORD = "admin", "admin-secret"
SERVICE_USERS = ("registry", "inference", "monitor", "trainer")


@dataclass
class Broker:
    """One broker process in a folder of its own. `kill` and `start` keep the folder: a restart, not a new broker."""

    folder: Path
    options: list[str] = field(default_factory=list)
    port: int = field(default_factory=free_port)
    controller_port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        """The PLAINTEXT listener, host:port."""
        return f"127.0.0.1:{self.port}"

    @property
    def settings(self) -> KafkaSettings:
        """Settings for a client of the PLAINTEXT listener."""
        return _settings(bootstrap_servers=self.address)

    def start(self) -> None:
        """Start and wait until a metadata request is answered."""
        ports = ["--port", str(self.port), "--controller-port", str(self.controller_port)]
        command = [sys.executable, str(ROOT / "deploy/kafka/run"), str(self.folder), *ports, *self.options]
        log = self.folder.parent / f"{self.folder.name}.log"
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                [*command, "--die-with-parent"], stdin=subprocess.DEVNULL, stdout=output, stderr=output
            )
        deadline = time.monotonic() + START_LIMIT_S
        while not kafka_answers(self.address):
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                pytest.fail(f"Kafka did not start:\n{log.read_text()[-4000:]}", pytrace=False)
            time.sleep(0.05)

    def stop(self) -> None:
        """End in order (SIGTERM): the log is closed cleanly."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End as a crash does (SIGKILL)."""
        self._end(signal.SIGKILL)

    def _end(self, number: int) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(number)
        if self.process is not None:
            self.process.wait(30)
            self.process = None


def _settings(**values: object) -> KafkaSettings:
    from gyrostat_common.settings import KafkaSettings

    return KafkaSettings.model_validate(values)


def _fresh(settings: KafkaSettings) -> KafkaSettings:
    return settings.model_copy(update={"topic_prefix": f"t{uuid.uuid4().hex[:8]}."})


@pytest.fixture(scope="session")
def broker_folder() -> Iterator[Path]:
    """A short-lived folder for brokers, removed at the end: a log segment is too big to be kept by pytest."""
    folder = Path(tempfile.mkdtemp(prefix="gyrostat-kafka-"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def kafka(broker_folder: Path) -> Iterator[KafkaSettings]:
    """The session's Kafka: the one in GYROSTAT_KAFKA__BOOTSTRAP_SERVERS, else a private broker."""
    if given := os.environ.get("GYROSTAT_KAFKA__BOOTSTRAP_SERVERS"):
        yield _settings(bootstrap_servers=given)
        return
    broker = Broker(broker_folder / "shared")
    broker.start()
    yield broker.settings
    broker.kill()


@pytest.fixture
def fresh_kafka(kafka: KafkaSettings) -> KafkaSettings:
    """The session's Kafka under a topic prefix of this test's own: its topics start empty."""
    return _fresh(kafka)


@pytest.fixture
def own_broker(broker_folder: Path) -> Iterator[Broker]:
    """A running broker of this test's own, to be stopped, killed and started at will."""
    broker = Broker(broker_folder / uuid.uuid4().hex[:8])
    broker.start()
    yield broker
    broker.kill()


@dataclass(frozen=True)
class SecureBroker:
    """A broker whose clients come by SASL_SSL with SCRAM-SHA-512; ACLs are enforced, `admin` may do everything."""

    address: str
    plain_address: str
    authority: Authority

    def settings(self, username: str = ADMIN, password: str | None = None) -> KafkaSettings:
        """Settings of this user. Users: admin, registry, inference, monitor, trainer (password: `<user>-secret`)."""
        return _settings(
            bootstrap_servers=self.address,
            security_protocol="SASL_SSL",
            sasl_mechanism="SCRAM-SHA-512",
            sasl_username=username,
            sasl_password=f"{username}-secret" if password is None else password,
            ssl_ca_file=str(self.authority.certificate_file),
        )


@pytest.fixture(scope="session")
def secure_broker(broker_folder: Path) -> Iterator[SecureBroker]:
    """A private broker with a SASL_SSL listener, its own certificate authority and one user per service."""
    authority = Authority(broker_folder / "authority")
    secure_port = free_port()
    options = ["--secure-port", str(secure_port), "--admin", ADMIN]
    options += ["--keystore", str(authority.issue("broker")), "--ca", str(authority.certificate_file)]
    for user in (ADMIN, *SERVICE_USERS):
        options += ["--scram", f"{user}:{user}-secret"]
    broker = Broker(broker_folder / "secure", options)
    broker.start()
    yield SecureBroker(f"127.0.0.1:{secure_port}", broker.address, authority)
    broker.kill()


@pytest.fixture
def secure_kafka(secure_broker: SecureBroker) -> KafkaSettings:
    """Settings for the SASL_SSL listener as `admin`, under a topic prefix of this test's own."""
    return _fresh(secure_broker.settings())
