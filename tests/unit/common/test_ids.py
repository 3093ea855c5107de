"""Ids are what they claim to be, however many are drawn at once."""

from __future__ import annotations

import time
import uuid

from gyrostat_common.ids import Uuids, uuid7


def test_ids_in_bytes_are_uuids_of_version_7_in_order_of_birth_and_all_different():
    ids = Uuids(at_once=7)
    now = time.time_ns()
    made = [ids.new(now + n * 1_000_000) for n in range(100)]
    read = [uuid.UUID(bytes=each) for each in made]
    assert {(each.version, each.variant) for each in read} == {(7, uuid.RFC_4122)}
    assert made == sorted(made)
    assert len({each[6:] for each in made}) == 100
    assert [each.int >> 80 for each in read] == [now // 1_000_000 + n for n in range(100)]
    assert abs((uuid7().int >> 80) - (read[0].int >> 80)) < 60_000


def test_every_random_bit_is_random():
    ids = Uuids()
    seen_one = seen_zero = 0
    for _ in range(200):
        value = int.from_bytes(ids.new(0), "big")
        seen_one, seen_zero = seen_one | value, seen_zero | ~value
    fixed = (0xF << 76) | (0b11 << 62)
    drawn = ((1 << 80) - 1) & ~fixed
    assert seen_one & drawn == drawn == seen_zero & drawn
