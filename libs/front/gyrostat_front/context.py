"""What a servicer's method is given beside its request: the part of grpc.aio.ServicerContext that servicers use."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import grpc

from gyrostat_front.call import Call
from gyrostat_front.headers import Metadata
from gyrostat_front.messages import Unreadable

_CODES = {code.value[0]: code for code in grpc.StatusCode}
_PACKINGS = {grpc.Compression.Gzip: b"gzip", grpc.Compression.Deflate: b"deflate"}


class Context(grpc.aio.ServicerContext):  # type: ignore[type-arg]
    """One call's. Used on the server's loop."""

    def __init__(self, call: Call, metadata: Metadata, serialise: Callable[[Any], bytes] | None) -> None:
        self._call, self._metadata, self._serialise = call, metadata, serialise
        self._trailing: Sequence[tuple[str, str | bytes]] = ()
        self._code, self._details = grpc.StatusCode.OK, ""
        self._packing, self._aborted = b"", False
        self._callbacks: list[Callable[[Any], None]] = []
        self.deserialise: Callable[[bytes], Any] | None = None

    # ---- the request ------------------------------------------------------------------------------------------------

    async def read(self) -> Any:
        """The next request; grpc.aio.EOF behind the last."""
        request = await self.next_request()
        return grpc.aio.EOF if request is None else request  # type: ignore[attr-defined]

    async def next_request(self) -> Any | None:
        """The next request; None behind the last. Raises Unreadable."""
        raw = await self._call.receive()
        if raw is None or self.deserialise is None:
            return raw
        try:
            return self.deserialise(raw)
        except Exception as error:  # whatever a parser raises: the bytes are the caller's
            raise Unreadable(grpc.StatusCode.INTERNAL.value[0], "Exception deserializing request!") from error

    def invocation_metadata(self) -> Metadata:  # type: ignore[override]
        return self._metadata

    def peer(self) -> str:
        return self._call.peer

    def peer_identities(self) -> None:
        return None

    def peer_identity_key(self) -> None:
        return None

    def auth_context(self) -> dict[str, Sequence[bytes]]:
        return {}

    def time_remaining(self) -> float | None:  # type: ignore[override]
        deadline = self._call.deadline
        return None if deadline is None else max(0.0, deadline - self._call.connection.host.now())

    # ---- the response -----------------------------------------------------------------------------------------------

    async def write(self, message: Any) -> None:
        self._call.head(packing=self._packing)
        await self._call.send(self.serialised(message), self._packing)

    def serialised(self, message: Any) -> bytes:
        """A response's bytes."""
        raw: bytes = message if self._serialise is None else self._serialise(message)
        return raw

    async def send_initial_metadata(self, initial_metadata: Any) -> None:
        self._call.head(tuple(initial_metadata or ()), self._packing)

    def set_trailing_metadata(self, trailing_metadata: Any) -> None:
        self._trailing = tuple(trailing_metadata or ())

    def trailing_metadata(self) -> Any:
        return self._trailing

    def set_compression(self, compression: grpc.Compression) -> None:
        """gzip or deflate when the caller takes it; anything else is identity."""
        packing = _PACKINGS.get(compression, b"")
        taken = {name.strip() for name in self._call.header("grpc-accept-encoding").split(",")}
        self._packing = packing if packing.decode() in taken else b""

    def disable_next_message_compression(self) -> None:
        self._packing = b""

    # ---- the outcome ------------------------------------------------------------------------------------------------

    def set_code(self, code: grpc.StatusCode) -> None:
        self._code = code

    def code(self) -> grpc.StatusCode:
        return self._code

    def set_details(self, details: str) -> None:
        self._details = details

    def details(self) -> str:
        return self._details

    async def abort(self, code: grpc.StatusCode, details: str = "", trailing_metadata: Any = ()) -> NoReturn:
        """Ends the call with a status, and the method with grpc.aio.AbortError."""
        if self._aborted:
            raise grpc.aio.UsageError("Abort already called!")
        self._aborted = True
        if code == grpc.StatusCode.OK:
            code, details = grpc.StatusCode.UNKNOWN, ""
        self._code, self._details = code, details
        self._trailing = tuple(trailing_metadata or self._trailing)
        self.finish()
        raise grpc.aio.AbortError("Locally aborted.")

    async def abort_with_status(self, status: grpc.Status) -> NoReturn:
        await self.abort(status.code, status.details, status.trailing_metadata)

    def finish(self) -> None:
        """Says the status and the trailing metadata that are set."""
        code = (
            self._code if isinstance(self._code, grpc.StatusCode) else _CODES.get(self._code, grpc.StatusCode.UNKNOWN)
        )
        self._call.fail(code.value[0], self._details, self._trailing)

    def answer(self, message: Any) -> None:
        """The only response of the call, with the status that is set."""
        raw = self.serialised(message)
        if self._code is grpc.StatusCode.OK and not self._trailing and not self._call.begun and not self._packing:
            self._call.reply(raw)
            return
        self._call.head(packing=self._packing)
        self._call.put(raw, self._packing)
        self.finish()

    def cancelled(self) -> bool:
        return self._call.done and self._code is grpc.StatusCode.CANCELLED

    def done(self) -> bool:
        return self._call.done

    def add_done_callback(self, callback: Callable[[Any], None]) -> None:
        self._callbacks.append(callback)

    def ended(self) -> None:
        """Tells those who want to know."""
        for callback in self._callbacks:
            callback(self)
