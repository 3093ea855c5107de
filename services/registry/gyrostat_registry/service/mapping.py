"""Domain values to messages of the contract and back, by the names of their fields, which agree on purpose.

A field that only one side has is left alone. Enums agree by name: ROLLOUT_STATE_SHADOW is State.SHADOW. An absent
message or timestamp is None; tests hold every pair of types together.
"""

import dataclasses
import types
import typing
from collections.abc import Callable, Hashable
from datetime import datetime
from enum import StrEnum
from functools import cache
from typing import Any, TypeVar

from google.protobuf.descriptor import EnumDescriptor
from google.protobuf.message import Message

from gyrostat_common.errors import InvalidInput
from gyrostat_common.times import from_proto, to_proto

M = TypeVar("M", bound=Message)
T = TypeVar("T")
_TIMESTAMP = "google.protobuf.Timestamp"


def filled(message: M, value: Any) -> M:
    """The message with every field set that the value has too."""
    for name, field in message.DESCRIPTOR.fields_by_name.items():
        if hasattr(value, name):
            _set(message, field, getattr(value, name))
    return message


def opened(kind: Callable[..., T], message: Message) -> T:
    """The value that a message holds. InvalidInput for an enum number that the contract does not have."""
    hints: dict[str, Any] = _hints(kind)
    values = {}
    for name, field in message.DESCRIPTOR.fields_by_name.items():
        if name in hints:
            values[name] = _got(message, field, hints[name])
    return kind(**values)


def number_of(enum: EnumDescriptor, value: StrEnum) -> int:
    """The number of an enum value."""
    return int(enum.values_by_name[_prefix(enum) + value.upper()].number)


def named(kind: type[T], enum: EnumDescriptor, number: int) -> T:
    """The enum value of a number."""
    found = enum.values_by_number.get(number)
    if found is None:
        raise InvalidInput(f"{enum.name} has no value {number}")
    return kind(found.name.removeprefix(_prefix(enum)).lower())  # type: ignore[call-arg]


def _prefix(enum: EnumDescriptor) -> str:
    return str(enum.values[0].name).removesuffix("UNSPECIFIED")


def _is_map(field: Any) -> bool:
    return bool(field.message_type is not None and field.message_type.GetOptions().map_entry)


def _set(message: Message, field: Any, value: Any) -> None:
    if value is None:
        return
    target = getattr(message, field.name)
    if _is_map(field):
        entry = field.message_type.fields_by_name["value"]
        for key, item in value.items():
            target[key] = _scalar(entry, item)
    elif field.is_repeated:
        if field.message_type is None:
            target.extend(_scalar(field, item) for item in value)
        else:
            for item in value:
                filled(target.add(), item)
    elif field.message_type is None:
        setattr(message, field.name, _scalar(field, value))
    elif field.message_type.full_name == _TIMESTAMP:
        target.CopyFrom(to_proto(value))
    else:
        target.SetInParent()
        filled(target, value)


def _scalar(field: Any, value: Any) -> Any:
    return number_of(field.enum_type, value) if field.enum_type is not None else value


def _got(message: Message, field: Any, hint: Any) -> Any:
    value = getattr(message, field.name)
    if _is_map(field):
        entry, kind = field.message_type.fields_by_name["value"], typing.get_args(hint)[1]
        return {key: _one(entry, item, kind) for key, item in value.items()}
    if field.is_repeated:
        kind = typing.get_args(hint)[0]
        return tuple(_one(field, item, kind) for item in value)
    if field.has_presence and not message.HasField(field.name) and _optional(hint):
        return None
    return _one(field, value, _bare(hint))


def _one(field: Any, value: Any, kind: Any) -> Any:
    if field.enum_type is not None:
        return named(kind, field.enum_type, value)
    if field.message_type is None:
        return value
    return from_proto(value) if kind is datetime else opened(kind, value)


def _optional(hint: Any) -> bool:
    return isinstance(hint, types.UnionType) and type(None) in typing.get_args(hint)


def _bare(hint: Any) -> Any:
    if not _optional(hint):
        return hint
    return next(part for part in typing.get_args(hint) if part is not type(None))


@cache
def _hints(kind: Hashable) -> dict[str, Any]:
    assert isinstance(kind, type)
    known = {field.name for field in dataclasses.fields(kind)}
    return {name: hint for name, hint in typing.get_type_hints(kind).items() if name in known}
