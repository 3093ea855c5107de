"""Runs, their journal, causes, decisions, datasets."""

import sqlalchemy as sa
from alembic import op

from gyrostat_common.database import create_common_tables

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_RowId = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    create_common_tables(op.get_bind())
    op.create_table(
        "runs",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("model", sa.Text, nullable=False),
        sa.Column("environment", sa.Text, nullable=False),
        sa.Column("cause", sa.Text, nullable=False, unique=True),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("hold", sa.Boolean, nullable=False),
        sa.Column("created_at_us", sa.BigInteger, nullable=False, comment="wall"),
        sa.Column("trained_at_us", sa.BigInteger, comment="event"),
        sa.Column("reported", sa.Boolean, nullable=False),
        sa.Column("record", sa.Text, nullable=False),
    )
    op.create_index("runs_model", "runs", ["model", "environment", "status"])
    op.create_index("runs_status", "runs", ["status", "created_at_us"])
    op.create_table(
        "steps",
        sa.Column("run_id", sa.Text, primary_key=True),
        sa.Column("step", sa.Text, primary_key=True),
        sa.Column("result", sa.Text, nullable=False),
        sa.Column("done_at_us", sa.BigInteger, nullable=False, comment="wall"),
    )
    op.create_table(
        "decisions",
        sa.Column("number", _RowId, primary_key=True, autoincrement=True),
        sa.Column("cause", sa.Text, nullable=False),
        sa.Column("model", sa.Text, nullable=False),
        sa.Column("environment", sa.Text, nullable=False),
        sa.Column("action", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("watermark_us", sa.BigInteger, comment="event"),
        sa.Column("at_us", sa.BigInteger, nullable=False, comment="wall"),
        sa.Column("run_id", sa.Text, nullable=False),
        sa.Column("event_id", sa.Text, nullable=False),
    )
    op.create_index("decisions_model", "decisions", ["model", "number"])
    _create_causes_and_datasets()


def _create_causes_and_datasets() -> None:
    op.create_table(
        "episodes",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("model", sa.Text, nullable=False),
        sa.Column("environment", sa.Text, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("record", sa.Text, nullable=False),
    )
    op.create_index("episodes_model", "episodes", ["model", "environment", "state"])
    op.create_table(
        "watermarks",
        sa.Column("model", sa.Text, primary_key=True),
        sa.Column("environment", sa.Text, primary_key=True),
        sa.Column("watermark_us", sa.BigInteger, nullable=False, comment="event"),
    )
    op.create_table(
        "datasets",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("delta_version", sa.BigInteger, nullable=False),
        sa.Column("rows", sa.BigInteger, nullable=False),
        sa.Column("uri", sa.Text, nullable=False),
        sa.Column("updated_at_us", sa.BigInteger, nullable=False, comment="wall"),
    )
    op.create_table(
        "imports",
        sa.Column("request_id", sa.Text, primary_key=True),
        sa.Column("sha256", sa.Text, nullable=False),
        sa.Column("dataset", sa.Text, nullable=False),
    )
