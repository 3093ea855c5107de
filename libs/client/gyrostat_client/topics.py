"""The topics of the contract on a cluster: what should be there, what is, and how to make it so."""

from collections.abc import Sequence
from dataclasses import dataclass

from gyrostat_client.blocking import Blocking, blocking
from gyrostat_client.errors import Unreachable
from gyrostat_common.bus import contract
from gyrostat_common.bus import topics as cluster
from gyrostat_common.errors import Unavailable
from gyrostat_common.settings import KafkaSettings


@dataclass(frozen=True)
class TopicLine:
    """A topic as the contract wants it, and as it stands when a cluster was asked ("" when none was)."""

    topic: str
    key: str
    partitions: int
    cleanup: str
    retention_days: int
    max_message_bytes: int
    producers: list[str]
    consumers: list[str]
    state: str = ""
    remarks: str = ""


class AsyncTopics:
    """Reads the contract from the descriptors; asks and changes the cluster."""

    def __init__(self, kafka: KafkaSettings) -> None:
        self._kafka = kafka

    async def list(self) -> Sequence[TopicLine]:
        """The contract; no cluster is asked."""
        return [_line(topic, self._kafka.topic_prefix) for topic in contract.contract()]

    async def check(self) -> Sequence[TopicLine]:
        """How every topic stands: "fine", "missing", "differs" (the site's choice) or "refused"."""
        try:
            return [_reported(report) for report in await cluster.check(self._kafka)]
        except (Unavailable, TimeoutError):
            raise Unreachable("Kafka", self._kafka.bootstrap_servers) from None

    async def apply(self) -> Sequence[TopicLine]:
        """Creates what is missing and changes nothing that exists."""
        try:
            return [_reported(report) for report in await cluster.apply(self._kafka)]
        except (Unavailable, TimeoutError):
            raise Unreachable("Kafka", self._kafka.bootstrap_servers) from None

    async def commands(self) -> Sequence[str]:
        """The kafka-topics line of every topic, for those who create topics themselves."""
        return [_command(topic, self._kafka) for topic in contract.contract()]


class Topics(Blocking):
    """AsyncTopics without `await`."""

    list = blocking(AsyncTopics.list)
    check = blocking(AsyncTopics.check)
    apply = blocking(AsyncTopics.apply)
    commands = blocking(AsyncTopics.commands)


def _line(topic: contract.TopicContract, prefix: str) -> TopicLine:
    return TopicLine(
        prefix + topic.name,
        topic.key,
        topic.partitions,
        "compact" if topic.compacted else "delete",
        topic.retention_days,
        topic.max_message_bytes,
        list(topic.producers),
        list(topic.consumers),
    )


def _reported(report: cluster.TopicReport) -> TopicLine:
    topic = report.contract
    return TopicLine(
        report.name,
        topic.key,
        report.partitions,
        report.config.get("cleanup.policy", ""),
        topic.retention_days,
        topic.max_message_bytes,
        list(topic.producers),
        list(topic.consumers),
        report.state.value,
        "; ".join(report.remarks),
    )


def _command(topic: contract.TopicContract, kafka: KafkaSettings) -> str:
    config = " ".join(f"--config {key}={value}" for key, value in sorted(topic.config().items()))
    return (
        f"kafka-topics.sh --bootstrap-server {kafka.bootstrap_servers} --create --if-not-exists "
        f"--topic {kafka.topic_prefix}{topic.name} --partitions {topic.partitions} "
        f"--replication-factor {kafka.replication_factor} {config}"
    )
