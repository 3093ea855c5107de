"""Windows: cut by the watermark alone."""

from hypothesis import given
from hypothesis import strategies as st

from gyrostat_monitor.domain.watermark import Stream, watermark
from gyrostat_monitor.domain.windows import Span, cut

S = 1_000_000


def test_a_window_closes_when_the_watermark_has_passed_its_end():
    rows = {0: 5, 10 * S: 5}
    assert cut(rows, None, 9 * S, 10 * S, 1).closed == ()
    assert cut(rows, None, 10 * S, 10 * S, 1).closed == (Span(0, 10 * S),)


def test_a_thin_window_joins_the_next_and_an_empty_stretch_is_skipped():
    assert cut({0: 2, 10 * S: 3}, None, 30 * S, 10 * S, 5).closed == (Span(0, 20 * S),)
    assert cut({0: 5, 50 * S: 5}, None, 60 * S, 10 * S, 5).closed == (Span(0, 10 * S), Span(50 * S, 60 * S))


@given(
    st.dictionaries(st.integers(0, 60).map(lambda n: n * S), st.integers(1, 9), max_size=30),
    st.lists(st.integers(0, 80 * S), max_size=12),
    st.integers(1, 20),
)
def test_asking_more_often_changes_nothing(rows, marks, min_rows):
    last = 80 * S
    once = cut(rows, None, last, 10 * S, min_rows).closed
    cursor, many = None, []
    for mark in [*sorted(marks), last]:
        seen = {
            t: n for t, n in rows.items() if t < mark or t % 7 == 0
        }  # rows beyond the watermark may be there or not
        result = cut(seen, cursor, mark, 10 * S, min_rows)
        many.extend(result.closed)
        cursor = result.cursor_us
    assert tuple(many) == once


def test_the_watermark_is_the_slowest_stream_of_the_last_minute():
    streams = {"a": Stream(100 * S, 60 * S), "b": Stream(50 * S, 60 * S), "old": Stream(10 * S, -20 * S)}
    assert watermark(streams, 5 * S, 61 * S) == 45 * S
    assert watermark(streams, 0, 1000 * S) == 100 * S  # all silent: what was seen counts
    assert watermark({}, 0, 0) is None
