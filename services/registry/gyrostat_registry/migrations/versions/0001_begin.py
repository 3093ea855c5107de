"""Models, versions, runs, roll-outs, plans, evidence and the audit log.

The two partial unique indexes on roll-outs are promises of the domain that the database keeps too: one roll-out at work
and one in the queue per model and environment.
"""

import sqlalchemy as sa
from alembic import op

from gyrostat_common.database import create_common_tables

revision = "0001"
down_revision = None

_number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def _text(name: str, *, primary_key: bool = False, nullable: bool = False) -> sa.Column[str]:
    return sa.Column(name, sa.Text, primary_key=primary_key, nullable=nullable)


def _long(name: str, *, primary_key: bool = False, nullable: bool = False) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger, primary_key=primary_key, nullable=nullable, autoincrement=False)


def _counted() -> sa.Column[int]:
    return sa.Column("number", _number, primary_key=True, autoincrement=True)


def upgrade() -> None:
    create_common_tables(op.get_bind())
    _catalogue()
    _live()
    _history()


def _catalogue() -> None:
    op.create_table(
        "models",
        _text("name", primary_key=True), _long("created_at_us"), _text("created_by"), _long("latest_version"),
        _text("spec"),
    )  # fmt: skip
    op.create_table(
        "specs",
        _text("model", primary_key=True), _long("revision", primary_key=True), _long("at_us"), _text("actor"),
        _text("spec"),
    )  # fmt: skip
    op.create_table("aliases", _text("model", primary_key=True), _text("alias", primary_key=True), _long("version"))
    op.create_table("environments", _text("name", primary_key=True), _text("description"))
    op.execute("INSERT INTO environments (name, description) VALUES ('production', 'the default environment')")
    op.create_table(
        "artifacts",
        _text("sha256", primary_key=True), _long("size_bytes"), _text("uri"), _text("name"),
        _text("signature", nullable=True),
    )  # fmt: skip
    op.create_table(
        "versions",
        _text("model", primary_key=True), _long("number", primary_key=True), _text("run_id"), _text("body"),
    )  # fmt: skip
    op.create_index("versions_run", "versions", ["run_id"])
    op.create_table("runs", _counted(), _text("id"), _text("model"), _text("body"))
    op.create_index("runs_id", "runs", ["id"], unique=True)
    op.create_index("runs_model", "runs", ["model", "number"])


def _live() -> None:
    op.create_table(
        "rollouts",
        _counted(), _text("id"), _text("environment"), _text("model"), _long("version"), _text("state"), _text("body"),
    )  # fmt: skip
    op.create_index("rollouts_id", "rollouts", ["id"], unique=True)
    op.create_index("rollouts_model", "rollouts", ["model", "number"])
    for name, states in (("active", "'shadow','canary','guard'"), ("queued", "'proposed','waiting'")):
        where = sa.text(f"state IN ({states})")
        op.create_index(
            f"rollouts_one_{name}", "rollouts", ["environment", "model"], unique=True,
            sqlite_where=where, postgresql_where=where,
        )  # fmt: skip
    op.create_table(
        "plans",
        _text("environment", primary_key=True), _text("model", primary_key=True), _long("revision", primary_key=True),
        _long("made_at_us"), _text("body"),
    )  # fmt: skip
    op.create_table(
        "promotions",
        _counted(), _text("environment"), _text("model"), _long("version_before"), _long("version_after"),
        sa.Column("automatic", sa.Boolean, nullable=False), _text("body"),
    )  # fmt: skip
    op.create_index("promotions_model", "promotions", ["model", "number"])
    op.create_table("switches", _text("name", primary_key=True), _text("mode"))
    op.create_table(
        "watermarks", _text("environment", primary_key=True), _text("model", primary_key=True), _long("event_time_us")
    )


def _history() -> None:
    op.create_table("episodes", _text("id", primary_key=True), _text("model"), _text("body"))
    op.create_table(
        "judgements",
        _counted(),
        _text("event_id"),
        _text("rollout_id"),
        _text("model"),
        _long("version"),
        _text("body"),
    )
    op.create_index("judgements_event", "judgements", ["event_id"], unique=True)
    op.create_index("judgements_version", "judgements", ["model", "version"])
    op.create_table("trainings", _text("event_id", primary_key=True), _text("run_id"), _text("model"), _text("body"))
    op.create_index("trainings_run", "trainings", ["run_id"])
    op.create_table(
        "replicas",
        _text("environment", primary_key=True), _text("name", primary_key=True), _long("at_us"),
        sa.Column("payload", sa.LargeBinary, nullable=False),
    )  # fmt: skip
    op.create_table(
        "audit",
        _counted(), _long("at_us"), _text("actor"), _text("action"), _text("subject"), _text("model"), _text("reason"),
        _text("correlation_id"), _text("causation_id"), _text("detail_json"), _text("request_id"),
    )  # fmt: skip
    op.create_index("audit_model", "audit", ["model", "number"])
    op.create_index("audit_actor", "audit", ["actor", "number"])
