"""No silence: what stands still is told once, and once more when it moves again."""

from datetime import UTC, datetime, timedelta

import pytest

from gyrostat_common.clock import FixedClock
from gyrostat_common.times import to_us
from gyrostat_monitor.domain.alerts import Stand, Unreadable
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
        self.firing, self.told, self.alerts, self.stream = {}, [], [], {}

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

    async def firing_alerts(self):
        return {alert: 1 for alert, firing in self.firing.items() if firing}

    async def alert(self, alert, owner, firing):
        self.told.append((alert.rule, firing))
        self.alerts.append(alert)


class FakeConsumers:
    def __init__(self):
        self.where, self.why, self.bad = [], {}, []

    async def stands(self):
        return self.where

    def names(self):
        return ["monitor", "monitor.archive"]

    def stopped(self):
        return self.why

    def unreadable(self):
        return self.bad


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


async def test_a_model_that_has_just_gone_live_is_not_silent(scene):
    memory, _, clock, watch = scene
    clock.advance(timedelta(days=1))
    await watch.look()
    assert memory.told == []


async def test_a_consumer_with_records_waiting_that_does_not_move_is_stuck(scene):
    memory, consumers, clock, watch = scene
    memory.stream = {"s": Stream(0, to_us(START + timedelta(days=1)))}
    place = "registry/plan.applied"

    def stand(at, waiting, partition=0):
        return Stand("registry", "plan.applied", partition, at, waiting)

    for records, at in ((5, 10), (9, 20), (50, 30)):
        consumers.where = [stand(at, records)]
        clock.advance(timedelta(seconds=100))
        assert (await watch.look())[0][place] == 0  # it moves, however much waits
    consumers.where = [stand(30, 50), stand(7, 0, partition=1)]
    clock.advance(timedelta(seconds=121))
    behind, figures = await watch.look()
    assert behind[place] == 121
    assert "50 records of plan.applied/0 waiting from offset 30" in memory.alerts[0].summary
    assert memory.alerts[0].evidence["records"] == "50"
    [firing] = watch.firing()
    assert (firing.alert.id, firing.alert.severity) == ("stuck-consumer/registry/plan.applied", "critical")
    consumers.where = [stand(30, 60), stand(9, 0, partition=1)]
    clock.advance(timedelta(seconds=1))
    assert (await watch.look())[0][place] == 122  # another partition that moves is no excuse
    assert memory.told == [("stuck consumer", True)]
    assert figures[0].coverage == 0.4
    assert 3000 < figures[0].lag_s < 4200
    consumers.where = [stand(90, 0)]
    await watch.look()
    assert memory.told[-1] == ("stuck consumer", False)
    assert watch.firing() == []


async def test_a_consumer_that_stopped_for_good_is_told(scene):
    memory, consumers, _, watch = scene
    consumers.why = {"monitor": "100 records became dead letters"}
    await watch.look()
    await watch.look()
    assert memory.told == [("consumer stopped", True)]


async def test_state_that_cannot_be_read_is_told_with_its_place_and_taken_back(scene):
    memory, consumers, _, watch = scene
    consumers.bad = [Unreadable("serving.plan", 0, 7, "production/flights", "header ce_id is missing")]
    await watch.look()
    await watch.look()
    assert memory.told == [("unreadable state", True)]
    [alert] = memory.alerts
    assert (alert.model, alert.severity) == ("flights", "critical")
    assert {
        "topic": "serving.plan",
        "offset": "7",
        "reason": "header ce_id is missing",
    }.items() <= alert.evidence.items()
    assert "gyrostat topics repair serving.plan" in alert.summary
    consumers.bad = []
    await watch.look()
    assert memory.told[1:] == [("unreadable state", False)]


async def test_an_alert_of_the_last_run_is_taken_back_only_when_it_is_known_to_be_over(scene):
    memory, consumers, _, watch = scene
    memory.firing["unreadable-state/serving.plan/somebody"] = True
    consumers.bad = None  # the topic is being read
    await watch.look()
    assert memory.told == []
    consumers.bad = []
    await watch.look()
    assert memory.told == [("unreadable state", False)]


def test_coverage_without_answers_is_nothing():
    assert coverage_and_lag({})[0] == 0.0
