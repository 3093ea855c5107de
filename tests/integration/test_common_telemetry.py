"""Telemetry over the wire: to a collector, and to who scrapes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

import pytest

from gyrostat.events.v1 import events_pb2
from gyrostat_common import bus, telemetry
from gyrostat_common.errors import CannotStart
from gyrostat_common.health import Health
from gyrostat_common.settings import ServiceSettings
from support.events import Heard, a_promotion
from support.otlp import Receiver, receiving

SETTINGS = ServiceSettings.load({"GYROSTAT_OTEL__SAMPLE_RATIO": "1", "GYROSTAT_OTEL__METRICS_INTERVAL_S": "0.2"})
log = telemetry.get_logger("test")
made = telemetry.counter("gyrostat_test_things", "Things of a test", ("kind",))
took = telemetry.histogram("gyrostat_test_seconds", "Times of a test", buckets=(0.1, 1.0))


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    with receiving() as receiver:
        for name, value in receiver.environ.items():
            monkeypatch.setenv(name, value)
        yield receiver


def test_spans_logs_and_metrics_reach_the_collector(collector: Receiver) -> None:
    with telemetry.open_telemetry("registry", SETTINGS):
        with telemetry.span("outer", attributes={"rows": 3}), telemetry.span("inner"):
            log.warning("something_happened", model="flights", rows=3)
        made.labels("a").inc(2)
        for value in (0.05, 0.5, 5.0):
            took.observe(value)
    [outer], [inner] = collector.named("outer"), collector.named("inner")
    assert (outer.service, dict(outer.attributes)) == ("gyrostat-registry", {"rows": 3})
    assert (inner.trace_id, inner.parent_id) == (outer.trace_id, outer.span_id)
    [line] = [one for one in collector.logs if one.body == "something_happened"]
    assert (line.severity, line.trace_id) == ("WARNING", inner.trace_id)
    assert dict(line.attributes) == {"model": "flights", "rows": 3, "logger_name": "test"}
    things = collector.metrics["gyrostat-registry", "gyrostat_test_things"].sum
    assert things.is_monotonic
    assert things.data_points[0].as_double == 2
    [point] = collector.metrics["gyrostat-registry", "gyrostat_test_seconds"].histogram.data_points
    assert (point.count, list(point.bucket_counts), list(point.explicit_bounds)) == (3, [1, 1, 1], [0.1, 1.0])


async def test_one_trace_from_the_sender_to_the_handler_and_links_for_a_batch(collector: Receiver) -> None:
    memory = bus.MemoryBus()
    one, many = Heard(), Heard()
    quiet = ServiceSettings.load({"GYROSTAT_OTEL__SAMPLE_RATIO": "0"})
    callers = [f"00-{n:032x}-{n:016x}-01" for n in (1, 2)]
    promoted = events_pb2.ModelPromoted
    with telemetry.open_telemetry("registry", quiet):
        async with memory.producer() as producer:
            for number, caller in enumerate(callers):
                await producer.send(a_promotion(number, traceparent=caller))
            await producer.send(a_promotion(3))  # nobody sampled this one
            await producer.send(a_promotion(4, links=tuple(callers)))
        async with (
            memory.consume("trainer", [bus.Route(promoted, one.one)]),
            memory.consume("monitor", [bus.Route(promoted, handle_batch=many.many)]),
        ):
            await memory.settled()
    sends = collector.named("send model.promoted")
    assert [send.trace_id for send in sends[:2]] == [f"{n:032x}" for n in (1, 2)]
    assert len(sends) == 3
    assert sends[2].links == tuple((f"{n:032x}", f"{n:016x}") for n in (1, 2))
    processed = collector.named("process model.promoted")
    single = [span for span in processed if span.attributes["messaging.consumer.group.name"] == "trainer"]
    assert {span.parent_id for span in single} == {send.span_id for send in sends}
    [batch] = [span for span in processed if span.attributes["messaging.consumer.group.name"] == "monitor"]
    assert set(batch.links) == {(send.trace_id, send.span_id) for send in sends}
    assert batch.attributes["messaging.batch.message_count"] == 4
    assert sends[0].attributes["messaging.destination.name"] == "model.promoted"
    assert sends[0].attributes["messaging.kafka.offset"] == 0


def test_a_collector_that_is_away_hurts_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")
    started = time.monotonic()
    with telemetry.open_telemetry("registry", SETTINGS):
        for _ in range(100):
            with telemetry.span("call"):
                log.info("call")
    assert time.monotonic() - started < 20


async def get(port: int, path: str) -> tuple[str, str]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
    head, _, body = (await reader.read()).decode().partition("\r\n\r\n")
    writer.close()
    return head.split("\r\n")[0].removeprefix("HTTP/1.1 "), body


async def test_metrics_and_readiness_are_served_over_http() -> None:
    health, reason, lag = Health(), ["2 of 3 models are loaded"], [""]
    health.need(lambda: reason[0])
    health.alarm("consumer", lambda: lag[0])
    made.labels("b").inc()
    async with telemetry.serve_metrics("127.0.0.1:0", health) as port:
        status, page = await get(port, "/metrics")
        assert status == "200 OK"
        assert 'gyrostat_test_things_total{kind="b"} 1.0' in page
        assert "process_resident_memory_bytes" in page
        assert await get(port, "/healthz") == ("200 OK", "ok\n")
        assert await get(port, "/readyz") == ("503 Service Unavailable", "it is starting\n")
        health.opened()
        assert await get(port, "/readyz") == ("503 Service Unavailable", "2 of 3 models are loaded\n")
        reason[0] = ""
        assert await get(port, "/readyz") == ("200 OK", "ready\n")
        lag[0] = "registry stands still"
        assert await get(port, "/readyz") == ("200 OK", "ready; problems: consumer: registry stands still\n")
        health.closing()
        assert await get(port, "/readyz") == ("503 Service Unavailable", "it is stopping\n")
        assert (await get(port, "/secret"))[0] == "404 Not Found"
        with pytest.raises(CannotStart, match=f"cannot listen on 127.0.0.1:{port}: stop what uses the port"):
            async with telemetry.serve_metrics(f"127.0.0.1:{port}", health):
                pass
