"""Settings from the environment: shared groups here, one subclass per service. Read by `app` only.

`class Settings(ServiceSettings, service="registry")` owns GYROSTAT_REGISTRY__… and the shared groups; a variable with
one of those prefixes that names no field is an error, because a misspelt setting must not be silently ignored.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from gyrostat_common.addresses import Addresses


class SettingsError(Exception):
    """A setting is wrong. The message names the variable and what it wants."""


class _Group(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class KafkaSettings(_Group):
    """GYROSTAT_KAFKA__…"""

    bootstrap_servers: Addresses = Field(
        default="127.0.0.1:9092", description="Brokers to ask first, host:port with commas between"
    )
    topic_prefix: str = Field(default="", description="Put before every topic and group name")
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        default="PLAINTEXT", description="How the brokers' listener speaks"
    )
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = Field(
        default="SCRAM-SHA-512", description="How to log in when the protocol is SASL_…"
    )
    sasl_username: str = Field(default="", description="Name to log in with")
    sasl_password: SecretStr = Field(default=SecretStr(""), description="Password to log in with")
    ssl_ca_file: str = Field(
        default="", description="PEM file of the authority that signed the brokers; empty: the system's"
    )
    ssl_cert_file: str = Field(default="", description="PEM file of our own certificate, for mutual TLS")
    ssl_key_file: str = Field(default="", description="PEM file of its key")
    replication_factor: int = Field(default=1, ge=1, description="Copies that `topics apply` asks for")


class Tls(_Group):
    """What a process shows of itself: GYROSTAT_<SERVICE>__TLS__…"""

    certificate: str = Field(
        default="",
        description="PEM file: this process's certificate, then those that lead to its authority; empty: none",
    )
    key: str = Field(default="", validate_default=True, description="PEM file of the certificate's key, no passphrase")

    @field_validator("key")
    @classmethod
    def _both(cls, key: str, other: ValidationInfo) -> str:
        if bool(key) != bool(other.data.get("certificate")):
            raise ValueError("a certificate and its key are set together")
        return key


class ServingTls(Tls):
    """For those who are called."""

    client_ca: str = Field(
        default="",
        validate_default=True,
        description="PEM file of the authorities whose clients are let in; empty: everybody",
    )

    @field_validator("client_ca")
    @classmethod
    def _with_a_certificate(cls, client_ca: str, other: ValidationInfo) -> str:
        if client_ca and not other.data.get("certificate"):
            raise ValueError("needs a certificate of our own")
        return client_ca


class CallingTls(Tls):
    """For those who call others."""

    ca: str = Field(
        default="", description="PEM file of the authorities of those that are called as tls://…; empty: the system's"
    )


class PeerTls(ServingTls, CallingTls):
    """For those who are called and call others."""


class OtelSettings(_Group):
    """GYROSTAT_OTEL__…; the standard OTEL_… variables are obeyed too."""

    enabled: bool = Field(default=False, description="Send by OTLP; on too when OTEL_EXPORTER_OTLP_ENDPOINT is set")
    sample_ratio: float = Field(
        default=0.01, ge=0.0, le=1.0, description="Share of calls without a caller's trace to record"
    )
    metrics_interval_s: float = Field(default=15.0, gt=0, description="Seconds between two exports of the metrics")


class LogSettings(_Group):
    """GYROSTAT_LOG__…"""

    format: Literal["json", "console"] = Field(
        default="json", description="json: one object a line; console: for a person"
    )
    level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="Least level that is written"
    )


class DataSettings(_Group):
    """GYROSTAT_DATA__…"""

    folder: Path = Field(default=Path("data"), description="Everything that is kept lies below, unless set otherwise")


class ServiceSettings(BaseSettings):
    """Parent of every service's settings. In text defaults `{data}` stands for the absolute data folder."""

    model_config = SettingsConfigDict(frozen=True, extra="forbid")
    service: ClassVar[str] = ""

    kafka: KafkaSettings = Field(default_factory=KafkaSettings, description="The log")
    otel: OtelSettings = Field(default_factory=OtelSettings, description="Telemetry")
    log: LogSettings = Field(default_factory=LogSettings, description="Log lines")
    data: DataSettings = Field(default_factory=DataSettings, description="Where files lie")

    def __init_subclass__(cls, service: str = "", **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)

    @classmethod
    def __pydantic_init_subclass__(cls, service: str = "", **kwargs: Any) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        if service:
            cls.service = service

    @classmethod
    def settings_customise_sources(  # type: ignore[override]
        cls, settings_cls: type[BaseSettings], init_settings: PydanticBaseSettingsSource, **_: Any
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return (init_settings,)  # the environment is read by `load`, which knows which names are ours

    @model_validator(mode="before")
    @classmethod
    def _place_defaults(cls, given: dict[str, Any]) -> dict[str, Any]:
        data = given.get("data", {})
        folder = data.folder if isinstance(data, DataSettings) else (data or {}).get("folder", "data")
        root = str(Path(folder if isinstance(folder, str | Path) else "data").absolute())  # its own check refuses it
        values = dict(given)
        for name, field in cls.model_fields.items():
            if isinstance(field.default, str) and "{data}" in field.default and name not in values:
                values[name] = field.default.replace("{data}", root)
        return values

    @classmethod
    def load(cls, environ: Mapping[str, str] | None = None) -> Self:
        """Reads the environment. Raises SettingsError that names every wrong variable, one a line."""
        environ = os.environ if environ is None else environ
        known = {variable: (path, field) for variable, path, field in variables(cls)}
        prefixes = _prefixes(cls)
        values: dict[str, Any] = {}
        problems = []
        for variable in sorted(environ):
            name = variable.upper()
            if not name.startswith(prefixes):
                continue
            if name not in known:
                problems.append(f"{variable} is not a setting{_nearest(name, known)}")
                continue
            path, field = known[name]
            _put(values, path, _parsed(environ[variable], field))
        if problems:
            raise SettingsError("\n".join(problems))
        try:
            return cls(**values)
        except ValidationError as error:
            raise SettingsError("\n".join(_explained(cls, problem) for problem in error.errors())) from error


def _prefixes(cls: type[ServiceSettings]) -> tuple[str, ...]:
    shared = tuple(f"GYROSTAT_{name.upper()}__" for name in ServiceSettings.model_fields)
    return (*shared, f"GYROSTAT_{cls.service.upper()}__") if cls.service else shared


def variables(cls: type[ServiceSettings]) -> Iterator[tuple[str, tuple[str, ...], FieldInfo]]:
    """(variable, path in the settings, field) of everything that can be set."""
    for name, field in cls.model_fields.items():
        shared = name in ServiceSettings.model_fields
        start = f"GYROSTAT_{name.upper()}" if shared else f"GYROSTAT_{cls.service.upper()}__{name.upper()}"
        yield from _leaves(start, (name,), field)


def _leaves(variable: str, path: tuple[str, ...], field: FieldInfo) -> Iterator[tuple[str, tuple[str, ...], FieldInfo]]:
    if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
        for name, inner in field.annotation.model_fields.items():
            yield from _leaves(f"{variable}__{name.upper()}", (*path, name), inner)
    else:
        yield variable, path, field


def _put(values: dict[str, Any], path: tuple[str, ...], value: Any) -> None:
    for step in path[:-1]:
        values = values.setdefault(step, {})
    values[path[-1]] = value


def _parsed(text: str, field: FieldInfo) -> Any:
    """Lists and maps are given as JSON; pydantic does the rest."""
    if text[:1] in ("[", "{") and field.annotation is not str:
        try:
            return json.loads(text)
        except (ValueError, RecursionError):
            return text
    return text


def _explained(cls: type[ServiceSettings], problem: Any) -> str:
    path = tuple(step for step in problem["loc"] if isinstance(step, str))
    for variable, known, field in variables(cls):
        if path[: len(known)] == known:
            untold = field.annotation is SecretStr or problem["type"] == "missing"
            shown = "" if untold else f"={problem['input']}"
            wrong = problem["msg"].lower().removeprefix("value error, ")
            return f"{variable}{shown}: {wrong} ({field.description})"
    return f"{'.'.join(path) or cls.service}: {problem['msg']}"


def _nearest(name: str, known: Mapping[str, Any]) -> str:
    close = get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f"; did you mean {close[0]}?" if close else "; see --help for the list"


def table(cls: type[ServiceSettings]) -> str:
    """The list that --help prints: variable, default, description."""
    rows = [(variable, _shown_default(field), field.description or "") for variable, _, field in variables(cls)]
    width = max(len(variable) for variable, _, _ in rows)
    return "\n".join(f"  {variable:<{width}}  {text}  [{default}]" for variable, default, text in rows)


def _shown_default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    default = field.get_default(call_default_factory=True, validated_data={})
    return "" if isinstance(default, SecretStr) else str(default)
