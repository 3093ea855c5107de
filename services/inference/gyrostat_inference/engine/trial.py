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
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from gyrostat_inference.domain.engine_settings import Opening, Optimization, WarmUp
from gyrostat_inference.domain.errors import ModelRefused, ScoringFailed
from gyrostat_inference.engine.graph import Graph
from gyrostat_inference.engine.limits import RunLimits, limit_memory
from gyrostat_inference.engine.probing import why_alone

# A tenth of a processor that somebody answers on, and all of one that nobody needs.
NICE = 10
FILE_BYTES, MOST_SAID_BYTES = 1024 * 1024, 16 * 1024**2
# Address space beside that of graphs: the interpreter, the library, the file as it is being read.
OWN_BYTES = 3 * 1024**3
ASKS, SAYS, PIECE_BYTES = 0, 1, 64 * 1024
AUDITED = "the deterministic profile gives every request a run of its own"


def main() -> None:
    """Until its input ends, which also ends a trial that is under way."""
    os.nice(NICE)
    os.setpgid(0, 0)  # what stops us stops the trial, too
    for line in _lines():
        _write(SAYS, json.dumps(_said(json.loads(line))).encode() + b"\n")


def _lines() -> Iterator[bytes]:
    """One at a time: nobody asks again before the answer."""
    line = b""
    while piece := os.read(ASKS, PIECE_BYTES):
        line += piece
        if line.endswith(b"\n"):
            yield line
            line = b""


def _said(asked: dict[str, Any]) -> dict[str, Any]:
    ours, its = os.pipe()
    pid = os.fork()
    if pid == 0:
        _in_a_process_of_its_own(asked, its)
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


def _in_a_process_of_its_own(asked: dict[str, Any], its: int) -> None:
    """Writes what was seen; a crash writes nothing. Does not return."""
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, ASKS)
    os.dup2(nothing, SAYS)
    code = 1
    with suppress(BaseException):
        _write(its, json.dumps(_tried(asked)).encode())
        code = 0
    os._exit(code)


def _write(file: int, content: bytes) -> None:
    while content:
        content = content[os.write(file, content) :]


def _tried(asked: dict[str, Any]) -> dict[str, Any]:
    """The trial itself: opens the graph, warms it up, tries whether requests may run together."""
    memory_bytes: int = asked["memory_bytes"]
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes + OWN_BYTES, memory_bytes + OWN_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (asked["cpu_s"], asked["cpu_s"] + 1))
    resource.setrlimit(resource.RLIMIT_FSIZE, (FILE_BYTES, FILE_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    limit_memory(memory_bytes)
    warm_up = WarmUp(**asked["warm_up"])
    opening = Opening(**(asked["opening"] | {"optimization": Optimization(asked["opening"]["optimization"])}))
    threads = max(opening.intra_op_threads, opening.inter_op_threads, 1)
    try:
        with RunLimits(asked["longest_s"], lambda: time.process_time() / threads) as limits:
            graph = Graph("the model", Path(asked["path"]), opening, limits)
            graph.warm(warm_up)
            alone = AUDITED if opening.deterministic else why_alone(graph, warm_up.samples_json)
    except (ModelRefused, ScoringFailed) as error:
        return {"refused": str(error)}
    except (MemoryError, UnicodeError) as error:
        why = "it takes more memory than a model may" if isinstance(error, MemoryError) else "a name in it is not UTF-8"
        return {"refused": why}
    return {"signature": asdict(graph.signature), "alone": alone}


if __name__ == "__main__":
    main()
