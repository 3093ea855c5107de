"""A second process on a taken address ends before it touches anything."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from gyrostat_local import SERVICES

pytestmark = pytest.mark.timeout(120)


@pytest.mark.parametrize("which", ["GRPC", "METRICS"])
def test_a_taken_address_is_one_sentence_and_nothing_is_touched(tmp_path: Path, which: str) -> None:
    other = "METRICS" if which == "GRPC" else "GRPC"
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        started = {
            name: subprocess.Popen(
                [sys.executable, "-m", f"gyrostat_{name}"],
                env=os.environ
                | {
                    f"GYROSTAT_{name.upper()}__{which}_ADDRESS": address,
                    f"GYROSTAT_{name.upper()}__{other}_ADDRESS": "127.0.0.1:0",
                    "GYROSTAT_DATA__FOLDER": str(tmp_path / name),
                    "GYROSTAT_KAFKA__BOOTSTRAP_SERVERS": "127.0.0.1:1",
                },
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            for name in SERVICES
        }
        ends = {name: (*process.communicate(timeout=60), process.returncode) for name, process in started.items()}
    sentence = f"cannot listen on {address}: stop what uses the port or choose another address"
    for name, (_, err, code) in ends.items():
        said = [line for line in err.splitlines() if "add_port.cc" not in line]  # gRPC's own word on it
        assert (code, said) == (3, [f"gyrostat_{name}: cannot start: {sentence}"])
    assert list(tmp_path.rglob("*.*")) == []
