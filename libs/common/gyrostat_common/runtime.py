"""How a service process lives: settings, event loop, signals, orderly close, exit code.

`__main__` is three lines: `run(open_app, Settings)`. Exit codes: 0 asked to stop and did, 2 bad settings, 3 cannot
start, 1 crash or a close that took too long. Errors are one line on stderr that says what to do; `started`, `stopping`
and `stopped` are lines of the log. The end has a limit, whatever hangs.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import NoReturn, TypeVar

import uvloop

from gyrostat_common.errors import CannotStart, GyrostatError
from gyrostat_common.settings import ServiceSettings, SettingsError, table
from gyrostat_common.telemetry import log as lines

S = TypeVar("S", bound=ServiceSettings)
log = lines.get_logger("runtime")

OK, CRASHED, BAD_SETTINGS, CANNOT_START = 0, 1, 2, 3
ASKED_AGAIN_S = 1.0
"""A signal this long after the first means: do not wait. Sooner, it is the same wish by way of the process group."""
HARD_END_S = 1.0
"""How much longer than its limit a close may take before the process ends without asking anybody."""
SWEEP_S = 1.0
"""What tasks that nobody owns are given to end."""
GARBAGE_AFTER = (50_000, 20, 50)
"""Objects of a batch of events live as long as the batch. Python's own limits (700, 10, 10) look through all of them
many times while they do, and through what was made at the start as well.
"""


def run(
    open_app: Callable[[S], AbstractAsyncContextManager[None]],
    settings_class: type[S],
    *,
    close_within_s: float = 30.0,
) -> NoReturn:
    """Runs a service until SIGTERM or SIGINT and exits. Never returns."""
    name = f"gyrostat_{settings_class.service}"
    parser = argparse.ArgumentParser(
        prog=f"python -m {name}",
        description=f"Runs the {settings_class.service} service. Settings are environment variables:",
        epilog=table(settings_class),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--check", action="store_true", help="read the settings, import everything, exit 0")
    arguments = parser.parse_args()
    try:
        settings = settings_class.load()
    except SettingsError as error:
        _say(name, str(error))
        sys.exit(BAD_SETTINGS)
    if arguments.check:
        sys.exit(OK)
    lines.configure(settings.log, f"gyrostat-{settings_class.service}")
    life = _Life(name, close_within_s)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        code = runner.run(life.live(open_app(settings)))
        if life.deaf:
            _leave(code)  # the runner would wait for them for ever
    _leave(code)


class _Life:
    """One process from its first line to its exit code."""

    def __init__(self, name: str, close_within_s: float) -> None:
        self._name, self._close_within_s = name, close_within_s
        self._stop, self._opened = asyncio.Event(), False
        self._stopping_at: float | None = None
        self._task: asyncio.Task[int] | None = None
        self.deaf: list[str] = []
        """Tasks that would not end."""

    async def live(self, app: AbstractAsyncContextManager[None]) -> int:
        """Opens the app, waits for a signal, closes it. All in one task, as task groups want it."""
        self._task = asyncio.current_task()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._on_signal, number)
        code = await self._opened_and_closed(app)
        await self._swept()
        stopping_at = self._stopping_at
        took = 0.0 if stopping_at is None else time.monotonic() - stopping_at
        log.info(
            "stopped", exit_code=code, seconds=round(took, 2), **({"left_running": self.deaf} if self.deaf else {})
        )
        return code

    def _on_signal(self, number: signal.Signals) -> None:
        if self._stopping_at is not None:
            if time.monotonic() - self._stopping_at > ASKED_AGAIN_S:
                os._exit(CRASHED)
            return
        self._stopping(signal.Signals(number).name)
        self._stop.set()
        if not self._opened and self._task is not None:
            self._task.cancel()

    def _stopping(self, why: str) -> None:
        """The clock of the end runs from here."""
        self._stopping_at = time.monotonic()
        log.info("stopping", why=why, within_s=self._close_within_s)
        last = threading.Timer(self._close_within_s + HARD_END_S, self._give_up)
        last.daemon = True
        last.start()

    def _give_up(self) -> None:
        """In a thread of its own: the event loop may be what hangs."""
        _say(self._name, f"closing took more than {self._close_within_s:g} s; left the rest undone")
        os._exit(CRASHED)

    async def _opened_and_closed(self, app: AbstractAsyncContextManager[None]) -> int:
        try:
            await app.__aenter__()
        except asyncio.CancelledError:
            return OK
        except Exception as error:  # one sentence and an exit code instead of a traceback
            _say(self._name, f"cannot start: {sentence(error)}")
            return CANNOT_START
        self._opened = True
        calm_garbage()
        log.info("started", seconds=round(age_s(), 2))
        try:
            await self._stop.wait()
        except asyncio.CancelledError as cancelled:
            return await self._crashed(app, cancelled)
        return await self._closed(app)

    async def _crashed(self, app: AbstractAsyncContextManager[None], cancelled: asyncio.CancelledError) -> int:
        # A task of the app has failed and its group cancels us: hand the cancellation in, get the cause out.
        self._stopping("crash")
        try:
            await app.__aexit__(type(cancelled), cancelled, cancelled.__traceback__)
        except BaseException as error:  # the cause that the group hands out, whatever it is
            _say(self._name, f"crashed: {sentence(error)}")
        return CRASHED

    async def _closed(self, app: AbstractAsyncContextManager[None]) -> int:
        try:
            async with asyncio.timeout(self._close_within_s):
                await app.__aexit__(None, None, None)
        except TimeoutError:
            _say(self._name, f"closing took more than {self._close_within_s:g} s; left the rest undone")
            return CRASHED
        except Exception as error:  # one sentence and an exit code instead of a traceback
            _say(self._name, f"failed while closing: {sentence(error)}")
            return CRASHED
        return OK

    async def _swept(self) -> None:
        """Tasks that ignore their end are not waited for: the app has closed, they have nothing to save."""
        left = asyncio.all_tasks() - {asyncio.current_task()}
        for task in left:
            task.cancel()
        if left:
            _, left = await asyncio.wait(left, timeout=SWEEP_S)
        self.deaf = sorted(task.get_name() for task in left)


def calm_garbage() -> None:
    """What is there at the end of a start stays: it is not looked through again and again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GARBAGE_AFTER)


def age_s() -> float:
    """Seconds since the kernel started this process: imports count. 0 where /proc does not say."""
    try:
        began = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19]) / os.sysconf("SC_CLK_TCK")
        return max(0.0, time.clock_gettime(time.CLOCK_BOOTTIME) - began)
    except (OSError, ValueError, AttributeError, IndexError):
        return 0.0


def sentence(error: BaseException) -> str:
    """What went wrong in one line: the innermost error of a group, in our words where we know better."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if isinstance(error, CannotStart | GyrostatError):
        return str(error)
    if isinstance(error, OSError) and error.errno == 98:
        return f"{error.strerror or error}: stop the other process or choose another address"
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0]}" if text else type(error).__name__


def _leave(code: int) -> NoReturn:
    """At once: everything is closed, and taking the interpreter and its libraries apart would cost another second."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _say(name: str, text: str) -> None:
    for line in text.splitlines():
        print(f"{name}: {line}", file=sys.stderr, flush=True)
