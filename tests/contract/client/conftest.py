"""The four fakes behind gRPC, and the command in front of them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from gyrostat_client import Client
from gyrostat_client.cli.app import app
from support.fake_services import Services


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nothing of the machine's own settings; a wide terminal without colours."""
    import os

    for name in list(os.environ):
        if name.startswith("GYROSTAT_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("GYROSTAT_DATA__FOLDER", str(tmp_path))
    monkeypatch.setenv("NO_COLOR", "1")


@pytest.fixture
def services(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[Services]:
    """The fakes with a closed loop for `fraud`; the environment points at them."""
    import tempfile

    with tempfile.TemporaryDirectory(prefix="gy") as folder, Services(Path(folder)).running() as running:
        running.closed_loop()
        for name, value in running.environ().items():
            monkeypatch.setenv(name, value)
        yield running


@pytest.fixture
def client(services: Services) -> Iterator[Client]:
    """The synchronous SDK on the fakes."""
    with Client() as opened:
        yield opened


@pytest.fixture
def run() -> Callable[..., Result]:
    """Runs the command; `run("status", "--json")`."""
    return lambda *args, **options: CliRunner().invoke(app, [str(arg) for arg in args], **options)


@pytest.fixture
def read(run: Callable[..., Result]) -> Callable[..., Any]:
    """Runs the command with --json and gives what it printed."""

    def reading(*args: object, **options: Any) -> Any:
        result = run(*args, "--json", **options)
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)

    return reading
