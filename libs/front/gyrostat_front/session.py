"""What a peer has open with us, what it has done so far, and how that ends: one stream, or all."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from gyrostat_front.call import Call
from gyrostat_front.frames import ENHANCE_YOUR_CALM, NO_ERROR, PING, Broken, Violation, frame, goaway
from gyrostat_front.limits import Bucket
from gyrostat_front.sending import Sender

if TYPE_CHECKING:
    from gyrostat_front.host import Host

STREAM_MASK = 0x7FFFFFFF
MOST_LEFT = 512
LAST_WORD, STILL_THERE = b"lastword", b"there?no"
"""Our pings: behind the answer to the first, the peer knows that we go; the second asks whether anybody is there."""


class Session:
    """The state of a connection, without its bytes."""

    sender: Sender
    transport: asyncio.Transport

    def __init__(self, host: Host) -> None:
        self.host = host
        self.streams: dict[int, Call] = {}
        self.peer = ""
        self.last, self.gap = 0, 0
        """The highest stream so far; the highest below it that was passed over."""
        self.left: dict[int, None] = {}
        """Streams that ended here before the peer's last word: what still comes of them is no fault."""
        self.greeted, self.agreed, self.closing, self.draining = False, False, False, False
        self.last_taken: int | None = None
        """Behind a final GOAWAY: the last stream that is answered."""
        self.since = self.heard = self.began = self.idle_since = host.now()
        """When it opened, last said anything, began the frame or block that is not whole, had its last stream."""
        self.closed_at = 0.0
        self.held_bytes = 0
        self.asked_at: float | None = None
        """When it was asked whether anybody is there."""
        limits, now = host.limits, self.since
        self.resets, self.oddities = Bucket(*limits.resets, now), Bucket(*limits.oddities, now)
        self.pings, self.changes = Bucket(*limits.pings, now), Bucket(*limits.settings, now)
        self.answered = self.said_at_ping = self.late_resets = 0
        """Calls that are over; these and DATA frames sent, at the last PING; RST_STREAM of what was over."""

    @property
    def partial(self) -> bool:
        """A frame or a header block has begun and is not whole."""
        raise NotImplementedError

    def rest(self) -> None:
        """Nothing happens: gives back what only makes things faster."""
        raise NotImplementedError

    # ---- the ends of streams ----------------------------------------------------------------------------------------

    def over(self, call: Call) -> None:
        """The stream has ended here."""
        streams = self.streams
        if streams.pop(call.stream, None) is not None:
            self.host.streams -= 1
        self.answered += 1
        if call.outbox is not None:
            self.sender.forget(call)
        if call.inbox is not None:
            self.hold(-call.inbox.held_bytes)
            call.inbox.clear()  # now, and not when the last who knows the call has ended
        if not call.ended:
            self.leave(call.stream)
        if not streams:
            self.idle_since = self.host.now()
            if self.last_taken is not None:
                self.host.loop.call_soon(self.close)

    def leave(self, stream: int) -> None:
        """What still comes of this stream is no fault."""
        self.left[stream] = None
        if len(self.left) > MOST_LEFT:
            del self.left[next(iter(self.left))]

    def broken(self, call: Call, error: Broken) -> None:
        """Ends one stream for what the peer did with it."""
        call.reset(error.code)

    def odd(self, bucket: Bucket) -> None:
        """One more of what a peer may do now and then. Raises Violation when that is too often."""
        if not bucket.take(self.heard):
            raise Violation(ENHANCE_YOUR_CALM, "too many frames that ask for nothing")

    def hold(self, more: int) -> None:
        """So many more bytes of messages lie here."""
        self.held_bytes += more
        self.host.held_bytes += more
        if more > 0 and self.host.held_bytes > self.host.limits.all_held_bytes:
            self.host.too_much(held=True)

    # ---- the end of the connection ----------------------------------------------------------------------------------

    def drop(self) -> None:
        """Nobody is there for any answer."""
        for call in list(self.streams.values()):
            call.vanish()

    def refuse(self, code: int, text: str) -> None:
        """Ends the connection for what the peer did."""
        self.host.count(text)
        self.sender.write(goaway(self.last, code, text))
        self.close()

    def shed(self, text: str) -> None:
        """Ends the connection for what it keeps here; what the transport has, the peer would not read either."""
        if self.closing:
            return
        self.refuse(ENHANCE_YOUR_CALM, text)
        if self.sender.paused:
            self.transport.abort()

    def close(self) -> None:
        """Closes it when what is written has left."""
        if self.closing:
            return
        self.closing, self.closed_at = True, self.host.now()
        self.drop()
        self.sender.flush()
        self.transport.close()

    def drain(self) -> None:
        """Asks the peer to go elsewhere with new calls; which stream is the last is said when it has heard of it."""
        if not self.draining and not self.closing:
            self.draining = True
            self.sender.write(goaway(STREAM_MASK, NO_ERROR, "going away") + frame(PING, 0, 0, LAST_WORD))

    def settle(self) -> None:
        """Streams up to now are answered; the connection closes behind the last."""
        if self.last_taken is not None or self.closing:
            return
        self.draining, self.last_taken = True, self.last
        self.sender.write(goaway(self.last, NO_ERROR, "going away"))
        if not self.streams:
            self.close()
