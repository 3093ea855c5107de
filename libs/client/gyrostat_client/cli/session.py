"""What every command has: the client for the addresses in force, and the global options wherever they stand."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from gyrostat_client.client import Client

# Options of the root command that may stand anywhere on the line; `--trace` takes no value.
GLOBAL_OPTIONS = (
    "--registry",
    "--inference",
    "--monitor",
    "--trainer",
    "--kafka",
    "--actor",
    "--environment",
    "--timeout-s",
)


@dataclass(frozen=True)
class Globals:
    """The global options as given; None means what the settings say."""

    registry: str | None = None
    inference: str | None = None
    monitor: str | None = None
    trainer: str | None = None
    kafka: str | None = None
    actor: str | None = None
    environment: str | None = None
    timeout_s: float | None = None
    trace: bool = False


@contextmanager
def session(ctx: typer.Context) -> Iterator["Client"]:
    """A client for one command."""
    import logging

    import structlog

    from gyrostat_client.client import Client

    # The command says in its own words when a broker or a service does not answer.
    for noisy in ("aiokafka", "grpc", "asyncio"):
        logging.getLogger(noisy).setLevel(logging.CRITICAL)
    if quiet := not structlog.is_configured():  # its default prints to stdout, in the midst of the JSON
        structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    given: Globals = ctx.find_root().obj or Globals()
    client = Client(
        registry=given.registry,
        inference=given.inference,
        monitor=given.monitor,
        trainer=given.trainer,
        kafka=given.kafka,
        actor=given.actor,
        environment=given.environment,
        timeout_s=given.timeout_s,
    )
    try:
        yield client
    finally:
        client.close()
        if quiet:
            structlog.reset_defaults()


def hoisted(args: list[str]) -> list[str]:
    """The arguments with the global options moved to the front, where the root command reads them."""
    front: list[str] = []
    rest: list[str] = []
    at = 0
    while at < len(args):
        argument = args[at]
        if argument == "--":
            return front + rest + args[at:]
        if argument in GLOBAL_OPTIONS:
            front += args[at : at + 2]
            at += 2
            continue
        (front if argument == "--trace" or argument.split("=")[0] in GLOBAL_OPTIONS else rest).append(argument)
        at += 1
    return front + rest
