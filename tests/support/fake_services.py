"""The four services in memory, small, behind a real gRPC server on a UNIX socket: for tests of the SDK and the command.

They answer from plain fields that a test may change; every mutating request is kept in `calls`, repeated request ids in
`repeats`. `fail` makes the next calls of a method fail with a status.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent import futures
from contextlib import contextmanager
from pathlib import Path

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from gyrostat.monitor.v1 import monitor_pb2_grpc
from gyrostat.registry.v1 import registry_pb2_grpc
from gyrostat.trainer.v1 import trainer_pb2_grpc
from gyrostat_common import oip
from support.closed_loop import closed_loop
from support.fake_others import FakeInference, FakeMonitor, FakeTrainer
from support.fake_registry import FakeRegistry


class Services:
    """The four fakes and their addresses."""

    def __init__(self, folder: Path) -> None:
        self.registry, self.inference, self.monitor, self.trainer = (
            FakeRegistry(),
            FakeInference(),
            FakeMonitor(),
            FakeTrainer(),
        )
        self.addresses = {
            name: f"unix:{folder}/{name}.sock" for name in ("registry", "inference", "monitor", "trainer")
        }
        self.health = health.HealthServicer()

    def environ(self) -> dict[str, str]:
        """The client's settings for them."""
        return {f"GYROSTAT_CLIENT__{name.upper()}_ADDRESS": address for name, address in self.addresses.items()} | {
            "GYROSTAT_CLIENT__ACTOR": "ada",
            "GYROSTAT_KAFKA__BOOTSTRAP_SERVERS": "127.0.0.1:1",
        }

    @contextmanager
    def running(self) -> Iterator[Services]:
        """All four behind servers of their own."""
        servers = []
        adders = {
            "registry": registry_pb2_grpc.add_RegistryServiceServicer_to_server,
            "inference": oip.add_servicer,
            "monitor": monitor_pb2_grpc.add_MonitorServiceServicer_to_server,
            "trainer": trainer_pb2_grpc.add_TrainerServiceServicer_to_server,
        }
        for name, address in self.addresses.items():
            server = grpc.server(futures.ThreadPoolExecutor(max_workers=4))
            adders[name](getattr(self, name), server)
            health_pb2_grpc.add_HealthServicer_to_server(self.health, server)
            server.add_insecure_port(address)
            server.start()
            servers.append(server)
        self.health.set("", health_pb2.HealthCheckResponse.SERVING)
        try:
            yield self
        finally:
            for stopped in [server.stop(grace=None) for server in servers]:
                stopped.wait()

    def closed_loop(self) -> None:
        """Fills in a model `fraud` that was promoted because of an episode."""
        closed_loop(self.registry, self.monitor, self.trainer)
