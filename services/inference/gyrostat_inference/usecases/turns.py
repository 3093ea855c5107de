"""Runs graphs for everybody: what arrived in one turn of the event loop runs together, by version and shapes of rows.

`predict` puts in a Run for each request and each shadow, which is told once what came of it. Models take turns, a turn
has an end, and what takes long leaves the event loop (`threads`). A run that raises for several requests is done again
for each alone, so that none suffers for another.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from contextvars import Context
from time import perf_counter_ns
from typing import Any

import numpy.typing as npt

from gyrostat_common.errors import DeadlineOver
from gyrostat_inference.domain import batching
from gyrostat_inference.domain.admission import Backlog, Bounds, wait_ns
from gyrostat_inference.domain.batching import Encode
from gyrostat_inference.domain.calls import Output
from gyrostat_inference.domain.errors import AnswerTooLarge, QueueFull, RunTooLong, TooLate
from gyrostat_inference.usecases.runs import Run
from gyrostat_inference.usecases.threads import Arrays, Threads, Took

# A run of more rows than this, of which nobody knows yet how long it takes, leaves the event loop.
INLINE_ROWS = 64
# The longest that one run may hold up all others; after it the same run begins again in a thread.
INLINE_S = 0.1
_INLINE_NS = int(INLINE_S * 1e9)
# After so much of either, everything else gets its chance before the next run begins.
TURN_NS, TURN_ROWS = 2_000_000, 1024
# Large rows gain nothing from company, and their run takes memory for all of them at once.
MOST_BATCH_BYTES = 4 * 1024**2
# What a message of ours may hold, less its frame; it is copied for the reply and for the spool.
LARGEST_ANSWER_BYTES = 60 * 1024**2


class _Queue:
    """What waits of one model: groups of runs that may go together, and those that wait for company."""

    __slots__ = ("backlog", "groups", "held", "listed")

    def __init__(self) -> None:
        self.groups: dict[object, list[Run]] = {}
        self.held: dict[object, tuple[list[Run], asyncio.TimerHandle]] = {}
        self.backlog = Backlog()
        self.listed = False


class Turns:
    """The one place where graphs are run. For one event loop; deadlines are in its time, which `clock` tells."""

    def __init__(self, encode: Encode, bounds: Bounds = Bounds(), clock: Callable[[], float] = time.monotonic) -> None:
        self._encode, self._bounds, self._clock = encode, bounds, clock
        self._on_loop_ns = bounds.on_loop_ms * 1e6
        self._queues: dict[str, _Queue] = {}
        self._ring: deque[_Queue] = deque()
        self._ended: list[tuple[_Batch, Arrays, int, int]] = []
        self._backlog = Backlog()
        self._threads = Threads()
        # Not the context of whoever came first: its trace and its deadline are not the others'.
        self._context = Context()
        self._scheduled = False
        self.after: Callable[[], None] = lambda: None
        """Called when a turn, or a run in a thread, has told all its runs."""

    @property
    def rows(self) -> int:
        """How many wait or run, of all models."""
        return self._backlog.rows

    def now(self) -> float:
        """Loop time."""
        return self._clock()

    def put(self, run: Run, refusable: bool = True) -> None:
        """Queues it for this turn. Raises QueueFull, TooLate, DeadlineOver: then the run is told nothing."""
        model = run.version.model
        queue = self._queues.get(model)
        if queue is None:
            queue = self._queues[model] = _Queue()
        run.cost_ns = run.version.pace.each_ns * run.size
        if refusable:
            self._admit(run, queue)
        queue.backlog.add(run.rows, run.cost_ns, run.bytes)
        self._backlog.add(run.rows, run.cost_ns, run.bytes)
        run.queued_ns = perf_counter_ns()
        if run.engine.batching.max_delay_us and not run.apart:
            return self._hold(queue, run)
        key = run.group() if run.version.open_shapes else run.version
        group = queue.groups.get(key)
        if group is None:
            self._ready(queue, key, (run,))
        else:
            group.append(run)

    def _admit(self, run: Run, queue: _Queue) -> None:
        """A model of which nothing waits is always let in: no model can shut another one out."""
        bounds, limits, waiting = self._bounds, run.engine.queue, queue.backlog
        if waiting.rows and (
            waiting.full(run.rows, limits.max_rows, limits.max_ms)
            or self._backlog.full(run.rows, bounds.queue_rows, bounds.queue_ms)
        ):
            text = f"{waiting.rows} rows of {run.version.model} wait for a run, for about {waiting.ns / 1e6:.0f} ms"
            raise QueueFull(f"{run.version.name}: {text}; more are not taken in", waiting.half_s)
        # Memory is not shared by turns: who comes first to a model may take as much again, and nobody more.
        most_bytes = bounds.queue_bytes if waiting.rows else 2 * bounds.queue_bytes
        if self._backlog.rows and self._backlog.bytes + run.bytes > most_bytes:
            text = f"{self._backlog.bytes:,} bytes of requests wait for a run"
            raise QueueFull(f"{run.version.name}: {text}; more are not taken in", self._backlog.half_s)
        self._in_time(run, waiting)

    def _in_time(self, run: Run, waiting: Backlog) -> None:
        deadline = run.caller.deadline if run.caller is not None else None
        if deadline is None:
            return
        left_ns = (deadline - self._clock()) * 1e9
        if left_ns <= 0:
            raise DeadlineOver(f"{run.version.name}: the deadline was over before the run")
        pace = run.version.pace
        if waiting.rows:
            wait = wait_ns(waiting, self._backlog, len(self._ring)) + pace.run_ns(run.size)
            if wait > left_ns:
                text = f"an answer takes about {wait / 1e6:.1f} ms now, and the deadline leaves {left_ns / 1e6:.1f}"
                raise TooLate(f"{run.version.name}: {text}", waiting.half_s)
        if pace.cannot(run.size, left_ns):
            text = f"a run of {run.rows} rows takes longer than the {left_ns / 1e6:.1f} ms that the deadline leaves"
            raise DeadlineOver(f"{run.version.name}: {text}")

    # Waiting

    def _ready(self, queue: _Queue, key: object, runs: Iterable[Run]) -> None:
        group = queue.groups.get(key)
        if group is None:
            queue.groups[key] = list(runs)
        else:
            group.extend(runs)
        if not queue.listed:
            queue.listed = True
            self._ring.append(queue)
        if not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._turn, context=self._context)

    def _hold(self, queue: _Queue, run: Run) -> None:
        """Waits for company as long as the spec allows, and no longer than half of what its deadline leaves."""
        key, limits = run.group(), run.engine.batching
        held = queue.held.get(key)
        if held is None:
            later = asyncio.get_running_loop().call_later
            timer = later(limits.max_delay_us / 1e6, self._release, queue, key, context=self._context)
            held = queue.held[key] = ([], timer)
        held[0].append(run)
        deadline = run.caller.deadline if run.caller is not None else None
        hurry = deadline is not None and deadline - self._clock() < 2 * limits.max_delay_us / 1e6
        if hurry or sum(each.rows for each in held[0]) >= limits.max_batch_rows:
            self._release(queue, key)

    def _release(self, queue: _Queue, key: object) -> None:
        runs, timer = queue.held.pop(key)
        timer.cancel()
        self._ready(queue, key, runs)

    # Running

    def _turn(self) -> None:
        """One batch of each model in its turn, until nothing waits or the turn has lasted long enough."""
        until, rows, now = perf_counter_ns() + TURN_NS, 0, self._clock()
        ring = self._ring
        try:
            while ring and rows < TURN_ROWS:
                rows += self._next(ring[0], now)
                queue = ring.popleft()
                if queue.groups:
                    ring.append(queue)
                else:
                    queue.listed = False
                if perf_counter_ns() >= until:
                    break
        finally:
            try:
                self._tell_all()
            finally:
                self._scheduled = bool(ring)
                if ring:
                    asyncio.get_running_loop().call_soon(self._turn, context=self._context)
                self.after()

    def _next(self, queue: _Queue, now: float) -> int:
        """One run of the group that has waited longest; what is left of it goes behind the others. Returns its rows."""
        if not queue.groups:
            return 0
        key = next(iter(queue.groups))
        runs = queue.groups.pop(key)
        batch = _Batch(queue, key)
        most = 0 if len(runs) == 1 else self._most_rows(runs[0])
        taken = 0
        for run in runs:
            caller = run.caller
            if caller is not None and (caller.gone or run.past(now)):
                self._unwanted(queue, run, now)
            elif batch.rows and (batch.rows + run.rows > most or batch.bytes + run.bytes > MOST_BATCH_BYTES):
                break
            else:
                batch.add(run)
            taken += 1
        if taken < len(runs):
            queue.groups[key] = runs[taken:]
        if batch.rows:
            self._run(batch)
        return batch.rows

    def _most_rows(self, run: Run) -> int:
        """0: what takes long by itself gains nothing from company, and would make it wait."""
        if run.apart or run.version.pace.run_ns(run.size) > self._on_loop_ns:
            return 0
        return run.engine.batching.max_batch_rows

    def _run(self, batch: "_Batch") -> None:
        version = batch.runs[0].version
        expected = version.pace.run_ns(batch.size)
        if version.counters.slow or (expected > self._on_loop_ns if expected else batch.rows > INLINE_ROWS):
            return self._in_a_thread(batch)
        began = perf_counter_ns()
        try:
            arrays = version.scorer.run(batch.inputs(), INLINE_S)
        except RunTooLong:
            version.counters.slow = True  # from here on each is alone, and in a thread
            batch.stopped(perf_counter_ns() - began)
            self._alone(batch)
        except Exception as error:  # whatever it is, it is for those who asked
            self._raised(batch, error)
        else:
            spent = perf_counter_ns() - began
            if spent > _INLINE_NS:
                version.counters.slow = True
            self._ended.append((batch, arrays, began, spent))

    def _tell_all(self) -> None:
        """What came of the turn's runs, one after another: a run drives out of the cache what this needs."""
        ended, self._ended = self._ended, []
        for batch, arrays, began, spent in ended:
            telling = perf_counter_ns()
            self._ran(batch, arrays, began, spent)
            batch.runs[0].version.pace.ran(batch.size, spent, spent + perf_counter_ns() - telling)

    def _in_a_thread(self, batch: "_Batch") -> None:
        version = batch.runs[0].version
        if not self._threads.free(version.scorer, lambda: self._ready(batch.queue, batch.key, batch.runs)):
            return
        began = perf_counter_ns()

        def gone() -> bool:
            now = self._clock()
            return all(run.unwanted(now) for run in batch.runs)

        def back(outcome: Arrays | BaseException, took: Took) -> None:
            self._back(batch, outcome, began, took)

        try:
            inputs = batch.inputs()
        except Exception as error:  # as in `_run`
            return self._raised(batch, error)
        self._threads.start(version.scorer, inputs, gone, back)

    def _back(self, batch: "_Batch", outcome: Arrays | BaseException, began: int, took: Took) -> None:
        """A run in a thread is over; callers may have gone meanwhile."""
        if isinstance(outcome, Exception):
            if isinstance(outcome, RunTooLong):
                batch.stopped(perf_counter_ns() - began)
            self._raised(batch, outcome)
        elif isinstance(outcome, BaseException):
            raise outcome
        else:
            version = batch.runs[0].version
            if version.counters.slow and version.pace.forgiven(took.own < self._on_loop_ns):
                version.counters.slow = False
            version.pace.ran(batch.size, took.own, took.wall)
            self._ran(batch, outcome, began, took.wall, self._clock())
        self.after()

    # What came of it

    def _ran(self, batch: "_Batch", arrays: Arrays, began: int, spent: int, now: float | None = None) -> None:
        """`now` where callers may have gone."""
        runs, version = batch.runs, batch.runs[0].version
        version.counters.ran(batch.rows, spent)
        if len(runs) > 1 and not batching.row_wise(arrays, batch.rows):
            version.counters.mixes = True
            return self._alone(batch)
        total = 0
        for array in arrays:
            total += array.nbytes
        if total > LARGEST_ANSWER_BYTES:
            text = f"{version.name} answers {total} bytes to these inputs; at most {LARGEST_ANSWER_BYTES}"
            return self._raised(batch, AnswerTooLarge(text))
        ran = perf_counter_ns()
        try:
            shares = batching.split(version.signature, arrays, [run.rows for run in runs], self._encode)
        except Exception as error:  # as in `_run`
            return self._raised(batch, error)
        version.counters.compute_output.add(perf_counter_ns() - ran)
        self._through(batch.queue, batch.rows, batch.cost_ns, batch.bytes)
        for run, outputs in zip(runs, shares, strict=True):
            run.waited_ns = began - run.queued_ns
            if now is None or not run.unwanted(now):
                self._tell(run, outputs)
            elif run.past(now):
                self._tell(run, _late(run))

    def _raised(self, batch: "_Batch", error: Exception) -> None:
        run = batch.runs[0]
        if len(batch.runs) > 1:
            self._alone(batch)
        elif run.unwanted(now := self._clock()):
            self._unwanted(batch.queue, run, now)
        else:
            self._through(batch.queue, run.rows, run.cost_ns, run.bytes)
            self._tell(run, error)

    def _alone(self, batch: "_Batch") -> None:
        """Each is a group of its own now."""
        for run in batch.runs:
            self._ready(batch.queue, run, (run,))

    def _unwanted(self, queue: _Queue, run: Run, now: float) -> None:
        self._through(queue, run.rows, run.cost_ns, run.bytes)
        if run.past(now):
            self._tell(run, _late(run))

    def _through(self, queue: _Queue, rows: int, cost_ns: float, size_bytes: int) -> None:
        queue.backlog.take(rows, cost_ns, size_bytes)
        self._backlog.take(rows, cost_ns, size_bytes)

    @staticmethod
    def _tell(run: Run, outcome: list[Output] | Exception) -> None:
        try:
            run.ended(outcome)
        except Exception as error:  # a caller that breaks must not take the others of its batch along
            what = {"message": f"{run.version.name}: an answer was not delivered", "exception": error}
            asyncio.get_running_loop().call_exception_handler(what)


class _Batch:
    """Requests that are run together."""

    __slots__ = ("bytes", "cost_ns", "key", "queue", "rows", "runs", "size")

    def __init__(self, queue: _Queue, key: object) -> None:
        self.queue, self.key = queue, key
        self.runs: list[Run] = []
        self.rows = self.size = self.bytes = 0
        self.cost_ns = 0.0

    def add(self, run: Run) -> None:
        self.runs.append(run)
        self.rows += run.rows
        self.size += run.size
        self.cost_ns += run.cost_ns
        self.bytes += run.bytes

    def stopped(self, after_ns: int) -> None:
        """It takes so long at least: what waits behind such runs waits for long, though none has come to its end."""
        self.runs[0].version.pace.ran(self.size, after_ns, after_ns)

    def inputs(self) -> Mapping[str, npt.NDArray[Any]]:
        return batching.joined(self.runs[0].version.signature, [run.tensors for run in self.runs])


def _late(run: Run) -> DeadlineOver:
    return DeadlineOver(f"{run.version.name}: the deadline was over before the answer")
