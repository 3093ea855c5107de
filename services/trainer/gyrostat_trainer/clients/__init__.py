"""Whom the trainer asks: the registry, and the artifact store for copies of snapshots."""

from gyrostat_trainer.clients.copies import SnapshotCopies
from gyrostat_trainer.clients.registry import RegistryClient

__all__ = ["RegistryClient", "SnapshotCopies"]
