"""What connections must do in time: greet, finish what they begin, answer when asked, take their replies, grow old."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from gyrostat_front.frames import CANCEL, ENHANCE_YOUR_CALM, PING, SETTINGS_TIMEOUT, frame
from gyrostat_front.session import STILL_THERE, Session

if TYPE_CHECKING:
    from gyrostat_front.limits import Limits

LOOK_EVERY_S = 0.5
CLOSE_S = 5.0
SETTLE_S = 1.0
REST_S = 5.0


class Watched:
    """One connection; `look` is called every now and then."""

    def __init__(self, connection: Session, limits: Limits) -> None:
        self._connection, self._limits = connection, limits
        age_s = limits.age_s
        self._retires_at = None if age_s is None else connection.since + age_s * random.uniform(0.9, 1.1)
        self._drained_at: float | None = None
        self._moved, self._moved_at, self._unsent = 0, connection.since, 0

    def look(self, now: float) -> None:
        """Ends what took too long."""
        connection = self._connection
        if connection.closing:
            if now - connection.closed_at > CLOSE_S:
                connection.transport.abort()
            return
        limits = self._limits
        late = self._late(now)
        if late:
            connection.refuse(SETTINGS_TIMEOUT if not connection.agreed else ENHANCE_YOUR_CALM, late)
            return
        if not connection.streams:
            if now - connection.idle_since > REST_S:
                connection.rest()
            if now - connection.idle_since > limits.idle_s:
                connection.settle()
        self._age(now)
        self._keep_alive(now)
        self._deadlines(now)

    def _late(self, now: float) -> str:
        connection, limits = self._connection, self._limits
        if not connection.agreed:
            return "no handshake in time" if now - connection.since > limits.handshake_s else ""
        if connection.partial and now - connection.began > limits.frame_s:
            return "a frame that does not end"
        return "replies that are not taken" if self._stalled(now) else ""

    def _stalled(self, now: float) -> bool:
        """Nothing left the connection for too long although there was something."""
        sender = self._connection.sender
        unsent = self._connection.transport.get_write_buffer_size() if sender.paused else 0
        if (not sender.paused and not sender.unsent_bytes) or sender.moved != self._moved or unsent != self._unsent:
            self._moved, self._moved_at, self._unsent = sender.moved, now, unsent
            return False
        return now - self._moved_at > self._limits.stalled_s

    def _age(self, now: float) -> None:
        connection, limits = self._connection, self._limits
        if self._retires_at is not None and now > self._retires_at:
            connection.drain()
        if not connection.draining:
            return
        if self._drained_at is None:
            self._drained_at = now
        if now - self._drained_at > SETTLE_S:
            connection.settle()
        if now - self._drained_at > limits.age_grace_s:
            connection.close()

    def _keep_alive(self, now: float) -> None:
        connection, limits = self._connection, self._limits
        if connection.asked_at is not None:
            if connection.heard > connection.asked_at:
                connection.asked_at = None
            elif now - connection.asked_at > limits.keepalive_answer_s:
                connection.host.count("nobody there")
                connection.transport.abort()
        elif now - connection.heard > limits.keepalive_s and not connection.sender.paused:
            connection.asked_at = now
            connection.sender.write(frame(PING, 0, 0, STILL_THERE))

    def _deadlines(self, now: float) -> None:
        """Of calls that lie with a lane, or have not come whole; the general path keeps its own."""
        for call in list(self._connection.streams.values()):
            if call.general and not call.said:
                continue
            took_s, limits = now - call.since, self._limits
            if call.deadline is not None:
                if now > call.deadline:
                    call.expire()
            elif call.said:
                continue  # it waits for the peer, within the limits on what waits
            elif not call.ended:
                if took_s > limits.request_s:
                    call.reset(CANCEL)
            elif took_s > limits.answer_s:
                call.expire()
