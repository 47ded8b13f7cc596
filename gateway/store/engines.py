"""How a database is opened, and kept from being opened twice.

One connection does everything, and whoever holds it is the only gateway on
this database:
- SQLite: the process holds an `flock` on `<database>.lock`, which the kernel
  drops when the process dies, however it dies. (A lock on the database file
  itself would not do: closing any other descriptor of that file would drop
  SQLite's own locks, https://www.sqlite.org/howtocorrupt.html section 2.2.)
- PostgreSQL: the session holds an advisory lock, which the server drops with
  the session. A connection that was lost and made anew must get it again.

An SQLite database is files, some of which are opened by their names alone. So
they must be in a folder where nobody but the gateway's user and root can put
files; and what is found there must be that user's own.

SQLite runs in WAL mode with synchronous=FULL: a commit has reached the disk.
The `sqlite3` module would open and close transactions by its own rules, which
breaks savepoints; so it is told not to, and BEGIN is sent from here
(https://docs.sqlalchemy.org/en/20/dialects/sqlite.html, "Serializable
isolation / Savepoints / Transactional DDL").
"""

import fcntl
import os
import stat
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import sqlalchemy as sa
import structlog
from sqlalchemy.exc import ArgumentError

from gateway.errors import StartError
from gateway.store.errors import StoreUnavailable
from gateway.store.keys import Cipher, new_cipher, open_cipher
from gateway.trusted_files import unsafe

_log = structlog.get_logger()

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
        _check_folder(str(parsed.database))
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
        descriptor = _open_own(path)
        try:
            os.fchmod(descriptor, 0o600)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise StartError(f"Cannot open the database {path}: {error.strerror}.") from error
    return cipher


def _check_folder(path: str) -> None:
    """See that nobody else can put files beside the database, or in its place. Raises `StartError`.

    SQLite opens files beside it by their names, and who can replace them has the gateway read and write others.
    """
    absolute = os.path.abspath(path)
    folder = os.path.dirname(absolute)
    if not os.path.isdir(folder):
        return  # which opening the database tells better
    owners = (0, os.geteuid())
    lenient = os.geteuid() != 0  # the group of a service's account is often its own
    # Both where the name is and where links lead. A database that others may write to is closed to them below.
    for place in {folder, os.path.dirname(os.path.realpath(absolute))}:
        why = unsafe(place, folder=True, owners=owners, group_may_write=lenient)
        if not why and os.path.islink(absolute) and os.path.exists(absolute):
            why = unsafe(absolute, owners=owners, group_may_write=lenient)  # links on the way
        if why:
            raise StartError(
                f"The database {absolute} is not safe: {why}. Keep it in a folder of the gateway's user that nobody"
                " else can write to (chown it, chmod 700), or set DBBackendBase.db_url to one in such a folder."
            )
        if why := unsafe(place, folder=True, owners=owners):
            _log.warning("others might replace the database: take the group's right to write", folder=place, why=why)


def _open_own(path: Path) -> int:
    """A descriptor of a file that is there and ours alone, or that is made: no link, no device, of one name only."""
    descriptor = os.open(
        path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC, 0o600
    )
    status = os.fstat(descriptor)
    if stat.S_ISREG(status.st_mode) and status.st_uid == os.geteuid() and status.st_nlink == 1:
        return descriptor
    os.close(descriptor)
    raise StartError(
        f"The file {path} is not a plain file of the gateway's user alone (it belongs to user id {status.st_uid}, and"
        f" has {status.st_nlink} names): see who has put it there, then chown or remove it."
    )


def _lock(path: Path, cleanup: ExitStack) -> None:
    descriptor = _open_own(path.with_name(path.name + ".lock"))
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
        connection.execute("PRAGMA trusted_schema=OFF")  # no function of ours is called by what the file defines

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
