"""A job's process: measured, told apart from its children, and gone however it ends."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

import psutil
import pytest

from gyrostat_trainer.domain.errors import JobFailed, RunCancelled
from gyrostat_trainer.domain.runs import Progress
from gyrostat_trainer.engine.job import Job, end_left_over, run

FAMILY = (
    "import subprocess,sys,os,time;"
    "c=subprocess.Popen([sys.executable,'-c','import time;time.sleep(600)']);"
    "open(os.environ['PROGRESS'],'a').write('{\"fraction\": 0.5, \"text\": \"%d\"}\\n' % c.pid);"
    "time.sleep(600)"
)


def a_job(folder: Path, code: str, **fields: object) -> Job:
    usual: dict[str, object] = {
        "command": (sys.executable, "-c", code),
        "folder": folder,
        "environment": {"PROGRESS": str(folder / "progress.jsonl")},
        "log": folder / "job.log",
        "timeout_s": 60.0,
        "progress": folder / "progress.jsonl",
    }
    return Job(**{**usual, **fields})  # type: ignore[arg-type]


def a_pid_file(folder: Path) -> bool:
    return any(folder.glob("*.pid"))


async def test_a_job_is_measured(tmp_path: Path) -> None:
    work = "import time; t=time.process_time()\nb=bytearray(64<<20)\nwhile time.process_time()-t<0.4: pass"
    cost = await run(a_job(tmp_path, work), asyncio.Event(), lambda _: None)
    assert cost.cpu_s > 0.35
    assert 64 << 20 < cost.peak_bytes < 300 << 20
    assert not a_pid_file(tmp_path)


async def test_a_job_that_fails_says_its_own_last_words(tmp_path: Path) -> None:
    with pytest.raises(JobFailed, match=r"exit code 3: not enough wind"):
        await run(a_job(tmp_path, "print('not enough wind'); raise SystemExit(3)"), asyncio.Event(), lambda _: None)


async def test_a_command_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(JobFailed, match="no-such-program cannot be started"):
        await run(a_job(tmp_path, "", command=("no-such-program",)), asyncio.Event(), lambda _: None)


async def test_a_job_sees_no_variable_of_the_service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GYROSTAT_TRAINER__DATABASE_URL", "postgresql://ann:secret@db")
    code = "import os,sys; sys.exit(any('secret' in v for v in os.environ.values()))"
    await run(a_job(tmp_path, code), asyncio.Event(), lambda _: None)


@pytest.mark.parametrize("end", ["cancelled", "timeout", "shutdown"])
async def test_its_children_are_gone_too_however_it_ends(tmp_path: Path, end: str) -> None:
    stop, told = asyncio.Event(), asyncio.Queue[Progress]()
    job = a_job(tmp_path, FAMILY, timeout_s=3.0 if end == "timeout" else 60.0)
    task = asyncio.create_task(run(job, stop, told.put_nowait))
    child = psutil.Process(int((await told.get()).text))
    if end == "cancelled":
        stop.set()
    if end == "shutdown":
        task.cancel()
    with pytest.raises({"cancelled": RunCancelled, "timeout": JobFailed, "shutdown": asyncio.CancelledError}[end]):
        await task
    child.wait(timeout=10)


async def test_lines_that_are_not_progress_are_passed_over(tmp_path: Path) -> None:
    said: list[Progress] = []
    code = (
        "import os; f=open(os.environ['PROGRESS'],'w');"
        'f.write(\'{"fraction": 7, "text": "all"}\\nhello\\n[1]\\n{"fraction"\')'
    )
    await run(a_job(tmp_path, code), asyncio.Event(), said.append)
    assert said == [Progress(1.0, "fit", 0.0, "all")]


def test_a_pid_that_now_belongs_to_somebody_else_is_left_alone(tmp_path: Path) -> None:
    own = psutil.Process()
    (tmp_path / "job.pid").write_text(json.dumps({"pid": own.pid, "created": own.create_time() - 5}))
    assert end_left_over(tmp_path) == 0
    assert not list(tmp_path.glob("*.pid"))
