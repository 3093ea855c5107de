"""One stream: a call, from its header block to its trailer. Lanes get it as it is; the general path drives the rest."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from gyrostat_front import hpack
from gyrostat_front.frames import CANCEL, FLOW_CONTROL_ERROR, PROTOCOL_ERROR, Broken, grant, reset
from gyrostat_front.headers import LENGTH, NOT_GRPC, Headers, fields_of, percent
from gyrostat_front.messages import PACKINGS, Inbox, Unreadable, compressed, decompressed, message_head
from gyrostat_front.sending import OK_HEAD, OK_TRAILER, Outbox, Sender

if TYPE_CHECKING:
    from gyrostat_front.connection import Connection

CANCELLED, DEADLINE_EXCEEDED, RESOURCE_EXHAUSTED, UNIMPLEMENTED, INTERNAL = 1, 4, 8, 12, 13
SMALL_BYTES = 4096
Trailing = Sequence[tuple[str, str | bytes]]


class Call:
    """A call that is answered once, by `reply` or `fail`, now or later; after that, and once it is `gone`, both do
    nothing. Not to be used from other threads."""

    # Below: what most calls never change costs them nothing.
    message = b""
    """The whole request of a unary call."""
    credit = 0
    """How much more (less, when negative) the stream may send than every stream may at first."""
    begun = False
    """The response's header block is on its way."""
    ended = False
    """The peer has said its last word."""
    said = False
    """The answer is complete, if not sent yet."""
    done = False
    """Nothing more can be said: all is sent, or nobody is there."""
    counted = 0
    """Bytes of DATA, for a content-length."""
    owed = 0
    """Bytes that came, and for which the peer has no new window yet."""
    inbox: Inbox | None = None
    outbox: Outbox | None = None
    waiter: asyncio.Future[None] | None = None
    general = False
    """It is on the general path, which keeps its deadline."""
    on_gone: Callable[[], None] | None = None
    """Called once when the call ends without an answer of its taker: taken back, its connection lost, too late."""

    def __init__(self, connection: Connection, sender: Sender, stream: int, headers: Headers, now: float) -> None:
        self.connection, self.sender, self.stream, self.headers = connection, sender, stream, headers
        self.since = now
        timeout_s = headers.timeout_s
        self.deadline = None if timeout_s is None else now + timeout_s
        """Seconds of the loop's clock by which the peer wants its answer; None: it did not say."""

    # ---- what lanes use -------------------------------------------------------------------------------------------

    @property
    def path(self) -> str:
        """Such as /inference.GRPCInferenceService/ModelInfer."""
        return self.headers.path.decode("latin-1")

    @property
    def peer(self) -> str:
        """Such as ipv4:127.0.0.1:40112."""
        return self.connection.peer

    @property
    def gone(self) -> bool:
        """Nobody waits any more: answered, taken back, the connection closed, or the deadline past."""
        return self.done or (self.deadline is not None and self.connection.host.now() >= self.deadline)

    def header(self, name: str) -> str:
        """A field of the request as text; empty when there is none."""
        return self.headers.text(name)

    def reply(self, message: bytes) -> None:
        """Answers a unary call: OK. Fails it when the message is larger than a message may be."""
        if not self.said and not self.done:
            self.sender.reply(self, message)

    def fail(self, code: int, details: str, trailing: Trailing = ()) -> None:
        """Ends the call with a gRPC status and trailing metadata."""
        if self.said or self.done:
            return
        try:
            fields = fields_of(trailing)
        except ValueError as error:
            code, details, fields = INTERNAL, str(error), []
        trailer = OK_TRAILER if not code else hpack.field(b"grpc-status", b"%d" % code)
        if details:
            trailer += hpack.field(b"grpc-message", percent(details))
        trailer += b"".join(hpack.field(name, value) for name, value in fields)
        if self.begun:
            self.sender.end(self, trailer)
        else:
            self.sender.only(self, OK_HEAD + trailer)

    # ---- what the general path uses ---------------------------------------------------------------------------------

    def head(self, metadata: Trailing = (), packing: bytes = b"") -> None:
        """Sends the response's header block, once."""
        if self.done:
            return
        block = OK_HEAD + (hpack.field(b"grpc-encoding", packing) if packing else b"")
        self.sender.head(self, block + b"".join(hpack.field(name, value) for name, value in fields_of(metadata)))

    def put(self, message: bytes, packing: bytes = b"") -> None:
        """Sends one message as soon as the peer takes it. Raises Unreadable when it is too large for that."""
        if self.done:
            return
        most = self.connection.host.limits.message_bytes
        if len(message) > most:
            raise Unreadable(RESOURCE_EXHAUSTED, f"Sent message larger than max ({len(message)} vs. {most})")
        self.head(packing=packing)
        raw = compressed(message, packing) if packing else message
        self.sender.data(self, message_head(bool(packing), len(raw)) + raw)

    async def send(self, message: bytes, packing: bytes = b"") -> None:
        """Sends one message of several; waits while the peer takes none. Cancelled when the call is gone."""
        if self.done:
            raise asyncio.CancelledError
        self.put(message, packing)
        while self.outbox is not None:
            if self.outbox.drained is None:
                self.outbox.drained = asyncio.get_running_loop().create_future()
            await self.outbox.drained

    async def receive(self) -> bytes | None:
        """The next message; None behind the last. Raises Unreadable."""
        inbox = self.opened()
        while self.done or not inbox.messages:
            if self.done:  # what lies here is nobody's any more, and off the books
                raise asyncio.CancelledError
            if self.ended:
                if inbox.cut:
                    raise Unreadable(INTERNAL, "a message that is cut short")
                return None
            self.waiter = asyncio.get_running_loop().create_future()
            await self.waiter
        is_compressed, raw = inbox.take()
        self.connection.hold(-len(raw))
        self.consent()
        return await self._opening(raw) if is_compressed else raw

    async def _opening(self, raw: bytes) -> bytes:
        """A compressed message. Raises Unreadable."""
        packing = self.headers.encoding
        if packing not in PACKINGS:
            raise Unreadable(INTERNAL, "a compressed message of a call without grpc-encoding")
        most = self.connection.host.limits.message_bytes
        if len(raw) <= SMALL_BYTES:
            return decompressed(raw, packing, most)
        # It may unfold to a thousand times its size, and the loop is everybody's.
        return await asyncio.to_thread(decompressed, raw, packing, most)

    def opened(self) -> Inbox:
        """The messages that came, when there may be several."""
        if self.inbox is None:
            self.inbox = Inbox(self.connection.host.limits.message_bytes)
        return self.inbox

    def keep(self) -> None:
        """A whole request lies where the general path looks for it, and counts until it is taken or the call is
        over."""
        if self.inbox is None:
            self.opened().put(self.message)
            self.connection.hold(len(self.message))

    # ---- what the connection uses -----------------------------------------------------------------------------------

    def receives(self, payload: bytes, size: int, ended: bool) -> int:
        """Takes DATA that is not a whole request in one frame; how many bytes more lie here now. `size` counts for the
        window, padding too. Raises Unreadable, Broken."""
        self.owed += size
        if self.owed > self.connection.host.limits.stream_window_bytes:
            raise Broken(FLOW_CONTROL_ERROR, "more than the window allows")
        self.counted += len(payload)
        length = self.headers.kinds.get(LENGTH)
        if length is not None and (self.counted > int(length) or (ended and self.counted < int(length))):
            raise Broken(PROTOCOL_ERROR, "not as long as content-length says")
        self.ended = ended
        inbox = self.opened()
        before = inbox.held_bytes
        try:
            if self.headers.odd not in NOT_GRPC:
                inbox.feed(payload)
        except Unreadable:
            self.connection.hold(inbox.held_bytes - before)  # it lies here until the stream is over
            raise
        self.consent()
        return inbox.held_bytes - before

    def consent(self) -> None:
        """Lets the peer send more, unless messages lie here that nobody reads."""
        window = self.connection.host.limits.stream_window_bytes
        if self.owed * 2 > window and not self.ended and self.opened().unread_bytes * 2 <= window:
            self.sender.write(grant(self.stream, self.owed))
            self.owed = 0

    def wake(self) -> None:
        """There is something to read, or will never be."""
        if self.waiter is not None and not self.waiter.done():
            self.waiter.set_result(None)

    def unreadable(self, error: Unreadable) -> None:
        """Ends the call for a message that cannot be taken."""
        self.fail(error.code, error.text)
        if self.on_gone is not None:
            self.on_gone()

    def expire(self) -> None:
        """The deadline is past: the peer has given up."""
        on_gone = self.on_gone
        if self.said:
            self.reset(CANCEL)
        else:
            self.fail(DEADLINE_EXCEEDED, "Deadline Exceeded")
            if on_gone is not None:
                on_gone()

    def finished(self) -> None:
        """The last word is said."""
        self.done = True
        self.connection.over(self)

    def vanish(self) -> None:
        """The peer does not want the answer any more, or is not there."""
        if self.done:
            return
        self.finished()
        if self.on_gone is not None:
            self.on_gone()

    def reset(self, code: int = CANCEL) -> None:
        """Ends the stream without a status."""
        if not self.done:
            self.sender.write(reset(self.stream, code))
            self.vanish()
