"""What a caller can ask of the registry: one class per concern, joined into the servicer of the contract."""

from gyrostat.registry.v1.registry_pb2_grpc import RegistryServiceServicer
from gyrostat_registry.service.catalogue import CatalogueCalls
from gyrostat_registry.service.live import LiveCalls
from gyrostat_registry.service.versions import VersionCalls


class RegistryServicer(CatalogueCalls, VersionCalls, LiveCalls, RegistryServiceServicer):
    """gyrostat.registry.v1.RegistryService."""


__all__ = ["RegistryServicer"]
