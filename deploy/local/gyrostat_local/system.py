"""Kafka and the four services as processes, waited for until they answer: one `LocalSystem`.

    async with LocalSystem(folder, ports="free") as system:
        channel = grpc.aio.insecure_channel(system.address("inference"))
        await system.kill("monitor")
        await system.start("monitor")

Callers: the demo, e2e and chaos tests, and the command line. Logs are in `<folder>/logs/<name>.log`; everything the
processes keep is below `<folder>`, so the same folder can be served again later, on other ports.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from gyrostat_common.settings import KafkaSettings, ServiceSettings
from gyrostat_local.plan import (
    BOOTSTRAP,
    KAFKA,
    LOOPBACK,
    PREFIX,
    REST,
    ROOT,
    SERVICES,
    STATE,
    Place,
    Plan,
    Ports,
    make_plan,
    read_procfile,
)
from gyrostat_local.processes import Child, adopt, spawn
from gyrostat_local.readiness import NotReady, kafka_answers, service_standing, taken, until

START_LIMIT_S = 90.0
LOG_TAIL = 2000
ANSWERING = ("SERVING", "ALARMED")
MARKS = {KAFKA: "kafka.Kafka", **{name: f"gyrostat_{name}" for name in SERVICES}}


async def _apply_topics(kafka: KafkaSettings) -> None:
    from gyrostat_common.bus import topics  # here, so that the fixtures which need only a broker do not load the bus

    await topics.apply(kafka)


class LocalSystem:
    """A whole Gyrostat in one folder. As a context manager it starts all and stops all.

    The processes end with this one (with the thread that started them, to be exact) unless `tethered` is false.
    Environment GYROSTAT_KAFKA__BOOTSTRAP_SERVERS (or in `environ`): use that Kafka instead of starting one.
    """

    def __init__(
        self, folder: Path, ports: Ports = "default", environ: Mapping[str, str] | None = None, *, tethered: bool = True
    ) -> None:
        self.plan: Plan = make_plan(folder, ports, environ)
        self.processes: dict[str, Child] = {}
        self._log_began: dict[str, int] = {}
        self._commands = read_procfile()
        self._tethered = tethered

    async def __aenter__(self) -> Self:
        await self.up()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.down()

    @property
    def folder(self) -> Path:
        """The data folder."""
        return self.plan.folder

    @property
    def kafka(self) -> KafkaSettings:
        """Settings for a Kafka client."""
        return ServiceSettings.load(self.plan.environment).kafka

    @property
    def environment(self) -> dict[str, str]:
        """The environment of the processes: for a client or a command that should meet this system."""
        return dict(self.plan.environment)

    def address(self, name: str) -> str:
        """Where a service answers gRPC; for "kafka" the bootstrap servers."""
        return self.plan.bootstrap if name == KAFKA else self.plan.places[name].grpc

    def rest_address(self) -> str:
        """Where inference answers its REST twin; empty: nowhere."""
        return self.plan.places["inference"].rest

    def metrics_address(self, name: str) -> str:
        """Where a service answers HTTP /metrics, /healthz and /readyz."""
        return self.plan.places[name].metrics

    def log(self, name: str) -> str:
        """What a process has written so far."""
        file = self.plan.log(name)
        return file.read_text(errors="replace") if file.exists() else ""

    async def up(self) -> None:
        """Start Kafka, make the topics, start the services side by side; all answer when it returns.

        NotReady, with the end of the log, when one does not; whatever was started is stopped then.
        """
        self._check_addresses()
        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            if self.plan.own_kafka:
                await self.start(KAFKA)
            await _apply_topics(self.kafka)
            async with asyncio.TaskGroup() as group:
                for name in SERVICES:
                    group.create_task(self.start(name))
        except BaseException as error:
            await self.down()
            if isinstance(error, BaseExceptionGroup) and not isinstance(error.exceptions[0], BaseExceptionGroup):
                raise error.exceptions[0] from None
            raise
        self._save()

    def _check_addresses(self) -> None:
        """NotReady before anything is started: a taken address is seen at once, not after everything else is up."""
        wanted = [(KAFKA, f"{LOOPBACK}:{port}", "") for port in self.plan.kafka_ports if self.plan.own_kafka]
        for name, place in self.plan.places.items():
            prefix = f"GYROSTAT_{name.upper()}__"
            wanted += [(name, place.grpc, f"{prefix}GRPC_ADDRESS"), (name, place.metrics, f"{prefix}METRICS_ADDRESS")]
            wanted += [(name, place.rest, REST)] if place.rest else []
        for name, address, setting in wanted:
            if taken(address):
                other = f"set {setting} to another address" if setting else f"set {BOOTSTRAP} to use a Kafka that runs"
                raise NotReady(f"{name}: cannot listen on {address}: something does already; stop it, or {other}")

    async def down(self) -> None:
        """Stop the services in order and side by side, then Kafka. Nothing of ours runs when it returns."""
        children = [self.processes[name] for name in SERVICES if name in self.processes]
        await asyncio.gather(*(child.stop() for child in children))
        if KAFKA in self.processes:
            await self.processes[KAFKA].stop()
        self.processes.clear()

    async def start(self, name: str, *, wait: bool = True) -> None:
        """Start one process that does not run, and wait until it answers. NotReady otherwise."""
        known = self.processes.get(name)
        if known is not None and known.alive:
            return
        if known is not None:
            known.sweep()
        plan = self.plan
        self._log_began[name] = plan.log(name).stat().st_size if plan.log(name).exists() else 0
        self.processes[name] = spawn(
            name,
            self._commands[name],
            environ=plan.environment,
            log=plan.log(name),
            folder=ROOT,
            tethered=self._tethered,
        )
        if wait:
            await self.ready(name)

    async def ready(self, name: str, timeout_s: float = START_LIMIT_S) -> None:
        """Wait until a process answers: Kafka a metadata request, a service SERVING to a health check."""
        child = self.processes[name]
        try:
            if name == KAFKA:
                await until(
                    lambda: kafka_answers(self.plan.bootstrap), lambda: child.alive, what=name, timeout_s=timeout_s
                )
            else:
                await self._serving(child, timeout_s)
        except NotReady as error:
            if said := self._last_words(name):
                raise NotReady(f"{said} ({error}; all of it: {self.plan.log(name)})") from None
            raise NotReady(f"{error}; the end of {self.plan.log(name)}:\n{self.log(name)[-LOG_TAIL:]}") from None

    def _last_words(self, name: str) -> str:
        """Why a service could not start, by its own sentence; empty when it left none."""
        file, mark = self.plan.log(name), f"gyrostat_{name}: "
        if name == KAFKA or not file.exists():
            return ""
        lines = file.read_bytes()[self._log_began.get(name, 0) :].decode(errors="replace").splitlines()
        said = [line.removeprefix(mark).removeprefix("cannot start: ") for line in lines if line.startswith(mark)]
        return f"{name}: {'; '.join(said)}" if said else ""

    async def stop(self, name: str) -> None:
        """End a process in order (SIGTERM) and wait for it."""
        await self.processes[name].stop()

    async def kill(self, name: str) -> None:
        """End a process as a crash does (SIGKILL) and wait for it."""
        await self.processes[name].kill()

    async def restart(self, name: str) -> None:
        """Stop and start."""
        await self.stop(name)
        await self.start(name)

    async def health(self, name: str) -> str:
        """SERVING, ALARMED, NOT_SERVING, UNREACHABLE or STOPPED."""
        return (await self.standing(name))[0]

    async def standing(self, name: str) -> tuple[str, str]:
        """Its health and, unless it is SERVING, why, as far as it says."""
        if name == KAFKA:
            return ("SERVING" if await asyncio.to_thread(kafka_answers, self.plan.bootstrap) else "UNREACHABLE"), ""
        child = self.processes.get(name)
        if child is None or not child.alive:
            return "STOPPED", self._last_words(name)
        return await service_standing(self.address(name))

    async def _serving(self, child: Child, timeout_s: float) -> None:
        why = ""
        try:
            async with asyncio.timeout(timeout_s):
                while True:
                    word, why = await service_standing(self.address(child.name))
                    if word in ANSWERING:
                        return
                    if not child.alive:
                        raise NotReady(f"{child.name} ended with exit code {child.exit_code}")
                    await asyncio.sleep(0.1)
        except TimeoutError:
            because = f": {why}" if why else ""
            raise NotReady(f"{child.name} was not ready after {timeout_s:.0f} s{because}") from None

    def _save(self) -> None:
        state = {
            "bootstrap": self.plan.bootstrap,
            "own_kafka": self.plan.own_kafka,
            "topic_prefix": self.plan.environment.get(PREFIX, ""),
            "kafka_ports": self.plan.kafka_ports,
            "places": {name: [place.grpc, place.metrics, place.rest] for name, place in self.plan.places.items()},
            "processes": {name: child.pid for name, child in self.processes.items()},
        }
        (self.folder / STATE).write_text(json.dumps(state, indent=1))

    @classmethod
    def running(cls, folder: Path) -> LocalSystem | None:
        """Return the system that `up` left running in this folder, or None when no process of it lives."""
        file = folder / STATE
        if not file.exists():
            return None
        state = json.loads(file.read_text())
        children = {name: adopt(name, pid, MARKS[name]) for name, pid in state["processes"].items()}
        living = {name: child for name, child in children.items() if child is not None}
        if not living:
            return None
        places = {name: Place(*pair) for name, pair in state["places"].items()}
        told = {f"GYROSTAT_{name.upper()}__GRPC_ADDRESS": place.grpc for name, place in places.items()}
        told |= {f"GYROSTAT_{name.upper()}__METRICS_ADDRESS": place.metrics for name, place in places.items()}
        told[REST] = places["inference"].rest
        system = cls(folder, environ={**told, BOOTSTRAP: state["bootstrap"]}, tethered=False)
        system.processes = living
        return system
