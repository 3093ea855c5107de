"""Children: started, ended in order, ended as by a crash, swept, and gone with whoever started them."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

from gyrostat_local.processes import Child, adopt, spawn

STUBBORN = "sh -c 'trap \"\" TERM; echo ready; while :; do sleep 0.05; done'"


def a_child(folder: Path, command: str = "sleep 60", *, tethered: bool = True) -> Child:
    return spawn("it", command, environ=os.environ, log=folder / "logs" / "it.log", folder=folder, tethered=tethered)


async def until_written(file: Path, text: str) -> None:
    waiting = await _shell(f"until grep -q {text} {file}; do sleep 0.02; done")
    assert waiting == 0


async def until_it_is(child: Child, command: str) -> None:
    """Until the tether and the shell have become the command."""
    line = f"$(tr '\\0' ' ' < /proc/{child.pid}/cmdline)"
    assert await _shell(f'until [ "{line}" = "{command} " ]; do sleep 0.02; done') == 0


async def _shell(command: str) -> int:
    process = await asyncio.create_subprocess_shell(command)
    async with asyncio.timeout(20):
        return await process.wait()


async def test_a_child_that_is_stopped_ends_by_sigterm(tmp_path: Path) -> None:
    child = a_child(tmp_path)
    assert child.alive
    await child.stop()
    assert not child.alive
    assert child.exit_code == -15


async def test_a_child_that_does_not_listen_is_killed_at_the_limit(tmp_path: Path) -> None:
    child = a_child(tmp_path, STUBBORN)
    await until_written(tmp_path / "logs" / "it.log", "ready")
    await child.stop(limit_s=0.1)
    assert not child.alive


async def test_a_killed_child_ends_as_by_a_crash(tmp_path: Path) -> None:
    child = a_child(tmp_path)
    await child.kill()
    assert child.exit_code == -9


async def test_its_output_is_appended_to_its_log(tmp_path: Path) -> None:
    for word in ("one", "two"):
        child = a_child(tmp_path, f"echo {word}")
        assert await child.ended(20)
    assert (tmp_path / "logs" / "it.log").read_text() == "one\ntwo\n"


async def test_a_pid_that_belongs_to_somebody_else_is_not_adopted(tmp_path: Path) -> None:
    child = a_child(tmp_path, "sleep 61")
    await until_it_is(child, "sleep 61")
    assert adopt("it", child.pid, "sleep 61") is not None
    assert adopt("it", child.pid, "gyrostat_registry") is None
    await child.kill()
    assert adopt("it", child.pid, "sleep 61") is None


async def test_a_tethered_child_ends_when_its_starter_is_killed(tmp_path: Path) -> None:
    starter = subprocess.Popen(  # noqa: ASYNC220 - the starter must be a process of its own
        [
            sys.executable,
            "-c",
            "import os, sys, time; from pathlib import Path; from gyrostat_local.processes import spawn\n"
            f"folder = Path({str(tmp_path)!r})\n"
            "child = spawn('it', 'sleep 62', environ=os.environ, log=folder / 'log', folder=folder, tethered=True)\n"
            "print(child.pid, flush=True); time.sleep(60)",
        ],
        stdout=subprocess.PIPE,
    )
    assert starter.stdout is not None
    child = Child("it", int(starter.stdout.readline()))
    await until_it_is(child, "sleep 62")
    starter.kill()
    starter.wait()
    starter.stdout.close()
    assert await child.ended(20)
