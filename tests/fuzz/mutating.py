"""Good inputs made bad: bytes, text and protobuf messages, changed in a few places by a random generator."""

from __future__ import annotations

import math
from random import Random
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

INTEGERS = (0, 1, -1, 2, 7, 127, 128, 255, 256, 65535, 2**31 - 1, -(2**31), 2**32 - 1, 2**53, 2**63 - 1, -(2**63))
FLOATS = (0.0, -0.0, 1.0, -1.0, 1e-320, 1e308, -1e308, math.inf, -math.inf, math.nan, 0.5, 2.0**63)
TEXTS = (
    "", " ", "0", "-1", "nan", "null", "true", "{}", "[]", "a" * 5000, "\0", "ﬀ\u202e\u0301", "../../etc/passwd",
    "%s%n", "'; DROP TABLE", "BYTES", "FP16", "BF16", "FP32", "INT64", "UINT64", "9999-12-31T23:59:59-23:59",
    "0001-01-01T00:00:00+23:59", "2013-03-01T12:00:00Z", "production", "\ud7ff", "1e400",
)  # fmt: skip
_SMALL = {FieldDescriptor.CPPTYPE_INT32: (-(2**31), 2**31 - 1), FieldDescriptor.CPPTYPE_UINT32: (0, 2**32 - 1)}
_SMALL |= {FieldDescriptor.CPPTYPE_ENUM: (-(2**31), 2**31 - 1), FieldDescriptor.CPPTYPE_INT64: (-(2**63), 2**63 - 1)}
_SMALL |= {FieldDescriptor.CPPTYPE_UINT64: (0, 2**64 - 1)}


def raw(random: Random, good: bytes) -> bytes:
    """The bytes with one to four places flipped, cut, doubled, moved or overwritten."""
    data = bytearray(good)
    for _ in range(random.randint(1, 4)):
        at = random.randint(0, len(data))
        length = random.choice((1, 2, 4, 8, 64))
        match random.randrange(7):
            case 0 if data:
                data[at % len(data)] ^= 1 << random.randrange(8)
            case 1:
                del data[at:]
            case 2:
                del data[at : at + length]
            case 3:
                data[at:at] = random.randbytes(length)
            case 4:
                data[at:at] = data[at : at + length * 16]
            case 5:
                number = random.choice(INTEGERS) & (2 ** (8 * min(length, 8)) - 1)
                data[at : at + min(length, 8)] = number.to_bytes(min(length, 8), "little")
            case _:
                data[at : at + length] = bytes([random.choice((0, 255))]) * length
    return bytes(data)


def text(random: Random, good: str) -> str:
    """The text changed as bytes are, or another one."""
    if random.random() < 0.3:
        return random.choice(TEXTS)
    return raw(random, good.encode()).decode(errors="replace")


def message(random: Random, good: Message) -> Message:
    """A copy with one to four fields changed, wherever they lie."""
    bad = type(good)()
    bad.CopyFrom(good)
    for _ in range(random.randint(1, 4)):
        _change(random, bad)
    return bad


def _change(random: Random, of: Message) -> None:
    """One field of it or of a message inside it."""
    fields = of.DESCRIPTOR.fields
    if not fields:
        return
    field = random.choice(fields)
    if field.message_type is not None and not field.is_repeated:
        if random.random() < 0.2:
            of.ClearField(field.name)
        else:
            inner = getattr(of, field.name)
            inner.SetInParent()
            _change(random, inner)
    elif field.message_type is not None and field.message_type.GetOptions().map_entry:
        _change_map(random, getattr(of, field.name), field.message_type.fields_by_name)
    elif field.is_repeated:
        _change_list(random, getattr(of, field.name), field)
    elif random.random() < 0.15:
        of.ClearField(field.name)
    else:
        setattr(of, field.name, scalar(random, field, getattr(of, field.name)))


def _change_map(random: Random, items: Any, parts: Any) -> None:
    key = random.choice(list(items)) if len(items) and random.random() < 0.5 else scalar(random, parts["key"], "")
    if parts["value"].message_type is not None:
        _change(random, items[key])
    elif random.random() < 0.2:
        items.pop(key, None)
    else:
        items[key] = scalar(random, parts["value"], items.get(key))


def _change_list(random: Random, items: Any, field: FieldDescriptor) -> None:
    match random.randrange(4):
        case 0 if len(items):
            del items[random.randrange(len(items))]
        case 1 if len(items):
            copy = items[random.randrange(len(items))]
            items.extend([copy] * random.choice((1, 2, 40)))
        case 2 if field.message_type is not None:
            _change(random, items.add())
        case _ if field.message_type is not None:
            if len(items):
                _change(random, items[random.randrange(len(items))])
        case _ if len(items):
            at = random.randrange(len(items))
            items[at] = scalar(random, field, items[at])
        case _:
            items.append(scalar(random, field, None))


def scalar(random: Random, field: FieldDescriptor, good: Any) -> Any:
    """A value that the field can hold."""
    if field.type == FieldDescriptor.TYPE_BYTES:
        return raw(random, good or b"\1\2\3\4")
    if field.cpp_type == FieldDescriptor.CPPTYPE_STRING:
        return text(random, good or "x")
    if field.cpp_type == FieldDescriptor.CPPTYPE_BOOL:
        return random.random() < 0.5
    if field.cpp_type == FieldDescriptor.CPPTYPE_DOUBLE:
        return random.choice(FLOATS)
    if field.cpp_type == FieldDescriptor.CPPTYPE_FLOAT:
        return max(-3e38, min(random.choice(FLOATS), 3e38))
    if field.enum_type is not None and field.enum_type.is_closed:  # a message of proto2 takes no other
        return random.choice(field.enum_type.values).number
    least, most = _SMALL[field.cpp_type]
    number = random.choice(INTEGERS) if random.random() < 0.7 else (good or 0) + random.randint(-3, 3)
    return max(least, min(number, most))
