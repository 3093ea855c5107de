"""Answering: who answers, what is recorded, and that shadows never hurt an answer."""

from __future__ import annotations

import asyncio
import uuid
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from gyrostat_common import oip
from gyrostat_common.errors import DeadlineOver
from gyrostat_inference.domain.calls import FUTURE_US, Answer
from gyrostat_inference.domain.errors import ModelUnknown, ScoringFailed, SpoolFull, WrongTensor
from gyrostat_inference.domain.plan import Sensitivity, ServingSpec, Signature, TensorSpec
from gyrostat_inference.domain.tensors import Tensor
from gyrostat_inference.usecases.predict import Logging
from gyrostat_inference.usecases.room import MOST_CALLS
from support.live_models import ONE_IN_ONE_OUT, a_call, a_plan, a_shadow, a_tensor, a_version, live
from support.predicting import Bench, Predicting
from support.waiting import eventually


async def test_the_champion_answers_and_the_record_says_so():
    bench = Bench(a_plan())
    answer = await bench.predict.answer(a_call(rows=3, request_id="r", entity="UA", traceparent="00-1-2-01"))
    assert (answer.version, answer.variant, answer.revision) == (4, "champion", 7)
    assert answer.outputs[0].values.tolist() == [[4.0]] * 3
    ((group, rows),) = bench.answers.taken
    assert (group.version, group.role, group.variant, group.plan_revision) == (4, 1, "champion", 7)
    assert (rows.rows, rows.request_id, rows.entities, rows.traceparent) == (3, b"r", b"UA", b"00-1-2-01")
    assert rows.columns == [a_tensor(3).raw, np.full(3, 4, np.float32).tobytes()]
    assert [column.shape for column in (*group.inputs, *group.outputs)] == [(1,), (1,)]


async def test_the_fallback_answers_when_the_champion_raises_and_says_so():
    bench = Bench(a_plan(fallback=3))
    bench.break_version(4)
    answer = await bench.predict.answer(a_call())
    assert (answer.version, answer.variant) == (3, "fallback")
    assert bench.answers.taken[0][0].variant == "fallback"
    assert bench.live.loaded[4].counters.fail.count == 1


async def test_a_fallback_that_does_not_take_the_request_leaves_the_champions_error_and_one_failure():
    other = Signature((*ONE_IN_ONE_OUT.inputs, TensorSpec("z", "FP32", (-1, 1))), ONE_IN_ONE_OUT.outputs)
    bench = Bench(a_plan(fallback=a_version(3, other)))
    bench.break_version(4)
    with pytest.raises(ScoringFailed, match="flights:4 could not score"):
        await bench.predict.answer(a_call())
    assert bench.live.loaded[4].counters.fail.count == 1


async def test_the_fallback_answers_when_the_champion_is_not_loaded():
    assert (await Bench(a_plan(fallback=3), without=(4,)).predict.answer(a_call())).variant == "fallback"


async def test_a_canary_that_raises_gives_way_to_the_champion():
    bench = Bench(a_plan(canary=5, canary_weight=10_000))
    bench.break_version(5)
    assert (await bench.predict.answer(a_call())).variant == "champion"


async def test_when_nobody_can_answer_nothing_is_recorded():
    bench = Bench(a_plan())
    bench.break_version(4)
    with pytest.raises(ScoringFailed):
        await bench.predict.answer(a_call())
    assert not bench.answers.taken


async def test_a_wrong_tensor_is_not_a_reason_for_the_fallback():
    with pytest.raises(WrongTensor, match="flights:4: input 'x'"):
        await Bench(a_plan(fallback=3)).predict.answer(a_call(tensors={}))


async def test_an_unknown_model_is_refused_with_what_is_served():
    with pytest.raises(ModelUnknown, match="no model is named 'trains'; served: flights"):
        await Bench(a_plan()).predict.answer(a_call(model="trains"))


async def test_champion_and_canary_both_score_and_share_the_prediction_id():
    bench = Bench(a_plan(canary=5, canary_weight=0, shadows=(a_shadow(6),)))
    await bench.predict.answer(a_call())
    assert not bench.shadows.taken, "shadows run after the reply"
    await bench.score_shadows()
    assert [(g.version, g.role, g.variant) for g, _ in bench.shadows.taken] == [(5, 2, "shadow"), (6, 2, "shadow")]
    assert {rows.prediction_id for _, rows in bench.shadows.taken} == {bench.answers.taken[0][1].prediction_id}


async def test_a_shadow_that_raises_is_logged_without_outputs_and_hurts_nobody():
    bench = Bench(a_plan(shadows=(a_shadow(6),)))
    bench.break_version(6)
    assert (await bench.predict.answer(a_call(rows=5))).variant == "champion"
    await bench.score_shadows()
    ((group, rows),) = bench.shadows.taken
    assert (group.version, group.inputs, group.outputs, rows.rows, rows.columns) == (6, (), (), 5, [])
    assert rows.prediction_id == bench.answers.taken[0][1].prediction_id


async def test_a_canary_that_raises_is_logged_although_the_champion_answers():
    bench = Bench(a_plan(canary=5, canary_weight=10_000))
    bench.break_version(5)
    assert (await bench.predict.answer(a_call(rows=2))).variant == "champion"
    await bench.score_shadows()
    assert [(group.version, group.outputs, rows.rows) for group, rows in bench.shadows.taken] == [(5, (), 2)]


async def test_shadows_beyond_the_queue_are_dropped_and_counted():
    bench = Bench(a_plan(shadows=(a_shadow(6),)))
    for _ in range(1030):
        await bench.predict.answer(a_call(rows=2))
    assert bench.shadows.counted == {"shadow_queue_full": 12}


async def test_a_pinned_call_is_counted_and_has_no_shadow():
    bench = Bench(a_plan(canary=5, canary_weight=10_000))
    assert (await bench.predict.answer(a_call(version="champion"))).variant == "pinned"
    await bench.score_shadows()
    assert not bench.shadows.taken
    assert bench.live.loaded[4].counters.pinned == 1


async def test_sampling_counts_what_it_leaves_out_and_treats_both_roles_alike():
    bench = Bench(a_plan(spec=ServingSpec(log_sample_rate=0.5), shadows=(a_shadow(6),)))
    for n in range(200):
        await bench.predict.answer(a_call(prediction_id=uuid.UUID(int=n).bytes))
    await bench.score_shadows()
    assert bench.answers.counted[""] + sum(rows.rows for _, rows in bench.answers.taken) == 400
    assert 100 < bench.answers.counted[""] < 300
    assert [r.prediction_id for _, r in bench.answers.taken] == [r.prediction_id for _, r in bench.shadows.taken]


async def test_a_dropped_input_is_no_column_and_a_hashed_one_is_a_digest():
    for kept, columns in ((Sensitivity.DROP, 1), (Sensitivity.HASH, 2)):
        bench = Bench(a_plan(spec=ServingSpec(sensitivity={"x": kept})))
        await bench.predict.answer(a_call())
        ((group, rows),) = bench.answers.taken
        assert len(rows.columns) == columns == len(group.inputs) + 1
        assert a_tensor(2).raw not in rows.columns


@pytest.mark.parametrize(
    ("given", "logged", "future"),
    [
        (None, 1000, False),
        (500, 500, False),
        (1000 + FUTURE_US, 1000 + FUTURE_US, False),
        (1001 + FUTURE_US, 1000, True),
    ],
)
async def test_an_event_time_too_far_ahead_is_replaced_by_arrival(given: int | None, logged: int, future: bool):
    bench = Bench(a_plan())
    await bench.predict.answer(a_call(event_time_us=given, arrival_us=1000))
    rows = bench.answers.taken[0][1]
    assert (rows.event_time_us, rows.future) == (logged, future)


async def test_a_full_spool_drops_refuses_or_blocks():
    bench = Bench(a_plan())
    bench.answers.full = True
    assert await bench.predict.answer(a_call())
    bench = Bench(a_plan(), logging=Logging(on_full="reject"))
    bench.answers.full = True
    with pytest.raises(SpoolFull, match="the spool is full"):
        await bench.predict.answer(a_call())
    bench = Bench(a_plan(), logging=Logging(on_full="block"))
    bench.answers.full = True
    assert await bench.predict.answer(a_call())
    assert bench.answers.waited == 1


async def test_calls_wait_for_room_in_the_spool_as_long_as_somebody_waits_for_them_and_not_without_number():
    now, room = [100.0], asyncio.Event()
    bench = Predicting(live(a_plan()), logging=Logging(on_full="block"), clock=lambda: now[0])
    bench.answers.full, bench.answers.until_room = True, room.wait  # type: ignore[method-assign, assignment]
    told: dict[int, list[Answer | Exception]] = {n: [] for n in range(MOST_CALLS + 1)}
    callers = {n: SimpleNamespace(gone=False, deadline=None) for n in told}
    callers[1].deadline = 101.0
    for n, caller in callers.items():
        bench.predict.submit(a_call(), told[n].append, caller)
    assert [n for n, answers in told.items() if answers] == [MOST_CALLS]
    assert isinstance(told[MOST_CALLS][0], SpoolFull)
    callers[0].gone, now[0] = True, 102.0
    await eventually(lambda: told[1])
    assert isinstance(told[1][0], DeadlineOver)
    room.set()
    await eventually(lambda: all(told[n] for n in range(1, MOST_CALLS)))
    assert told[0] == []
    assert all(isinstance(told[n][0], Answer) for n in range(2, MOST_CALLS))


async def test_strict_waits_for_the_disk():
    bench = Bench(a_plan(), logging=Logging(strict=True))
    await bench.predict.answer(a_call())
    assert bench.answers.flushed == 1


async def test_counters_are_true():
    bench = Bench(a_plan(shadows=(a_shadow(6),)))
    for rows in (1, 2, 2):
        await bench.predict.answer(a_call(rows=rows))
    await bench.score_shadows()
    champion, shadow = (bench.live.loaded[n].counters for n in (4, 6))
    assert (champion.success.count, champion.inferences, champion.executions) == (3, 5, 3)
    assert {rows: spent.count for rows, spent in champion.batches.items()} == {1: 1, 2: 2}
    assert (shadow.success.count, shadow.inferences, shadow.executions) == (0, 5, 1)
    assert list(shadow.batches) == [5]


async def test_many_rows_leave_the_event_loop_and_come_back_the_same():
    answer = await Bench(a_plan()).predict.answer(a_call(rows=1000))
    assert answer.outputs[0].values.shape == (1000, 1)


async def test_an_input_value_that_is_too_long_for_a_name_is_kept_and_names_nobody():
    both = Signature((*ONE_IN_ONE_OUT.inputs, TensorSpec("card", "BYTES", (-1, 1))), ONE_IN_ONE_OUT.outputs)
    plan = replace(a_plan(spec=ServingSpec(entity_input="card")), champion=a_version(4, both))
    texts = np.array([["a" * 1024], ["b" * 1025]], dtype=object)
    bench = Bench(plan)
    await bench.predict.answer(a_call(tensors={"x": a_tensor(2), "card": Tensor("BYTES", texts, oip.to_raw(texts))}))
    ((_, rows),) = bench.answers.taken
    assert oip.unpack_bytes(rows.entities) == [b"a" * 1024, b""]


async def test_rows_of_one_entity_stay_with_one_version_of_a_roll_out():
    both = Signature((*ONE_IN_ONE_OUT.inputs, TensorSpec("card", "BYTES", (-1, 1))), ONE_IN_ONE_OUT.outputs)
    plan = a_plan(spec=ServingSpec(entity_input="card"), canary=a_version(5, both), canary_weight=5_000)
    bench = Bench(replace(plan, champion=a_version(4, both)))

    async def answered(*cards: str, **fields: object) -> int:
        texts = np.array([[card] for card in cards], dtype=object)
        tensors = {"x": a_tensor(len(cards)), "card": Tensor("BYTES", texts, oip.to_raw(texts))}
        answer = await bench.predict.answer(a_call(tensors=tensors, prediction_id=uuid.uuid4().bytes, **fields))
        return answer.version

    for card in ("c1", "c2", "c3", "c4", "c5", "c6"):
        seen = {await answered(card) for _ in range(8)} | {await answered(card, card, entity="another")}
        assert len(seen) == 1
    assert {await answered(f"c{i}") for i in range(40)} == {4, 5}
    # Rows of several entities have no entity in common: the request's own counts.
    assert len({await answered("c1", "c2", entity="e") for _ in range(8)}) == 1
    assert {await answered("c1", "c2") for _ in range(40)} == {4, 5}
