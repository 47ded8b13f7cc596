"""How a database is opened, and kept from being opened twice.

One connection does everything, and whoever holds it is the only gateway on
this database:
- SQLite: the process holds an `flock` on `<database>.lock`, which the kernel
  drops when the process dies, however it dies. (A lock on the database file
  itself would not do: closing any other descriptor of that file would drop
  SQLite's own locks, https://www.sqlite.org/howtocorrupt.html section 2.2.)
- PostgreSQL: the session holds an advisory lock, which the server drops with
  the session. A connection that was lost and made anew must get it again.

SQLite runs in WAL mode with synchronous=FULL: a commit has reached the disk.
The `sqlite3` module would open and close transactions by its own rules, which
breaks savepoints; so it is told not to, and BEGIN is sent from here
(https://docs.sqlalchemy.org/en/20/dialects/sqlite.html, "Serializable
isolation / Savepoints / Transactional DDL").
"""

import fcntl
import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import ArgumentError

from gateway.errors import StartError
from gateway.store_errors import StoreUnavailable
from gateway.store_keys import Cipher, new_cipher, open_cipher

#: Seconds that SQLite waits for another process (a backup, the sqlite3 shell) to finish its write.
_BUSY_TIMEOUT = 5.0
#: "dask" and "gate" in ASCII: the advisory lock of this application.
_ADVISORY_LOCK = 0x6461736B_67617465
#: So that a server that vanished without a word is noticed: seconds, and milliseconds
#: (https://www.postgresql.org/docs/current/libpq-connect.html).
_POSTGRESQL_DEFAULTS = {
    "connect_timeout": "10",
    "tcp_user_timeout": "30000",
    "application_name": "dask-gateway-server",
}


def open_engine(
    url: str, *, keys: Sequence[str], environment: Mapping[str, str], debug: bool, cleanup: ExitStack
) -> tuple[sa.Engine, Cipher]:
    """An engine with a single connection to come, and the cipher for what is secret in the database.

    What has to be closed, in the end, is left in `cleanup`. Raises `StartError`;
    whoever connects may see `StoreUnavailable` when another gateway has the lock.
    """
    parsed = _parse(url)
    if parsed.get_backend_name() == "postgresql":
        cipher = open_cipher(keys, environment, None, new=False)
        engine = _postgresql_engine(parsed, debug)
    elif parsed.database in {None, "", ":memory:"}:
        cipher = new_cipher()
        engine = _sqlite_engine(parsed, debug)
    else:
        path = Path(str(parsed.database)).resolve()  # one lock, whatever links lead to the file
        cipher = _open_files(path, keys, environment, cleanup)
        engine = _sqlite_engine(parsed.set(database=str(path)), debug)
    cleanup.callback(engine.dispose)
    return engine, cipher


def _parse(url: str) -> sa.URL:
    try:
        parsed = sa.make_url(url)
        backend = parsed.get_backend_name()
    except (ArgumentError, ValueError) as error:  # not shown: the password may be in it
        raise StartError("DBBackendBase.db_url is not a database URL such as sqlite:///dask_gateway.sqlite.") from error
    if backend == "sqlite":
        if parsed.query:
            raise StartError("DBBackendBase.db_url: parameters in the URL of an SQLite database are not supported.")
        return parsed.set(drivername="sqlite+pysqlite")
    if backend in {"postgresql", "postgres"}:
        return parsed.set(drivername="postgresql+psycopg", query={**_POSTGRESQL_DEFAULTS, **parsed.query})
    raise StartError(f"DBBackendBase.db_url: {backend} is not supported, only sqlite and postgresql are.")


def _open_files(path: Path, keys: Sequence[str], environment: Mapping[str, str], cleanup: ExitStack) -> Cipher:
    """Lock an SQLite database and open its keys; make its files readable for their owner alone."""
    try:
        _lock(path, cleanup)
        new = not path.exists() or path.stat().st_size == 0
        cipher = open_cipher(keys, environment, path.with_name(path.name + ".key"), new=new)
        # SQLite gives the write-ahead log the mode of the database. Before SQLite opens it: see above.
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            os.fchmod(descriptor, 0o600)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise StartError(f"Cannot open the database {path}: {error.strerror}.") from error
    return cipher


def _lock(path: Path, cleanup: ExitStack) -> None:
    descriptor = os.open(path.with_name(path.name + ".lock"), os.O_RDWR | os.O_CREAT, 0o600)
    file = cleanup.enter_context(open(descriptor, "r+"))  # noqa: SIM115 - the stack closes it
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        owner = file.read(20).strip() or "unknown"
        raise StartError(f"Another gateway (process {owner}) uses the database {path}.") from error
    file.truncate(0)
    file.write(f"{os.getpid()}\n")
    file.flush()


def _sqlite_engine(url: sa.URL, debug: bool) -> sa.Engine:
    engine = sa.create_engine(
        url,
        echo=debug,
        hide_parameters=True,
        poolclass=sa.StaticPool,  # one connection, in memory too; threads take turns
        connect_args={"check_same_thread": False, "timeout": _BUSY_TIMEOUT},
    )

    @sa.event.listens_for(engine, "connect")
    def prepare(connection: Any, record: object) -> None:
        connection.isolation_level = None
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA foreign_keys=ON")

    @sa.event.listens_for(engine, "begin")
    def begin(connection: sa.Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine


def _postgresql_engine(url: sa.URL, debug: bool) -> sa.Engine:
    try:
        engine = sa.create_engine(
            url, echo=debug, hide_parameters=True, pool_size=1, max_overflow=0, pool_pre_ping=True
        )
    except ImportError as error:
        raise StartError(
            "A PostgreSQL database needs the package psycopg: pip install 'dask-gateway-trio[postgresql]'."
        ) from error

    @sa.event.listens_for(engine, "connect")
    def prepare(connection: Any, record: object) -> None:
        (owner,) = connection.execute(f"SELECT pg_try_advisory_lock({_ADVISORY_LOCK})").fetchone()
        if not owner:
            connection.close()
            raise StoreUnavailable("Another gateway uses this database.")
        # A commit that was reported must survive a crash of the server.
        connection.execute(
            "SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'"
        )
        connection.commit()

    return engine
