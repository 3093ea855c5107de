"""One end of a channel between two processes: messages in frames of a bounded length, over a unix socketpair."""

import asyncio
import socket
import struct

from gyrostat_inference.cores.messages import BadMessage, FromSupervisor, FromWorker, decode, encode

_LENGTH = struct.Struct("<I")
LARGEST_MESSAGE, MOST_WAITING = 32 * 1024 * 1024, 64 * 1024 * 1024


class ChannelLost(Exception):
    """The other end is gone, does not read, or says what it may not."""


class Channel:
    """Messages leave in order, and `post` never waits: what the other end has not read is bounded."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    @classmethod
    async def over(cls, end: socket.socket) -> "Channel":
        """Takes the socket over."""
        end.setblocking(False)
        return cls(*await asyncio.open_unix_connection(sock=end))

    def post(self, message: FromSupervisor | FromWorker) -> None:
        """Raises ChannelLost when the message is too large, or too much waits."""
        content = encode(message)
        if len(content) > LARGEST_MESSAGE:
            raise ChannelLost(f"a message '{message.kind}' of {len(content)} bytes; at most {LARGEST_MESSAGE}")
        transport = self._writer.transport
        if transport.is_closing():
            raise ChannelLost("the other end is gone")
        if transport.get_write_buffer_size() > MOST_WAITING:
            raise ChannelLost(f"the other end does not read: more than {MOST_WAITING} bytes wait for it")
        self._writer.write(_LENGTH.pack(len(content)) + content)

    async def next(self) -> FromSupervisor | FromWorker:
        """The next message. Raises ChannelLost."""
        try:
            (length,) = _LENGTH.unpack(await self._reader.readexactly(_LENGTH.size))
            if length > LARGEST_MESSAGE:
                raise ChannelLost(f"a message of {length} bytes; at most {LARGEST_MESSAGE}")
            return decode(await self._reader.readexactly(length))
        except (asyncio.IncompleteReadError, ConnectionError) as error:
            raise ChannelLost("the other end is gone") from error
        except BadMessage as error:
            raise ChannelLost(str(error)) from error

    def close(self) -> None:
        self._writer.close()
