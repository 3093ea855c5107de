"""Domain values as JSON text and back: what is asked for by column is a column, the rest of a value is its document."""

import dataclasses
import json
from datetime import datetime
from functools import cache
from typing import Any, TypeVar

from pydantic import TypeAdapter

T = TypeVar("T")


def dumped(value: Any) -> str:
    """The document of a frozen dataclass. NaN and infinity are kept, as Python's JSON writes them."""
    return json.dumps(dataclasses.asdict(value), default=_plain, separators=(",", ":"))


def loaded(kind: type[T], document: str) -> T:
    """The value of a document, also of one that an older release wrote: fields that it lacks take their default."""
    value: T = _adapter(kind).validate_python(json.loads(document))  # type: ignore[arg-type]
    return value


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    raise TypeError(f"{type(value).__name__} has no place in a document")
