"""What all connections of a server share: limits, lanes, the way to everything else, and the end of a turn."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

from gyrostat_front.call import INTERNAL, Call
from gyrostat_front.limits import Limits
from gyrostat_front.messages import held_too_much

if TYPE_CHECKING:
    from gyrostat_front.connection import Connection
    from gyrostat_front.sending import Sender

Lane = Callable[[Call], bool]
log = logging.getLogger("gyrostat_front")


class Together:
    """While entered, for many answers at once: they leave as it ends, and not a turn of the loop later."""

    def __init__(self, host: Host) -> None:
        self._host = host

    def __enter__(self) -> None:
        self._host.gathering = True

    def __exit__(self, *_: object) -> None:
        self._host.gathering = False
        self._host.flush()


class Host:
    """One per server, used on its loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop, limits: Limits, general: Callable[[Call], None]) -> None:
        self.loop, self.limits, self.now = loop, limits, loop.time
        self.lanes: dict[bytes, Lane] = {}
        self.connections: set[Connection] = set()
        self.held_bytes = self.unsent_bytes = self.streams = 0
        self.general = general
        """Takes a call that no lane does, from its header block on or whole."""
        self.refused: dict[str, int] = {}
        """Connections that were ended for what they did, by reason."""
        self.closed = False
        """No new connections."""
        self.gathering = False
        """Somebody will flush before the turn ends."""
        self._written: list[Sender] = []

    def schedule(self, sender: Sender) -> None:
        """What the connection has written leaves at the end of this turn."""
        sender.scheduled = True
        self._written.append(sender)
        if len(self._written) == 1 and not self.gathering:
            self.loop.call_soon(self.flush)

    def flush(self) -> None:
        """Hands over what all connections have written."""
        written, self._written = self._written, []
        for sender in written:
            sender.scheduled = False
            sender.flush()

    def offer(self, call: Call) -> None:
        """A whole unary request: to its lane, else to the general path."""
        lane = self.lanes.get(call.headers.path)
        try:
            taken = lane is not None and lane(call)
        except Exception:  # one lane's fault is not the connection's
            log.exception("a lane failed: %s", call.path)
            call.fail(INTERNAL, "internal error")
            return
        if not taken:
            call.keep()
            call.message = b""
            self.general(call)

    def offer_large(self, call: Call) -> None:
        """The same for one whose bytes are on the books until the call is over."""
        call.keep()
        if call.connection.held_bytes > self.limits.held_bytes:
            call.unreadable(held_too_much())
        elif not call.done:  # the connection may have been ended for what all of them keep here
            self.offer(call)

    def offer_parts(self, call: Call) -> None:
        """The same for one that came in parts; what is not one plain message is for the general path."""
        inbox = call.opened()
        if len(inbox.messages) != 1 or inbox.cut or inbox.messages[0][0]:
            self.general(call)
            return
        call.message = inbox.messages[0][1]
        self.offer(call)

    def too_much(self, held: bool) -> None:
        """More lies here for all connections than may: the one with most of it is ended, so that others go on."""
        if held:
            most = max(self.connections, key=lambda one: one.held_bytes, default=None)
            text = "too many bytes of messages wait here"
        else:
            most = max(self.connections, key=lambda one: one.sender.unsent_bytes, default=None)
            text = "replies that are not taken"
        if most is not None:
            most.shed(text)

    def count(self, reason: str) -> None:
        """A connection is ended for what it did."""
        self.refused[reason] = self.refused.get(reason, 0) + 1
