"""Answers a request: who answers by the plan, the run, the record in the spool, and the shadows after the reply.

Ports: the live models, two spools (`record.AnswerLog`), meters. Nothing here waits for Kafka or a disk
unless `strict` or `block` was asked for.
"""

import asyncio
import os
import threading
import weakref
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from time import perf_counter_ns
from typing import Any, Protocol

import numpy.typing as npt

from gyrostat_common.errors import GyrostatError
from gyrostat_inference.domain import routing
from gyrostat_inference.domain.calls import Answer, Call, Output
from gyrostat_inference.domain.entries import ANSWER, SHADOW
from gyrostat_inference.domain.errors import AnswerTooLarge, ModelUnknown, RunTooLong, ScoringFailed, SpoolFull
from gyrostat_inference.domain.live import LiveModel, LiveModels, LoadedVersion, Scorer
from gyrostat_inference.domain.routing import Attempt
from gyrostat_inference.domain.tensors import rows_of
from gyrostat_inference.usecases.record import AnswerLog, Scored, record

# A run of more elements than this leaves the event loop: the hand-over to a thread costs about 60 µs.
INLINE_ROWS = 64
# The longest that one run may hold up all others; after it the same run begins again in a thread.
INLINE_S = 0.1
# What a message of ours may hold, less its frame; it is copied for the reply and for the spool.
LARGEST_ANSWER_BYTES = 60 * 1024**2

Encode = Callable[[npt.NDArray[Any]], bytes]


class Meters(Protocol):
    """Counts what was answered, for the metrics."""

    def answered(self, model: str, version: int, variant: str, code: str, seconds: float) -> None: ...
    def shadow_dropped(self, model: str, reason: str) -> None: ...


@dataclass(frozen=True, slots=True)
class Logging:
    """`on_full` is "drop_new", "reject" or "block"; `strict` waits for the disk before the reply."""

    strict: bool = False
    on_full: str = "drop_new"


@dataclass(frozen=True, slots=True)
class _Shadow:
    live: LiveModel
    number: int
    call: Call
    rows: int


class Predict:
    """`answer` a call; `run_shadows` is the task that scores the others afterwards."""

    def __init__(
        self,
        models: LiveModels,
        answers: AnswerLog,
        shadows: AnswerLog,
        meters: Meters,
        encode: Encode,
        logging: Logging,
    ) -> None:
        self._models, self._answers, self._shadows = models, answers, shadows
        self._meters, self._encode, self._logging = meters, encode, logging
        self._queue: asyncio.Queue[_Shadow] = asyncio.Queue(1024)
        # Threads of its own for each graph: one that never ends takes none from another.
        self._threads: weakref.WeakKeyDictionary[Scorer, ThreadPoolExecutor] = weakref.WeakKeyDictionary()

    async def answer(self, call: Call) -> Answer:
        """Raises one of `domain.errors`; then nothing is logged, and the failure is counted."""
        live = self._models.get(call.model)
        if live is None:
            served = ", ".join(sorted(each.plan.model for each in self._models.models())) or "none"
            raise ModelUnknown(f"no model is named '{call.model}'; served: {served}")
        attempts = live.attempts(call)
        if self._answers.full:
            await self._make_room(call.model)
        started = perf_counter_ns()
        try:
            taken, rows, outputs, chosen = await self._first_that_answers(live, attempts, call)
        except GyrostatError as error:
            self._failed(live, attempts[0], started, counted=isinstance(error, ScoringFailed))
            raise
        version = live.loaded[taken.number]
        spent = perf_counter_ns() - started
        version.counters.success.add(spent)
        version.counters.queue.add(0)  # nothing queues here: a request is scored when it has arrived
        version.counters.compute_input.add(call.decode_ns)
        version.counters.last_inference_ms = call.arrival_us // 1000
        if taken.variant == "pinned":
            version.counters.pinned += 1
        record(self._answers, live, call, Scored(version, ANSWER, taken.variant, rows, outputs, spent))
        self._answers.write()
        self._queue_shadows(live, taken, call, rows)
        if self._logging.strict:
            await self._answers.flush()
        self._meters.answered(call.model, taken.number, taken.variant, "OK", (perf_counter_ns() - started) / 1e9)
        return Answer(taken.number, taken.variant, live.plan.revision, [outputs[place] for place in chosen])

    def _failed(self, live: LiveModel, attempt: Attempt, started: int, counted: bool) -> None:
        spent = perf_counter_ns() - started
        if not counted:
            live.loaded[attempt.number].counters.fail.add(spent)
        self._meters.answered(live.plan.model, attempt.number, attempt.variant, "INVALID_ARGUMENT", spent / 1e9)

    async def _make_room(self, model: str) -> None:
        if self._logging.on_full == "reject":
            raise SpoolFull(f"{model}: the spool is full; no answer is given that could not be logged")
        if self._logging.on_full == "block":
            await self._answers.until_room()

    async def _first_that_answers(
        self, live: LiveModel, attempts: Sequence[Attempt], call: Call
    ) -> tuple[Attempt, int, list[Output], Sequence[int]]:
        """Tries the versions in order; only a graph that raises gives way to the next."""
        refused: ScoringFailed | None = None
        for attempt in attempts:
            version = live.loaded[attempt.number]
            fit = live.fit(attempt.number, call)
            try:
                return attempt, fit.rows, await self._score(version, call, fit.rows), fit.chosen
            except ScoringFailed as error:
                version.counters.fail.add(0)
                refused = refused or error
        assert refused is not None, "there is at least one attempt"
        raise refused

    async def _score(self, version: LoadedVersion, call: Call, rows: int) -> list[Output]:
        inputs = {spec.name: call.tensors[spec.name].values for spec in version.signature.inputs}
        started = perf_counter_ns()
        if rows <= INLINE_ROWS and not version.counters.slow:
            try:
                arrays = version.scorer.run(inputs, INLINE_S)
                version.counters.slow = perf_counter_ns() - started > INLINE_S * 1e9
            except RunTooLong:
                version.counters.slow = True
                arrays = await self._off_the_loop(version.scorer, inputs)
        else:
            arrays = await self._off_the_loop(version.scorer, inputs)
        ran = perf_counter_ns()
        version.counters.ran(rows, ran - started)
        if (size := sum(array.nbytes for array in arrays)) > LARGEST_ANSWER_BYTES:
            raise AnswerTooLarge(f"{version.name} answers {size} bytes to these inputs; at most {LARGEST_ANSWER_BYTES}")
        outputs = [
            Output(spec.name, spec.datatype, array, self._encode(array))
            for spec, array in zip(version.signature.outputs, arrays, strict=True)
        ]
        version.counters.compute_output.add(perf_counter_ns() - ran)
        return outputs

    async def _off_the_loop(self, scorer: Scorer, inputs: Mapping[str, npt.NDArray[Any]]) -> Sequence[npt.NDArray[Any]]:
        """The run in a thread; stopped when the call is cancelled or its deadline has passed."""
        threads = self._threads.get(scorer)
        if threads is None:
            threads = self._threads[scorer] = ThreadPoolExecutor(os.cpu_count(), "run graphs")
        gone = threading.Event()
        try:
            return await asyncio.get_running_loop().run_in_executor(threads, scorer.run, inputs, None, gone.is_set)
        finally:
            gone.set()

    # Shadows

    def _queue_shadows(self, live: LiveModel, taken: Attempt, call: Call, rows: int) -> None:
        for number in routing.shadows(live.plan, taken, call.prediction_id.hex()):
            shadow = _Shadow(live, number, call, rows)
            try:
                self._queue.put_nowait(shadow)
            except asyncio.QueueFull:
                self._drop_shadow(shadow, "shadow_queue_full")

    def _drop_shadow(self, shadow: _Shadow, reason: str) -> None:
        """Counted in the shadows' books: rows that were due and are not there."""
        self._shadows.count(shadow.rows, reason)
        self._shadows.write()
        self._meters.shadow_dropped(shadow.live.plan.model, reason)

    async def run_shadows(self) -> None:
        """Scores queued shadows, one after the other, giving way to answers in between. Runs until cancelled."""
        while True:
            shadow = await self._queue.get()
            await asyncio.sleep(0)
            await self.score_shadow(shadow)
            self._queue.task_done()

    async def score_shadow(self, shadow: _Shadow) -> None:
        """One shadow. Whatever it raises hurts nobody, and is logged as rows without outputs: the judge counts them."""
        live, call, version = shadow.live, shadow.call, shadow.live.loaded.get(shadow.number)
        if version is None:
            return self._drop_shadow(shadow, "shadow_not_loaded")
        started, rows = perf_counter_ns(), shadow.rows
        outputs: Sequence[Output] = ()
        try:
            rows = rows_of(version.name, version.signature, call.tensors, live.known_inputs, live.plan.spec.max_rows)
            outputs = await self._score(version, call, rows)
        except Exception:  # of any kind: a candidate is not to be trusted, and the next shadow must be scored
            version.counters.fail.add(perf_counter_ns() - started)
            self._meters.shadow_dropped(live.plan.model, "shadow_failed")
        spent = perf_counter_ns() - started
        record(self._shadows, live, call, Scored(version, SHADOW, "shadow", rows, outputs, spent))
        self._shadows.write()

    async def drain_shadows(self) -> None:
        """Returns when every queued shadow is scored; for an orderly close."""
        await self._queue.join()
