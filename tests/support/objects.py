"""A real S3 server for tests: S3Proxy on a folder of its own and a free loopback port, gone with the test session.

`objects` is shared by the session and started by the first test that asks for it; `bucket` is a new, empty bucket of it
for one test, with the AWS_… variables of this process set so that everything of ours finds it. Requests must be signed
by the server's one user, and a put on condition is atomic, as on S3 itself. The jars come from `make setup`.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from gyrostat_local import tether
from gyrostat_local.readiness import free_port

ROOT = Path(__file__).resolve().parents[2]
LIBS = ROOT / "build" / "objects" / "libs"
USER, PASSWORD = "gyrostat", "gyrostat-objects"
START_LIMIT_S = 60.0
HEAP = ["-Xms32m", "-Xmx192m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]


@dataclass(frozen=True)
class Place:
    """An address for settings, and the folder where its files can be looked at and damaged."""

    uri: str
    folder: Path


@dataclass(frozen=True)
class Bucket:
    """An empty bucket; `folder` is where the server keeps it, to look at and to damage."""

    name: str
    folder: Path
    endpoint: str

    def uri(self, *parts: str) -> str:
        """`s3://<bucket>/<parts>`."""
        return "/".join([f"s3://{self.name}", *parts])


@dataclass
class ObjectServer:
    """One server process. `stop` and `start` keep its folder and its port: an outage, not a new store."""

    folder: Path
    port: int
    process: subprocess.Popen[bytes] | None = None

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def variables(self) -> dict[str, str]:
        """What a process must be given to use it."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_REGION": "us-east-1",
            "AWS_ALLOW_HTTP": "true",
            "AWS_ACCESS_KEY_ID": USER,
            "AWS_SECRET_ACCESS_KEY": PASSWORD,
        }

    def new_bucket(self) -> Bucket:
        """A bucket is a folder of the server's."""
        name = f"t{uuid.uuid4().hex[:12]}"
        (self.folder / "buckets" / name).mkdir()
        return Bucket(name, self.folder / "buckets" / name, self.endpoint)

    def start(self) -> None:
        """Start and wait until it says that it is well."""
        if not any(LIBS.glob("s3proxy-*.jar")):
            pytest.fail(f"no S3 server in {LIBS}: run `make setup` first", pytrace=False)
        log = self.folder / "server.log"
        with log.open("ab") as output:
            self.process = subprocess.Popen(self._command(), stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        deadline = time.monotonic() + START_LIMIT_S
        while not self._well():
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                pytest.fail(f"the S3 server did not start:\n{log.read_text()[-4000:]}", pytrace=False)
            time.sleep(0.05)

    def stop(self) -> None:
        """End it at once."""
        if self.process is not None:
            self.process.kill()
            self.process.wait(30)
            self.process = None

    def _command(self) -> list[str]:
        (self.folder / "buckets").mkdir(exist_ok=True)
        properties = self.folder / "s3proxy.conf"
        properties.write_text(
            f"s3proxy.endpoint={self.endpoint}\ns3proxy.authorization=aws-v4\ns3proxy.identity={USER}\n"
            f"s3proxy.credential={PASSWORD}\njclouds.provider=filesystem\n"
            f"jclouds.filesystem.basedir={self.folder / 'buckets'}\n"
        )
        home = os.environ.get("JAVA_HOME")
        java = str(Path(home) / "bin" / "java") if home else shutil.which("java") or "java"
        quiet = f"-Dlogback.configurationFile={ROOT / 'deploy/objects/logback.xml'}"
        server = [java, *HEAP, quiet, "-cp", f"{LIBS}/*", "org.gaul.s3proxy.Main", "--properties", str(properties)]
        tie = [sys.executable, "-S", "-E", tether.__file__, str(os.getpid()), str(int(signal.SIGKILL))]
        return [*tie, "--", *server]

    def _well(self) -> bool:
        with suppress(OSError), urllib.request.urlopen(f"{self.endpoint}/healthz", timeout=5) as reply:
            return bool(reply.status == 200)
        return False


@pytest.fixture(scope="session")
def objects() -> Iterator[ObjectServer]:
    """The session's S3 server."""
    folder = Path(tempfile.mkdtemp(prefix="gyrostat-objects-"))
    server = ObjectServer(folder, free_port())
    server.start()
    yield server
    server.stop()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def bucket(objects: ObjectServer, monkeypatch: pytest.MonkeyPatch) -> Bucket:
    """An empty bucket, and an environment that leads to it."""
    for name, value in objects.variables.items():
        monkeypatch.setenv(name, value)
    return objects.new_bucket()


class CommitGate:
    """A proxy before the server that lets the next commit of a Delta table go wrong.

    `lose_reply()`: the commit is written and its writer never hears of it. `hold()`: it waits before the server; `held`
    is set then, and the writer can be killed between its data and its commit.
    """

    def __init__(self, port: int) -> None:
        self._port, self._mode = port, ""
        self.held, self.lost = asyncio.Event(), 0
        self.endpoint = ""

    def lose_reply(self) -> None:
        self._mode = "lose"

    def hold(self) -> None:
        self._mode = "hold"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One client connection."""
        up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self._port)
        losing = asyncio.Event()
        there = asyncio.create_task(self._requests(reader, up_writer, losing))
        back = asyncio.create_task(self._replies(up_reader, writer, losing))
        await asyncio.wait({there, back}, return_when=asyncio.FIRST_COMPLETED)
        for task in (there, back):
            task.cancel()
        await asyncio.gather(there, back, return_exceptions=True)
        for end in (writer, up_writer):
            end.close()

    async def _requests(self, reader: asyncio.StreamReader, up: asyncio.StreamWriter, losing: asyncio.Event) -> None:
        with suppress(ConnectionError):
            while part := await reader.read(65536):
                line = part.partition(b"\r\n")[0]
                if self._mode and line.startswith(b"PUT ") and b"/_delta_log/" in line:
                    mode, self._mode = self._mode, ""
                    if mode == "hold":
                        self.held.set()
                        await asyncio.Event().wait()
                    losing.set()
                up.write(part)
                await up.drain()

    async def _replies(self, up: asyncio.StreamReader, writer: asyncio.StreamWriter, losing: asyncio.Event) -> None:
        with suppress(ConnectionError):
            while part := await up.read(65536):
                if losing.is_set():
                    self.lost += 1
                    return
                writer.write(part)
                await writer.drain()


@asynccontextmanager
async def a_gate(server: ObjectServer) -> AsyncIterator[CommitGate]:
    """A gate before the server on a port of its own."""
    gate = CommitGate(server.port)
    listener = await asyncio.start_server(gate.serve, "127.0.0.1", 0)
    gate.endpoint = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    try:
        yield gate
    finally:
        listener.close()
