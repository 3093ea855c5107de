"""The tables as SQLAlchemy Core sees them. The schema itself is made by the migrations; a test compares the two."""

from sqlalchemy import BigInteger, Boolean, Column, Integer, LargeBinary, MetaData, Table, Text

metadata = MetaData()
_number = BigInteger().with_variant(Integer(), "sqlite")


def _table(name: str, *columns: Column[object]) -> Table:
    return Table(name, metadata, *columns)


def _text(name: str, key: bool = False) -> Column[object]:
    return Column(name, Text, primary_key=key)


def _long(name: str, key: bool = False) -> Column[object]:
    return Column(name, BigInteger, primary_key=key, autoincrement=False)


def _counted() -> Column[object]:
    return Column("number", _number, primary_key=True, autoincrement=True)


models = _table(
    "models", _text("name", True), _long("created_at_us"), _text("created_by"), _long("latest_version"), _text("spec")
)
specs = _table("specs", _text("model", True), _long("revision", True), _long("at_us"), _text("actor"), _text("spec"))
aliases = _table("aliases", _text("model", True), _text("alias", True), _long("version"))
environments = _table("environments", _text("name", True), _text("description"))
artifacts = _table(
    "artifacts", _text("sha256", True), _long("size_bytes"), _text("uri"), _text("name"), _text("signature")
)
versions = _table("versions", _text("model", True), _long("number", True), _text("run_id"), _text("body"))
runs = _table("runs", _counted(), _text("id"), _text("model"), _text("body"))
rollouts = _table(
    "rollouts", _counted(), _text("id"), _text("environment"), _text("model"), _long("version"), _text("state"),
    _text("body"),
)  # fmt: skip
plans = _table(
    "plans", _text("environment", True), _text("model", True), _long("revision", True), _long("made_at_us"),
    _text("body"),
)  # fmt: skip
promotions = _table(
    "promotions", _counted(), _text("environment"), _text("model"), _long("version_before"), _long("version_after"),
    Column("automatic", Boolean), _text("body"),
)  # fmt: skip
switches = _table("switches", _text("name", True), _text("mode"))
watermarks = _table("watermarks", _text("environment", True), _text("model", True), _long("event_time_us"))
episodes = _table("episodes", _text("id", True), _text("model"), _text("body"))
judgements = _table(
    "judgements", _counted(), _text("event_id"), _text("rollout_id"), _text("model"), _long("version"), _text("body")
)
trainings = _table("trainings", _text("event_id", True), _text("run_id"), _text("model"), _text("body"))
replicas = _table(
    "replicas", _text("environment", True), _text("name", True), _long("at_us"), Column("payload", LargeBinary)
)
audit = _table(
    "audit", _counted(), _long("at_us"), _text("actor"), _text("action"), _text("subject"), _text("model"),
    _text("reason"), _text("correlation_id"), _text("causation_id"), _text("detail_json"), _text("request_id"),
)  # fmt: skip
