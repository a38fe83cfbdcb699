"""A real PostgreSQL server for the tests: made in a new folder, on a free port of the loopback, and gone afterwards."""

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest

OWNER, OWNER_PASSWORD = "owner", "owner's pässword: 100% @ secret/"
READER, READER_PASSWORD = "reader", "correct horse ?#&%3A"
SERVER_USER = "postgres"  # the server refuses to run as root


@dataclass(frozen=True)
class Server:
    """Where the server listens. `url` is for a user without a password in it; `folder` holds its log."""

    port: int
    folder: Path

    def url(self, user: str = READER, database: str = "postgres") -> str:
        return f"postgresql+psycopg://{user}@127.0.0.1:{self.port}/{database}"

    def run(self, *statements: str) -> None:
        with psycopg.connect(
            host="127.0.0.1", port=self.port, user=OWNER, password=OWNER_PASSWORD, dbname="postgres"
        ) as connection:
            for statement in statements:
                connection.execute(statement)


def _binary(name: str) -> str:
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name), reverse=True)
    found = shutil.which(name, path=os.pathsep.join([*map(str, folders), os.environ["PATH"]]))
    if found is None:
        words = f"PostgreSQL's {name} is not installed; run: apt-get install postgresql"
        if "CI" in os.environ:  # there it must be; elsewhere `make test` works without
            pytest.fail(words, pytrace=False)
        pytest.skip(words)
    return found


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def server() -> Iterator[Server]:
    """Starts a server that asks for passwords, with two users: one who owns all, one who may only read."""
    initdb, pg_ctl = _binary("initdb"), _binary("pg_ctl")
    user = SERVER_USER if os.geteuid() == 0 else None
    folder = Path(tempfile.mkdtemp(prefix="hefed-postgres-"))
    try:
        (folder / "password").write_text(OWNER_PASSWORD, encoding="utf-8")
        if user is not None:
            shutil.chown(folder, user)
            shutil.chown(folder / "password", user)
        data, port = folder / "data", _free_port()

        def run(*command: str) -> None:
            done = subprocess.run(
                command, user=user, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60
            )
            if done.returncode:
                log = folder / "log"
                pytest.fail(
                    f"PostgreSQL does not start: {done.stderr}{log.read_text() if log.exists() else ''}", pytrace=False
                )

        run(initdb, "--no-sync", "--auth=scram-sha-256", f"--username={OWNER}", "--pwfile=password",
            "--encoding=UTF8", "--locale=C", "-D", str(data))  # fmt: skip
        options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c fsync=off"
        run(pg_ctl, "start", "-w", "-D", str(data), "-l", str(folder / "log"), "-o", options)
        try:
            started = Server(port, folder)
            started.run(f"CREATE ROLE {READER} LOGIN PASSWORD '{READER_PASSWORD}'")
            yield started
        finally:
            run(pg_ctl, "stop", "-w", "-m", "immediate", "-D", str(data))
    finally:
        shutil.rmtree(folder)
