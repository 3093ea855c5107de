"""The lane answers as the general path does with its interceptor: replies, statuses, texts, details, counts, lines."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import grpc
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.trace import SpanContext
from structlog.testing import capture_logs

from gyrostat_common import oip
from gyrostat_common.errors import DeadlineOver, Overloaded
from gyrostat_common.rpc.interceptor import CallInterceptor, calls_seconds
from gyrostat_inference.domain import calls
from gyrostat_inference.domain.plan import ServingSpec
from gyrostat_inference.service.lane import METHOD, PATH, InferLane
from gyrostat_inference.service.protocol import InferenceService
from gyrostat_inference.usecases.predict import Logging
from support.live_models import a_plan, a_version
from support.predicting import Bench
from support.requests import changed, requests
from support.spans import recorded
from support.waiting import WITHIN_S

Ended = tuple[Any, ...]
SAMPLED = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
UNSAMPLED = SAMPLED[:-1] + "0"


class FrontCall:
    """A call as a front hands it over."""

    path = PATH
    gone = False

    def __init__(self, message: bytes, headers: Mapping[str, str] | None = None, deadline: float | None = None) -> None:
        self.message, self._headers, self.deadline = message, headers or {}, deadline
        self.ended: list[Ended] = []
        self.on_gone: Callable[[], None] | None = None
        self.told = asyncio.Event()

    def header(self, name: str) -> str:
        return self._headers.get(name, "")

    def reply(self, message: bytes) -> None:
        self.ended.append((0, message))
        self.told.set()

    def fail(self, code: int, details: str, trailing: Any = ()) -> None:
        self.ended.append((code, details, trailing))
        self.told.set()


class Aborting:
    """A context of the general path."""

    def __init__(self, headers: Mapping[str, str]) -> None:
        self._headers = headers
        self.ended: Ended = ()

    def invocation_metadata(self) -> tuple[tuple[str, str], ...]:
        return tuple(self._headers.items())

    def time_remaining(self) -> None:
        return None

    async def abort(self, code: grpc.StatusCode, details: str, trailing: Any = ()) -> None:
        self.ended = (code.value[0], details, trailing)
        raise grpc.aio.AbortError


async def general(bench: Bench, request: oip.ModelInferRequest, headers: Mapping[str, str]) -> Ended:
    """How the general path ends the call."""
    service = InferenceService(bench.predict, bench.models, lambda: None)
    handler = grpc.unary_unary_rpc_method_handler(service.ModelInfer)

    async def continuation(_: Any) -> Any:
        return handler

    class Details:
        method = PATH

    wrapped = await CallInterceptor({METHOD}).intercept_service(continuation, Details())  # type: ignore[arg-type]
    context = Aborting(headers)
    try:
        reply = await wrapped.unary_unary(request, context)
    except grpc.aio.AbortError:
        return context.ended
    return 0, reply


async def through(lane: InferLane, call: FrontCall) -> Ended:
    """How the lane ends the call."""
    assert lane(call)
    async with asyncio.timeout(WITHIN_S):
        await call.told.wait()
    (ended,) = call.ended
    return ended


def a_lane(bench: Bench) -> InferLane:
    return InferLane(bench.predict, bench.models)


def a_request(rows: int = 1, **fields: Any) -> oip.ModelInferRequest:
    request = oip.ModelInferRequest(model_name="flights", **fields)
    oip.add_input(request, "x", np.zeros((rows, 1), np.float32))
    return request


def a_message(rows: int = 1, **fields: Any) -> bytes:
    return a_request(rows, **fields).SerializeToString()


def counted(code: str) -> int:
    return sum(calls_seconds.labels(METHOD, code).counts)


def in_a_loop(test: Callable[[], Awaitable[None]]) -> None:
    async def run() -> None:
        await test()

    asyncio.run(run())


def kept(bench: Bench) -> list[Any]:
    """What the spool was given, but times and minted ids."""
    return [(group, rows._replace(arrival_us=0, event_time_us=0, latency_us=0, prediction_id=b"")) for group, rows in
            bench.answers.taken]  # fmt: skip


async def both_ways(bench: Bench, lane: InferLane, request: oip.ModelInferRequest, headers: Mapping[str, str]) -> bool:
    """Fails where the two ways differ; whether the call was answered."""
    message = request.SerializeToString()
    bench.answers.taken.clear()
    # Read from the same bytes: of two wrong parameters the first is told, and a map has an order of its own.
    expected = await general(bench, oip.ModelInferRequest.FromString(message), headers)
    expected_rows = kept(bench)
    before = counted("OK"), counted("INVALID_ARGUMENT")
    bench.answers.taken.clear()
    found = await through(lane, FrontCall(message, headers))
    assert kept(bench) == expected_rows
    assert found[0] == expected[0]
    if found[0]:
        assert found == expected
        return False
    reply, same = oip.ModelInferResponse.FromString(found[1]), expected[1]
    if "gyrostat_prediction_id" not in request.parameters:
        assert len(reply.parameters["gyrostat_prediction_id"].string_param) == 36
        same.parameters["gyrostat_prediction_id"].CopyFrom(reply.parameters["gyrostat_prediction_id"])
    assert reply == same
    assert (counted("OK"), counted("INVALID_ARGUMENT")) == (before[0] + 1, before[1])
    return True


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_any_request_is_answered_or_refused_alike(data: st.DataObject):
    async def test() -> None:
        bench = Bench(a_plan(spec=ServingSpec(max_rows=4), fallback=3))
        lane = a_lane(bench)
        request = data.draw(requests())
        if data.draw(st.integers(0, 2)):  # one that the model takes
            request.CopyFrom(a_request(data.draw(st.integers(1, 5)), id=request.id))
        for _ in range(3):
            headers = data.draw(st.sampled_from([{}, {"gyrostat-entity": "DL"}, {"gyrostat-entity": "a\0"}]))
            await both_ways(bench, lane, request, headers)
            request = data.draw(changed(request))

    in_a_loop(test)


async def test_a_usual_request_is_answered_alike_the_first_time_and_the_next():
    bench = Bench(a_plan())
    lane = a_lane(bench)
    for rows in (1, 1, 3, 3):
        assert await both_ways(bench, lane, a_request(rows, id="r"), {})


@pytest.mark.parametrize("where", ["version", "model", "graph", "spool"])
async def test_what_the_use_case_refuses_is_refused_alike(where: str):
    bench = Bench(a_plan(), logging=Logging(on_full="reject"))
    request = a_request(version := 1, model_version="9" if where == "version" else "")
    assert version
    if where == "model":
        request.model_name = "trains"
    if where == "graph":
        bench.break_version(4)
    bench.answers.full = where == "spool"
    with capture_logs() as lines:
        assert not await both_ways(bench, a_lane(bench), request, {"gyrostat-actor": "app"})
    first, second = ({**line, "ms": 0} for line in lines if line["event"] == "call")
    assert first == second
    assert first["actor"] == "app"


class Scripts:
    """A use case that gives what it is told to."""

    def __init__(self, outcome: calls.Answer | Exception) -> None:
        self.outcome = outcome

    def submit(self, call: calls.Call, done: Callable[[calls.Answer | Exception], None], caller: Any = None) -> None:
        done(self.outcome)


def scripted(outcome: calls.Answer | Exception) -> InferLane:
    return InferLane(Scripts(outcome), Bench(a_plan()).models)


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (Overloaded("no room"), 8, "no room"),
        (TimeoutError(), 4, f"{METHOD} took too long"),
        (TimeoutError("a secret"), 4, f"{METHOD} took too long"),
        (DeadlineOver("no time left"), 4, "no time left"),
        (RuntimeError("a secret"), 13, "internal error"),
    ],
)
async def test_what_goes_wrong_later_has_its_status(error: Exception, code: int, text: str):
    name = {8: "RESOURCE_EXHAUSTED", 4: "DEADLINE_EXCEEDED", 13: "INTERNAL"}[code]
    before = counted(name)
    ended = await through(scripted(error), FrontCall(a_message()))
    assert ended[:2] == (code, text)
    assert [key for key, _ in ended[2]][:1] == (
        ["error-reason"] if isinstance(error, Overloaded | DeadlineOver) else []
    )
    assert counted(name) == before + 1


async def test_an_answer_that_cannot_be_encoded_is_a_fault_of_ours():
    broken: Any = calls.Answer(4, "champion", 7, [object()])  # type: ignore[list-item]
    assert (await through(scripted(broken), FrontCall(a_message())))[:2] == (13, "internal error")


async def test_bytes_that_are_no_message_are_an_invalid_argument():
    ended = await through(a_lane(Bench(a_plan())), FrontCall(b"\xff\xff"))
    assert (ended[0], ended[1][:36]) == (3, "the message is no ModelInferRequest:")


async def test_a_sampled_call_is_recorded_as_the_general_path_records_it():
    bench = Bench(a_plan(champion=4, fallback=a_version(3)))
    lane = a_lane(bench)
    request = a_request()
    request.parameters["gyrostat_prediction_id"].string_param = "0188d2a6-0000-7000-8000-000000000001"
    wrong = a_request()
    wrong.parameters["gyrostat_colour"].string_param = "red"
    with recorded(0.0) as spans:
        for each in (request, wrong):
            await general(bench, each, {"traceparent": SAMPLED})
            await through(lane, FrontCall(each.SerializeToString(), {"traceparent": SAMPLED}))
        for headers in ({"traceparent": UNSAMPLED}, {}):
            await through(lane, FrontCall(request.SerializeToString(), headers))
    ended = spans.finished()
    assert len(ended) == 4
    for one, other in ((ended[0], ended[1]), (ended[2], ended[3])):
        assert (one.name, one.kind, dict(one.attributes)) == (other.name, other.kind, dict(other.attributes))
        assert (one.status.status_code, one.parent.span_id) == (other.status.status_code, other.parent.span_id)
    traced = [rows.traceparent for _, rows in bench.answers.taken]
    assert [text[3:35] for text in traced] == [SAMPLED[3:35].encode()] * 2 + [b""] * 2
    assert traced[1] == traceparent_of(ended[1].context)


def traceparent_of(context: SpanContext) -> bytes:
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-01".encode()


class Silent:
    """A use case that does not answer yet."""

    def submit(self, call: calls.Call, done: Callable[[calls.Answer | Exception], None], caller: Any = None) -> None:
        self.done = done


@pytest.mark.parametrize(("deadline", "code"), [(None, "CANCELLED"), (0.0, "DEADLINE_EXCEEDED"), (9e9, "CANCELLED")])
async def test_a_call_for_which_nobody_waits_is_counted_once_and_its_span_ends(deadline: float | None, code: str):
    silent = Silent()
    lane = InferLane(silent, Bench(a_plan()).models)
    call = FrontCall(a_message(), {"traceparent": SAMPLED}, deadline)
    before, well = counted(code), counted("OK")
    with recorded() as spans, capture_logs() as lines:
        lane(call)
        gone = call.on_gone
        assert gone is not None
        gone()
        gone()
        silent.done(calls.Answer(4, "champion", 7, []))
        silent.done(RuntimeError())
    assert not call.ended, "the front has said what is to be said"
    assert (counted(code), counted("OK")) == (before + 1, well)
    assert [span.attributes["rpc.grpc.status_code"] for span in spans.finished()] == [1 if code == "CANCELLED" else 4]
    assert [line["code"] for line in lines if line["event"] == "call"] == ([] if code == "CANCELLED" else [code])


async def test_an_answered_or_refused_call_is_not_counted_again_when_its_connection_goes():
    before = counted("CANCELLED")
    await through(a_lane(Bench(a_plan())), refused := FrontCall(a_message(model_version="9")))
    assert refused.on_gone is None
    await through(a_lane(Bench(a_plan())), call := FrontCall(a_message()))
    assert call.on_gone is None, "nor do the two hold each other"
    assert counted("CANCELLED") == before


async def test_calls_without_a_trace_are_drawn_once():
    bench = Bench(a_plan())
    with recorded(1.0) as spans:
        await through(a_lane(bench), FrontCall(a_message()))
        await through(a_lane(bench), FrontCall(a_message(), {"traceparent": "nonsense"}))
        await through(a_lane(bench), FrontCall(a_message(), {"traceparent": UNSAMPLED}))
    assert [span.parent for span in spans.finished()] == [None, None]
