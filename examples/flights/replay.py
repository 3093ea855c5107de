"""The rest of the year in event time: questions as concurrent gRPC calls, outcomes when the event clock passes them.

The clock is honest about the system: it never runs further ahead of the monitor's watermark than it was told to, and
not for days while a training of seconds is running. The ledger keeps every answer, so that the books can be balanced.
"""

import asyncio
import heapq
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from time import monotonic
from typing import Final

import grpc
import numpy as np
from google.protobuf.timestamp_pb2 import Timestamp

from flights.policy import DAY_S, MODEL
from flights.services import Services
from flights.traffic import Traffic
from flights.watch import Watch
from gyrostat.monitor.v1 import monitor_pb2
from gyrostat_common.oip import ModelInferResponse

OUTCOMES_PER_CALL: Final = 1_000
# Backends send outcomes in batches: when so many are due, or when the first has waited so long.
OUTCOMES_DUE: Final = 500
OUTCOMES_WAIT_US: Final = 6 * 3_600 * 1_000_000
CALL_TIMEOUT_S: Final = 30.0
PATIENCE_S: Final = 180.0


@dataclass(frozen=True)
class Pace:
    """How fast the event clock may run; `days_per_s` 0 means as fast as the system follows."""

    ahead_s: float = 2 * DAY_S
    # Well below the longest step of a canary, so that it is judged with answers of its own.
    ahead_of_canary_s: float = DAY_S
    ahead_of_training_s: float = 2 * DAY_S
    # Outcomes on their way to the join: enough that it never waits for us; few, while a canary is judged by them.
    outcomes_ahead: int = 5_000
    outcomes_ahead_of_canary: int = 1_500
    days_per_s: float = 0.0
    concurrency: int = 24


@dataclass
class Ledger:
    """What happened to every row."""

    scores: np.ndarray
    versions: np.ndarray
    variants: np.ndarray
    answered_at: np.ndarray
    outcome_sent: np.ndarray
    failures: Counter[str] = field(default_factory=Counter)
    asked: int = 0
    waited_s: Counter[str] = field(default_factory=Counter)
    latencies_s: list[float] = field(default_factory=list)
    impatient: int = 0

    @classmethod
    def blank(cls, rows: int) -> "Ledger":
        """A ledger of rows that nobody has asked about."""
        return cls(
            np.full(rows, np.nan),
            np.zeros(rows, np.int64),
            np.full(rows, "", dtype=object),
            np.zeros(rows),
            np.zeros(rows, bool),
        )

    @property
    def answered(self) -> int:
        """Rows that got an answer."""
        return int((self.versions > 0).sum())

    @property
    def outcomes(self) -> int:
        """Rows whose outcome was accepted by the monitor."""
        return int(self.outcome_sent.sum())


class Replay:
    """Sends the traffic. `clock_us` is the event clock."""

    def __init__(self, services: Services, traffic: Traffic, watch: Watch, pace: Pace) -> None:
        self.traffic = traffic
        self.ledger = Ledger.blank(len(traffic.flights))
        self.clock_us = int(traffic.request_us[0])
        self._services = services
        self._watch = watch
        self._pace = pace
        self._training_since_us: int | None = None
        self._appointments: list[tuple[int, int, Callable[[], Awaitable[None]]]] = []
        landed = np.flatnonzero(traffic.flights.outcome_us > 0)
        self._landings = landed[np.argsort(traffic.flights.outcome_us[landed], kind="stable")]
        self._next_landing = 0
        self._held: list[int] = []
        self._outbox: asyncio.Queue[list[int] | None] = asyncio.Queue(maxsize=4)

    def at(self, time_us: int, appointment: Callable[[], Awaitable[None]]) -> None:
        """Lets something happen when the event clock reaches a time; the clock stands still meanwhile."""
        heapq.heappush(self._appointments, (time_us, len(self._appointments), appointment))

    async def run(self) -> Ledger:
        """Asks about every flight and reports every landing; returns when all outcomes are accepted."""
        room = asyncio.Semaphore(self._pace.concurrency)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._send_outcomes())
            async with asyncio.TaskGroup() as calls:
                for request in range(self.traffic.requests):
                    await self._advance(int(self.traffic.request_us[request]))
                    await room.acquire()
                    calls.create_task(self._ask(request)).add_done_callback(lambda _: room.release())
            await self._queue_landed(everything=True)
            await self._outbox.put(None)
        return self.ledger

    async def _advance(self, to_us: int) -> None:
        if to_us == self.clock_us:
            return
        while self._appointments and self._appointments[0][0] <= to_us:
            await heapq.heappop(self._appointments)[2]()
        await self._keep_pace(to_us)
        self.clock_us = to_us
        await self._queue_landed()

    async def _keep_pace(self, to_us: int) -> None:
        if self._pace.days_per_s:
            await asyncio.sleep((to_us - self.clock_us) / 1e6 / DAY_S / self._pace.days_per_s)
        first_us = int(self.traffic.request_us[0])
        await self._wait(
            "the monitor", lambda: to_us - max(self._watch.picture.watermark_us, first_us) <= self._ahead_us()
        )
        await self._wait("the join", lambda: self._next_landing - self._outcomes_seen() <= self._outcomes_ahead())
        await self._wait("a training", lambda: not self._too_far_into_training(to_us))

    def _ahead_us(self) -> float:
        pace = self._pace
        return 1e6 * (min(pace.ahead_s, pace.ahead_of_canary_s) if self._canary else pace.ahead_s)

    def _outcomes_ahead(self) -> int:
        return self._pace.outcomes_ahead_of_canary if self._canary else self._pace.outcomes_ahead

    @property
    def _canary(self) -> bool:
        return self._watch.picture.plan.canary_weight > 0

    def _outcomes_seen(self) -> int:
        return int(self._watch.picture.status.outcomes_received)

    def _too_far_into_training(self, to_us: int) -> bool:
        if not self._watch.picture.training:
            self._training_since_us = None
            return False
        if self._training_since_us is None:
            self._training_since_us = self.clock_us
        return to_us - self._training_since_us > self._pace.ahead_of_training_s * 1e6

    async def _wait(self, whom: str, ready: Callable[[], bool]) -> None:
        if ready():
            return
        started = monotonic()
        while not ready():
            if monotonic() - started > PATIENCE_S:
                # A stuck service must show in the books and the report, not as a demo that never ends.
                self.ledger.impatient += 1
                break
            await asyncio.sleep(0.02)
        self.ledger.waited_s[whom] += monotonic() - started  # type: ignore[assignment]

    async def _ask(self, request: int) -> None:
        first, last = int(self.traffic.starts[request]), int(self.traffic.starts[request + 1])
        self.ledger.asked += last - first
        started = monotonic()
        try:
            reply = await self._services.inference.ModelInfer(self.traffic.message(request), timeout=CALL_TIMEOUT_S)
        except grpc.aio.AioRpcError as error:
            self.ledger.failures[f"{error.code().name}: {error.details()}"] += last - first
            return
        self.ledger.latencies_s.append(monotonic() - started)
        self._keep(first, last, reply)

    def _keep(self, first: int, last: int, reply: ModelInferResponse) -> None:
        position = next(i for i, output in enumerate(reply.outputs) if output.name == "probabilities")
        scores = np.frombuffer(reply.raw_output_contents[position], "<f4").reshape(last - first, -1)[:, -1]
        self.ledger.scores[first:last] = scores
        self.ledger.variants[first:last] = reply.parameters["gyrostat_variant"].string_param
        self.ledger.answered_at[first:last] = self.clock_us
        self.ledger.versions[first:last] = int(reply.model_version)

    async def _queue_landed(self, everything: bool = False) -> None:
        landings, outcome_us = self._landings, self.traffic.flights.outcome_us
        due = len(landings) if everything else int(np.searchsorted(outcome_us[landings], self.clock_us, side="right"))
        waiting = due - self._next_landing
        if not everything and waiting < OUTCOMES_DUE:
            oldest = outcome_us[landings[self._next_landing]] if waiting else self.clock_us
            if self.clock_us - oldest < OUTCOMES_WAIT_US:
                return
        rows = [*self._held, *landings[self._next_landing : due].tolist()]
        self._next_landing = due
        # A call may still be under way; an outcome before its answer would be parked for nothing.
        self._held = [row for row in rows if not self.ledger.versions[row]]
        ready = [row for row in rows if self.ledger.versions[row]]
        for start in range(0, len(ready), OUTCOMES_PER_CALL):
            await self._outbox.put(ready[start : start + OUTCOMES_PER_CALL])

    async def _send_outcomes(self) -> None:
        number = 0
        while (rows := await self._outbox.get()) is not None:
            number += 1
            request = monitor_pb2.RecordOutcomesRequest(request_id=f"flights-landed-{number}")
            request.outcomes.extend(self._outcome(row) for row in rows)
            await self._services.monitor.RecordOutcomes(request, timeout=CALL_TIMEOUT_S)
            self.ledger.outcome_sent[rows] = True

    def _outcome(self, row: int) -> monitor_pb2.Outcome:
        flights = self.traffic.flights
        observed = Timestamp()
        observed.FromMicroseconds(int(flights.outcome_us[row]))
        outcome = monitor_pb2.Outcome(
            model=MODEL, value=float(flights.late[row]), observed_at=observed, source="airport"
        )
        outcome.prediction.prediction_id = self.traffic.row_id(row)
        return outcome
