"""How a service process starts and ends, as processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

SERVICE = """
import asyncio, sys, time
from contextlib import asynccontextmanager
from pydantic import Field
from gyrostat_common.errors import CannotStart, Unavailable
from gyrostat_common.runtime import run
from gyrostat_common.settings import ServiceSettings


class Settings(ServiceSettings, service="registry"):
    mode: str = Field(default="good", description="How it behaves")


async def deaf():
    while True:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            pass


@asynccontextmanager
async def open_app(settings):
    if settings.mode == "taken":
        async with asyncio.timeout(5):
            listening = await asyncio.start_unix_server(lambda r, w: None, sys.argv[0] + ".sock")
            raise OSError(98, "Address already in use")
    if settings.mode == "no database":
        raise Unavailable("the database does not answer: refused")
    if settings.mode == "in the way":
        raise CannotStart("port 8011 is taken: choose another")
    if settings.mode == "slow start":
        print("starting", flush=True)
        await asyncio.sleep(60)
    async with asyncio.TaskGroup() as group:
        if settings.mode == "crash":
            async def crash():
                await asyncio.sleep(0.01)
                raise ValueError("a bug")
            group.create_task(crash())
        print("open", flush=True)
        yield
        if settings.mode == "slow end":
            await asyncio.sleep(60)
        if settings.mode == "deaf end":
            await deaf()
        if settings.mode == "stuck end":
            time.sleep(60)
        if settings.mode == "deaf task":
            ignoring = asyncio.create_task(deaf(), name="deaf")
            await asyncio.sleep(0)
        print("closed", flush=True)


if __name__ == "__main__":
    run(open_app, Settings, close_within_s=0.3)
"""


def events(out: str) -> tuple[list[str], list[dict[str, Any]]]:
    """What the service printed, and the lines of its log."""
    printed = [line for line in out.splitlines() if not line.startswith("{")]
    return printed, [json.loads(line) for line in out.splitlines() if line.startswith("{")]


class Process:
    """The service above."""

    def __init__(self, folder: Path, mode: str = "good", *arguments: str, **environ: str) -> None:
        script = folder / "service.py"
        script.write_text(SERVICE)
        self.read = ""
        self.process = subprocess.Popen(
            [sys.executable, str(script), *arguments],
            env=os.environ | {"GYROSTAT_REGISTRY__MODE": mode} | environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def line(self) -> str:
        assert self.process.stdout is not None
        while (line := self.process.stdout.readline()).startswith("{"):
            self.read += line
        return line.strip()

    def end(self) -> tuple[int, str, str]:
        assert self.process.stdout is not None
        self.read += self.process.stdout.read()  # what `line` has taken in already is in this reader's hands
        _, err = self.process.communicate(timeout=30)
        return self.process.returncode, self.read, err


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_closes_in_order(tmp_path: Path, number: signal.Signals) -> None:
    service = Process(tmp_path)
    assert service.line() == "open"
    service.process.send_signal(number)
    code, out, err = service.end()
    printed, lines = events(out)
    assert (code, printed, err) == (0, ["closed"], "")
    started, stopping, stopped = lines
    assert [line["event"] for line in lines] == ["started", "stopping", "stopped"]
    assert 0.02 < started["seconds"] < 60
    assert stopping["why"] == number.name
    assert (stopped["exit_code"], stopped["service"]) == (0, "gyrostat-registry")
    assert stopped["seconds"] < 10


def test_one_wish_that_arrives_twice_is_one(tmp_path: Path) -> None:
    service = Process(tmp_path)
    assert service.line() == "open"
    service.process.send_signal(signal.SIGTERM)
    service.process.send_signal(signal.SIGINT)
    code, out, _ = service.end()
    assert (code, events(out)[0]) == (0, ["closed"])


def test_check_reads_the_settings_and_ends(tmp_path: Path) -> None:
    assert Process(tmp_path, "good", "--check").end() == (0, "", "")


def test_help_lists_the_settings(tmp_path: Path) -> None:
    code, out, _ = Process(tmp_path, "good", "--help").end()
    assert code == 0
    assert "GYROSTAT_REGISTRY__MODE" in out
    assert "GYROSTAT_KAFKA__BOOTSTRAP_SERVERS" in out


def test_bad_settings_are_code_2_and_name_the_variable(tmp_path: Path) -> None:
    code, _, err = Process(tmp_path, "good", GYROSTAT_REGISTRY__MOOD="x").end()
    assert code == 2
    assert err == (
        "gyrostat_registry: GYROSTAT_REGISTRY__MOOD is not a setting; did you mean GYROSTAT_REGISTRY__MODE?\n"
    )


@pytest.mark.parametrize(
    ("mode", "said"),
    [
        ("taken", "cannot start: Address already in use: stop the other process or choose another address"),
        ("no database", "cannot start: the database does not answer: refused"),
        ("in the way", "cannot start: port 8011 is taken: choose another"),
    ],
)
def test_what_cannot_start_is_code_3_and_one_sentence(tmp_path: Path, mode: str, said: str) -> None:
    code, out, err = Process(tmp_path, mode).end()
    assert (code, err) == (3, f"gyrostat_registry: {said}\n")
    assert [(line["event"], line["exit_code"]) for line in events(out)[1]] == [("stopped", 3)]


def test_a_crash_is_code_1(tmp_path: Path) -> None:
    code, _, err = Process(tmp_path, "crash").end()
    assert code == 1
    assert err == "gyrostat_registry: crashed: ValueError: a bug\n"


def test_a_signal_while_starting_ends_at_once(tmp_path: Path) -> None:
    service = Process(tmp_path, "slow start")
    assert service.line() == "starting"
    service.process.send_signal(signal.SIGTERM)
    code, out, err = service.end()
    assert (code, err) == (0, "")
    assert [line["event"] for line in events(out)[1]] == ["stopping", "stopped"]


@pytest.mark.parametrize("mode", ["slow end", "deaf end", "stuck end"])
def test_closing_has_a_limit(tmp_path: Path, mode: str) -> None:
    service = Process(tmp_path, mode)
    assert service.line() == "open"
    service.process.send_signal(signal.SIGTERM)
    code, _, err = service.end()
    assert code == 1
    assert "closing took more than 0.3 s" in err


def test_a_task_that_ignores_its_end_is_named_and_left(tmp_path: Path) -> None:
    service = Process(tmp_path, "deaf task")
    assert service.line() == "open"
    service.process.send_signal(signal.SIGTERM)
    code, out, _ = service.end()
    assert code == 0
    assert events(out)[1][-1]["left_running"] == ["deaf"]
