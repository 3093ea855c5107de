#!/usr/bin/env python3
"""Clients of other languages against both fronts: `make interop`, `make interop ARGS="--front own --client go"`.

Each client does the same things (unary calls, large messages, metadata, errors, deadlines, cancelling, streams, gzip,
health, TLS) to the echo of tests/support/echo.py and says what went well. Prints a line per check that failed and a
table; ends with 1 when one failed. Python's clients are in tests/contract/fronts.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from interop import golang
from interop.echo_process import HERE, ROOT, Addresses, echo
from support.fronts import FRONTS

LIMIT_S = 300.0


@dataclass
class Tally:
    """What one client says of one front."""

    ok: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)


def told(command: list[str], at: Addresses, **variables: str) -> Tally:
    """Runs a client that prints a line per check."""
    given = [at.plain, at.tls, str(at.authority), str(at.descriptors)]
    done = subprocess.run(
        [*command, *given], env=os.environ | variables, capture_output=True, text=True, timeout=LIMIT_S, check=False
    )
    tally = Tally()
    for line in done.stdout.splitlines():
        verdict, name, *why = line.split("\t")
        if verdict == "ok":
            tally.ok.append(name)
        else:
            tally.failed[name] = " ".join(why)
    if not tally.ok or (done.returncode and not tally.failed):
        tally.failed["the client itself"] = f"ended with {done.returncode}: {done.stderr[-2000:]}"
    return tally


def java(at: Addresses) -> Tally:
    """grpc-java, on Netty and on OkHttp."""
    home = os.environ.get("JAVA_HOME")
    program = f"{home}/bin/java" if home else "java"
    return told([program, "-cp", str(ROOT / "build/interop/libs/*"), str(HERE / "java/Interop.java")], at)


def node(at: Addresses) -> Tally:
    """grpc-js."""
    where = {"MODULES": str(ROOT / "build/interop/node_modules"), "PROTOS": str(ROOT / "protos")}
    return told(["node", str(HERE / "js/interop.mjs")], at, **where)


def go(at: Addresses) -> Tally:
    """grpc-go, as grpcurl and ghz use it."""
    tally = Tally()
    for name, check in golang.CHECKS.items():
        try:
            check(at)
            tally.ok.append(name)
        except (AssertionError, subprocess.TimeoutExpired) as error:
            tally.failed[name] = " ".join(str(error).split())[:500]
    return tally


def tried(front: str, client: str) -> Tally:
    """One client against one front, whose own complaints count too."""
    tally = Tally()
    try:
        with tempfile.TemporaryDirectory() as folder, echo(front, Path(folder)) as at:
            tally = CLIENTS[client](at)
    except AssertionError as error:
        tally.failed["the server itself"] = str(error)
    return tally


CLIENTS: dict[str, Callable[[Addresses], Tally]] = {"go": go, "java": java, "js": node}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--front", choices=FRONTS, action="append")
    parser.add_argument("--client", choices=CLIENTS, action="append")
    args = parser.parse_args()
    lines, failures = [], 0
    for front in args.front or FRONTS:
        for client in args.client or CLIENTS:
            tally = tried(front, client)
            for name, why in tally.failed.items():
                print(f"FAILED {front}, {client}: {name}\n    {why}")
            failures += len(tally.failed)
            lines.append(f"{front:<8} {client:<6} {len(tally.ok):>3} ok {len(tally.failed):>3} failed")
    print("\n".join(lines))
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
