"""A real PostgreSQL for tests: a private server in a temporary folder on a free loopback port.

`postgres` gives a URL with a database of the test's own. Runs as an unprivileged user when the tests run as root,
for PostgreSQL refuses root. No PostgreSQL on the machine is a failure with one sentence, never a skip.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from gyrostat_local import tether
from gyrostat_local.readiness import free_port

START_LIMIT_S = 60.0
SETTINGS = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off", "max_connections": "50"}
SETTINGS |= {"client_min_messages": "warning", "autovacuum": "off"}


def find_binary(name: str) -> Path:
    """Return the newest installed `name`; fail with a sentence when PostgreSQL is missing."""
    found = shutil.which(name)
    candidates = [Path(found)] if found else []
    versions = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), key=lambda p: float(p.parts[-3]))
    candidates += reversed(versions)
    if not candidates:
        pytest.fail("no PostgreSQL: install it (Debian: apt-get install postgresql)", pytrace=False)
    return candidates[0]


def unprivileged_user() -> str | None:
    """Return the user to run the server as, or None when we are not root ourselves."""
    if os.geteuid() != 0:
        return None
    known = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in known else "nobody"


CLEAR = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
    " WHERE datname = current_database() AND pid <> pg_backend_pid()",
    """DO $$ DECLARE name text; BEGIN
        FOR name IN SELECT nspname FROM pg_namespace WHERE nspname !~ '^pg_' AND nspname <> 'information_schema'
        LOOP EXECUTE format('DROP SCHEMA %I CASCADE', name); END LOOP; END $$""",
    "CREATE SCHEMA public",
)


@dataclass(frozen=True)
class PostgresServer:
    """A running server; `gyrostat` is its superuser and needs no password on loopback."""

    port: int
    empty: list[str] = field(default_factory=list)

    def new_database(self) -> str:
        """Return the SQLAlchemy URL of an empty database: a new one, or one that was emptied, which is much quicker."""
        if self.empty:
            return self.empty.pop()
        name = f"t{uuid.uuid4().hex[:12]}"
        self._sql("postgres", f"CREATE DATABASE {name}")
        return f"postgresql+asyncpg://gyrostat@127.0.0.1:{self.port}/{name}"

    def empty_database(self, url: str) -> None:
        """Throw out whoever is still connected, and every schema."""
        self._sql(url.rpartition("/")[2], *CLEAR)
        self.empty.append(url)

    def _sql(self, database: str, *statements: str) -> None:
        target = ["-h", "127.0.0.1", "-p", str(self.port), "-U", "gyrostat", "-d", database]
        command = [str(find_binary("psql")), "-q", "-X", "-v", "ON_ERROR_STOP=1", *target]
        for statement in statements:
            command += ["-c", statement]
        subprocess.run(command, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, timeout=60)


def _tethered(command: list[str], user: str | None) -> list[str]:
    """Wrap a command so that it runs as `user` and ends with this process (SIGQUIT: at once)."""
    tie = [sys.executable, "-S", "-E", tether.__file__, str(os.getpid()), str(int(signal.SIGQUIT))]
    return [*tie, *([user] if user else []), "--", *command]


def _accepts(port: int) -> bool:
    command = [str(find_binary("pg_isready")), "-q", "-h", "127.0.0.1", "-p", str(port), "-U", "gyrostat"]
    return subprocess.run(command, check=False).returncode == 0


def _start(folder: Path, port: int) -> subprocess.Popen[bytes]:
    user = unprivileged_user()
    if user:
        shutil.chown(folder, user)
    store = folder / "store"
    init = [str(find_binary("initdb")), "-D", str(store), "-U", "gyrostat", "-A", "trust", "-E", "UTF8", "--no-sync"]
    made = subprocess.run(
        _tethered([*init, "--locale=C"], user), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=folder
    )
    if made.returncode:
        pytest.fail(f"initdb failed:\n{made.stdout[-2000:]}", pytrace=False)
    options = [item for name, value in SETTINGS.items() for item in ("-c", f"{name}={value}")]
    listen = ["-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=", "-p", str(port)]
    log = folder / "server.log"
    with log.open("wb") as output:
        server = subprocess.Popen(
            _tethered([str(find_binary("postgres")), "-D", str(store), *listen, *options], user),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd=folder,
        )
    deadline = time.monotonic() + START_LIMIT_S
    while not _accepts(port):
        if server.poll() is not None or time.monotonic() > deadline:
            server.kill()
            server.wait()
            pytest.fail(f"PostgreSQL did not start:\n{log.read_text()[-2000:]}", pytrace=False)
        time.sleep(0.05)
    return server


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """The session's private PostgreSQL server."""
    folder = Path(tempfile.mkdtemp(prefix="gyrostat-postgres-"))
    port = free_port()
    server = _start(folder, port)
    yield PostgresServer(port)
    server.send_signal(signal.SIGQUIT)
    server.wait(30)
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def postgres(postgres_server: PostgresServer) -> Iterator[str]:
    """The URL (`postgresql+asyncpg://…`) of an empty database of this test's own."""
    url = postgres_server.new_database()
    yield url
    postgres_server.empty_database(url)
