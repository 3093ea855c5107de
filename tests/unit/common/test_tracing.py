"""What is traced and what is not."""

from __future__ import annotations

import pytest

from gyrostat_common import telemetry
from gyrostat_common.settings import OtelSettings
from gyrostat_common.telemetry import tracing
from gyrostat_common.telemetry.otlp import ratio_of, wanted
from support.spans import recorded

SAMPLED = f"00-{'a' * 32}-{'b' * 16}-01"
UNSAMPLED = f"00-{'a' * 32}-{'b' * 16}-00"


def test_a_sampled_caller_is_recorded_whatever_the_ratio() -> None:
    with recorded(ratio=0.0) as spans, telemetry.span("call", traceparent=SAMPLED):
        assert telemetry.current_traceparent().startswith(f"00-{'a' * 32}-")
        assert telemetry.current_traceparent() != SAMPLED
    [span] = spans.finished()
    assert f"{span.parent.span_id:016x}" == "b" * 16


def test_an_unsampled_caller_is_not_recorded_but_passed_on() -> None:
    with recorded(ratio=1.0) as spans, telemetry.span("call", traceparent=UNSAMPLED), telemetry.span("inner"):
        assert telemetry.current_traceparent() == UNSAMPLED
    assert spans.finished() == []


@pytest.mark.parametrize(("ratio", "count"), [(0.0, 0), (1.0, 1)])
def test_a_call_without_a_trace_is_recorded_at_the_ratio(ratio: float, count: int) -> None:
    with recorded(ratio) as spans, telemetry.span("call", traceparent=""):
        pass
    assert len(spans.finished()) == count


def test_a_sampled_link_is_reason_enough() -> None:
    with recorded(ratio=0.0) as spans, telemetry.span("batch", traceparent="", links=[UNSAMPLED, SAMPLED]):
        pass
    [span] = spans.finished()
    assert [f"{link.context.span_id:016x}" for link in span.links] == ["b" * 16]


def test_links_are_bounded() -> None:
    links = [f"00-{n:032x}-{n:016x}-01" for n in range(1, 2000)]
    with recorded() as spans, telemetry.span("batch", links=links):
        pass
    assert len(spans.finished()[0].links) == tracing.MOST_LINKS


def test_an_exception_marks_the_span_and_goes_on() -> None:
    with recorded(ratio=1.0) as spans, pytest.raises(KeyError), telemetry.span("call", traceparent=""):
        raise KeyError("secret")
    [span] = spans.finished()
    assert not span.status.is_ok
    assert span.attributes["error.type"] == "KeyError"
    assert span.events == ()  # what the exception says may hold a caller's data


@pytest.mark.parametrize("text", ["", "nonsense", f"00-{'0' * 32}-{'b' * 16}-01", f"00-{'a' * 32}-{'b' * 16}"])
def test_a_malformed_traceparent_is_no_trace(text: str) -> None:
    assert tracing.parse(text) is None
    with recorded(ratio=0.0) as spans, telemetry.span("call", traceparent=text):
        assert telemetry.current_traceparent() == ""
    assert spans.finished() == []


@pytest.mark.parametrize("ratio", [0.0, 1.0])
@pytest.mark.parametrize(
    "text",
    ["", SAMPLED, UNSAMPLED, "nonsense", SAMPLED.upper(), f"00-{'0' * 32}-{SAMPLED[36:]}",
     f"{SAMPLED[:36]}{'0' * 16}-00", SAMPLED + "-more", f"{SAMPLED[:-2]}03", f"{SAMPLED[:-2]}02"],
)  # fmt: skip
def test_what_is_chosen_beforehand_is_what_would_be_recorded(text: str, ratio: float) -> None:
    with recorded(ratio) as spans:
        wanted = tracing.chosen(text)
        tracing.start("a", traceparent=text).end()
        assert wanted is bool(spans.finished())
        if wanted:
            tracing.start("b", traceparent=text, wanted=True).end()
            assert len(spans.finished()) == 2
        tracing.start("c", traceparent=text, wanted=False).end()
        assert len(spans.finished()) == 2 * wanted
    assert not tracing.chosen(text), "nothing is open"


def test_sampled_reads_the_flag() -> None:
    assert telemetry.sampled(SAMPLED)
    assert telemetry.sampled(f"00-{'a' * 32}-{'b' * 16}-03")
    assert not any(map(telemetry.sampled, (UNSAMPLED, "", "nonsense", f"00-{'a' * 32}-{'b' * 16}-zz")))


def test_without_telemetry_the_callers_trace_still_travels() -> None:
    with telemetry.span("call", traceparent=SAMPLED):
        assert telemetry.current_traceparent() == SAMPLED
    assert telemetry.current_traceparent() == ""


@pytest.mark.parametrize(
    ("environ", "ratio"),
    [
        ({}, 0.01),
        ({"OTEL_TRACES_SAMPLER_ARG": "0.25"}, 0.25),
        ({"OTEL_TRACES_SAMPLER_ARG": "half"}, 0.01),
        ({"OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.5"}, 0.5),
        ({"OTEL_TRACES_SAMPLER": "traceidratio"}, 1.0),
        ({"OTEL_TRACES_SAMPLER": "always_on", "OTEL_TRACES_SAMPLER_ARG": "0.5"}, 1.0),
        ({"OTEL_TRACES_SAMPLER": "parentbased_always_off"}, 0.0),
        ({"OTEL_TRACES_SAMPLER": "always_off"}, None),
    ],
)
def test_the_standard_sampler_wins(environ: dict[str, str], ratio: float | None) -> None:
    assert ratio_of(OtelSettings(), environ) == ratio


@pytest.mark.parametrize(
    ("environ", "signals"),
    [
        ({}, ""),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4317"}, "traces metrics logs"),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://c:4317"}, "traces"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4317", "OTEL_LOGS_EXPORTER": "none"}, "traces metrics"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4317", "OTEL_SDK_DISABLED": "true"}, ""),
    ],
)
def test_the_standard_endpoints_say_what_leaves(environ: dict[str, str], signals: str) -> None:
    found = [signal for signal in ("traces", "metrics", "logs") if wanted(OtelSettings(), signal, environ)]
    assert " ".join(found) == signals
