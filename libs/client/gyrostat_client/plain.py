"""Messages and dataclasses as plain JSON values, the same everywhere: whole numbers stay numbers, times are RFC 3339 in
UTC, enums are their short lower-case names, bytes are base64. This is what `--json` prints.
"""

import base64
import dataclasses
import math
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from gyrostat_common.times import from_proto, to_rfc3339


def to_plain(value: Any) -> Any:
    """A value that `json.dumps` takes without a default; NaN and infinities become text."""
    if isinstance(value, Message):
        return _message(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: to_plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): to_plain(item) for key, item in value.items()}
    if value is None or isinstance(value, str | bytes | int | float | datetime):
        return _single(value)
    if hasattr(value, "tolist"):
        return to_plain(value.tolist())
    try:
        return [to_plain(item) for item in value]  # protobuf's repeated fields have no __iter__
    except TypeError:
        return str(value)


def _message(value: Message) -> Any:
    if isinstance(value, Timestamp):
        at = from_proto(value)
        return None if at is None else to_rfc3339(at)
    return {field.name: _field(value, field) for field in value.DESCRIPTOR.fields if _shown(value, field)}


def _single(value: str | bytes | float | datetime | None) -> str | float | None:
    """Bytes become base64, a time RFC 3339."""
    if isinstance(value, datetime):
        return to_rfc3339(value)
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value


def enum_word(descriptor: Any, number: int) -> str:
    """The short name of an enum's value: ROLLOUT_STATE_CANARY is "canary"; unspecified is empty."""
    value = descriptor.values_by_number.get(number)
    if value is None:
        return str(number)
    first = descriptor.values_by_number[0].name
    prefix = first.removesuffix("UNSPECIFIED") if first.endswith("UNSPECIFIED") else ""
    word = value.name.removeprefix(prefix).lower()
    return "" if word == "unspecified" else word


def word(message: Message, field: str) -> str:
    """The short name of an enum field's value."""
    descriptor = message.DESCRIPTOR.fields_by_name[field]
    return enum_word(descriptor.enum_type, getattr(message, field))


def _shown(message: Message, field: Any) -> bool:
    """Absent messages and unset alternatives are left out; everything else is shown, also when zero."""
    return not field.has_presence or message.HasField(field.name)


def _field(message: Message, field: Any) -> Any:
    value = getattr(message, field.name)
    if field.type == FieldDescriptor.TYPE_ENUM:
        if field.is_repeated:
            return [enum_word(field.enum_type, number) for number in value]
        return enum_word(field.enum_type, value)
    entry = field.message_type
    if entry is not None and entry.GetOptions().map_entry:
        kind = entry.fields_by_name["value"]
        if kind.type == FieldDescriptor.TYPE_ENUM:
            return {str(key): enum_word(kind.enum_type, number) for key, number in sorted(value.items())}
        return {str(key): to_plain(value[key]) for key in sorted(value)}
    return [to_plain(item) for item in value] if field.is_repeated else to_plain(value)
