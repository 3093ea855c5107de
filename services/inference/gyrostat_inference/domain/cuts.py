"""How a range of the spool becomes numbered frames, and what the shipper must write down before it sends them."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from gyrostat_inference.domain.books import Books, added
from gyrostat_inference.domain.frames import Frame


@dataclass(frozen=True, slots=True)
class Number:
    """A frame's place: stream = `<spool id>/<model>/<partition>`."""

    model: str
    partition: int
    frame_no: int


@dataclass(frozen=True, slots=True)
class Cut:
    """A range of the spool, up to and with `end`: rows that go out in `numbers`, and rows that do not go out."""

    cut: int
    end: int
    at_us: int
    numbers: tuple[Number, ...] = ()
    rows: int = 0
    sampled_out: int = 0
    dropped: Mapping[str, int] = field(default_factory=dict)
    logged_before: int = 0
    sampled_before: int = 0
    dropped_before: Mapping[str, int] = field(default_factory=dict)
    frame_rows: int = 256
    """Most rows of a frame when the cut was made: what is cut again must be cut alike. Notes of old do not say it."""

    def books(self, spool_id: str) -> Books:
        """The books when the cut was made: the same in a resend."""
        return Books(
            spool_id,
            accepted=self.end,
            logged=self.logged_before,
            sampled_out=self.sampled_before + self.sampled_out,
            dropped=added(self.dropped_before, self.dropped),
        )


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a spool stands: everything up to `end` is settled, in whole cuts."""

    cut: int = 0
    end: int = 0
    logged: int = 0
    sampled_out: int = 0
    dropped: Mapping[str, int] = field(default_factory=dict)

    def settled(self, cut: Cut, refused: Mapping[str, int]) -> "Progress":
        """After every frame of the next cut is acknowledged, or refused for good."""
        return replace(
            self,
            cut=cut.cut,
            end=cut.end,
            logged=self.logged + cut.rows - sum(refused.values()),
            sampled_out=self.sampled_out + cut.sampled_out,
            dropped=added(added(self.dropped, cut.dropped), refused),
        )

    def books(self, spool_id: str, accepted: int) -> Books:
        return Books(spool_id, accepted, self.logged, self.sampled_out, self.dropped)


class Numbering:
    """Deals frames out to partitions in turn and numbers them per stream, without gaps."""

    def __init__(self, partitions: int, last: Iterable[Number] = ()) -> None:
        self.partitions = partitions
        self._last: dict[tuple[str, int], int] = {}
        self._turn: dict[str, int] = {}
        for number in last:
            self.seen(number)

    def seen(self, number: Number) -> None:
        """A frame that was numbered before, in the order in which it was."""
        self._last[number.model, number.partition] = number.frame_no
        self._turn[number.model] = number.partition

    def number(self, frames: Iterable[Frame]) -> tuple[Number, ...]:
        numbers = []
        for frame in frames:
            model = frame.group.model
            partition = (self._turn.get(model, -1) + 1) % self.partitions
            number = Number(model, partition, self._last.get((model, partition), 0) + 1)
            self.seen(number)
            numbers.append(number)
        return tuple(numbers)

    def state(self) -> list[Number]:
        """Enough to go on after a restart; a model's last frame comes last."""
        numbers = [Number(model, partition, no) for (model, partition), no in self._last.items()]
        return sorted(numbers, key=lambda n: (n.model, n.partition == self._turn[n.model]))
