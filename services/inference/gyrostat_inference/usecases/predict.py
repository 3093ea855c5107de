"""Answers a request: who answers by the plan, the run, the record in the spool, and the shadows after the reply.

Ports: the live models, two spools (`record.AnswerLog`), meters; `turns` runs the graphs. Nothing here waits for Kafka
or a disk unless `strict` or `block` was asked for.
"""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass
from time import perf_counter_ns
from typing import Protocol

from gyrostat_common.errors import DeadlineOver, GyrostatError, Overloaded
from gyrostat_inference.domain import routing
from gyrostat_inference.domain.calls import Answer, Call, Output
from gyrostat_inference.domain.entries import ANSWER
from gyrostat_inference.domain.errors import ScoringFailed, SpoolFull
from gyrostat_inference.domain.live import Fit, LiveModel, LiveModels
from gyrostat_inference.domain.routing import Attempt
from gyrostat_inference.domain.tensors import raw_bytes
from gyrostat_inference.usecases.record import AnswerLog, Scored, record
from gyrostat_inference.usecases.room import MEASURED_S, Held, RoomQueue
from gyrostat_inference.usecases.runs import Caller, Run
from gyrostat_inference.usecases.shadows import Shadows
from gyrostat_inference.usecases.turns import Turns

Done = Callable[[Answer | Exception], None]
_ROOM_FIRST = frozenset(("reject", "block"))


class Meters(Protocol):
    """Counts what was answered, for the metrics."""

    def answered(self, model: str, version: int, variant: str, code: str, seconds: float) -> None: ...
    def refused(self, model: str, reason: str) -> None: ...
    def shadow_dropped(self, model: str, reason: str) -> None: ...


@dataclass(frozen=True, slots=True)
class Logging:
    """`on_full` is "sample" or "drop_new", "reject" or "block"; `strict` waits for the disk before the reply."""

    strict: bool = False
    on_full: str = "sample"


class _Asked(Run):
    """A call that waits for its answer: the attempt that is being made, and those that are left."""

    __slots__ = ("attempt", "call", "done", "first", "fit", "left", "live", "predict", "refused", "started_ns")

    def __init__(
        self, predict: "Predict", live: LiveModel, call: Call, attempts: Sequence[Attempt], done: Done
    ) -> None:
        self.predict, self.live, self.call, self.done = predict, live, call, done
        self.first = self.attempt = attempts[0]
        self.left = attempts[1:]
        self.refused: ScoringFailed | None = None
        self.started_ns = perf_counter_ns()
        self.fit: Fit

    def ended(self, outcome: list[Output] | Exception) -> None:
        self.predict.ended(self, outcome)


class _Awaited:
    """A task that awaits its answer."""

    __slots__ = ("deadline", "future")

    def __init__(self, future: "asyncio.Future[Answer]", deadline: float | None) -> None:
        self.future, self.deadline = future, deadline

    @property
    def gone(self) -> bool:
        return self.future.done()

    def __call__(self, outcome: Answer | Exception) -> None:
        if self.future.done():
            return
        if isinstance(outcome, Exception):
            self.future.set_exception(outcome)
        else:
            self.future.set_result(outcome)


class Predict:
    """`submit` or `answer` a call; `run_shadows` is the task that scores the others afterwards."""

    def __init__(
        self,
        models: LiveModels,
        answers: AnswerLog,
        shadows: AnswerLog,
        meters: Meters,
        turns: Turns,
        logging: Logging,
    ) -> None:
        self._models, self._answers, self._meters = models, answers, meters
        self._turns, self._logging = turns, logging
        self._shadows = Shadows(shadows, meters, turns)
        self._answered: list[tuple[_Asked, Answer]] = []
        self._flushing: set[asyncio.Task[None]] = set()
        self._room = RoomQueue(answers)
        self.run_shadows, self.drain_shadows = self._shadows.run, self._shadows.drain
        turns.after = self._deliver
        self.together: AbstractContextManager[None] = nullcontext()
        """Entered around the answers of a turn, so that a front can send them at once."""

    async def answer(self, call: Call, deadline: float | None = None) -> Answer:
        """Raises one of `domain.errors`; then nothing is logged, and the failure is counted. DeadlineOver: `deadline`,
        in loop time, is over or cannot be met.
        """
        awaited = _Awaited(asyncio.get_running_loop().create_future(), deadline)
        self.submit(call, awaited, awaited)
        return await awaited.future

    def submit(self, call: Call, done: Done, caller: Caller | None = None) -> None:
        """`done` gets the answer at the end of this turn of the event loop or of a later one, or what `answer` raises,
        perhaps at once; it is called once, and not at all when the caller is gone.
        """
        try:
            asked = self._asked(call, done, caller)
            if self._logging.on_full in _ROOM_FIRST and (self._answers.full or self._room.holds):
                self._make_room(asked)
            else:
                self._try(asked)
        except Exception as error:  # of whatever kind, it is the answer to this call
            done(error)

    def _asked(self, call: Call, done: Done, caller: Caller | None) -> _Asked:
        live = self._models.get(call.model)
        if live is None:
            raise self._models.unknown(call.model)
        asked = _Asked(self, live, call, live.attempts(call), done)
        asked.caller = caller
        return asked

    def _make_room(self, asked: _Asked) -> None:
        if self._logging.on_full == "reject":
            model = asked.live.plan.model
            text = f"{model}: the spool is full; no answer is given that could not be logged"
            raise SpoolFull(text, MEASURED_S)

        def go() -> None:
            asked.started_ns = perf_counter_ns()
            try:
                self._try(asked)
            except Exception as error:  # as in `submit`
                asked.done(error)

        def over() -> bool:
            caller = asked.caller
            if caller is None or not (caller.gone or asked.past(self._turns.now())):
                return False
            if asked.past(self._turns.now()):
                asked.done(DeadlineOver(f"{asked.call.model}: the deadline was over before the spool had room"))
            return True

        self._room.hold(Held(asked.call.model, raw_bytes(asked.call.tensors), go, over))

    def _try(self, asked: _Asked) -> None:
        """Queues the first attempt. Raises what is wrong with the call for this version, or that there is no room."""
        try:
            self._queue(asked, refusable=True)
        except (GyrostatError, TimeoutError) as error:
            self._failed(asked, error, counted=False)
            raise

    def _queue(self, asked: _Asked, refusable: bool) -> None:
        live, call, number = asked.live, asked.call, asked.attempt.number
        asked.fit = live.fit(number, call)
        Run.__init__(asked, live.loaded[number], live.plan.spec.engine, call.tensors, asked.fit.rows, asked.caller)
        self._turns.put(asked, refusable)

    def ended(self, asked: _Asked, outcome: list[Output] | Exception) -> None:
        """What came of the attempt."""
        try:
            if isinstance(outcome, Exception):
                problem = self._next_attempt(asked, outcome)
            else:
                problem = None
                self._answered.append((asked, self._answer(asked, outcome)))
        except Exception as error:  # as in `submit`
            problem = error
        if problem is not None:
            asked.done(problem)

    def _next_attempt(self, asked: _Asked, outcome: Exception) -> Exception | None:
        """Only a graph that raises gives way to the next version; None: that one is being tried."""
        if isinstance(outcome, TimeoutError):
            self._failed(asked, outcome, counted=False)
        if not isinstance(outcome, ScoringFailed):
            return outcome
        asked.version.counters.fail.add(0)
        asked.refused = asked.refused or outcome
        while asked.left:
            asked.attempt, asked.left = asked.left[0], asked.left[1:]
            with suppress(GyrostatError):  # what the next version does not take it cannot answer for this one
                self._queue(asked, refusable=False)
                return None
        self._failed(asked, asked.refused, counted=True)
        return asked.refused

    def _answer(self, asked: _Asked, outputs: list[Output]) -> Answer:
        live, call, taken, version, fit = asked.live, asked.call, asked.attempt, asked.version, asked.fit
        spent, counters = perf_counter_ns() - asked.started_ns, version.counters
        counters.success.add(spent)
        counters.queue.add(asked.waited_ns)
        counters.compute_input.add(call.decode_ns)
        counters.last_inference_ms = call.arrival_us // 1000
        if taken.variant == "pinned":
            counters.pinned += 1
        share = self._answers.share
        record(self._answers, live, call, Scored(version, ANSWER, taken.variant, fit.rows, outputs, spent), share)
        plan = live.plan
        if plan.canary is not None or plan.shadows:
            for number in routing.shadows(plan, taken, call.prediction_id.hex()):
                self._shadows.queue(live, number, call, fit.rows, share)
        return Answer(taken.number, taken.variant, plan.revision, [outputs[place] for place in fit.chosen])

    def _failed(self, asked: _Asked, error: Exception, counted: bool) -> None:
        model, attempt = asked.live.plan.model, asked.first
        spent = perf_counter_ns() - asked.started_ns
        if not counted:
            asked.live.loaded[attempt.number].counters.fail.add(spent)
        code = "INVALID_ARGUMENT"
        if isinstance(error, Overloaded | TimeoutError):
            code = "RESOURCE_EXHAUSTED" if isinstance(error, Overloaded) else "DEADLINE_EXCEEDED"
            self._meters.refused(model, type(error).__name__)
        self._meters.answered(model, attempt.number, attempt.variant, code, spent / 1e9)

    # Replies

    def _deliver(self) -> None:
        """The end of a turn: its answers are in the spool's file, with `strict` on disk, before one of them leaves."""
        if not self._answered:
            return
        answered, self._answered = self._answered, []
        try:
            self._answers.write()
        except Exception as error:  # nobody gets an answer that could not be logged
            return self._hand_over([(asked, error) for asked, _ in answered])
        if self._logging.strict:
            task = asyncio.get_running_loop().create_task(self._when_flushed(answered))
            self._flushing.add(task)
            task.add_done_callback(self._flushing.discard)
        else:
            self._hand_over(answered)

    async def _when_flushed(self, answered: list[tuple[_Asked, Answer]]) -> None:
        try:
            await self._answers.flush()
        except Exception as error:  # as in `_deliver`
            return self._hand_over([(asked, error) for asked, _ in answered])
        self._hand_over(answered)

    def _hand_over(self, answered: Sequence[tuple[_Asked, Answer | Exception]]) -> None:
        now = perf_counter_ns()
        with self.together:
            for asked, answer in answered:
                try:
                    if not isinstance(answer, Exception):
                        model, seconds = asked.call.model, (now - asked.started_ns) / 1e9
                        self._meters.answered(model, answer.version, answer.variant, "OK", seconds)
                    asked.done(answer)
                except Exception as error:  # a caller that breaks must not take the others along
                    what = {"message": f"{asked.call.model}: an answer was not delivered", "exception": error}
                    asyncio.get_running_loop().call_exception_handler(what)
