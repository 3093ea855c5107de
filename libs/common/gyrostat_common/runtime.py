"""How a service process lives: settings, event loop, signals, orderly close, exit code.

`__main__` is three lines: `run(open_app, Settings)`. Exit codes: 0 asked to stop and did, 2 bad settings, 3 cannot
start, 1 crash or a close that took too long. Errors are one line on stderr that says what to do.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import NoReturn, TypeVar

import uvloop

from gyrostat_common.errors import GyrostatError
from gyrostat_common.settings import ServiceSettings, SettingsError, table

S = TypeVar("S", bound=ServiceSettings)

OK, CRASHED, BAD_SETTINGS, CANNOT_START = 0, 1, 2, 3
ASKED_AGAIN_S = 1.0
"""A signal this long after the first means: do not wait. Sooner, it is the same wish by way of the process group."""


class CannotStart(Exception):
    """The process cannot begin its work. The message says what is in the way and what to do."""


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
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        code = runner.run(_live(name, open_app(settings), close_within_s))
    sys.stdout.flush()
    sys.exit(code)


async def _live(name: str, app: AbstractAsyncContextManager[None], close_within_s: float) -> int:
    """Opens the app, waits for a signal, closes it. All in one task, as task groups want it."""
    stop = asyncio.Event()
    opened = False
    task = asyncio.current_task()
    assert task is not None

    loop = asyncio.get_running_loop()
    asked_at: list[float] = []

    def on_signal() -> None:
        asked_at.append(loop.time())
        if asked_at[-1] - asked_at[0] > ASKED_AGAIN_S:
            os._exit(CRASHED)
        stop.set()
        if not opened and len(asked_at) == 1:
            task.cancel()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal)
    try:
        await app.__aenter__()
    except asyncio.CancelledError:
        return OK
    except Exception as error:  # one sentence and an exit code instead of a traceback
        _say(name, f"cannot start: {sentence(error)}")
        return CANNOT_START
    opened = True
    return await _until_stopped(name, app, stop, close_within_s)


async def _until_stopped(
    name: str, app: AbstractAsyncContextManager[None], stop: asyncio.Event, close_within_s: float
) -> int:
    try:
        await stop.wait()
    except asyncio.CancelledError as cancelled:
        # A task of the app has failed and its group cancels us: hand the cancellation in, get the cause out.
        try:
            await app.__aexit__(type(cancelled), cancelled, cancelled.__traceback__)
        except BaseException as error:  # the cause that the group hands out, whatever it is
            _say(name, f"crashed: {sentence(error)}")
            return CRASHED
        return CRASHED
    try:
        async with asyncio.timeout(close_within_s):
            await app.__aexit__(None, None, None)
    except TimeoutError:
        _say(name, f"closing took more than {close_within_s:g} s; left the rest undone")
        return CRASHED
    except Exception as error:  # one sentence and an exit code instead of a traceback
        _say(name, f"failed while closing: {sentence(error)}")
        return CRASHED
    return OK


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


def _say(name: str, text: str) -> None:
    for line in text.splitlines():
        print(f"{name}: {line}", file=sys.stderr, flush=True)
