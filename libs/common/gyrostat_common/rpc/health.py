"""grpc.health.v1 on the process's own word, at both ends. A reply carries the words too, as trailing metadata: the
protocol itself knows no reason and no "alarmed".
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1._async import HealthServicer

from gyrostat_common.health import Health, Report

WORDS = "gyrostat-health-bin"
LOOK_EVERY_S = 0.1
_SERVING = health_pb2.HealthCheckResponse.SERVING
_NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


class TruthServicer(HealthServicer):  # type: ignore[misc]
    """Answers Check with the truth of that moment; tells those who Watch within a tenth of a second."""

    def __init__(self, health: Health) -> None:
        super().__init__()
        self._health, self._services = health, {""}
        self._server_status[""] = _NOT_SERVING

    def add(self, name: str) -> None:
        """A service whose word is the process's."""
        self._services.add(name)

    async def Check(self, request: Any, context: Any) -> Any:
        report = await self.tell()
        words = {"reason": report.reason, "problems": dict(report.problems)}
        context.set_trailing_metadata(((WORDS, json.dumps(words).encode()),))
        return await super().Check(request, context)

    async def tell(self) -> Report:
        """Brings what is said in line with what is."""
        report = self._health.record()
        now = dict.fromkeys(self._services, report.reason is None) | self._health.named()
        for name in self._server_status.keys() - now.keys():
            now[name] = False  # a model that has left the plan
        for name, ok in now.items():
            status = _SERVING if ok else _NOT_SERVING
            if self._server_status.get(name) != status:
                await self.set(name, status)
        return report

    async def keep_telling(self) -> None:
        """Until cancelled."""
        while True:
            await self.tell()
            await asyncio.sleep(LOOK_EVERY_S)


async def ask_health(channel: grpc.aio.Channel, *, timeout_s: float = 2.0) -> Report:
    """What the process at the other end says of itself. Raises AioRpcError when it does not answer."""
    call = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=timeout_s)
    reply = await call
    return report_of(reply.status == _SERVING, await call.trailing_metadata())


def report_of(serving: bool, metadata: Any) -> Report:
    """A Check's answer with its trailing metadata; another implementation's has no words."""
    words: dict[str, Any] = next((json.loads(value) for key, value in metadata or () if key == WORDS), {})
    reason = None if serving else words.get("reason") or "it says no more"
    return Report(reason, words.get("problems", {}))
