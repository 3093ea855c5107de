"""What the trainer remembers: the ledger, in SQLite or PostgreSQL."""

from gyrostat_trainer.store.ledger import Ledger

__all__ = ["Ledger"]
