"""How much one peer may ask of us. Beyond each limit stands the right error, for that peer alone."""

from __future__ import annotations

from dataclasses import dataclass


class Bucket:
    """So many at once, and so many a second after that."""

    __slots__ = ("_at", "_burst", "_left", "_per_s")

    def __init__(self, burst: float, per_s: float, now: float) -> None:
        self._burst, self._per_s, self._left, self._at = burst, per_s, burst, now

    def take(self, now: float) -> bool:
        """False when there is none left."""
        self._left = min(self._burst, self._left + (now - self._at) * self._per_s) - 1
        self._at = now
        if self._left < 0:
            self._left = 0
            return False
        return True

    def fill(self) -> None:
        """As many at once as in the beginning."""
        self._left = self._burst


@dataclass(frozen=True)
class Limits:
    """What a peer may do, and how long it may take."""

    message_bytes: int = 64 * 1024 * 1024
    """Of one message, compressed or not: more is RESOURCE_EXHAUSTED."""
    header_list_bytes: int = 16_384
    """Of a request's fields as RFC 9113 counts them, advertised: more is RESOURCE_EXHAUSTED."""
    header_block_bytes: int = 65_536
    """Of a block as it comes: more ends the connection."""
    continuations: int = 16
    """Frames of one header block after the first."""
    streams: int = 1024
    """Open on one connection, advertised: more are REFUSED_STREAM."""
    all_streams: int = 65_536
    """Open on all connections: beyond it, a connection with more than its share opens no more: REFUSED_STREAM."""
    connections: int = 10_000
    """More are closed at once."""
    stream_window_bytes: int = 1024 * 1024
    connection_window_bytes: int = 16 * 1024 * 1024
    frame_bytes: int = 65_536
    """Of one frame, advertised."""
    held_bytes: int = 192 * 1024 * 1024
    """Of messages that are not whole or not read yet, of one connection: the call that goes beyond fails."""
    all_held_bytes: int = 1024 * 1024 * 1024
    """The same of all connections: beyond it, the one that holds most is ended."""
    unsent_bytes: int = 64 * 1024 * 1024
    """Of replies that a connection does not take: beyond it new streams are REFUSED_STREAM; with another message it is
    ended."""
    all_unsent_bytes: int = 1024 * 1024 * 1024
    """The same of all connections: beyond it, the one that holds most is ended."""
    unread_bytes: int = 256 * 1024
    """Of output in the transport: beyond it we read no more from this peer until it reads."""

    resets: tuple[float, float] = (1000, 100)
    """At once and a second. Streams that the peer opens and takes back at once."""
    pings: tuple[float, float] = (1000, 10)
    """Without an answer of ours in between."""
    settings: tuple[float, float] = (100, 2)
    oddities: tuple[float, float] = (1000, 100)
    """Empty DATA, PRIORITY, unknown frames, frames of streams that are closed."""

    handshake_s: float = 10.0
    """TLS, the preface, the first SETTINGS and the answer to ours."""
    frame_s: float = 30.0
    """A frame or a header block that has begun."""
    request_s: float = 60.0
    """A unary request that has begun and brings no deadline."""
    answer_s: float = 60.0
    """A call without a deadline that a lane has taken."""
    stalled_s: float = 120.0
    """Replies that a peer does not take."""
    idle_s: float = 3600.0
    """A connection without streams."""
    keepalive_s: float = 60.0
    """Silence after which we ask whether anybody is there."""
    keepalive_answer_s: float = 20.0
    age_s: float | None = None
    """A connection that is older is asked to go, so that load spreads; a tenth more or less, by chance."""
    age_grace_s: float = 60.0
    """What its last streams may still take."""
