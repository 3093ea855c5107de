"""A process that writes frames to an archive, one commit each, to be killed.

`python -m support.archive_writer URI LAST`. It begins at the first frame every time, as a consumer does whose offsets
were never committed.
"""

from __future__ import annotations

import asyncio
import sys

from gyrostat_monitor.domain.frames import Frame
from gyrostat_monitor.events import decoding
from gyrostat_monitor.store.archive import Archive
from support.frames import a_frame, prediction_id

ROWS = 5
BEGIN_US = 1_362_096_000_000_000


def frame(number: int) -> Frame:
    """The frame of that number, always the same."""
    ids = [prediction_id(number * 1000 + i) for i in range(ROWS)]
    times = [BEGIN_US + number * 60_000_000 + i for i in range(ROWS)]
    inputs = {"temp": [float(number + i) for i in range(ROWS)], "carrier": ["UA", "AA", "B6", "DL", "WN"]}
    return decoding.frame(a_frame(number, ids, times, [0.5] * ROWS, inputs, stream="s/flights/0"))


async def write(uri: str, last: int) -> None:
    """Frames 1 to `last`."""
    archive = Archive(uri)
    for number in range(1, last + 1):
        await archive.add_frames("flights", [frame(number)])


if __name__ == "__main__":
    asyncio.run(write(sys.argv[1], int(sys.argv[2])))
