"""How a database is opened, and kept from being opened twice.

One connection does everything, and whoever holds it is the only one to change
this database:
- SQLite: the process holds a lock on a file beside it (files.py).
- PostgreSQL: the session holds an advisory lock, which the server drops with
  the session. A connection that was lost and made anew must get it again.

SQLite runs in WAL mode with synchronous=FULL: a commit has reached the disk.
The `sqlite3` module would open and close transactions by its own rules, which
breaks savepoints; so it is told not to, and BEGIN is sent from here
(https://docs.sqlalchemy.org/en/20/dialects/sqlite.html, "Serializable
isolation / Savepoints / Transactional DDL").
"""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from attrs import frozen
from sqlalchemy.exc import ArgumentError

from gateway.errors import StartError
from gateway.store.errors import StoreUnavailable
from gateway.store.files import check_folder, close_to_others, key_file_of, lock
from gateway.store.holders import described, in_use
from gateway.store.keys import Keys, find_keys, new_keys

#: Seconds that SQLite waits for another process (the sqlite3 shell) to finish its write.
BUSY_TIMEOUT = 5.0
#: "dask" and "gate" in ASCII: the advisory lock of this application.
_ADVISORY_LOCK = 0x6461736B_67617465
#: Who has it, as far as the server tells.
_HOLDERS = f"""SELECT application_name FROM pg_stat_activity JOIN pg_locks USING (pid)
    WHERE locktype = 'advisory' AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
    AND classid = {_ADVISORY_LOCK >> 32} AND objid = {_ADVISORY_LOCK & 0xFFFFFFFF} AND granted"""  # noqa: S608
#: So that a server that vanished without a word is noticed: seconds, and milliseconds
#: (https://www.postgresql.org/docs/current/libpq-connect.html).
_POSTGRESQL_DEFAULTS = {"connect_timeout": "10", "tcp_user_timeout": "30000"}


@frozen
class Opened:
    """An engine with a single connection to come, and the keys for what is secret in the database."""

    engine: sa.Engine
    keys: Keys
    #: The file of an SQLite database.
    file: Path | None = None


def open_engine(
    url: str, *, keys: Sequence[str], environment: Mapping[str, str], debug: bool, holder: str, cleanup: ExitStack
) -> Opened:
    """Open a database to change it; `holder` is what others are told of this process.

    What has to be closed, in the end, is left in `cleanup`. Raises `StartError`;
    whoever connects may see `StoreUnavailable` when somebody else has the lock.
    """
    parsed = parse(url)
    if parsed.get_backend_name() == "postgresql":
        found = find_keys(keys, environment, None, new=False)
        opened = Opened(postgresql_engine(parsed, holder=holder, debug=debug), found)
    elif in_memory(parsed):
        opened = Opened(_sqlite_engine(parsed, debug), new_keys())
    else:
        check_folder(str(parsed.database))
        path = Path(str(parsed.database)).resolve()  # one lock, whatever links lead to the file
        found = _open_files(path, keys, environment, holder, cleanup)
        opened = Opened(_sqlite_engine(parsed.set(database=str(path)), debug), found, path)
    cleanup.callback(opened.engine.dispose)
    return opened


def in_memory(url: sa.URL) -> bool:
    """Whether an SQLite database is none of any file."""
    return url.database in {None, "", ":memory:"}


def parse(url: str) -> sa.URL:
    """The URL with the driver and the parameters that are used here. Raises `StartError`."""
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


def _open_files(
    path: Path, keys: Sequence[str], environment: Mapping[str, str], holder: str, cleanup: ExitStack
) -> Keys:
    """Lock an SQLite database and find its keys; make its files readable for their owner alone."""
    try:
        lock(path, holder, cleanup)
        new = not path.exists() or path.stat().st_size == 0
        found = find_keys(keys, environment, key_file_of(path), new=new)
        close_to_others(path)
    except OSError as error:
        raise StartError(f"Cannot open the database {path}: {error.strerror}.") from error
    return found


def _sqlite_engine(url: sa.URL, debug: bool) -> sa.Engine:
    engine = sa.create_engine(
        url,
        echo=debug,
        hide_parameters=True,
        poolclass=sa.StaticPool,  # one connection, in memory too; threads take turns
        connect_args={"check_same_thread": False, "timeout": BUSY_TIMEOUT},
    )

    @sa.event.listens_for(engine, "connect")
    def prepare(connection: Any, record: object) -> None:
        connection.isolation_level = None
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA foreign_keys=ON")
        connection.execute("PRAGMA trusted_schema=OFF")  # no function of ours is called by what the file defines

    @sa.event.listens_for(engine, "begin")
    def begin(connection: sa.Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine


def postgresql_engine(url: sa.URL, *, holder: str, debug: bool, locks: bool = True) -> sa.Engine:
    """An engine with a single connection, which holds the lock unless it only reads. Raises `StartError`."""
    named = url.set(query={"application_name": f"dask-gateway-server, {described(holder)}"[:63], **url.query})
    try:
        engine = sa.create_engine(
            named, echo=debug, hide_parameters=True, pool_size=1, max_overflow=0, pool_pre_ping=True
        )
    except ImportError as error:
        raise StartError(
            "A PostgreSQL database needs the package psycopg: pip install 'dask-gateway-trio[postgresql]'."
        ) from error
    if locks:
        sa.event.listen(engine, "connect", _lock_session)
    return engine


def _lock_session(connection: Any, record: object) -> None:
    (is_ours,) = connection.execute(f"SELECT pg_try_advisory_lock({_ADVISORY_LOCK})").fetchone()
    if not is_ours:
        holders = connection.execute(_HOLDERS).fetchall()
        database = connection.info.dbname
        connection.close()
        raise StoreUnavailable(in_use(database, "; ".join(name or "another user's" for (name,) in holders)))
    # A commit that was reported must survive a crash of the server.
    connection.execute(
        "SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'"
    )
    connection.commit()
