"""What is committed is what the .proto files make, and the published documents agree with them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from google.protobuf.descriptor_pb2 import DescriptorProto, FileDescriptorSet

import events_doc
import protos
from descriptors import PROTOS, TOPIC, descriptor_set, sources


@pytest.fixture(scope="module")
def contract() -> FileDescriptorSet:
    return descriptor_set(sources())


def test_the_committed_stubs_are_what_the_protos_make(tmp_path: Path) -> None:
    protos.generate(tmp_path)
    assert protos.differences(protos.made_files(PROTOS), protos.made_files(tmp_path)) == []


def test_a_missing_a_stale_and_a_changed_file_are_named() -> None:
    lines = protos.differences({"old_pb2.py": b"", "same_pb2.py": b"1"}, {"new_pb2.py": b"", "same_pb2.py": b"2"})
    assert lines == ["missing: new_pb2.py", "no .proto makes it: old_pb2.py", "out of date: same_pb2.py"]


def test_the_open_inference_protocol_has_no_module_that_claims_the_default_pool() -> None:
    assert list((PROTOS / "gyrostat/oip").glob("*_pb2*.py")) == []


def test_the_committed_events_document_is_what_the_protos_make(contract: FileDescriptorSet) -> None:
    assert events_doc.DOCUMENT.read_text() == events_doc.render(events_doc.document(contract))


def test_every_event_has_a_channel_with_what_kafka_is_asked_for(contract: FileDescriptorSet) -> None:
    document = yaml.safe_load(events_doc.DOCUMENT.read_text())
    assert document["asyncapi"] == "3.0.0"
    for _, message, _ in events_doc.event_messages(contract):
        topic = message.options.Extensions[TOPIC]
        kafka = document["channels"][topic.name]["bindings"]["kafka"]
        assert kafka["partitions"] == topic.partitions
        assert kafka["topicConfiguration"]["cleanup.policy"] == [events_doc.CLEANUP[topic.cleanup_policy]]
        writers = {name for name, it in document["operations"].items() if it["action"] == "send"}
        assert {f"{service}.send.{topic.name}" for service in topic.producers} <= writers


def test_every_reference_in_the_events_document_leads_somewhere() -> None:
    document = yaml.safe_load(events_doc.DOCUMENT.read_text())
    for reference in references(document):
        node: Any = document
        for step in reference.removeprefix("#/").split("/"):
            node = node[step.replace("~1", "/").replace("~0", "~")]


def test_every_message_and_field_of_an_event_is_described(contract: FileDescriptorSet) -> None:
    schemas = yaml.safe_load(events_doc.DOCUMENT.read_text())["components"]["schemas"]
    silent = [name for name, schema in schemas.items() if "description" not in schema and "properties" not in schema]
    for name, schema in schemas.items():
        for field, described in schema.get("properties", {}).items():
            if "description" not in described:
                silent.append(f"{name}.{field}")
    assert silent == []


def test_every_field_and_rpc_of_the_contract_is_documented(contract: FileDescriptorSet) -> None:
    assert sorted(undocumented(contract)) == []


def undocumented(contract: FileDescriptorSet) -> Iterator[str]:
    for file in contract.file:
        if file.name.startswith("google/"):
            continue
        comments = events_doc.Comments(file)
        for index, message in enumerate(file.message_type):
            yield from undocumented_fields(f"{file.package}.{message.name}", message, comments, (4, index))
        for number, service in enumerate(file.service):
            for index, method in enumerate(service.method):
                if not comments.at(6, number, 2, index):
                    yield f"rpc {service.name}/{method.name}"


def undocumented_fields(
    name: str, message: DescriptorProto, comments: events_doc.Comments, path: tuple[int, ...]
) -> Iterator[str]:
    for index, field in enumerate(message.field):
        if not comments.at(*path, 2, index):
            yield f"{name}.{field.name}"
    for index, inner in enumerate(message.nested_type):
        if not inner.options.map_entry:
            yield from undocumented_fields(f"{name}.{inner.name}", inner, comments, (*path, 3, index))


def references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        for key, value in node.items():
            if key == "$ref":
                yield value
            else:
                yield from references(value)
    elif isinstance(node, list):
        for value in node:
            yield from references(value)
