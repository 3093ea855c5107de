"""What becomes of a record that cannot be handled, without a log."""

from __future__ import annotations

from typing import Any

import pytest

from gyrostat.events.v1 import events_pb2
from gyrostat_common import bus
from gyrostat_common.bus import codec
from gyrostat_common.bus.dispatch import Dispatcher, Retries
from gyrostat_common.errors import Unavailable
from support.events import Heard, a_promotion

from .test_codec import arrived


def failing(error: Exception) -> Any:
    def fail(_: Any) -> None:
        raise error

    return fail


@pytest.mark.parametrize(("error", "done", "letters"), [(ValueError("bug"), 1, [3]), (Unavailable("later"), 0, [])])
async def test_tries_that_have_an_end_are_not_begun_anew_when_time_runs_out(
    error: Exception, done: int, letters: list[int]
) -> None:
    tries: list[int] = []

    async def put_aside(record: codec.Incoming, reason: BaseException, count: int) -> None:
        tries.append(count)

    route = bus.Route(events_pb2.ModelPromoted, Heard(failing(error)).one)
    # No time at all: where each try takes longer than the patience, three tries must come to an end all the same.
    dispatcher = Dispatcher("registry", [route], put_aside, Retries(first_s=0.001, in_place_s=0.0))
    assert await dispatcher.process([arrived(codec.encode(a_promotion(1)))]) == done
    assert tries == letters
