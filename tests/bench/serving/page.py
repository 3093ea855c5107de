"""The page that the benches print: Markdown, so that what a terminal shows can stand in docs/performance.md.

`--into FILE` puts it there: what a part printed replaces what stands in the file between `<!-- NAME -->` and
`<!-- /NAME -->`; a part whose marks the file lacks changes nothing.
"""

from __future__ import annotations

import datetime
import platform
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from bench.serving.generator import Measured
from bench.serving.ours import Balance
from support.measuring import Figure

HEADS = ("what", "requests/s", "least … most", "p50 µs", "p99 µs", "CPU µs/request")
_FAULTS: list[str] = []
_SAID: list[str] = []


def say(text: str = "") -> None:
    print(text, flush=True)
    _SAID.append(text)


@contextmanager
def part(name: str, into: str, how: str) -> Iterator[None]:
    """What is said within is the part's; `how` and the day stand below it."""
    _SAID.clear()
    yield
    today = datetime.datetime.now(datetime.UTC).date()
    say(f"\n{today}, {_processor()}, {platform.system()} {platform.release().split('-')[0]}; {how}")
    if into:
        _put(Path(into), name)


def _put(file: Path, name: str) -> None:
    marked = re.compile(f"(<!-- {re.escape(name)} -->\n).*?(<!-- /{re.escape(name)} -->)", re.DOTALL)
    said = "\n".join(_SAID).strip("\n")
    text = file.read_text()
    file.write_text(marked.sub(lambda found: f"{found[1]}\n{said}\n\n{found[2]}", text))


def _processor() -> str:
    names = re.findall(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    return names[0] if names else platform.machine()


def short(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def heading(text: str) -> None:
    say(f"\n### {text}\n")


def head(*more: str, heads: Sequence[str] = HEADS) -> None:
    names = [*heads, *more]
    say("| " + " | ".join(names) + " |")
    say("|---" * len(names) + "|")


def cells(*values: str) -> None:
    say("| " + " | ".join(values) + " |")


def load(measured: Measured, *more: str, before: Sequence[str] = ()) -> None:
    """A row of HEADS; what went wrong stands in it, and again at the end of the page."""
    if measured.faults:
        fault(f"{measured.name}: {measured.faults}")
    rates = [run.rate for run in measured.runs]
    p50, p99 = measured.median(lambda run: run.p50_us), measured.median(lambda run: run.p99_us)
    cpu = measured.median(lambda run: run.cpu_us)
    cells(
        *before,
        measured.name + (f" **{measured.faults}**" if measured.faults else ""),
        short(measured.rate),
        f"{short(min(rates))} … {short(max(rates))}",
        short(p50) if p50 else "",
        short(p99) if p99 else "",
        f"{cpu:.1f}" if cpu < 100 else short(cpu),
        *more,
    )


def figure(one: Figure, *more: str) -> None:
    """A row: what, median and unit, spread."""
    cells(one.name, f"{short(one.median)} {one.unit}", f"{short(min(one.values))} … {short(max(one.values))}", *more)


def books(of: str, balance: Balance) -> None:
    """A line; books that do not balance are a fault."""
    say(f"\n{of}: {balance}")
    if not balance.even:
        fault(f"{of}: {balance}")


def fault(text: str) -> None:
    """Remembered for the end of the page."""
    _FAULTS.append(text)


def close() -> int:
    """The exit code: 1 when something went wrong, with all of it once more."""
    for text in _FAULTS:
        print(f"FAULT {text}", flush=True)
    return 1 if _FAULTS else 0
