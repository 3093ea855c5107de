"""The peers: their environments, their configuration, and how they are started. Each is given what its documentation
recommends for speed on one core, and serves the same file with the same ONNX Runtime and one thread.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sysconfig
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from bench.serving.generator import ROOT, Target
from bench.serving.ours import Cores, answers
from bench.serving.processes import family, on
from bench.serving.workloads import Workload
from support.inference import quiet_port

HERE = Path(__file__).resolve().parents[1] / "peers"
ENVIRONMENTS = ROOT / "build" / "peers"
MOST_ROWS = 4096
START_S = 120.0


class Unusable(Exception):
    """Why a peer is left out."""


@dataclass(frozen=True)
class Ports:
    grpc: int
    http: int
    metrics: int


@dataclass(frozen=True)
class Command:
    """What to run where, with which variables beside ours."""

    words: list[str]
    folder: Path
    environ: dict[str, str]


@dataclass(frozen=True)
class Peer:
    """A server: what it is called in the table, whose environment it has, and how it is started on a model."""

    title: str
    environment: str
    command: Callable[[Path, Workload, Path, Ports], Command]


def _mlserver(
    environment: Path, workload: Workload, folder: Path, ports: Ports, batching: dict[str, float] | None = None
) -> Command:
    """In one process: its own worker processes need a core each beside the server's."""
    settings = {
        "parallel_workers": 0, "debug": False, "host": "127.0.0.1",
        "grpc_port": ports.grpc, "http_port": ports.http, "metrics_port": ports.metrics,
    }  # fmt: skip
    model = {
        "name": "bench", "implementation": "mlserver_model.Onnx",
        "parameters": {"uri": str(folder / "model.onnx"), "version": "1"},
    }  # fmt: skip
    (folder / "settings.json").write_text(json.dumps(settings))
    (folder / "model-settings.json").write_text(json.dumps(model | (batching or {})))
    return Command([str(environment / "bin/mlserver"), "start", "."], folder, {"PYTHONPATH": str(HERE)})


def _mlserver_batching(environment: Path, workload: Workload, folder: Path, ports: Ports) -> Command:
    """Its adaptive batching: what comes within a millisecond is run together. Slower for one caller, else faster."""
    return _mlserver(environment, workload, folder, ports, {"max_batch_size": 64, "max_batch_time": 0.001})


def _kserve(environment: Path, workload: Workload, folder: Path, ports: Ports) -> Command:
    words = [str(environment / "bin/python"), str(HERE / "kserve_server.py"), str(folder / "model.onnx")]
    return Command([*words, str(ports.grpc), str(ports.http)], folder, {})


def _pytriton(environment: Path, workload: Workload, folder: Path, ports: Ports) -> Command:
    words = [str(environment / "bin/python"), str(HERE / "pytriton_server.py"), str(folder / "model.onnx")]
    return Command([*words, str(ports.grpc), str(ports.http), str(ports.metrics)], folder, _backend(environment))


def _triton(environment: Path, workload: Workload, folder: Path, ports: Ports) -> Command:
    """The server that comes in PyTriton's wheel, with its Python backend, without PyTriton."""
    packages = next((environment / "lib").glob("python3.*")) / "site-packages"
    server, version = packages / "pytriton" / "tritonserver", packages.parent.name.removeprefix("python")
    model = folder / "models" / "bench"
    (model / "1").mkdir(parents=True)
    shutil.copy(folder / "model.onnx", model / "1" / "model.onnx")
    shutil.copy(HERE / "triton_model.py", model / "1" / "model.py")
    backends = folder / "backends"  # the backend looks for its stub beside itself
    shutil.copytree(server / "backends" / "python", backends / "python")
    shutil.copy(server / "python_backend_stubs" / version / "triton_python_backend_stub", backends / "python")
    (model / "config.pbtxt").write_text(_triton_configuration(workload))
    words = [str(server / "bin/tritonserver"), "--model-repository", str(model.parent)]
    words += ["--backend-directory", str(backends), "--grpc-address", "127.0.0.1"]
    words += ["--grpc-port", str(ports.grpc), "--allow-http", "false", "--allow-metrics", "false"]
    words += ["--log-verbose", "0", "--backend-config", "python,shm-default-byte-size=16777216"]
    environ = _backend(environment, packages / "nvidia_pytriton.libs")
    return Command(words, folder, environ | {"PYTHONPATH": str(packages)})


def _backend(environment: Path, *libraries: Path) -> dict[str, str]:
    """For the stub of Triton's Python backend: the interpreter, and the library of the very same one, because another
    release of it would find that one's standard library."""
    found = [sysconfig.get_config_var("LIBDIR"), *map(str, libraries)]
    path = f"{environment / 'bin'}:{os.environ['PATH']}"
    return {"LD_LIBRARY_PATH": ":".join(found), "PATH": path, "VIRTUAL_ENV": str(environment)}


def _triton_configuration(workload: Workload) -> str:
    def tensors(kind: str, specs: tuple[tuple[str, str, tuple[int, ...]], ...]) -> str:
        rows = [f'{{ name: "{n}" data_type: TYPE_{d} dims: {list(shape[1:]) or [1]} }}' for n, d, shape in specs]
        return f"{kind} [ {', '.join(rows)} ]"

    lines = [
        'name: "bench"', 'backend: "python"', f"max_batch_size: {MOST_ROWS}",
        tensors("input", workload.graph.inputs), tensors("output", workload.graph.outputs),
        "instance_group [ { kind: KIND_CPU count: 1 } ]", "dynamic_batching { }",
    ]  # fmt: skip
    return "\n".join(lines)


PEERS = {
    "mlserver": Peer("MLServer", "mlserver", _mlserver),
    "mlserver-batching": Peer("MLServer, adaptive batching", "mlserver", _mlserver_batching),
    "kserve": Peer("KServe", "kserve", _kserve),
    "pytriton": Peer("PyTriton", "pytriton", _pytriton),
    "triton": Peer("Triton of PyTriton's wheel, Python backend", "pytriton", _triton),
}


def installed(name: str) -> Path:
    """The peer's environment, made as its pins say when they have changed. Raises Unusable."""
    pins, environment = HERE / f"{name}.txt", ENVIRONMENTS / name
    stamp, wanted = environment / "pins.sha256", hashlib.sha256(pins.read_bytes()).hexdigest()
    if stamp.exists() and stamp.read_text() == wanted:
        return environment
    uv, python = str(ROOT / ".venv/bin/uv"), str(ROOT / ".venv/bin/python")
    into = ["--python", str(environment / "bin/python")]
    for step in (
        [uv, "venv", "--quiet", "--allow-existing", "--python", python, str(environment)],
        [uv, "pip", "sync", "--quiet", "--require-hashes", *into, str(pins)],
    ):
        done = subprocess.run(step, capture_output=True, text=True)
        if done.returncode:
            said = " ".join(done.stderr.split())
            raise Unusable(f"it cannot be installed: {said[-300:]}")
    stamp.write_text(wanted)
    return environment


@asynccontextmanager
async def serving(peer: Peer, workload: Workload, cores: Cores, scratch: Path) -> AsyncIterator[Target]:
    """The peer on the server's core, once it has answered. Raises Unusable with the end of what it said."""
    environment = await asyncio.to_thread(installed, peer.environment)
    ports = Ports(quiet_port(), quiet_port(), quiet_port())
    folder = scratch / f"server-{ports.grpc}"
    folder.mkdir()
    (folder / "model.onnx").write_bytes(workload.graph.raw)
    command = peer.command(environment, workload, folder, ports)
    log = folder / "log"
    with log.open("wb") as output, on(set(cores.server)):
        process = subprocess.Popen(  # noqa: ASYNC220 - at once, and its end is waited for below
            command.words, cwd=command.folder, env={**_plain_environ(), **command.environ},
            stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True,
        )  # fmt: skip
    try:
        await _ready(process, ports.grpc, workload, log)
        yield Target(peer.title, ports.grpc, lambda: [p.pid for p in family(process.pid)])
    finally:
        _end(process)


def _plain_environ() -> dict[str, str]:
    """Ours without what would lead a peer to our packages, and with as many threads as it has cores."""
    kept = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV", "LD_LIBRARY_PATH")}
    return kept | {"OMP_NUM_THREADS": "1"}


async def _ready(process: subprocess.Popen[bytes], port: int, workload: Workload, log: Path) -> None:
    waiting = asyncio.create_task(answers(port, workload.messages("bench"), START_S))
    while not waiting.done() and process.poll() is None:  # noqa: ASYNC110 - a process is seen, it does not call
        await asyncio.sleep(0.1)
    waiting.cancel()
    try:
        await waiting
    except (TimeoutError, asyncio.CancelledError):
        ended = f"ended with code {process.returncode}" if process.poll() is not None else "does not answer"
        said = " ".join(log.read_text(errors="replace").split())  # noqa: ASYNC240 - a small file
        raise Unusable(f"it {ended}: …{said[-400:]}") from None


def _end(process: subprocess.Popen[bytes]) -> None:
    """The server and everything that it started."""
    below = family(process.pid)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        process.wait(15)
    for one in below:
        if one.is_running():
            one.kill()
    process.wait(15)
