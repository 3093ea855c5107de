"""The tables that every service's database has beside its own. A service adds them to its metadata with
`common_tables(metadata)` and creates them in its first migration with `create_common_tables(op.get_bind())`.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Connection, Index, Integer, LargeBinary, MetaData, Table, Text

# SQLite counts rows by itself only for INTEGER; PostgreSQL wants 64 bits.
_RowId = BigInteger().with_variant(Integer(), "sqlite")


def common_tables(metadata: MetaData) -> None:
    """Adds outbox, inbox, replies, marks and leases. Times are microseconds since 1970 UTC, wall."""
    _add_events(metadata)
    _add_calls_and_sinks(metadata)


def _add_events(metadata: MetaData) -> None:
    Table(
        "outbox",
        metadata,
        Column("id", _RowId, primary_key=True, autoincrement=True),
        Column("topic", Text, nullable=False),
        Column("key", LargeBinary),
        Column("partition", Integer),
        Column("headers", Text, nullable=False),
        Column("value", LargeBinary),
    )
    Table(
        "inbox",
        metadata,
        Column("source", Text, primary_key=True),
        Column("id", Text, primary_key=True),
        Column("seen_at_us", BigInteger, nullable=False),
        Index("inbox_seen_at", "seen_at_us"),
    )


def _add_calls_and_sinks(metadata: MetaData) -> None:
    Table(
        "replies",
        metadata,
        Column("method", Text, primary_key=True),
        Column("request_id", Text, primary_key=True),
        Column("request_sha256", LargeBinary, nullable=False),
        Column("reply_type", Text),
        Column("reply", LargeBinary),
        Column("stored_at_us", BigInteger, nullable=False),
        Index("replies_stored_at", "stored_at_us"),
    )
    Table(
        "marks",
        metadata,
        Column("sink", Text, primary_key=True),
        Column("stream", Text, primary_key=True),
        Column("frame_no", BigInteger, nullable=False),
    )
    Table(
        "leases",
        metadata,
        Column("name", Text, primary_key=True),
        Column("holder", Text, nullable=False),
        Column("expires_at_us", BigInteger, nullable=False),
    )


COMMON = MetaData()
common_tables(COMMON)
outbox, inbox, replies = COMMON.tables["outbox"], COMMON.tables["inbox"], COMMON.tables["replies"]
marks, leases = COMMON.tables["marks"], COMMON.tables["leases"]


def create_common_tables(connection: Connection) -> None:
    """For a first migration: `create_common_tables(op.get_bind())`."""
    COMMON.create_all(connection, checkfirst=False)
