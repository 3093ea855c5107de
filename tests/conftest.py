"""What every tier shares: the fixtures of tests/support, and no network for unit tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
from pytest_socket import disable_socket, enable_socket

pytest_plugins = ["support.kafka", "support.objects", "support.otlp", "support.postgres", "support.system"]

# The default draws every frame with its variables: a second of processor time for each traceback.
structlog.dev.ConsoleRenderer.get_active().exception_formatter = structlog.dev.plain_traceback
UNIT = Path(__file__).parent / "unit"


@pytest.fixture(autouse=True)
def _no_network_in_unit_tests(request: pytest.FixtureRequest) -> Iterator[None]:
    """A unit test that opens a socket fails; AF_UNIX stays, for event loops wake themselves through it."""
    if not request.path.is_relative_to(UNIT):
        yield
        return
    disable_socket(allow_unix_socket=True)
    yield
    enable_socket()
