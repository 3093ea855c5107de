"""The trial process: `python -m gyrostat_inference.engine.trial` tries out the graphs that it is asked for, each in a
process of its own, forked from this one, which has loaded the library already and touches no graph itself.

For each line of JSON on its input it prints one: what the trial saw, why the graph was refused, or how its process
ended. A model is untrusted input: what it does to its process, it has done to nobody else. All of it works with what
the others leave of the processor, so limits count the processor's time; by the clock there is one generous limit.
"""

import json
import os
import resource
import select
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from typing import Any

# A tenth of a processor that somebody answers on, and all of one that nobody needs.
NICE = 10
IDLE = "idle"
ASKS, SAYS, MOST_STANDARD, PIECE_BYTES, MOST_SAID_BYTES = 0, 1, 2, 64 * 1024, 16 * 1024**2

Tried = Callable[[dict[str, Any]], dict[str, Any]]


def main() -> None:
    """Until its input ends, which also ends a trial that is under way."""
    _give_way(IDLE in sys.argv)
    os.setpgid(0, 0)  # what stops us stops the trial, too
    from gyrostat_inference.engine.tried import tried  # which takes a while, and others come first

    for line in _lines():
        _write(SAYS, json.dumps(_said(json.loads(line), tried)).encode() + b"\n")


def _give_way(to_everybody: bool) -> None:
    """To those who answer: they get nine tenths of a processor that they need, or all of it."""
    if to_everybody:
        with suppress(OSError):  # not everywhere allowed
            os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
            return
    os.nice(NICE)


def _lines() -> Iterator[bytes]:
    """One at a time: nobody asks again before the answer."""
    line = b""
    while piece := os.read(ASKS, PIECE_BYTES):
        line += piece
        if line.endswith(b"\n"):
            yield line
            line = b""


def _said(asked: dict[str, Any], tried: Tried) -> dict[str, Any]:
    ours, its = os.pipe()
    pid = os.fork()
    if pid == 0:
        _in_a_process_of_its_own(partial(tried, asked), its)
    os.close(its)
    printed, refused = _printed(ours, pid, asked["wall_s"])
    os.close(ours)
    _, status = os.waitpid(pid, 0)
    try:
        said: dict[str, Any] = json.loads(printed)
    except ValueError:
        return {"refused": refused or _how_it_ended(os.waitstatus_to_exitcode(status), asked["cpu_s"])}
    return said


def _printed(ours: int, pid: int, wall_s: float) -> tuple[bytes, str]:
    """All that the trial wrote, or why it was killed: too late, too much, or nobody waits for it."""
    printed, until = b"", time.monotonic() + wall_s
    while True:
        ready, _, _ = select.select([ours, ASKS], [], [], max(0.0, until - time.monotonic()))
        if ASKS in ready or not ready or len(printed) > MOST_SAID_BYTES:
            os.kill(pid, signal.SIGKILL)
            return b"", "its names are too long" if printed else f"its trial run took more than {wall_s:g} s"
        piece = os.read(ours, PIECE_BYTES)
        if not piece:
            return printed, ""
        printed += piece


def _how_it_ended(code: int, cpu_s: int) -> str:
    if code == -signal.SIGXCPU:
        return f"its trial run took more than {cpu_s} s of the processor"
    return f"its trial process {f'was killed by signal {-code}' if code < 0 else f'ended with code {code}'}"


def _in_a_process_of_its_own(work: Callable[[], object], its: int) -> None:
    """Writes what was seen; a crash writes nothing. Does not return."""
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, ASKS)
    os.dup2(nothing, SAYS)
    os.closerange(MOST_STANDARD + 1, its)  # the service's ends too: should the process before us die, it hears of it
    os.closerange(its + 1, resource.getrlimit(resource.RLIMIT_NOFILE)[0])
    code = 1
    with suppress(BaseException):
        _write(its, json.dumps(work()).encode())
        code = 0
    os._exit(code)


def _write(file: int, content: bytes) -> None:
    while content:
        content = content[os.write(file, content) :]


if __name__ == "__main__":
    main()
