"""What the supervisor and a worker say to each other. Both run the same release, so that nothing here has versions."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from gyrostat_inference.domain.books import Written
from gyrostat_inference.domain.counters import Counters
from gyrostat_inference.domain.crew import ModelState
from gyrostat_inference.domain.live import Applied


class BadMessage(Exception):
    """Not what the other end may say."""


class _Message(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_bytes="base64", val_json_bytes="base64")


class VersionCounters(_Message):
    """True counters of one version in one process, or in all."""

    model: str
    version: int
    counters: Counters


class Family(_Message):
    """A metric with its samples: name, labels, value."""

    name: str
    kind: str
    text: str
    samples: list[tuple[str, dict[str, str], float]]


# What the supervisor says


class Plan(_Message):
    """A serving plan, as the log has it."""

    kind: Literal["plan"] = "plan"
    raw: bytes


class Word(_Message):
    """What the whole replica says of itself: why it is not ready, what alarms it, and the models that all serve."""

    kind: Literal["word"] = "word"
    reason: str | None
    problems: dict[str, str]
    served: frozenset[str] = frozenset()


class Ask(_Message):
    """Wants a Said with the same number."""

    kind: Literal["ask"] = "ask"
    number: int
    metrics: bool = False


class Totals(_Message):
    """The answer to Want: what the whole replica has counted and loaded."""

    kind: Literal["totals"] = "totals"
    number: int
    counters: list[VersionCounters]
    applied: list[Applied]


class Again(_Message):
    """Try now what could not be loaded of a model; said by a worker for the others, and passed on to them."""

    kind: Literal["again"] = "again"
    model: str


class Close(_Message):
    """Finish what is in flight and end."""

    kind: Literal["close"] = "close"


# What a worker says


class Up(_Message):
    """It can take sockets and plans."""

    kind: Literal["up"] = "up"


class Beat(_Message):
    """That it lives, several times a second, and what it has to do."""

    kind: Literal["beat"] = "beat"
    streams: int
    connections: int
    adopted: int
    """Sockets taken over since it began."""
    spool_problem: str | None = None


class States(_Message):
    """What has changed in what it serves."""

    kind: Literal["states"] = "states"
    states: list[ModelState]
    not_ready: str | None


class Said(_Message):
    """The answer to Ask."""

    kind: Literal["said"] = "said"
    number: int
    counters: list[VersionCounters]
    written: list[Written]
    families: list[Family]


class Want(_Message):
    """Wants Totals with the same number."""

    kind: Literal["want"] = "want"
    number: int


FromSupervisor = Plan | Word | Ask | Totals | Again | Close
FromWorker = Up | Beat | States | Said | Want | Again
_ANY: TypeAdapter[FromSupervisor | FromWorker] = TypeAdapter(
    Annotated[FromSupervisor | FromWorker, Field(discriminator="kind")]
)


def encode(message: FromSupervisor | FromWorker) -> bytes:
    return message.model_dump_json().encode()


def decode(content: bytes) -> FromSupervisor | FromWorker:
    """Raises BadMessage."""
    try:
        return _ANY.validate_json(content)
    except ValidationError as error:
        raise BadMessage(f"not a message: {error.error_count()} faults, first {error.errors()[0]['msg']}") from error
