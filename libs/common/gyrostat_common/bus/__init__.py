"""The log. `open(settings.kafka)` gives a Bus on Kafka, `MemoryBus()` the same in memory."""

from gyrostat_common.bus import codec, contract, topics
from gyrostat_common.bus.contract import TopicContract
from gyrostat_common.bus.dispatch import ConsumerStopped, Retries
from gyrostat_common.bus.event import (
    Bus,
    Consumer,
    Event,
    Held,
    Position,
    Producer,
    Received,
    Route,
    StateReader,
    Tombstone,
)
from gyrostat_common.bus.kafka import open
from gyrostat_common.bus.memory import MemoryBus

__all__ = [
    "Bus",
    "Consumer",
    "ConsumerStopped",
    "Event",
    "Held",
    "MemoryBus",
    "Position",
    "Producer",
    "Received",
    "Retries",
    "Route",
    "StateReader",
    "Tombstone",
    "TopicContract",
    "codec",
    "contract",
    "open",
    "topics",
]
