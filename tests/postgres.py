"""A PostgreSQL of our own: a fresh cluster on a free port of loopback, stopped by its pid."""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from sqlalchemy.engine import URL

from network.neighbours import free_port

USER = "wetread"
# Nothing here has to outlive a loss of power.
SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "fsync": "off",
    "max_connections": "200",
    "shared_buffers": "32MB",
    "unix_socket_directories": "",
}


def programs() -> Path:
    """The folder of Debian's newest `initdb` and `postgres`."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
    assert found, "there is no PostgreSQL: apt-get install postgresql"
    return found[-1].parent


class PostgresServer:
    """A cluster in a folder; it can be stopped and started again on its port."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self._data = folder / "data"
        self._log = folder / "postgres.log"
        self._password = secrets.token_hex(16)
        self._process: subprocess.Popen[bytes] | None = None
        # It does not run as root; Debian's package makes a user for it.
        self._user = pwd.getpwnam("postgres").pw_uid if os.getuid() == 0 else os.getuid()
        os.chown(folder, self._user, -1)
        self._make(folder)

    def _make(self, folder: Path) -> None:
        secret = folder / "password"
        secret.write_text(self._password, encoding="ascii")
        os.chown(secret, self._user, -1)
        command = [programs() / "initdb", "--no-sync", "--auth=scram-sha-256", "--encoding=UTF8"]
        options = ["--locale=C", f"--username={USER}", f"--pwfile={secret}", self._data]
        subprocess.run([*command, *options], check=True, capture_output=True, user=self._user)

    def url(self, database: str = "postgres") -> str:
        """Where that database is, with the password."""
        parts = {"username": USER, "password": self._password, "database": database}
        url = URL.create("postgresql", host="127.0.0.1", port=self.port, **parts)
        return url.render_as_string(hide_password=False)

    @property
    def password(self) -> str:
        return self._password

    def start(self) -> None:
        """Start it and wait until it takes connections."""
        settings = [f"--{name}={value}" for name, value in SETTINGS.items()]
        command = [programs() / "postgres", "-D", self._data, "-p", str(self.port), *settings]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, user=self._user)
        deadline = time.monotonic() + 30
        while True:
            try:
                psycopg.connect(self.url(), connect_timeout=5).close()
            except psycopg.OperationalError:
                assert self._process.poll() is None, self._log.read_text()
                assert time.monotonic() < deadline, self._log.read_text()
                time.sleep(0.05)
            else:
                return

    def stop(self) -> None:
        """End every connection and stop at once."""
        if self._process is not None:
            self._process.send_signal(signal.SIGINT)
            self._process.wait(30)
            self._process = None

    def new_database(self) -> str:
        """The URL of an empty database."""
        name = f"test_{secrets.token_hex(4)}"
        with psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{name}"')
        return self.url(name)


@contextmanager
def running_postgres() -> Iterator[PostgresServer]:
    """A server that runs; in the end it is stopped and its folder removed."""
    # Not below a folder of pytest's, which only root may enter.
    folder = Path(tempfile.mkdtemp(prefix="wetread-postgres-"))
    try:
        server = PostgresServer(folder)
        try:
            server.start()
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder)
