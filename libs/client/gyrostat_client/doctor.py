"""What can be wrong with a site, looked for in one go: services, Kafka and its topics, clocks, disk, libraries, lag,
dead letters.
"""

import asyncio
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

from grpc_health.v1 import health_pb2

from gyrostat_client.client import AsyncClient
from gyrostat_client.errors import Unreachable
from gyrostat_common import bus
from gyrostat_common.bus import contract
from gyrostat_common.errors import GyrostatError
from gyrostat_common.times import from_proto

_LEAST_FREE_BYTES, _WARN_FREE_BYTES = 1 << 29, 4 << 30
_CLOCK_AHEAD_S, _HEARTBEAT_S = 2.0, 30.0
_LAG_WARN = 10_000
_CONNECT_S = 2.0


@dataclass(frozen=True)
class KnownBad:
    """A library's versions that are known not to work here, and why."""

    library: str
    versions: str
    reason: str

    def hits(self, version: str) -> bool:
        """Whether the version is one of them; `versions` is `>=7` or `<0.14`."""
        sign, limit = re.match(r"([<>]=?)(.+)", self.versions).groups()  # type: ignore[union-attr]
        ours, theirs = _numbers(version), _numbers(limit)
        return ours >= theirs if sign == ">=" else ours > theirs if sign == ">" else ours < theirs


KNOWN_BAD = (
    KnownBad("protobuf", ">=7", "scikit-learn's HistGradientBoosting cannot be exported to ONNX with it"),
    KnownBad("aiokafka", "<0.14", "the consumer's lock rule was proven on 0.14 only"),
    KnownBad("aiokafka", ">=0.15", "the consumer's lock rule was proven on 0.14 only"),
    KnownBad("onnxruntime", "<1.20", "older than the opset that the tabular pipeline exports"),
)


@dataclass(frozen=True)
class Check:
    """One thing looked at. `state` is "ok", "warning", "failed" or "unreachable"; `next` says what to do."""

    name: str
    state: str
    found: str
    next: str = ""


async def examine(client: AsyncClient) -> list[Check]:
    """Every check; none raises."""
    services, kafka, clocks, lag = await asyncio.gather(
        _services(client), _kafka(client), _clocks(client), _lag(client)
    )
    return [*services, *kafka, *clocks, *lag, disk(client.settings.data.folder), *libraries()]


def libraries() -> Iterator[Check]:
    """Installed versions against the known-bad list."""
    for library in dict.fromkeys(bad.library for bad in KNOWN_BAD):
        try:
            version = metadata.version(library)
        except metadata.PackageNotFoundError:
            yield Check(library, "ok", "not installed here")
            continue
        hit = next((bad for bad in KNOWN_BAD if bad.library == library and bad.hits(version)), None)
        if hit is None:
            yield Check(library, "ok", version)
        else:
            yield Check(library, "failed", f"{version}: {hit.reason}", "install what requirements.lock names")


def disk(folder: Path) -> Check:
    """Room where everything is kept."""
    there = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    usage = shutil.disk_usage(there)
    found = f"{usage.free / 1e9:.1f} GB of {usage.total / 1e9:.0f} GB free at {there}"
    if usage.free < _LEAST_FREE_BYTES:
        return Check("disk", "failed", found, "make room, or set GYROSTAT_DATA__FOLDER")
    return Check(
        "disk",
        "warning" if usage.free < _WARN_FREE_BYTES else "ok",
        found,
        "the spool alone may take 2 GiB" if usage.free < _WARN_FREE_BYTES else "",
    )


async def _services(client: AsyncClient) -> list[Check]:
    return list(await asyncio.gather(*(_service(client, name) for name in client.endpoints)))


async def _service(client: AsyncClient, name: str) -> Check:
    """Reachable, and serving by its own word."""
    endpoint = client.endpoints[name]
    start = f"`make up` starts it; --{name} or GYROSTAT_CLIENT__{name.upper()}_ADDRESS names another address"
    try:
        await endpoint.wait_until_reachable(_CONNECT_S)
        reply = await endpoint.unary(
            "/grpc.health.v1.Health/Check",
            health_pb2.HealthCheckRequest(),
            health_pb2.HealthCheckResponse,
            timeout_s=_CONNECT_S,
        )
    except Unreachable as error:
        return Check(name, "unreachable", str(error), start)
    except GyrostatError as error:
        return Check(name, "failed", f"{endpoint.address}: {error}", "its log says more")
    if reply.status == health_pb2.HealthCheckResponse.SERVING:
        return Check(name, "ok", f"serving at {endpoint.address}")
    word = health_pb2.HealthCheckResponse.ServingStatus.Name(reply.status).lower().replace("_", " ")
    return Check(name, "failed", f"{word} at {endpoint.address}", "its /readyz and its log say why")


async def _kafka(client: AsyncClient) -> list[Check]:
    """Reachable, and every topic as the contract wants it."""
    servers = client.settings.kafka.bootstrap_servers
    try:
        topics = await asyncio.wait_for(client.topics.check(), 15)
    except (GyrostatError, TimeoutError) as error:
        return [
            Check(
                "kafka",
                "unreachable",
                str(error) or f"Kafka does not answer at {servers}",
                "`make up` starts it; --kafka or GYROSTAT_KAFKA__BOOTSTRAP_SERVERS names another address",
            )
        ]
    checks = [Check("kafka", "ok", f"answers at {servers}")]
    bad = [topic for topic in topics if topic.state in ("missing", "refused")]
    for topic in bad:
        checks.append(
            Check(
                "topics",
                "failed",
                f"{topic.topic} is {topic.state} {topic.remarks}".rstrip(),
                "`gyrostat topics apply`" if topic.state == "missing" else "make the topic anew",
            )
        )
    if not bad:
        different = [topic.topic for topic in topics if topic.state == "differs"]
        noted = f"; the site's own settings: {', '.join(different)}" if different else ""
        checks.append(Check("topics", "ok", f"{len(topics)} per contract{noted}"))
    return [*checks, *await _dead_letters(client)]


async def _dead_letters(client: AsyncClient) -> list[Check]:
    """What the services could not handle and put aside."""
    try:
        return list(dead_letter_checks(await asyncio.wait_for(client.events.dead_letters(), 15)))
    except (GyrostatError, TimeoutError) as error:
        return [Check("dead letters", "warning", f"not known: {error}")]


def dead_letter_checks(counts: dict[str, int]) -> Iterator[Check]:
    """Dead-letter topic → records in it. They stay for the topic's retention, also when their cause is mended."""
    full = {topic: count for topic, count in sorted(counts.items()) if count}
    for topic, count in full.items():
        yield Check(
            "dead letters",
            "warning",
            f"{topic} holds {count:,} record{'s' * (count != 1)} of the last {contract.DLQ_RETENTION_DAYS} days",
            f"`gyrostat events tail --topic {topic} --from-beginning --no-follow` says why each is there",
        )
    if not full:
        yield Check("dead letters", "ok", f"none in {len(counts)} topics")


async def _clocks(client: AsyncClient) -> list[Check]:
    """Replicas' heartbeats against our own clock."""
    try:
        replicas = await client.plans.replicas()
    except GyrostatError as error:
        return [Check("clocks", "warning", f"not known: {error}")]
    now = datetime.now(UTC)
    ages = {one.replica: (now - at).total_seconds() for one in replicas if (at := from_proto(one.at)) is not None}
    return list(clock_checks(ages)) or [Check("clocks", "warning", "no replica has said anything yet")]


def clock_checks(ages: dict[str, float]) -> Iterator[Check]:
    """Replica → seconds since its heartbeat by our clock: negative means that its clock is ahead of ours."""
    for replica, age in sorted(ages.items()):
        if age < -_CLOCK_AHEAD_S:
            yield Check("clocks", "failed", f"{replica} is {-age:.1f} s ahead of this machine", "let both follow NTP")
        elif age > _HEARTBEAT_S:
            yield Check(
                "clocks",
                "warning",
                f"{replica} was last heard {age:.0f} s ago",
                "it is down, Kafka is, or its clock is behind",
            )
        else:
            yield Check("clocks", "ok", f"{replica} was heard {max(age, 0):.1f} s ago")


async def _lag(client: AsyncClient) -> list[Check]:
    """Records that each service has not taken in, as Kafka has it."""
    kafka = client.settings.kafka
    groups = sorted({consumer for topic in contract.events() for consumer in topic.consumers} & set(client.endpoints))
    try:
        async with asyncio.timeout(15), bus.open(kafka) as log:
            lags = {group: await log.lag(group) for group in groups}
    except (GyrostatError, TimeoutError):
        return [Check("lag", "warning", f"not known: Kafka does not answer at {kafka.bootstrap_servers}")]
    return list(lag_checks(lags))


def lag_checks(lags: dict[str, dict[str, int]]) -> Iterator[Check]:
    """Group → topic → records not yet taken in."""
    for group, lag in lags.items():
        behind = {topic: count for topic, count in sorted(lag.items()) if count}
        found = ", ".join(f"{topic} {count:,}" for topic, count in behind.items()) or f"nothing in {len(lag)} topics"
        if max(lag.values(), default=0) > _LAG_WARN:
            yield Check(f"lag {group}", "warning", found, "it catches up unless more comes than it can take")
        else:
            yield Check(f"lag {group}", "ok", found)


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version)[:3])
