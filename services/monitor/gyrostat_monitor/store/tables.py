"""The monitor's tables. Times are microseconds since 1970 UTC; event time unless the name says otherwise."""

from sqlalchemy import BigInteger, Column, Float, Index, Integer, LargeBinary, MetaData, Table, Text

METADATA = MetaData()
_COUNTED = BigInteger().with_variant(Integer(), "sqlite")


def _text(name: str, *, key: bool = False) -> "Column[str]":
    return Column(name, Text, primary_key=key, nullable=False)


def _long(name: str, *, key: bool = False, null: bool = False) -> "Column[int]":
    return Column(name, BigInteger, primary_key=key, nullable=null, autoincrement=False)


plans = Table(
    "plans", METADATA, _text("environment", key=True), _text("model", key=True), _long("revision"), _text("body"),
)  # fmt: skip
profiles = Table(
    "profiles", METADATA, _text("model", key=True), _long("version", key=True), _text("sha256"), _text("uri")
)
streams = Table(
    "streams", METADATA, _text("model", key=True), _text("stream", key=True), _long("event_us"), _long("seen_us"),
)  # fmt: skip
progress = Table("progress", METADATA, _text("model", key=True), _text("name", key=True), _text("value"))
counters = Table("counters", METADATA, _text("model", key=True), _text("name", key=True), _long("value"))
ticks = Table(
    "ticks", METADATA, _text("model", key=True), _long("version", key=True), _long("tick_us", key=True), _long("rows"),
    _text("layout"), Column("counts", LargeBinary, nullable=False), _text("exemplars"), sqlite_with_rowid=False,
)  # fmt: skip
quality = Table(
    "quality", METADATA, _text("model", key=True), _long("version", key=True), _text("role", key=True),
    _long("tick_us", key=True), _text("sums"), sqlite_with_rowid=False,
)  # fmt: skip
windows = Table(
    "windows", METADATA, _text("model", key=True), _long("version", key=True), _long("start_us", key=True),
    _long("end_us"), _long("rows"), _long("revision"), Column("stale", Integer, nullable=False),
    Column("judged", Integer, nullable=False), _text("report"), Index("windows_stale", "model", "stale"),
)  # fmt: skip
episodes = Table(
    "episodes", METADATA, Column("number", _COUNTED, primary_key=True, autoincrement=True),
    Column("id", Text, nullable=False, unique=True), _text("model"), _long("version"), _text("kind"), _text("state"),
    Column("open", Integer, nullable=False), _text("body"), Index("episodes_model", "model", "open"),
)  # fmt: skip
transitions = Table(
    "transitions", METADATA, Column("number", _COUNTED, primary_key=True, autoincrement=True), _text("episode"),
    _text("state"), _long("watermark_us"), _long("at_us"), _text("summary"), _text("event_id"), _text("body"),
    Index("transitions_episode", "episode"),
)  # fmt: skip
exemplars = Table("exemplars", METADATA, _text("row", key=True), _text("episode", key=True))
answers = Table(
    "answers", METADATA,
    Column("id", LargeBinary, primary_key=True), _long("row", key=True), _text("model", key=True),
    _long("version", key=True), Column("role", Integer, primary_key=True, autoincrement=False), _long("event_us"),
    Column("score", Float(53)), Column("vector", LargeBinary), Column("counted", Text),
    Index("answers_event", "model", "event_us"), sqlite_with_rowid=False,
)  # fmt: skip
by_request = Table(
    "by_request", METADATA, _text("model", key=True), _text("request", key=True), _long("row", key=True),
    Column("id", LargeBinary, nullable=False), _long("id_row"), _long("arrival_us"), _long("event_us"),
    sqlite_with_rowid=False,
)  # fmt: skip
by_entity = Table(
    "by_entity", METADATA, _text("model", key=True), _text("entity", key=True), _long("event_us", key=True),
    Column("id", LargeBinary, primary_key=True), _long("id_row", key=True), sqlite_with_rowid=False,
)  # fmt: skip
outcomes = Table(
    "outcomes", METADATA, _text("event_id", key=True), _text("event_source", key=True), _text("model"), _text("ref"),
    Column("id", LargeBinary), _long("id_row", null=True), Column("value", Float(53), nullable=False),
    Column("weight", Float(53), nullable=False), _long("observed_us"), _long("recorded_us"), _long("ingested_us"),
    _text("source"), _text("state"), _long("event_us", null=True),
    Index("outcomes_prediction", "id", "id_row"), Index("outcomes_parked", "model", "state", "observed_us"),
    Index("outcomes_ref", "ref"),
)  # fmt: skip
resolutions = Table(
    "resolutions", METADATA,
    Column("number", _COUNTED, primary_key=True, autoincrement=True), _text("model"), _text("body"),
)  # fmt: skip
pairs = Table(
    "pairs", METADATA, _text("model", key=True), _text("rollout", key=True), _long("tick_us", key=True), _text("bins"),
)  # fmt: skip
traffic = Table(
    "traffic", METADATA, _text("model", key=True), _text("rollout", key=True), _long("revision", key=True),
    _long("version", key=True), _text("body"),
)  # fmt: skip
judgements = Table(
    "judgements", METADATA, Column("number", _COUNTED, primary_key=True, autoincrement=True), _text("model"),
    _text("rollout"), _long("at_us"), _text("event_id"), _text("body"), Index("judgements_model", "model", "rollout"),
)  # fmt: skip
alerts = Table("alerts", METADATA, _text("alert", key=True), Column("firing", Integer, nullable=False), _long("at_us"))
