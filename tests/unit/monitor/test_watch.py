"""No silence: what stands still is told once, and once more when it moves again."""

from datetime import UTC, datetime, timedelta

import pytest

from gyrostat_common.clock import FixedClock
from gyrostat_common.times import to_us
from gyrostat_monitor.domain.plan import Plan
from gyrostat_monitor.domain.watermark import Stream
from gyrostat_monitor.usecases.known import Known
from gyrostat_monitor.usecases.ports import Stores
from gyrostat_monitor.usecases.queries import coverage_and_lag
from gyrostat_monitor.usecases.watch import Limits, Watch

START = datetime(2026, 11, 1, tzinfo=UTC)


class Memory:
    """Records, history and announcer in memory."""

    def __init__(self):
        self.firing, self.told, self.stream = {}, [], {}

    async def streams(self, model):
        return self.stream

    async def counters(self, model):
        return {"rows/1/answer": 10, "rows/2/shadow": 10, "lag/47": 4}

    async def alert_changed(self, alert, firing, at_us):
        news = self.firing.get(alert, False) != firing
        self.firing[alert] = firing
        return news

    async def open_episodes(self, model):
        return []

    async def alert(self, alert_id, rule, model, severity, firing, summary):
        self.told.append((rule, firing))


class FakeConsumers:
    def __init__(self):
        self.waiting, self.done, self.stopped = {}, {}, {}

    async def lag(self):
        return self.waiting

    def handled(self):
        return self.done

    def problems(self):
        return self.stopped


class Transaction:
    async def __aenter__(self):
        return None

    async def __aexit__(self, *_):
        return None


@pytest.fixture
def scene():
    memory, consumers, clock = Memory(), FakeConsumers(), FixedClock(START)
    memory.transaction = Transaction
    known = Known(memory, None, clock, "production")
    known.put(Plan("flights", "production", 1, 1))
    stores = Stores(memory, None, None, memory)
    return memory, consumers, clock, Watch(stores, memory, known, consumers, Limits(300, 120))


async def test_silence_of_a_live_model_is_told_once_and_taken_back(scene):
    memory, _, clock, watch = scene
    await watch.look()
    assert memory.told == []
    for _ in range(3):
        clock.advance(timedelta(seconds=301))
        await watch.look()
    assert memory.told == [("no predictions", True)]
    memory.stream = {"s": Stream(0, to_us(clock.now()))}
    await watch.look()
    assert memory.told[-1] == ("no predictions", False)


async def test_a_consumer_with_records_waiting_that_does_not_move_is_stuck(scene):
    memory, consumers, clock, watch = scene
    memory.stream = {"s": Stream(0, to_us(START + timedelta(days=1)))}
    place = "monitor/prediction.logged"
    for records, handled in ((5, 10), (9, 20), (50, 30)):
        consumers.waiting, consumers.done = {place: records}, {place: handled}
        clock.advance(timedelta(seconds=100))
        assert (await watch.look())[0][place] == 0  # it moves, however much waits
    clock.advance(timedelta(seconds=121))
    behind, figures = await watch.look()
    assert behind[place] == 121
    assert memory.told == [("stuck consumer", True)]
    assert figures[0].coverage == 0.4
    assert 3000 < figures[0].lag_s < 4200
    consumers.waiting = {place: 0}
    await watch.look()
    assert memory.told[-1] == ("stuck consumer", False)


async def test_a_consumer_that_stopped_for_good_is_told(scene):
    memory, consumers, _, watch = scene
    consumers.stopped = {"monitor": "100 records became dead letters"}
    await watch.look()
    await watch.look()
    assert memory.told == [("consumer stopped", True)]


def test_coverage_without_answers_is_nothing():
    assert coverage_and_lag({})[0] == 0.0
