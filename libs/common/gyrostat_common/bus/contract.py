"""The contract of the topics, read from the options on the event messages: the proto file is the only table."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any, cast

from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from gyrostat.events.v1 import events_pb2, options_pb2

SERVICES = ("registry", "inference", "monitor", "trainer")
GROUPS = ("registry", "monitor", "monitor.archive", "trainer")
"""Consumer groups of our own services: `<service>` or `<service>.<part>`. Inference only reads state, in no group."""
DLQ_RETENTION_DAYS = 30
_TOPIC: Any = options_pb2.topic


@dataclass(frozen=True)
class TopicContract:
    """A topic as the contract wants it. `name` is without the site's prefix."""

    name: str
    key: str
    partitions: int
    retention_days: int
    """0 for a compacted topic."""
    compacted: bool
    max_message_bytes: int
    message: type[Message] | None
    """None for a dead-letter topic."""
    type: str
    """CloudEvents type; empty for a dead-letter topic."""
    producers: tuple[str, ...] = ()
    consumers: tuple[str, ...] = ()

    def config(self) -> dict[str, str]:
        """Kafka's topic settings."""
        config = {
            "cleanup.policy": "compact" if self.compacted else "delete",
            "max.message.bytes": str(self.max_message_bytes),
        }
        if not self.compacted:
            config["retention.ms"] = str(self.retention_days * 86_400_000)
        return config


@cache
def events() -> tuple[TopicContract, ...]:
    """One per event message, in the order of the proto file."""
    return tuple(
        _contract(descriptor)
        for descriptor in events_pb2.DESCRIPTOR.message_types_by_name.values()
        if descriptor.GetOptions().HasExtension(_TOPIC)
    )


def _contract(descriptor: Any) -> TopicContract:
    option = descriptor.GetOptions().Extensions[_TOPIC]
    return TopicContract(
        name=option.name,
        key=option.key,
        partitions=option.partitions,
        retention_days=option.retention_days,
        compacted=option.cleanup_policy == options_pb2.CLEANUP_POLICY_COMPACT,
        max_message_bytes=option.max_message_bytes,
        type=option.type,
        message=GetMessageClass(descriptor),
        producers=tuple(option.producers),
        consumers=tuple(option.consumers),
    )


def heard_by(group: str) -> tuple[str, ...]:
    """Topics that a group hears as the contract has it; nothing for a part of a service, which hears what it likes."""
    return tuple(topic.name for topic in events() if group in topic.consumers and not topic.compacted)


def dead_letters(group: str) -> TopicContract:
    """The topic for what a group could not handle."""
    return TopicContract(
        name=f"{group}.dlq",
        key="that of the original",
        partitions=1,
        retention_days=DLQ_RETENTION_DAYS,
        compacted=False,
        max_message_bytes=max(topic.max_message_bytes for topic in events()) + 65_536,  # room for the reasons
        type="",
        message=None,
        producers=(group,),
        consumers=(),
    )


def contract() -> tuple[TopicContract, ...]:
    """Every topic: one per event message and one for the dead letters of each of our groups."""
    return events() + tuple(dead_letters(group) for group in GROUPS)


def of_message(message: type[Message]) -> TopicContract:
    """The contract of an event message. Raises ValueError for a message that is none."""
    name = message.DESCRIPTOR.full_name
    try:
        return _by_message()[name]
    except KeyError:
        raise ValueError(f"{name} has no topic option") from None


@cache
def _by_message() -> dict[str, TopicContract]:
    return {topic.message.DESCRIPTOR.full_name: topic for topic in events() if topic.message is not None}


@cache
def _by(attribute: str) -> dict[str, TopicContract]:
    return {cast(str, getattr(topic, attribute)): topic for topic in events()}


def of_topic(name: str) -> TopicContract | None:
    """By name without prefix; None when it carries no event of ours."""
    return _by("name").get(name)


def of_type(type: str) -> TopicContract | None:
    """By CloudEvents type."""
    return _by("type").get(type)
