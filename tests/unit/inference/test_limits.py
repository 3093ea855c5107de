"""What callers may cost, by settings, in one process and in a worker."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gyrostat_front import Limits
from gyrostat_inference.serving import age_of, limits_of, rest_limits
from gyrostat_inference.settings import Settings, environ_of

PREFIX = "GYROSTAT_INFERENCE__"
CONNECTION = f"{PREFIX}CONNECTION__"


@pytest.mark.parametrize(
    ("given", "age_s"),
    [
        ({}, 1800.0),
        ({f"{PREFIX}WORKERS": "4"}, 600.0),
        ({f"{CONNECTION}AGE_S": "90"}, 90.0),
        ({f"{CONNECTION}AGE_S": "90", f"{PREFIX}WORKERS": "4"}, 90.0),
        ({f"{CONNECTION}AGE_S": "inf"}, None),
    ],
)
def test_connections_have_an_age_in_one_process_and_in_a_worker(given: dict[str, str], age_s: float | None):
    settings = Settings.load(given)
    assert age_of(settings) == limits_of(settings).age_s == age_s
    assert age_of(Settings.load(environ_of(settings))) == age_s  # what a worker is started with


def test_without_settings_the_limits_are_the_fronts_own_and_an_age():
    assert replace(limits_of(Settings.load({})), age_s=None) == Limits()


def test_workers_share_what_all_connections_may_hold():
    limits = limits_of(Settings.load({f"{PREFIX}WORKERS": "4"}))
    assert (limits.all_held_bytes, limits.all_unsent_bytes) == (256 * 1024**2, 256 * 1024**2)


def test_larger_messages_make_room_for_three_of_them():
    settings = Settings.load({f"{CONNECTION}MESSAGE_BYTES": str(512 * 1024**2), f"{CONNECTION}STREAMS": "7"})
    limits = limits_of(settings)
    assert (limits.message_bytes, limits.held_bytes, limits.streams) == (512 * 1024**2, 3 * 512 * 1024**2, 7)
    assert limits.all_held_bytes >= limits.held_bytes
    assert rest_limits(settings).body_bytes == 512 * 1024**2
