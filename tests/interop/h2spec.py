#!/usr/bin/env python3
"""HTTP/2 conformance by h2spec: `make h2spec`, `make h2spec ARGS="--front grpcio"`.

Without more it runs all cases, the strict ones too, against the echo on our own front, without and with TLS.
`--address HOST:PORT` takes a server that is there already; `--inference` starts the inference service on that front.
Ends with 1 when a case fails that `h2spec_exceptions.toml` does not explain, and when one that it explains passes.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from interop.echo_process import HERE, ROOT, echo
from support.fronts import FRONTS
from support.inference import quiet_port

PROGRAM = ROOT / "build" / "tools" / "h2spec"
# Five of these are to be more than a frame may hold, for which h2spec takes 16,384 bytes whatever the server says.
HEADER_LENGTH = ("--max-header-length", "15500")
STARTS_WITHIN_S = 60.0


@dataclass
class Outcome:
    """What a run of h2spec came to, by names such as "http2/6.9.1: Sends SETTINGS frame to …"."""

    passed: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        cases = len(self.passed) + len(self.failed) + len(self.skipped)
        return f"{cases} tests, {len(self.passed)} passed, {len(self.skipped)} skipped, {len(self.failed)} failed"


def outcome_of(report: Path) -> Outcome:
    """Reads h2spec's JUnit report."""
    outcome = Outcome()
    for case in ElementTree.parse(report).iter("testcase"):
        name = f"{case.get('package')}: {case.get('classname')}"
        fault = case.find("failure")
        fault = case.find("error") if fault is None else fault
        if fault is not None:
            outcome.failed[name] = " ".join((fault.text or "").split())
        elif case.find("skipped") is not None:
            outcome.skipped.append(name)
        else:
            outcome.passed.append(name)
    return outcome


def run(address: str, tls: bool, folder: Path) -> Outcome:
    """Runs h2spec; what it prints goes through when cases fail."""
    report = folder / "h2spec.xml"
    report.unlink(missing_ok=True)
    host, _, port = address.rpartition(":")
    more = ["--tls", "--insecure"] if tls else []
    command = [str(PROGRAM), "--strict", "-h", host, "-p", port, "-j", str(report), *HEADER_LENGTH, *more]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900, check=False)
    if not report.exists():
        sys.exit(f"h2spec ended with {done.returncode}\n{done.stdout}{done.stderr}")
    return outcome_of(report)


def judge(where: str, outcome: Outcome, explained: dict[str, str]) -> bool:
    """Prints the summary; True when nothing is left to explain."""
    print(f"{where}: {outcome}")
    for name, why in outcome.failed.items():
        print(f"  {'explained' if name in explained else 'FAILED'}: {name}\n      {explained.get(name, why)}")
    for name in outcome.skipped:
        print(f"  skipped: {name}")
    stale = [name for name in explained if name in outcome.passed]
    for name in stale:
        print(f"  passes, though h2spec_exceptions.toml explains why not: {name}")
    return not stale and outcome.failed.keys() <= explained.keys()


def exceptions(front: str) -> dict[str, str]:
    """What need not pass, and why."""
    told = tomllib.loads((HERE / "h2spec_exceptions.toml").read_text())
    return {case["name"]: case["why"] for case in told.get(front, [])}


@contextmanager
def inference(front: str, folder: Path) -> Iterator[str]:
    """The inference service on that front, without models, Kafka or registry."""
    port, metrics = quiet_port(), quiet_port()
    told = {
        "FRONT": front,
        "GRPC_ADDRESS": f"127.0.0.1:{port}",
        "METRICS_ADDRESS": f"127.0.0.1:{metrics}",
        "REST_ADDRESS": "",
    }
    environ = os.environ | {f"GYROSTAT_INFERENCE__{name}": value for name, value in told.items()}
    environ |= {"GYROSTAT_DATA__FOLDER": str(folder), "GYROSTAT_KAFKA__BOOTSTRAP_SERVERS": "127.0.0.1:9"}
    with (folder / "inference.log").open("w") as log:
        process = subprocess.Popen([sys.executable, "-m", "gyrostat_inference"], env=environ, stdout=log, stderr=log)
    try:
        log_file, until = folder / "inference.log", time.monotonic() + STARTS_WITHIN_S
        while "listening" not in log_file.read_text():
            if process.poll() is not None or time.monotonic() > until:
                sys.exit(f"the inference service did not start:\n{log_file.read_text()}")
            time.sleep(0.05)
        yield f"127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(30)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--front", choices=FRONTS, default="own")
    parser.add_argument("--address", help="a server that is there already")
    parser.add_argument("--tls", action="store_true", help="that server speaks TLS")
    parser.add_argument("--inference", action="store_true", help="the inference service instead of the echo")
    args = parser.parse_args()
    explained = exceptions(args.front)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if args.address:
            good = judge(args.address, run(args.address, args.tls, folder), explained)
        elif args.inference:
            with inference(args.front, folder) as address:
                good = judge(f"inference on {args.front}", run(address, False, folder), explained)
        else:
            with echo(args.front, folder) as at:
                good = judge(f"{args.front}", run(at.plain, False, folder), explained)
                good &= judge(f"{args.front}, TLS", run(at.tls, True, folder), explained)
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
