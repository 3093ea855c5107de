"""Creates and checks the topics of the contract on a cluster. Cleanup policy and the least number of partitions are the
contract's; retention, replication and more partitions are the site's choice and only shown.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from enum import Enum
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError, TopicAlreadyExistsError, TopicAuthorizationFailedError, for_code

from gyrostat_common import telemetry
from gyrostat_common.bus.connection import client_options, prefixed, short
from gyrostat_common.bus.contract import TopicContract, contract, dead_letters, of_topic
from gyrostat_common.bus.dispatch import ConsumerStopped
from gyrostat_common.errors import Unavailable
from gyrostat_common.settings import KafkaSettings

log = telemetry.get_logger("bus.topics")


class State(Enum):
    """How a topic stands to its contract."""

    FINE = "fine"
    MISSING = "missing"
    CREATED = "created"
    DIFFERS = "differs"
    """In what is the site's choice."""
    REFUSED = "refused"
    """In what the contract fixes."""


@dataclass(frozen=True)
class TopicReport:
    """One topic on one cluster."""

    contract: TopicContract
    name: str
    """With the site's prefix."""
    state: State
    partitions: int
    replication: int
    config: dict[str, str]
    remarks: tuple[str, ...] = ()

    @property
    def refused(self) -> bool:
        return self.state is State.REFUSED


@asynccontextmanager
async def _admin(kafka: KafkaSettings) -> AsyncIterator[AIOKafkaAdminClient]:
    admin = AIOKafkaAdminClient(**client_options(kafka))
    try:
        await admin.start()
        yield admin
    except (KafkaError, OSError) as error:
        raise Unavailable(f"Kafka at {kafka.bootstrap_servers} does not answer: {short(error)}") from error
    finally:
        await admin.close()


async def check(kafka: KafkaSettings, wanted: Sequence[TopicContract] | None = None) -> list[TopicReport]:
    """How every topic stands. Raises Unavailable when Kafka does not answer."""
    async with _admin(kafka) as admin:
        return await _reports(admin, kafka, contract() if wanted is None else wanted)


async def apply(
    kafka: KafkaSettings, dry_run: bool = False, wanted: Sequence[TopicContract] | None = None
) -> list[TopicReport]:
    """Creates what is missing and changes nothing that exists. A dry run reports MISSING for what it would create."""
    async with _admin(kafka) as admin:
        topics = contract() if wanted is None else wanted
        reports = await _reports(admin, kafka, topics)
        missing = [report for report in reports if report.state is State.MISSING]
        if dry_run or not missing:
            return reports
        await _create(admin, kafka, [report.contract for report in missing])
        created = {report.name for report in missing}
        again = await _until_known(admin, kafka, topics)
        return [_as_created(report) if report.name in created else report for report in again]


def _as_created(report: TopicReport) -> TopicReport:
    state = State.CREATED if report.state is State.FINE else report.state
    return TopicReport(
        report.contract, report.name, state, report.partitions, report.replication, report.config, report.remarks
    )


async def _until_known(
    admin: AIOKafkaAdminClient, kafka: KafkaSettings, topics: Sequence[TopicContract]
) -> list[TopicReport]:
    """A new topic takes a moment to reach the broker's metadata."""
    for _ in range(50):
        reports = await _reports(admin, kafka, topics)
        if all(report.state is not State.MISSING for report in reports):
            break
        await asyncio.sleep(0.1)
    return reports


async def _create(admin: AIOKafkaAdminClient, kafka: KafkaSettings, topics: Iterable[TopicContract]) -> None:
    new = [
        NewTopic(prefixed(kafka, topic.name), topic.partitions, kafka.replication_factor, topic_configs=topic.config())
        for topic in topics
    ]
    response = await admin.create_topics(new)
    for name, code, *rest in response.topic_errors:
        error = for_code(code)
        if code and error is not TopicAlreadyExistsError:
            raise error(f"{name}: {rest[0] if rest else ''}")


async def _reports(
    admin: AIOKafkaAdminClient, kafka: KafkaSettings, topics: Sequence[TopicContract]
) -> list[TopicReport]:
    names = [prefixed(kafka, topic.name) for topic in topics]
    known = set(await admin.list_topics()) & set(names)
    described = {one["topic"]: one for one in await admin.describe_topics(sorted(known))} if known else {}
    configs = await _configs(admin, sorted(known))
    return [
        _report(topic, name, described.get(name), configs.get(name, {}))
        for topic, name in zip(topics, names, strict=True)
    ]


async def _configs(admin: AIOKafkaAdminClient, names: Sequence[str]) -> dict[str, dict[str, str]]:
    if not names:
        return {}
    resources = [ConfigResource(ConfigResourceType.TOPIC, name) for name in names]
    found: dict[str, dict[str, str]] = {}
    for response in await admin.describe_configs(resources):
        for resource in response.resources:
            _, _, _, name, entries, *_ = resource
            found[name] = {entry[0]: entry[1] for entry in entries}
    return found


def _report(topic: TopicContract, name: str, described: Any, config: dict[str, str]) -> TopicReport:
    if described is None:
        return TopicReport(topic, name, State.MISSING, 0, 0, {})
    partitions = len(described["partitions"])
    replication = min((len(one["replicas"]) for one in described["partitions"]), default=0)
    wanted = topic.config()
    refusals, remarks = [], []
    policy = config.get("cleanup.policy", "")
    if config and set(policy.split(",")) != {wanted["cleanup.policy"]}:
        refusals.append(f"cleanup.policy is {policy}, the contract wants {wanted['cleanup.policy']}")
    if partitions < topic.partitions:
        refusals.append(f"{partitions} partitions, the contract wants at least {topic.partitions}")
    if partitions > topic.partitions:
        remarks.append(f"{partitions} partitions, the contract creates {topic.partitions}")
    for key in ("retention.ms", "max.message.bytes"):
        if config and key in wanted and config.get(key) != wanted[key]:
            remarks.append(f"{key} is {config.get(key)}, the contract creates it with {wanted[key]}")
    state = State.REFUSED if refusals else State.DIFFERS if remarks else State.FINE
    shown: dict[str, str] = {
        key: config[key] for key in ("cleanup.policy", "retention.ms", "max.message.bytes") if key in config
    }
    return TopicReport(topic, name, state, partitions, replication, shown, tuple(refusals + remarks))


async def ready_to_consume(kafka: KafkaSettings, group: str, names: Iterable[str]) -> None:
    """The check at a consumer's first connection: its topics are there and right, its dead-letter topic exists.

    Raises ConsumerStopped for a refused topic, KafkaError (and is tried again) while Kafka is down or a topic missing.
    """
    topics = [topic for name in names if (topic := of_topic(name))]
    admin = AIOKafkaAdminClient(**client_options(kafka))
    try:
        await admin.start()
        for report in await _reports(admin, kafka, topics):
            if report.refused:
                raise ConsumerStopped(f"topic {report.name} is refused: {'; '.join(report.remarks)}")
            if report.state is State.MISSING:
                raise KafkaError(f"topic {report.name} does not exist; run `gyrostat topics apply`")
        letters = dead_letters(group)
        if (await _reports(admin, kafka, [letters]))[0].state is State.MISSING:
            await _create(admin, kafka, [letters])
    except TopicAuthorizationFailedError as error:
        # Allowed to read but not to describe or create: the operator made the topics, and knows.
        log.warning("topics_not_checked", group=group, error=short(error))
    finally:
        await admin.close()
