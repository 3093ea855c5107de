"""How to reach Kafka: what every client of ours is told, names with the site's prefix, and which errors pass."""

from __future__ import annotations

import ssl
from typing import Any

from aiokafka.errors import KafkaError
from aiokafka.helpers import create_ssl_context

from gyrostat_common.settings import KafkaSettings


def client_options(kafka: KafkaSettings) -> dict[str, Any]:
    """Arguments that producer, consumer and admin share."""
    options: dict[str, Any] = {
        "bootstrap_servers": kafka.bootstrap_servers,
        "security_protocol": kafka.security_protocol,
        "request_timeout_ms": 15_000,
        "metadata_max_age_ms": 30_000,
    }
    if kafka.security_protocol.endswith("SSL"):
        options["ssl_context"] = _ssl_context(kafka)
    if kafka.security_protocol.startswith("SASL"):
        options |= {
            "sasl_mechanism": kafka.sasl_mechanism,
            "sasl_plain_username": kafka.sasl_username,
            "sasl_plain_password": kafka.sasl_password.get_secret_value(),
        }
    return options


def _ssl_context(kafka: KafkaSettings) -> ssl.SSLContext:
    context: ssl.SSLContext = create_ssl_context(
        cafile=kafka.ssl_ca_file or None,
        certfile=kafka.ssl_cert_file or None,
        keyfile=kafka.ssl_key_file or None,
    )
    return context


def prefixed(kafka: KafkaSettings, name: str) -> str:
    """The site's name of a topic or group."""
    return kafka.topic_prefix + name


def unprefixed(kafka: KafkaSettings, name: str) -> str:
    return name.removeprefix(kafka.topic_prefix)


def short(error: BaseException) -> str:
    """An error of the client in one line."""
    text = str(error).splitlines()[0] if str(error) else ""
    if not text or not isinstance(error, KafkaError | OSError):
        return repr(error)
    return text if type(error).__name__ in text else f"{type(error).__name__}: {text}"
