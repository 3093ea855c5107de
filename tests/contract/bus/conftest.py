"""The suite's log: in memory, on Kafka, and on Kafka behind TLS and SCRAM."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from support.logs import Log, opened


@pytest.fixture(params=[None, "fresh_kafka", "secure_kafka"], ids=["memory", "kafka", "sasl_ssl"])
async def log(request: pytest.FixtureRequest) -> AsyncIterator[Log]:
    """One of the logs, with its topics made."""
    kafka = None if request.param is None else request.getfixturevalue(request.param)
    async with opened(kafka) as opened_log:
        yield opened_log
