"""The bytes on the wire of every event stay what they are."""

from __future__ import annotations

import json

import pytest

from gyrostat_common import bus
from gyrostat_common.bus import codec
from support import golden

TOPICS = bus.contract.events()


@pytest.mark.parametrize("topic", TOPICS, ids=lambda topic: topic.name)
def test_the_golden_record_is_written_and_read_as_ever(topic: bus.TopicContract) -> None:
    assert golden.path_of(topic).exists(), f"run `python -m support.golden` for {topic.name}"
    content = json.loads(golden.path_of(topic).read_text())
    assert topic.message is not None
    payload = golden.payload_of(content, topic.message)
    event = golden.an_event(payload)

    record = codec.encode(event)
    assert (record.topic, record.key) == (content["topic"], content["key"].encode())
    assert {name: value.decode() for name, value in record.headers} == content["headers"]
    assert (record.value or b"").hex() == content["value"]

    headers = tuple((name, text.encode()) for name, text in content["headers"].items())
    assert codec.decode_event(headers, b"flights", bytes.fromhex(content["value"]), topic.name) == event


def test_no_golden_file_is_left_without_its_event() -> None:
    assert {path.stem for path in golden.FOLDER.glob("*.json")} == {topic.name for topic in TOPICS}
