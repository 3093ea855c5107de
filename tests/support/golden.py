"""The golden records: every event message with every field filled, as content and as the bytes on the wire.

A file that exists is a promise to every consumer: the same content gives the same bytes, and those bytes give the same
content. Write files for new events, or all anew after a deliberate change, with
`PYTHONPATH=tests python -m support.golden [--all]`.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.json_format import MessageToDict, ParseDict
from google.protobuf.message import Message

from gyrostat_common import bus
from gyrostat_common.bus import codec
from gyrostat_common.times import parse_rfc3339

FOLDER = Path(__file__).resolve().parents[1] / "contract" / "bus" / "golden"
DEPTH = 6


def filled(message: type[Message]) -> Message:
    """Every field set: numbers to the field's number, text to its name, lists to two items."""
    return _fill(message(), DEPTH)


def _fill(message: Message, depth: int) -> Message:
    for field in message.DESCRIPTOR.fields:
        if field.containing_oneof is not None and field is not field.containing_oneof.fields[0]:
            continue
        if field.message_type is not None and depth == 0:
            continue
        _set(message, field, depth)
    return message


def _set(message: Message, field: FieldDescriptor, depth: int) -> None:
    entry = field.message_type
    if entry is not None and entry.GetOptions().map_entry:
        key, value = entry.fields_by_name["key"], entry.fields_by_name["value"]
        if value.message_type is not None:
            _fill(getattr(message, field.name)[_scalar(key)], depth - 1)
        else:
            getattr(message, field.name)[_scalar(key)] = _scalar(value)
    elif field.is_repeated:
        items = getattr(message, field.name)
        for _ in range(2):
            if entry is not None:
                _fill(items.add(), depth - 1)
            else:
                items.append(_scalar(field))
    elif entry is not None:
        _fill(getattr(message, field.name), depth - 1)
        getattr(message, field.name).SetInParent()
    else:
        setattr(message, field.name, _scalar(field))


def _scalar(field: FieldDescriptor) -> Any:
    if field.enum_type is not None:
        return field.enum_type.values[-1].number
    return {
        FieldDescriptor.CPPTYPE_STRING: field.name.encode() if field.type == field.TYPE_BYTES else field.name,
        FieldDescriptor.CPPTYPE_BOOL: True,
        FieldDescriptor.CPPTYPE_DOUBLE: field.number + 0.5,
        FieldDescriptor.CPPTYPE_FLOAT: field.number + 0.5,
    }.get(field.cpp_type, field.number)


def an_event(payload: Message) -> bus.Event:
    """With every attribute set."""
    return bus.Event(
        payload=payload,
        key="flights",
        subject="flights:4",
        source="gyrostat-test",
        id="018f0000-0000-7000-8000-000000000001",
        time=parse_rfc3339("2013-03-01T12:00:00.123456Z"),
        correlation_id="018f0000-0000-7000-8000-000000000002",
        causation_id="018f0000-0000-7000-8000-000000000003",
        traceparent=f"00-{'a' * 32}-{'b' * 16}-01",
    )


def written(topic: bus.TopicContract) -> str:
    """The golden file of a topic's message."""
    assert topic.message is not None
    payload = filled(topic.message)
    record = codec.encode(an_event(payload))
    content = {
        "topic": record.topic,
        "key": (record.key or b"").decode(),
        "headers": {name: value.decode() for name, value in record.headers},
        "payload": MessageToDict(payload, preserving_proto_field_name=True),
        "value": (record.value or b"").hex(),
    }
    return json.dumps(content, indent=1, sort_keys=False) + "\n"


def payload_of(content: dict[str, Any], message: type[Message]) -> Message:
    """The content of a golden file as the message of today."""
    return ParseDict(content["payload"], message())


def path_of(topic: bus.TopicContract) -> Path:
    """Where a topic's golden file lies."""
    return FOLDER / f"{topic.name}.json"


def main(every: bool) -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    for topic in bus.contract.events():
        if every or not path_of(topic).exists():
            path_of(topic).write_text(written(topic))
            print(path_of(topic).name)


if __name__ == "__main__":
    main("--all" in sys.argv)
