"""What can be wrong with a site, looked for in one go: services, alerts, Kafka and its topics, dead letters, clocks,
books, consumers that stand still, state that cannot be read, disk, libraries.
"""

import asyncio
import re
import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

import grpc

from gyrostat.events.v1 import events_pb2
from gyrostat.monitor.v1 import monitor_pb2
from gyrostat_client.backlog import OLD_S, Backlog, Illegible, backlogs, illegible
from gyrostat_client.client import AsyncClient
from gyrostat_client.errors import Unreachable
from gyrostat_client.handshake import tls_problem
from gyrostat_client.status import dropped_rows
from gyrostat_common.bus import contract
from gyrostat_common.errors import GyrostatError
from gyrostat_common.health import Report
from gyrostat_common.rpc import ask_health
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
    found = await asyncio.gather(_services(client), _alerts(client), _kafka(client), _replicas(client), _log(client))
    return [*(check for checks in found for check in checks), disk(client.settings.data.folder), *libraries()]


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
    """Reachable, and what it says of itself: the same as its /readyz."""
    endpoint = client.endpoints[name]
    start = f"`make up` starts it; --{name} or GYROSTAT_CLIENT__{name.upper()}_ADDRESS names another address"
    try:
        await endpoint.wait_until_reachable(_CONNECT_S)
        report = await ask_health(await endpoint.channel(), timeout_s=_CONNECT_S)
    except Unreachable as error:
        wrong = await tls_problem(endpoint.address, client.settings.tls)
        if wrong:
            return Check(name, "unreachable", f"{error}: {wrong}", "tls:// before the address, GYROSTAT_CLIENT__TLS__…")
        return Check(name, "unreachable", str(error), start)
    except (GyrostatError, grpc.RpcError) as error:
        said = error.details() if isinstance(error, grpc.aio.AioRpcError) else error
        return Check(name, "failed", f"{endpoint.address}: {said}", "its log says more")
    return health_check(name, endpoint.address, report)


def health_check(name: str, address: str, report: Report) -> Check:
    """Not serving and alarmed are both failures: somebody must look."""
    if report.word == "serving":
        return Check(name, "ok", f"serving at {address}")
    return Check(name, "failed", f"{report.word} at {address}: {report.sentence}", "its log says more")


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


async def _replicas(client: AsyncClient) -> list[Check]:
    """Replicas' heartbeats against our own clock, and the books of their spools."""
    try:
        replicas = await client.plans.replicas()
    except GyrostatError as error:
        return [Check("clocks", "warning", f"not known: {error}")]
    now = datetime.now(UTC)
    ages = {one.replica: (now - at).total_seconds() for one in replicas if (at := from_proto(one.at)) is not None}
    clocks = list(clock_checks(ages)) or [Check("clocks", "warning", "no replica has said anything yet")]
    return [*clocks, *book_checks(replicas)]


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


async def _log(client: AsyncClient) -> list[Check]:
    """What waits in the log, as Kafka has it, and state that nobody can read."""
    kafka = client.settings.kafka
    try:
        async with asyncio.timeout(30):
            waiting, unread = await asyncio.gather(backlogs(kafka), illegible(kafka))
    except (GyrostatError, TimeoutError):
        return [Check("lag", "warning", f"not known: Kafka does not answer at {kafka.bootstrap_servers}")]
    return [*lag_checks(waiting, datetime.now(UTC)), *state_checks(unread)]


def lag_checks(waiting: Sequence[Backlog], now: datetime) -> Iterator[Check]:
    """A group that has old records waiting and takes none in is failed, one that is only behind a warning."""
    for group in dict.fromkeys(one.group for one in waiting):
        behind = [one for one in waiting if one.group == group and one.records]
        still = [one for one in behind if not one.moved]
        for one in still:
            yield Check(f"lag {group}", "failed", f"stands still: {_waits(one, now)}", _stands_still(one))
        if still:
            continue
        oldest = max(behind, key=lambda one: one.age_s(now), default=None)
        if oldest is None:
            yield Check(f"lag {group}", "ok", "nothing waits")
        elif oldest.age_s(now) > OLD_S or sum(one.records for one in behind) > _LAG_WARN:
            again = "it takes in what comes, late; it catches up unless more comes than it can take"
            yield Check(f"lag {group}", "warning", f"behind: {_waits(oldest, now)}", again)
        else:
            yield Check(f"lag {group}", "ok", _waits(oldest, now))


def _waits(one: Backlog, now: datetime) -> str:
    since = f", the oldest since {one.since:%H:%M:%SZ} ({one.age_s(now):.0f} s)" if one.since else ""
    place = f"{one.topic}/{one.partition}"
    return f"{one.records:,} record{'s' * (one.records != 1)} of {place} wait at offset {one.offset}{since}"


def _stands_still(one: Backlog) -> str:
    service = one.group.partition(".")[0]
    return f"is the {service} up? Its log says what holds it; a restart goes on at offset {one.offset}, nothing is lost"


def state_checks(unread: Sequence[Illegible]) -> Iterator[Check]:
    """Keys of serving.plan that nobody can read."""
    for one in unread:
        yield Check(
            "state",
            "failed",
            f"{one.place}, key {one.key}: {one.reason}; what was known of the key stays in force",
            "`gyrostat topics repair serving.plan --dry-run` says what can be done",
        )
    if not unread:
        yield Check("state", "ok", "every key of serving.plan can be read")


async def _alerts(client: AsyncClient) -> list[Check]:
    """What the monitor alarms about."""
    try:
        return list(alert_checks((await client.quality.status()).alerts))
    except GyrostatError as error:
        return [Check("alerts", "warning", f"not known: {error}")]


def alert_checks(firing: Iterable[monitor_pb2.FiringAlert]) -> Iterator[Check]:
    """A critical alert is a failure, another a warning."""
    shown = list(firing)
    for one in shown:
        since = from_proto(one.since)
        owner = f"; owner {one.owner}" if one.owner else ""
        yield Check(
            "alert",
            "failed" if one.severity == "critical" else "warning",
            f"{one.summary} (since {since:%Y-%m-%d %H:%M:%SZ}{owner})" if since else one.summary,
            "`gyrostat events tail --topic alert.raised --from-beginning --no-follow` tells the history",
        )
    if not shown:
        yield Check("alerts", "ok", "none fires")


def book_checks(replicas: Iterable[events_pb2.PlanApplied]) -> Iterator[Check]:
    """Answered rows that will never reach the log, by replica."""
    lost = 0
    for one in replicas:
        dropped = dropped_rows(one)
        lost += len(dropped)
        for reason, rows in dropped.items():
            found = f"{one.replica}: {rows:,} answered row{'s' * (rows != 1)} never reached the log: {reason}"
            yield Check("books", "warning", found, "docs/spool.md says what each reason means")
    if not lost:
        yield Check("books", "ok", "no answered row was dropped")


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version)[:3])
