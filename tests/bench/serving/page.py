"""The page that the benches print: Markdown tables, so that what a terminal shows can stand in docs/performance.md."""

from __future__ import annotations

from collections.abc import Sequence

from bench.serving.generator import Measured
from support.measuring import Figure

HEADS = ("what", "requests/s", "least … most", "p50 µs", "p99 µs", "CPU µs/request")
_FAULTS: list[str] = []


def short(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def heading(text: str) -> None:
    print(f"\n### {text}\n", flush=True)


def head(*more: str, heads: Sequence[str] = HEADS) -> None:
    names = [*heads, *more]
    print("| " + " | ".join(names) + " |")
    print("|---" * len(names) + "|", flush=True)


def cells(*values: str) -> None:
    print("| " + " | ".join(values) + " |", flush=True)


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


def fault(text: str) -> None:
    """Remembered for the end of the page."""
    _FAULTS.append(text)


def close() -> int:
    """The exit code: 1 when something went wrong, with all of it once more."""
    for text in _FAULTS:
        print(f"FAULT {text}", flush=True)
    return 1 if _FAULTS else 0
