"""The breaking-change check says what it must and lets additions pass."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto, FileDescriptorProto, FileDescriptorSet

import breaking
from descriptors import TOPIC, descriptor_set, sources

EVENTS = "gyrostat/events/v1/events.proto"
REGISTRY = "gyrostat/registry/v1/registry.proto"


@pytest.fixture(scope="module")
def contract() -> FileDescriptorSet:
    return descriptor_set(sources())


def changed(contract: FileDescriptorSet, change: Callable[[FileDescriptorSet], None]) -> list[str]:
    copy = FileDescriptorSet()
    copy.CopyFrom(contract)
    change(copy)
    return breaking.breaks(contract, copy)


def file(contract: FileDescriptorSet, name: str) -> FileDescriptorProto:
    return next(file for file in contract.file if file.name == name)


def message(contract: FileDescriptorSet, name: str) -> DescriptorProto:
    return dict(breaking.messages(contract))[f"gyrostat.events.v1.{name}"]


def field(contract: FileDescriptorSet, of: str, name: str) -> FieldDescriptorProto:
    return next(field for field in message(contract, of).field if field.name == name)


def test_no_change_breaks_nothing(contract: FileDescriptorSet) -> None:
    assert changed(contract, lambda _: None) == []


def test_a_new_field_a_new_message_and_more_partitions_break_nothing(contract: FileDescriptorSet) -> None:
    def change(new: FileDescriptorSet) -> None:
        column = message(new, "Column")
        column.field.add(name="fresh", number=999, type=FieldDescriptorProto.TYPE_STRING, label=1)
        file(new, EVENTS).message_type.add(name="Fresh")
        message(new, "PredictionLogged").options.Extensions[TOPIC].partitions = 30

    assert changed(contract, change) == []


def test_a_removed_field_breaks(contract: FileDescriptorSet) -> None:
    lines = changed(contract, lambda new: message(new, "Column").field.__delitem__(1))
    assert lines == ["gyrostat.events.v1.Column.datatype (2) is gone"]


def test_a_renumbered_field_breaks(contract: FileDescriptorSet) -> None:
    lines = changed(contract, lambda new: setattr(field(new, "Column", "datatype"), "number", 77))
    assert lines == ["gyrostat.events.v1.Column.datatype has number 77 instead of 2"]


def test_a_renamed_field_breaks(contract: FileDescriptorSet) -> None:
    lines = changed(contract, lambda new: setattr(field(new, "Column", "datatype"), "name", "dtype"))
    assert lines == ["gyrostat.events.v1.Column.datatype (2) is called dtype"]


def test_a_retyped_field_breaks(contract: FileDescriptorSet) -> None:
    kind = FieldDescriptorProto.TYPE_BYTES
    lines = changed(contract, lambda new: setattr(field(new, "Column", "datatype"), "type", kind))
    assert lines == ["gyrostat.events.v1.Column.datatype is bytes instead of string"]


def test_a_field_that_is_no_longer_repeated_breaks(contract: FileDescriptorSet) -> None:
    one = FieldDescriptorProto.LABEL_OPTIONAL
    lines = changed(contract, lambda new: setattr(field(new, "Column", "shape"), "label", one))
    assert lines == ["gyrostat.events.v1.Column.shape is int64 instead of repeated int64"]


def test_a_removed_message_breaks(contract: FileDescriptorSet) -> None:
    lines = changed(contract, lambda new: setattr(message(new, "ModelPromoted"), "name", "Promoted"))
    assert lines == ["message gyrostat.events.v1.ModelPromoted is gone"]


def test_a_removed_enum_value_breaks(contract: FileDescriptorSet) -> None:
    lines = changed(contract, lambda new: file(new, EVENTS).enum_type[0].value.__delitem__(2))
    assert lines == ["gyrostat.events.v1.Role.ROLE_SHADOW is gone"]


def test_a_renumbered_enum_value_breaks(contract: FileDescriptorSet) -> None:
    lines = changed(contract, lambda new: setattr(file(new, EVENTS).enum_type[0].value[2], "number", 9))
    assert lines == ["gyrostat.events.v1.Role.ROLE_SHADOW has number 9 instead of 2"]


def test_a_removed_rpc_breaks(contract: FileDescriptorSet) -> None:
    name = file(contract, REGISTRY).service[0].method[0].name
    lines = changed(contract, lambda new: file(new, REGISTRY).service[0].method.__delitem__(0))
    assert lines == [f"rpc gyrostat.registry.v1.RegistryService/{name} is gone"]


def test_an_rpc_that_becomes_a_stream_breaks(contract: FileDescriptorSet) -> None:
    method = file(contract, REGISTRY).service[0].method[0]
    lines = changed(contract, lambda new: setattr(file(new, REGISTRY).service[0].method[0], "server_streaming", True))
    assert lines == [
        f"rpc gyrostat.registry.v1.RegistryService/{method.name}: server_streaming is True instead of False"
    ]


def test_a_topic_with_another_name_breaks(contract: FileDescriptorSet) -> None:
    lines = changed(contract, lambda new: setattr(topic(new, "ServingPlan"), "name", "plan"))
    assert lines == ["topic of gyrostat.events.v1.ServingPlan: name is 'plan' instead of 'serving.plan'"]


def test_a_topic_with_another_cleanup_policy_breaks(contract: FileDescriptorSet) -> None:
    lines = changed(contract, lambda new: setattr(topic(new, "ServingPlan"), "cleanup_policy", 1))
    assert lines == ["topic of gyrostat.events.v1.ServingPlan: cleanup_policy is 1 instead of 2"]


def test_a_topic_with_fewer_partitions_breaks(contract: FileDescriptorSet) -> None:
    lines = changed(contract, lambda new: setattr(topic(new, "PredictionLogged"), "partitions", 1))
    assert lines == ["topic of gyrostat.events.v1.PredictionLogged: 1 partitions instead of 3"]


def test_a_message_that_is_no_longer_an_event_breaks(contract: FileDescriptorSet) -> None:
    lines = changed(contract, lambda new: message(new, "AlertRaised").options.ClearExtension(TOPIC))
    assert "topic of gyrostat.events.v1.AlertRaised: name is '' instead of 'alert.raised'" in lines


def topic(contract: FileDescriptorSet, name: str) -> object:
    return message(contract, name).options.Extensions[TOPIC]
