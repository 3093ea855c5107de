"""The ledger's tables. Times are microseconds since 1970 UTC.

Which clock is said by the column's comment in the migration.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, Index, Integer, MetaData, Table, Text

from gyrostat_common.database import common_tables

metadata = MetaData()
common_tables(metadata)
_RowId = BigInteger().with_variant(Integer(), "sqlite")

runs = Table(
    "runs",
    metadata,
    Column("id", Text, primary_key=True),
    Column("model", Text, nullable=False),
    Column("environment", Text, nullable=False),
    # The key of "exactly one run per cause".
    Column("cause", Text, nullable=False, unique=True),
    Column("status", Text, nullable=False),
    Column("hold", Boolean, nullable=False),
    Column("created_at_us", BigInteger, nullable=False),
    Column("trained_at_us", BigInteger),
    Column("reported", Boolean, nullable=False),
    Column("record", Text, nullable=False),
    Index("runs_model", "model", "environment", "status"),
    Index("runs_status", "status", "created_at_us"),
)
steps = Table(
    "steps",
    metadata,
    Column("run_id", Text, primary_key=True),
    Column("step", Text, primary_key=True),
    Column("result", Text, nullable=False),
    Column("done_at_us", BigInteger, nullable=False),
)
decisions = Table(
    "decisions",
    metadata,
    Column("number", _RowId, primary_key=True, autoincrement=True),
    Column("cause", Text, nullable=False),
    Column("model", Text, nullable=False),
    Column("environment", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("watermark_us", BigInteger),
    Column("at_us", BigInteger, nullable=False),
    Column("run_id", Text, nullable=False),
    Column("event_id", Text, nullable=False),
    Index("decisions_model", "model", "number"),
)
episodes = Table(
    "episodes",
    metadata,
    Column("id", Text, primary_key=True),
    Column("model", Text, nullable=False),
    Column("environment", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("record", Text, nullable=False),
    Index("episodes_model", "model", "environment", "state"),
)
watermarks = Table(
    "watermarks",
    metadata,
    Column("model", Text, primary_key=True),
    Column("environment", Text, primary_key=True),
    Column("watermark_us", BigInteger, nullable=False),
)
datasets = Table(
    "datasets",
    metadata,
    Column("name", Text, primary_key=True),
    Column("delta_version", BigInteger, nullable=False),
    Column("rows", BigInteger, nullable=False),
    Column("uri", Text, nullable=False),
    Column("updated_at_us", BigInteger, nullable=False),
)
imports = Table(
    "imports",
    metadata,
    Column("request_id", Text, primary_key=True),
    Column("sha256", Text, nullable=False),
    Column("dataset", Text, nullable=False),
)
