"""The monitor's records, as store/tables.py describes them at its first release."""

from alembic import op

from gyrostat_common.database import create_common_tables
from gyrostat_monitor.store.tables import METADATA

revision, down_revision, branch_labels, depends_on = "0001", None, None, None


def upgrade() -> None:
    create_common_tables(op.get_bind())
    METADATA.create_all(op.get_bind())
