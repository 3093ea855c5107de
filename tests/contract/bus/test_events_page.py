"""The table of topics in the docs is the contract's."""

from __future__ import annotations

from pathlib import Path

from gyrostat_common import bus

PAGE = Path(__file__).resolve().parents[3] / "docs" / "events.md"


def row(topic: bus.TopicContract) -> str:
    kept = "compact" if topic.compacted else f"{topic.retention_days} d"
    who = f"{', '.join(topic.producers)} → {', '.join(topic.consumers)}"
    size = f"{topic.max_message_bytes // 1024} KiB"
    return f"| `{topic.name}` | {topic.key} | {who} | {topic.partitions} | {kept} | {size} |"


def test_the_page_lists_every_topic_as_it_is() -> None:
    rows = [line for line in PAGE.read_text().splitlines() if line.startswith("| `") and "→" in line]
    assert rows == [row(topic) for topic in bus.contract.events()]
