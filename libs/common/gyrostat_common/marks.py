"""High-water marks: per sink and stream the number of the last frame taken in, stored with the data it brought."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from gyrostat_common.database import insert
from gyrostat_common.tables import marks


async def high_water(tx: AsyncConnection, sink: str, stream: str) -> int:
    """The highest frame number that the sink has taken in from the stream; 0 before the first."""
    return (await high_waters(tx, sink, [stream]))[stream]


async def high_waters(tx: AsyncConnection, sink: str, streams: Iterable[str] | None = None) -> dict[str, int]:
    """The same for several streams; None: for all that have a mark."""
    query = select(marks.c.stream, marks.c.frame_no).where(marks.c.sink == sink)
    if streams is None:
        return {stream: number for stream, number in await tx.execute(query)}
    wanted = dict.fromkeys(streams, 0)
    names = list(wanted)
    for start in range(0, len(names), 500):
        for stream, number in await tx.execute(query.where(marks.c.stream.in_(names[start : start + 500]))):
            wanted[stream] = number
    return wanted


async def advance(tx: AsyncConnection, sink: str, frames: Mapping[str, int]) -> None:
    """Raises the marks of the streams to the given frame numbers. A mark never goes back."""
    if not frames:
        return
    statement = insert(tx, marks)
    statement = statement.on_conflict_do_update(
        index_elements=["sink", "stream"],
        set_={"frame_no": statement.excluded.frame_no},
        where=marks.c.frame_no < statement.excluded.frame_no,
    )
    rows = [{"sink": sink, "stream": stream, "frame_no": number} for stream, number in sorted(frames.items())]
    await tx.execute(statement, rows)
