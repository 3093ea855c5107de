"""What the fake services share: the ids of the story, recorded calls, stored replies, failures on demand."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import grpc

NOON = datetime(2013, 7, 4, 12, tzinfo=UTC)
EPISODE = "5f0c2a8e-0f44-5d0e-9a53-1f2f4c1f0001"
RUN = "0198c2d4-0000-7000-8000-000000000001"
ROLLOUT = "0198c2d4-0000-7000-8000-0000000000aa"
PREDICTION = "0198c2d4-aaaa-7000-8000-000000000001"


class Fake:
    """What the fakes share: recorded calls, stored replies, failures on demand."""

    def __init__(self) -> None:
        self.calls: list[Any] = []
        self.actors: list[str] = []
        self.repeats: list[str] = []
        self.fail: dict[str, list[tuple[grpc.StatusCode, str]]] = {}
        self._replies: dict[str, Any] = {}

    def _enter(self, method: str, request: Any, context: grpc.ServicerContext) -> Any:
        """Records a call; gives the stored reply of a repeated one."""
        metadata = {key: value for key, value in context.invocation_metadata()}
        self.actors.append(str(metadata.get("gyrostat-actor", "")))
        if self.fail.get(method):
            code, message = self.fail[method].pop(0)
            context.set_trailing_metadata((("error-reason", "OF_THE_TEST"),))
            context.abort(code, message)
        request_id = getattr(request, "request_id", "")
        if request_id in self._replies:
            self.repeats.append(request_id)
            return self._replies[request_id]
        self.calls.append(request)
        return None

    def _store(self, request: Any, reply: Any) -> Any:
        if getattr(request, "request_id", ""):
            self._replies[request.request_id] = reply
        return reply


def page_of(items: list[Any], request: Any) -> tuple[list[Any], str]:
    """One page and the next token."""
    start = int(request.page_token or 0)
    size = request.page_size or 100
    return items[start : start + size], str(start + size) if start + size < len(items) else ""
