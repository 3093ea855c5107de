"""Settings from the environment."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from gyrostat_common.addresses import Address
from gyrostat_common.settings import ServiceSettings, SettingsError, table


class Spool(BaseModel):
    model_config = ConfigDict(frozen=True)
    limit_mb: int = Field(default=2048, description="Size at which it is full")


class Settings(ServiceSettings, service="inference"):
    grpc_address: Address = Field(default="127.0.0.1:8001", description="Where gRPC is served")
    database_url: str = Field(default="sqlite+aiosqlite:///{data}/inference/inference.db", description="Database")
    workers: int = Field(default=1, ge=1, description="Processes")
    spool: Spool = Field(default_factory=Spool, description="Spool")
    aliases: list[str] = Field(default_factory=list, description="Names")


class Strict(ServiceSettings, service="strict"):
    token: str = Field(description="Has no default")


def test_defaults_without_an_environment() -> None:
    settings = Settings.load({})
    assert settings.grpc_address == "127.0.0.1:8001"
    assert settings.kafka.bootstrap_servers == "127.0.0.1:9092"
    assert (settings.otel.enabled, settings.otel.sample_ratio, settings.log.format) == (False, 0.01, "json")


def test_own_shared_and_nested_variables_are_read() -> None:
    settings = Settings.load(
        {
            "GYROSTAT_INFERENCE__WORKERS": "3",
            "GYROSTAT_INFERENCE__SPOOL__LIMIT_MB": "10",
            "GYROSTAT_INFERENCE__ALIASES": '["a", "b"]',
            "GYROSTAT_KAFKA__TOPIC_PREFIX": "site.",
            "GYROSTAT_KAFKA__SASL_PASSWORD": "secret",
        }
    )
    assert (settings.workers, settings.spool.limit_mb, settings.aliases) == (3, 10, ["a", "b"])
    assert settings.kafka.topic_prefix == "site."
    assert settings.kafka.sasl_password.get_secret_value() == "secret"
    assert "secret" not in repr(settings)


def test_text_defaults_lie_below_the_data_folder() -> None:
    settings = Settings.load({"GYROSTAT_DATA__FOLDER": "/srv/gyrostat"})
    assert settings.database_url == "sqlite+aiosqlite:////srv/gyrostat/inference/inference.db"
    relative = Settings.load({"GYROSTAT_DATA__FOLDER": "here"})
    assert relative.database_url == f"sqlite+aiosqlite:///{Path('here').absolute()}/inference/inference.db"
    given = Settings.load({"GYROSTAT_INFERENCE__DATABASE_URL": "postgresql+asyncpg://db/x"})
    assert given.database_url == "postgresql+asyncpg://db/x"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("GYROSTAT_INFERENCE__GRPC_ADRESS", "did you mean GYROSTAT_INFERENCE__GRPC_ADDRESS"),
        ("GYROSTAT_KAFKA__BOOTSTRAP", "GYROSTAT_KAFKA__BOOTSTRAP is not a setting"),
        ("GYROSTAT_OTEL__RATIO", "GYROSTAT_OTEL__RATIO is not a setting"),
        ("GYROSTAT_LOG__COLOUR", "GYROSTAT_LOG__COLOUR is not a setting"),
        ("GYROSTAT_DATA__DIRECTORY", "GYROSTAT_DATA__DIRECTORY is not a setting"),
        ("GYROSTAT_INFERENCE__SPOOL__LIMIT", "did you mean GYROSTAT_INFERENCE__SPOOL__LIMIT_MB"),
    ],
)
def test_an_unknown_variable_of_ours_is_refused(name: str, said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        Settings.load({name: "x"})


def test_variables_of_others_are_not_our_business() -> None:
    Settings.load({"GYROSTAT_REGISTRY__WHATEVER": "x", "GYROSTAT_CLIENT__ACTOR": "me", "PATH": "/bin"})


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("GYROSTAT_INFERENCE__WORKERS", "many", "GYROSTAT_INFERENCE__WORKERS=many: .*integer"),
        ("GYROSTAT_INFERENCE__WORKERS", "0", "GYROSTAT_INFERENCE__WORKERS=0: .*greater than or equal to 1"),
        ("GYROSTAT_OTEL__SAMPLE_RATIO", "2", "GYROSTAT_OTEL__SAMPLE_RATIO=2"),
        ("GYROSTAT_LOG__FORMAT", "xml", "GYROSTAT_LOG__FORMAT=xml: .*json.*console"),
        ("GYROSTAT_INFERENCE__ALIASES", "a,b", "GYROSTAT_INFERENCE__ALIASES=a,b"),
        ("GYROSTAT_INFERENCE__ALIASES", "[" * 3000, "GYROSTAT_INFERENCE__ALIASES="),
        ("GYROSTAT_DATA__FOLDER", '["a"]', "GYROSTAT_DATA__FOLDER="),
    ],
)
def test_a_bad_value_names_its_variable_and_what_it_wants(name: str, value: str, said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        Settings.load({name: value})


def test_a_missing_variable_is_named() -> None:
    with pytest.raises(SettingsError, match=r"GYROSTAT_STRICT__TOKEN: .*required"):
        Strict.load({})


def test_all_errors_are_told_at_once() -> None:
    with pytest.raises(SettingsError) as caught:
        Settings.load({"GYROSTAT_INFERENCE__WORKERS": "x", "GYROSTAT_LOG__LEVEL": "loud"})
    assert len(str(caught.value).splitlines()) == 2


def test_settings_do_not_change() -> None:
    with pytest.raises(ValidationError):
        Settings.load({}).workers = 2


def test_the_table_names_every_variable_with_its_meaning() -> None:
    text = table(Settings)
    assert "GYROSTAT_INFERENCE__SPOOL__LIMIT_MB" in text
    assert "Where gRPC is served  [127.0.0.1:8001]" in text
    assert "**" not in text


@pytest.mark.parametrize(
    "text", ["junk", "", "localhost", ":8011", "here:", "here:port", "here:70000", "::1:8011", "a b:1"]
)
def test_an_address_that_is_none_names_its_variable_and_the_form(text: str) -> None:
    with pytest.raises(SettingsError, match=f"GYROSTAT_INFERENCE__GRPC_ADDRESS={text}: expected host:port, such as"):
        Settings.load({"GYROSTAT_INFERENCE__GRPC_ADDRESS": text})


def test_an_address_may_have_brackets_or_a_scheme_and_brokers_are_several() -> None:
    for text in ("0.0.0.0:0", "[::1]:8011", "unix:/run/x.sock", "registry.svc:8011"):
        assert Settings.load({"GYROSTAT_INFERENCE__GRPC_ADDRESS": text}).grpc_address == text
    brokers = "a:9092, b:9092"
    assert Settings.load({"GYROSTAT_KAFKA__BOOTSTRAP_SERVERS": brokers}).kafka.bootstrap_servers == brokers
    with pytest.raises(SettingsError, match="GYROSTAT_KAFKA__BOOTSTRAP_SERVERS=a:9092,b: expected host:port"):
        Settings.load({"GYROSTAT_KAFKA__BOOTSTRAP_SERVERS": "a:9092,b"})
