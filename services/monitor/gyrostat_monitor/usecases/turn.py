"""One advance of a model's event time: begun by `advance`, read by `reports` and `jumps`, stored at its end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from gyrostat_monitor.domain.plan import Plan


@dataclass
class Turn:
    """One advance of one model."""

    model: str
    plan: Plan | None
    watermark_us: int
    progress: dict[str, str]
    cause: str
    offsets: Mapping[str, int] = field(default_factory=dict)
    changes: dict[str, str | None] = field(default_factory=dict)

    def cursor(self, name: str) -> int | None:
        """A cursor, as it is now."""
        value = self.changes.get(name, self.progress.get(name))
        return None if value is None else int(value)

    def versions_since(self, tick_us: int) -> list[int]:
        """Versions with answers in that tick or later."""
        lasts = {n.removeprefix("last/"): int(v) for n, v in self.progress.items() if n.startswith("last/")}
        return sorted(int(version) for version, last in lasts.items() if last >= tick_us)
