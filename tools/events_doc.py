#!/usr/bin/env python3
"""Write docs/asyncapi.yaml, the AsyncAPI 3 document of our topics, from the descriptors and their comments.

python tools/events_doc.py            write it
python tools/events_doc.py --check    exit 1 when the committed one is different
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from typing import Any

import yaml
from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
)

from descriptors import ROOT, TOPIC, descriptor_set, sources

DOCUMENT = ROOT / "docs" / "asyncapi.yaml"
VERSION = "1.0.0"
DAY_MS = 86_400_000
CLEANUP = {1: "delete", 2: "compact"}
F = FieldDescriptorProto
SCALARS: dict[int, dict[str, str]] = {
    F.TYPE_DOUBLE: {"type": "number", "format": "double"},
    F.TYPE_FLOAT: {"type": "number", "format": "float"},
    F.TYPE_INT32: {"type": "integer", "format": "int32"},
    F.TYPE_SINT32: {"type": "integer", "format": "int32"},
    F.TYPE_SFIXED32: {"type": "integer", "format": "int32"},
    F.TYPE_UINT32: {"type": "integer", "format": "uint32"},
    F.TYPE_FIXED32: {"type": "integer", "format": "uint32"},
    F.TYPE_INT64: {"type": "string", "format": "int64"},
    F.TYPE_SINT64: {"type": "string", "format": "int64"},
    F.TYPE_SFIXED64: {"type": "string", "format": "int64"},
    F.TYPE_UINT64: {"type": "string", "format": "uint64"},
    F.TYPE_FIXED64: {"type": "string", "format": "uint64"},
    F.TYPE_BOOL: {"type": "boolean"},
    F.TYPE_STRING: {"type": "string"},
    F.TYPE_BYTES: {"type": "string", "format": "byte"},
}
TIMESTAMP = "google.protobuf.Timestamp"
PARTITION_KEY = "ce_partitionkey"
HEADERS = {
    "ce_specversion": "Always 1.0.",
    "ce_id": "UUIDv7; with ce_source the key by which a consumer drops duplicates.",
    "ce_source": "Who says it, e.g. gyrostat/registry.",
    "ce_type": "What it says; the version of the meaning is its end.",
    "ce_time": "Wall time, RFC 3339.",
    "ce_subject": "What it is about, e.g. flights:4.",
    "ce_dataschema": "Full name of the protobuf message.",
    "ce_correlationid": "The loop: id of its first episode or trigger.",
    "ce_causationid": "Id of the parent event.",
    PARTITION_KEY: "The record key, when there is one.",
    "content-type": "Always application/protobuf.",
    "traceparent": "W3C trace context, when sampled.",
    "tracestate": "W3C trace state, when there is one.",
}
DEAD_LETTER_HEADERS = {
    "dlq_group": "Consumer group that could not handle the record.",
    "dlq_topic": "Topic that it came from.",
    "dlq_partition": "Its partition.",
    "dlq_offset": "Its offset.",
    "dlq_timestamp_ms": "Its timestamp, wall time in milliseconds.",
    "dlq_error": "Class of the error.",
    "dlq_detail": "Why, in words.",
    "dlq_tries": "How often it was tried.",
}
REQUIRED = ["ce_specversion", "ce_id", "ce_source", "ce_type", "ce_time", "content-type"]


class Comments:
    """Leading comments of one file by their position in it."""

    def __init__(self, file: FileDescriptorProto) -> None:
        self._texts = {tuple(place.path): place.leading_comments for place in file.source_code_info.location}

    def at(self, *path: int) -> str:
        """Return the comment at a path as one paragraph; empty when there is none."""
        return " ".join(self._texts.get(path, "").split())


def document(files: FileDescriptorSet) -> dict[str, Any]:
    """Return the AsyncAPI document of every message that carries the topic option."""
    schemas = dict(all_schemas(files))
    channels: dict[str, Any] = {}
    operations: dict[str, Any] = {}
    messages: dict[str, Any] = {}
    for file, message, comment in event_messages(files):
        topic = message.options.Extensions[TOPIC]
        channels[topic.name] = channel(topic, message.name, comment)
        messages[message.name] = event(topic, f"{file.package}.{message.name}", comment)
        operations.update(topic_operations(topic, message.name))
    channels["dead-letters"] = dead_letters()
    messages["DeadLetter"] = {
        "title": "DeadLetter",
        "summary": "Key, value and headers of the original record, with the reason in further headers.",
        "contentType": "application/octet-stream",
        "headers": strings(DEAD_LETTER_HEADERS, list(DEAD_LETTER_HEADERS)),
        "payload": {"type": "string", "format": "binary"},
    }
    wanted = reachable(schemas, list(references(messages)))
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Gyrostat events",
            "version": VERSION,
            "description": "CloudEvents 1.0 in binary mode on Kafka; the value is the protobuf message named by "
            "ce_dataschema, shown here in protobuf's JSON mapping.",
        },
        "defaultContentType": "application/protobuf",
        "channels": channels,
        "operations": operations,
        "components": {
            "messages": messages,
            "schemas": {"CloudEventHeaders": strings(HEADERS, REQUIRED)}
            | {name: schemas[name] for name in sorted(wanted)},
        },
    }


def event_messages(files: FileDescriptorSet) -> Iterator[tuple[FileDescriptorProto, DescriptorProto, str]]:
    """Yield file, message and its comment for every event, in the files' order."""
    for file in files.file:
        comments = Comments(file)
        for index, message in enumerate(file.message_type):
            if message.options.HasExtension(TOPIC):
                yield file, message, comments.at(4, index)


def event(topic: Any, full_name: str, comment: str) -> dict[str, Any]:
    """Return the AsyncAPI message of an event."""
    return {
        "name": topic.type,
        "title": full_name.rpartition(".")[2],
        "summary": comment,
        "contentType": "application/protobuf",
        "headers": {"$ref": "#/components/schemas/CloudEventHeaders"},
        "payload": {"$ref": f"#/components/schemas/{full_name}"},
        "bindings": {"kafka": {"key": {"type": "string", "description": topic.key}}},
    }


def channel(topic: Any, message: str, comment: str) -> dict[str, Any]:
    """Return the channel of a topic with what `topics apply` asks of Kafka."""
    retention = topic.retention_days * DAY_MS if topic.retention_days else -1
    configuration = {
        "cleanup.policy": [CLEANUP[topic.cleanup_policy]],
        "retention.ms": retention,
        "max.message.bytes": topic.max_message_bytes,
    }
    kafka = {"topic": topic.name, "partitions": topic.partitions, "topicConfiguration": configuration}
    return {
        "address": topic.name,
        "description": comment,
        "messages": {message: {"$ref": f"#/components/messages/{message}"}},
        "bindings": {"kafka": kafka},
    }


def topic_operations(topic: Any, message: str) -> dict[str, Any]:
    """Return one operation per service that writes or reads the topic."""
    escaped = topic.name.replace("~", "~0").replace("/", "~1")
    reference = {"$ref": f"#/channels/{escaped}"}
    messages = [{"$ref": f"#/channels/{escaped}/messages/{message}"}]
    made = {}
    for action, services in (("send", topic.producers), ("receive", topic.consumers)):
        for service in services:
            made[f"{service}.{action}.{topic.name}"] = {
                "action": action,
                "channel": reference,
                "summary": f"{service} {'writes' if action == 'send' else 'reads'} {topic.name}",
                "messages": messages,
            }
    return made


def dead_letters() -> dict[str, Any]:
    """Return the channel of what a consumer group could not handle; one topic a group."""
    return {
        "address": "{group}.dlq",
        "description": "What a consumer group could not handle, after its last try.",
        "parameters": {"group": {"description": "Consumer group, e.g. monitor."}},
        "messages": {"DeadLetter": {"$ref": "#/components/messages/DeadLetter"}},
    }


def strings(texts: dict[str, str], required: list[str]) -> dict[str, Any]:
    """Return the schema of record headers."""
    properties = {name: {"type": "string", "description": text} for name, text in texts.items()}
    return {"type": "object", "required": required, "properties": properties}


def all_schemas(files: FileDescriptorSet) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield a schema for every message and enum of ours, nested ones too, by full name."""
    for file in files.file:
        if file.name.startswith("google/"):
            continue
        comments = Comments(file)
        for index, message in enumerate(file.message_type):
            yield from message_schemas(f"{file.package}.{message.name}", message, comments, (4, index))
        for index, enum in enumerate(file.enum_type):
            yield f"{file.package}.{enum.name}", enum_schema(enum, comments, (5, index))


def message_schemas(
    name: str, message: DescriptorProto, comments: Comments, path: tuple[int, ...]
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield a message's schema and those of what is nested in it."""
    maps = {f".{name}.{inner.name}": inner for inner in message.nested_type if inner.options.map_entry}
    properties = {}
    for index, field in enumerate(message.field):
        schema = field_schema(field, maps)
        text = comments.at(*path, 2, index)
        properties[field.json_name] = {**({"description": text} if text else {}), **schema, "x-number": field.number}
    text = comments.at(*path)
    yield name, {"type": "object", **({"description": text} if text else {}), "properties": properties}
    for index, inner in enumerate(message.nested_type):
        if not inner.options.map_entry:
            yield from message_schemas(f"{name}.{inner.name}", inner, comments, (*path, 3, index))
    for index, enum in enumerate(message.enum_type):
        yield f"{name}.{enum.name}", enum_schema(enum, comments, (*path, 4, index))


def enum_schema(enum: EnumDescriptorProto, comments: Comments, path: tuple[int, ...]) -> dict[str, Any]:
    """Return an enum's schema; its values' comments go into the description."""
    lines = [comments.at(*path)]
    for index, value in enumerate(enum.value):
        if text := comments.at(*path, 2, index):
            lines.append(f"{value.name}: {text}")
    text = "\n".join(line for line in lines if line)
    schema: dict[str, Any] = {"type": "string", "enum": [value.name for value in enum.value]}
    return {"description": text, **schema} if text else schema


def field_schema(field: FieldDescriptorProto, maps: dict[str, DescriptorProto]) -> dict[str, Any]:
    """Return a field's schema in protobuf's JSON mapping."""
    if field.type_name in maps:
        return {"type": "object", "additionalProperties": one_schema(maps[field.type_name].field[1])}
    single = one_schema(field)
    return {"type": "array", "items": single} if field.label == F.LABEL_REPEATED else single


def one_schema(field: FieldDescriptorProto) -> dict[str, Any]:
    """Return the schema of one value of a field."""
    if field.type in SCALARS:
        return dict(SCALARS[field.type])
    name = field.type_name.lstrip(".")
    if name == TIMESTAMP:
        return {"type": "string", "format": "date-time"}
    return {"type": "object"} if name.startswith("google.") else {"$ref": f"#/components/schemas/{name}"}


def reachable(schemas: dict[str, Any], start: list[str]) -> set[str]:
    """Return the names of the schemas that these ones refer to, themselves included."""
    found: set[str] = set()
    waiting = list(start)
    while waiting:
        name = waiting.pop()
        if name not in found and name in schemas:
            found.add(name)
            waiting += references(schemas[name])
    return found


def references(node: Any) -> Iterator[str]:
    """Yield the names that a schema refers to."""
    if isinstance(node, dict):
        if "$ref" in node:
            yield str(node["$ref"]).rsplit("/", 1)[1]
        for value in node.values():
            yield from references(value)
    elif isinstance(node, list):
        for value in node:
            yield from references(value)


class _Plain(yaml.SafeDumper):
    """Writes repeated parts out: a reader should not have to follow YAML anchors."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def render(content: dict[str, Any]) -> str:
    """Return the document as YAML."""
    text = yaml.dump(content, Dumper=_Plain, sort_keys=False, allow_unicode=True, width=120)
    return "# Generated from protos/ by `make events-doc`. DO NOT EDIT.\n" + text


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 on a difference")
    check = parser.parse_args().check
    text = render(document(descriptor_set(sources())))
    if not check:
        DOCUMENT.write_text(text)
        print(f"wrote {DOCUMENT.relative_to(ROOT)}")
    elif not DOCUMENT.exists() or DOCUMENT.read_text() != text:
        sys.exit("docs/asyncapi.yaml differs from the descriptors: run `make events-doc` and commit")


if __name__ == "__main__":
    main()
