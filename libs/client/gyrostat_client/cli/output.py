"""How answers look: tables for people at 100 columns, JSON for programs, times in UTC."""

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

_WIDTH = 100


def console() -> "Console":
    """The terminal, or 100 columns when the output goes elsewhere."""
    from rich.console import Console

    terminal = Console(highlight=False, emoji=False)  # `host:x:1` is no cross
    return terminal if terminal.is_terminal else Console(highlight=False, emoji=False, width=_WIDTH)


def print_json(value: Any) -> None:
    """One JSON document on stdout."""
    from gyrostat_client.plain import to_plain

    print(json.dumps(to_plain(value), indent=2, ensure_ascii=False))


def print_json_line(value: Any) -> None:
    """One JSON object a line, for streams."""
    from gyrostat_client.plain import to_plain

    print(json.dumps(to_plain(value), ensure_ascii=False), flush=True)


def table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, title: str = "", empty: str = "none") -> None:
    """A table; a column whose name begins with `>` is set to the right, one with `*` never wraps."""
    cells = [[text(cell) for cell in row] for row in rows]
    if not cells:
        console().print(empty, style="dim", markup=False)
        return
    console().print(grid(columns, cells, title=title))


def grid(columns: Sequence[str], rows: Iterable[Sequence[object]], *, title: str = "") -> Any:
    """The table itself, for those who put it into something else."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    made = Table(
        box=box.SIMPLE_HEAD,
        title=title or None,
        title_justify="left",
        title_style="bold",
        pad_edge=False,
        padding=(0, 1, 0, 0),
    )
    for column in columns:
        right = column.startswith(">")
        made.add_column(
            column.lstrip(">*"),
            justify="right" if right else "left",
            no_wrap=column.startswith((">", "*")),
            overflow="ellipsis" if column.startswith((">", "*")) else "fold",
        )
    for row in rows:
        made.add_row(*(cell if isinstance(cell, Text) else Text(text(cell)) for cell in row))
    return made


def details(pairs: Mapping[str, object], *, title: str = "") -> None:
    """Names and values, one a line; empty values are left out."""
    from rich.table import Table
    from rich.text import Text

    if title:
        console().print(Text(title, style="bold"))
    made = Table(box=None, show_header=False, pad_edge=False)
    made.add_column(style="dim", no_wrap=True)
    made.add_column(overflow="fold")
    for name, value in pairs.items():
        if value not in ("", None, [], {}):
            made.add_row(name, Text(text(value)))
    console().print(made)


def say(line: str, *, style: str = "") -> None:
    """One line for people, never wrapped in the middle of an id."""
    console().print(line, style=style or None, markup=False, soft_wrap=True)


def text(value: object) -> str:
    """A value in a cell."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, datetime):
        return utc(value)
    if isinstance(value, float):
        return number(value)
    if isinstance(value, int):
        return f"{value:,}" if abs(value) >= 10_000 else str(value)
    return str(value)


def utc(value: Any) -> str:
    """A time in UTC to the second; empty for an absent one. Takes datetimes and Timestamps."""
    from gyrostat_common.times import from_proto

    at = value if isinstance(value, datetime) or value is None else from_proto(value)
    return "" if at is None else f"{at:%Y-%m-%d %H:%M:%SZ}"


def minute(value: Any) -> str:
    """A time in UTC to the minute, for lists."""
    seconds = utc(value)
    return f"{seconds[:16]}Z" if seconds else ""


def number(value: float) -> str:
    """A number in at most seven characters or so."""
    if value != value:
        return "–"
    if value and (abs(value) < 1e-3 or abs(value) >= 1e7):
        return f"{value:.2e}"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4f}".rstrip("0").rstrip(".")


def size(count: int) -> str:
    """Bytes in words."""
    amount = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if amount < 1000:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:.1f} TB"


def percent(per_10000: int) -> str:
    """A weight per 10,000 as people say it."""
    return f"{per_10000 / 100:g} %"


def is_terminal() -> bool:
    """Whether a person looks at it now."""
    return sys.stdout.isatty()
