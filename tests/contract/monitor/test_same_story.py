"""The same rows tell the same story: in any order within the watermark, in any frames and streams, with any restart."""

import asyncio
import shutil
from functools import cache, partial

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gyrostat.registry.v1 import model_pb2 as models
from gyrostat_common.profile import build_profile
from gyrostat_monitor.events import decoding
from support.frames import a_frame, a_plan, an_outcome, prediction_id
from support.monitor import DAY_US, HOUR_US, a_core, observe, put_profile, story, take_in

T0 = 1_362_096_000_000_000
PER_HOUR, DAYS = 30, 12
LATENESS_US = 4 * HOUR_US
SPEC = models.ModelSpec(
    task=models.TASK_BINARY, score_output="probabilities",
    monitor=models.MonitorPolicy(
        lateness_s=LATENESS_US // 1_000_000, window_s=86_400, min_window_rows=200, confirm_windows=2
    ),
    label=models.LabelPolicy(lag_s=6 * 3600, horizon_s=3 * 86_400),
)  # fmt: skip


@cache
def world():
    """Twelve days: on day 4 an input moves, on day 6 the outcome turns, on day 9 a feed changes its unit."""
    r = np.random.default_rng(8)
    n = PER_HOUR * 24 * (DAYS + 6)
    at = T0 - 6 * DAY_US + (np.arange(n) * HOUR_US) // PER_HOUR
    day = (at - T0) / DAY_US
    warm = 50 + 8 * np.sin(at / DAY_US * 2 * np.pi) + r.normal(0, 2, n)
    x = r.normal(0, 1, n) + np.where((day >= 4) & (day < 8), 0.8, 0.0)
    p = 1 / (1 + np.exp(-x))
    truth = np.where((day >= 6) & (day < 9), 1 - p, p)
    y = (r.random(n) < truth).astype(float)
    temp = np.where((day >= 9) & (day < 11), (warm - 32) * 5 / 9, warm)
    return at, x.astype(np.float32), temp.astype(np.float32), p, y, day


@cache
def profile():
    at, x, temp, p, y, day = world()
    held_out = day < 0
    table = pa.table({"x": x[held_out], "temp": temp[held_out]})
    return build_profile(table, p[held_out], y[held_out], at[held_out], {"x": 0.3}, "binary")


def deliver(seed, streams, batch):
    """Frames and outcomes in an order that a real log could have: late by less than the lateness."""
    at, x, temp, p, y, day = world()
    r = np.random.default_rng(seed)
    live = np.flatnonzero(day >= 0)
    order = live[np.argsort(at[live] + r.integers(0, LATENESS_US // 2, len(live)) * (seed > 0), kind="stable")]
    numbers = [0] * streams
    labels = iter(live[np.argsort(at[live] + 2 * HOUR_US, kind="stable")])
    waiting = next(labels, None)
    for start in range(0, len(order), batch):
        rows = order[start : start + batch]
        stream = int(r.integers(streams))
        numbers[stream] += 1
        ids = [prediction_id(int(i)) for i in rows]
        inputs = {"x": x[rows], "temp": temp[rows]}
        yield a_frame(numbers[stream], ids, at[rows].tolist(), p[rows], inputs, stream=f"s/flights/{stream}"), []
        now, due = int(at[rows].max()), []
        while waiting is not None and at[waiting] + 2 * HOUR_US <= now:
            due.append(an_outcome(prediction_id(int(waiting)), y[waiting], int(at[waiting]) + 2 * HOUR_US))
            waiting = next(labels, None)
        if due:
            yield None, due
    # One row on every stream, and one outcome, past the end: how far each stream had come must not matter.
    end, last = int(at[-1]) + LATENESS_US + HOUR_US, [prediction_id(10**6)]
    for stream in range(streams):
        inputs = {"x": x[:1], "temp": temp[:1]}
        yield a_frame(numbers[stream] + 1, last, [end], p[:1], inputs, stream=f"s/flights/{stream}"), []
    yield None, [an_outcome(last[0], 1, end)]


async def interrupted(seed, work):
    """Cut at any await, then once more from the beginning: as after kill -9 between the fetch and the commit."""
    task = asyncio.ensure_future(work())
    for _ in range(int(np.random.default_rng(seed).integers(0, 400))):
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await work()


async def told(folder, seed=0, streams=1, batch=150, restart_every=10_000, resend=False, cut=False):
    """The story after everything was delivered so, from an empty database."""
    url, steps, sent = f"sqlite+aiosqlite:///{folder}/monitor.db", list(deliver(seed, streams, batch)), 0
    sha = await put_profile(folder, profile())
    frames = []
    for start in range(0, len(steps), restart_every):
        async with a_core(url, folder) as core:
            await core.plans(decoding.plan(a_plan(1, 1, sha, spec=SPEC)), "plan")
            for frame, due in steps[start : start + restart_every]:
                if frame is not None:
                    frames.append(frame)
                    work = partial(observe, core, [*frames[-3:]] if resend else [frame])
                else:
                    work = partial(take_in, core, due, start=sent)
                    sent += len(due)
                await (interrupted(len(frames) * 7919 + seed, work) if cut else work())
            result = await story(core)
    return result


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    return asyncio.run(told(tmp_path_factory.mktemp("reference")))


def test_cuts_in_the_middle_of_a_batch_do_not_matter(tmp_path, reference):
    assert asyncio.run(told(tmp_path, 3, 2, 150, 60, cut=True)) == reference


def test_the_world_has_a_story(reference):
    kinds = [kind for kind, *_ in reference]
    assert set(kinds) == {"data", "prediction", "performance", "data_quality"}
    by_kind = {kind: (start, [state for state, _ in states]) for kind, start, _, states in reference}
    start, states = by_kind["data_quality"]
    assert T0 + 9 * DAY_US <= start <= T0 + 9 * DAY_US + 2 * HOUR_US
    assert states[:2] == ["opened", "confirmed"]
    assert by_kind["performance"][0] == T0 + 6 * DAY_US
    assert "confirmed" in by_kind["performance"][1]
    assert all(len({event for _, event in states}) == len(states) for *_, states in reference)


@settings(max_examples=4, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.integers(0, 50),
    st.integers(1, 3),
    st.sampled_from([70, 150, 400]),
    st.sampled_from([9, 60, 10_000]),
    st.booleans(),
)
def test_order_frames_streams_restarts_and_resends_do_not_matter(
    tmp_path_factory, reference, seed, streams, batch, restart_every, resend
):
    folder = tmp_path_factory.mktemp("again")
    assert asyncio.run(told(folder, seed, streams, batch, restart_every, resend)) == reference
    shutil.rmtree(folder)
