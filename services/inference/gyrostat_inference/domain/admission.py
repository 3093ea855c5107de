"""How long runs take, by what was measured, and how much may wait for one. Plain numbers; used by `usecases.turns`."""

from dataclasses import dataclass

_SIZES = 64
# A run that took longer than was known counts for an eighth, one that was faster for a quarter, and none as more than
# four times what was known: a process that had to wait for its processor says nothing about the graph.
_SLOWER, _FASTER, _AT_MOST = 0.125, 0.25, 4.0
# It is not always the graph that is slow: a process that is paused in the middle of a run looks the same.
_SHORT_AT_FIRST, _SHORT_AT_LAST = 16, 1024
# So many runs of a size must have been seen before the fastest of them refuses a call.
_ENOUGH = 8
# One of so many refusals by the deadline is let through, so that an estimate which has become wrong mends.
_LET_THROUGH = 64


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a worker takes in, over all models, and what it runs on its event loop."""

    queue_rows: int = 65_536
    queue_ms: float = 2_000.0
    on_loop_ms: float = 5.0
    queue_bytes: int = 128 * 1024**2


class Pace:
    """Moving estimates of one version. The size of a run is its rows, or its values where rows differ in size."""

    __slots__ = ("_least", "_needed", "_ns", "_refused", "_seen", "_short", "each_ns")

    def __init__(self) -> None:
        self._ns = [0.0] * _SIZES  # by the number of bits of the size
        self._least = [0.0] * _SIZES
        self._seen = [0] * _SIZES
        self._refused = self._short = 0
        self._needed = _SHORT_AT_FIRST
        self.each_ns = 0.0
        """Nanoseconds per unit of size with everything around the run, as requests came together lately; 0: unknown."""

    def ran(self, size: int, ns: int, through_ns: int = 0) -> None:
        """One run of the graph, and how long it was until all its answers were on their way; 0: nobody looked."""
        bits = size.bit_length()
        self._ns[bits] = _moved(self._ns[bits], ns)
        least = self._least[bits]
        if not least or ns < least:
            self._least[bits] = float(ns)
        self._seen[bits] += 1
        if through_ns:
            self.each_ns = _moved(self.each_ns, through_ns / size)

    def run_ns(self, size: int) -> float:
        """What a run of this size will take, by those of its size, else of smaller ones; 0.0 while nothing is known.

        >>> pace = Pace()
        >>> pace.ran(4, 1000)
        >>> pace.run_ns(5), pace.run_ns(9), pace.run_ns(1)
        (1000.0, 2000.0, 1000.0)
        """
        bits = size.bit_length()
        known = self._ns[bits]
        if known:
            return known
        for lower in range(bits - 1, -1, -1):
            if self._ns[lower]:
                return float(self._ns[lower] * 2 ** (bits - lower))
        return next((ns for ns in self._ns[bits:] if ns), 0.0)

    def forgiven(self, short: bool) -> bool:
        """Of a version that once held everybody up, one more run: whether so many in a row were short by now that it
        may be trusted again. Each further time it takes twice as many.
        """
        self._short = self._short + 1 if short else 0
        if self._short < self._needed:
            return False
        self._short, self._needed = 0, min(2 * self._needed, _SHORT_AT_LAST)
        return True

    def cannot(self, size: int, within_ns: float) -> bool:
        """Whether even the fastest run of such a size took longer than is left."""
        bits = size.bit_length()
        if self._least[bits] <= within_ns or self._seen[bits] < _ENOUGH:
            return False
        self._refused += 1
        return self._refused % _LET_THROUGH != 0


def _moved(known: float, ns: float) -> float:
    """A moving estimate after one more measurement.

    >>> _moved(0.0, 8.0), _moved(8.0, 4.0), _moved(8.0, 16.0), _moved(8.0, 1e9)
    (8.0, 7.0, 9.0, 11.0)
    """
    if not known:
        return float(ns)
    if ns < known:
        return known + (ns - known) * _FASTER
    return known + (min(ns, known * _AT_MOST) - known) * _SLOWER


class Backlog:
    """What waits or runs: of one model, or of the whole worker."""

    __slots__ = ("bytes", "ns", "rows")

    def __init__(self) -> None:
        self.rows = self.bytes = 0
        self.ns = 0.0

    def add(self, rows: int, ns: float, size_bytes: int) -> None:
        self.rows += rows
        self.ns += ns
        self.bytes += size_bytes

    def full(self, rows: int, most_rows: int, most_ms: float) -> bool:
        """Whether so many rows more are too many. Where nothing waits, anything may come."""
        return bool(self.rows) and (self.rows + rows > most_rows or self.ns > most_ms * 1e6)

    def take(self, rows: int, ns: float, size_bytes: int) -> None:
        """Rows that are through."""
        self.rows -= rows
        self.bytes -= size_bytes
        self.ns = self.ns - ns if self.rows else 0.0

    @property
    def half_s(self) -> float:
        """Seconds until half of it is through, at least 10 ms: when it is worth coming back."""
        return max(0.01, self.ns / 2e9)


def wait_ns(own: Backlog, everything: Backlog, models: int) -> float:
    """How long a newcomer waits. `models` have rows waiting and take turns: before its own model is through with what
    it has, every other one has had as much.
    """
    return min(everything.ns, own.ns * max(1, models))
