"""A PostgreSQL server of our own for a few tests: in a temporary directory, on a Unix socket."""

import itertools
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg


def find_binaries() -> Path | None:
    """The directory of `initdb` and `pg_ctl`; Debian does not put it on the path."""
    found = shutil.which("initdb")
    if found:
        return Path(found).resolve().parent
    return max(Path("/usr/lib/postgresql").glob("*/bin"), default=None)


class Postgres:
    """A running server, in which each test gets a database of its own."""

    def __init__(self, socket_directory: Path, user: str) -> None:
        self._parameters = {"host": str(socket_directory), "user": user}
        self._numbers = itertools.count()
        self._emptied: str | None = None

    def new_database(self) -> str:
        """Make a database and return its URL."""
        name = f"test{next(self._numbers)}"
        self.execute("postgres", f"CREATE DATABASE {name}")
        return self._url(name)

    def emptied_database(self) -> str:
        """The URL of a database that is the same each time, and empty: made much faster than a new one."""
        if self._emptied is None:
            self._emptied = self.new_database()
        name = self._emptied.partition("@/")[2].partition("?")[0]
        others = f"datname = '{name}' AND pid <> pg_backend_pid()"
        self.execute(name, f"SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE {others}")
        self.execute(name, "DROP SCHEMA public CASCADE")
        self.execute(name, "CREATE SCHEMA public")
        return self._emptied

    def _url(self, name: str) -> str:
        return f"postgresql://{self._parameters['user']}@/{name}?host={self._parameters['host']}"

    def execute(self, database: str, statement: str) -> list[tuple[Any, ...]]:
        """Run one statement behind the gateway's back."""
        with psycopg.connect(dbname=database, autocommit=True, **self._parameters) as connection:  # type: ignore[arg-type]
            cursor = connection.execute(statement)  # type: ignore[call-overload]
            return cursor.fetchall() if cursor.description else []


@contextmanager
def run_postgres(binaries: Path) -> Iterator[Postgres]:
    """A server as long as the body runs. It refuses to run as root, so root runs it as `postgres`."""
    user = "postgres" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name
    directory = Path(tempfile.mkdtemp(prefix="dgt-pg-", dir="/tmp"))  # a socket's path may have 107 bytes
    if os.geteuid() == 0:
        shutil.chown(directory, user)
    data = directory / "data"

    def run(program: str, *arguments: str) -> None:
        command = [str(binaries / program), "-D", str(data), *arguments]
        with (directory / "commands.log").open("ab") as log:
            as_user = {"user": user, "group": pwd.getpwnam(user).pw_gid, "extra_groups": []} if not os.geteuid() else {}
            done = subprocess.run(command, cwd=directory, stdout=log, stderr=log, check=False, **as_user)  # type: ignore[call-overload]
        assert done.returncode == 0, (directory / "commands.log").read_text()

    try:
        run("initdb", "-U", user, "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync")
        run("pg_ctl", "-w", "-l", str(directory / "log"), "-o", f"-k {directory} -c listen_addresses=", "start")
        try:
            yield Postgres(directory, user)
        finally:
            run("pg_ctl", "-w", "-m", "immediate", "stop")
    finally:
        shutil.rmtree(directory)
