#!/usr/bin/env python3
"""Write the tables that follow from the contract: topics into docs/events.md, ACLs into docs/security.md.

python tools/events_pages.py            write them
python tools/events_pages.py --check    exit 1 when a page has other rows
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

from gyrostat_common.bus import TopicContract, contract
from gyrostat_common.bus.rights import rights

DOCS = Path(__file__).resolve().parents[1] / "docs"


def topic_row(topic: TopicContract) -> str:
    """One topic."""
    kept = "compact" if topic.compacted else f"{topic.retention_days} d"
    who = f"{', '.join(topic.producers)} → {', '.join(topic.consumers)}"
    size = f"{topic.max_message_bytes // 1024} KiB"
    return f"| `{topic.name}` | {topic.key} | {who} | {topic.partitions} | {kept} | {size} |"


def rights_row(service: str) -> str:
    """One service."""
    columns = (("topic", "WRITE"), ("topic", "READ"), ("group", "READ"))
    cells = [
        " ".join(
            f"`{one.name}{'*' if one.prefixed else ''}`"
            for one in rights(service)
            if (one.resource, one.operation) == column
        )
        for column in columns
    ]
    return f"| {service} | {' | '.join(cells)} |"


def pages() -> dict[Path, tuple[str, list[str]]]:
    """Page → (name of its table, rows)."""
    return {
        DOCS / "events.md": ("topics", [topic_row(topic) for topic in contract.events()]),
        DOCS / "security.md": ("rights", [rights_row(service) for service in contract.SERVICES]),
    }


def replaced(text: str, name: str, rows: list[str]) -> str:
    """The page with the rows of its table, which ends at the marker, replaced."""
    pattern = rf"(\|(?:---\|)+\n)(?:\|.*\n)*(<!-- {name}: made by make events-doc -->\n)"
    return re.sub(pattern, lambda match: f"{match[1]}{chr(10).join(rows)}\n{match[2]}", text)


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 on a difference")
    check = parser.parse_args().check
    for page, (name, rows) in pages().items():
        text = page.read_text()
        new = replaced(text, name, rows)
        if any(row not in new for row in rows):
            sys.exit(f"{page.name} has lost its marker <!-- {name}: … -->")
        if check and new != text:
            sys.exit(f"docs/{page.name} differs from the contract: run `make events-doc` and commit")
        page.write_text(new)


if __name__ == "__main__":
    main()
