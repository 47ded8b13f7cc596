"""The database: how it is opened, guarded, and written in groups. Blocking; for one thread at a time.

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
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

import sqlalchemy as sa
from sqlalchemy.exc import ArgumentError, DBAPIError, OperationalError, SQLAlchemyError

from gateway.errors import GatewayError, StartError
from gateway.store_keys import Cipher, new_cipher, open_cipher
from gateway.store_tables import StoredCluster, Tables

Change = Callable[[sa.Connection], None]

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


class StoreError(GatewayError):
    """A record is not accepted by the database; the text has the database's words."""


class StoreUnavailable(StoreError):
    """The database cannot be read or written at the moment: disk full, read-only, server down."""

    status = 503

    def again(self) -> Self:
        """The same for somebody else: an exception that many tasks raise would mix up their tracebacks."""
        copy = type(self)(str(self))
        copy.__cause__ = self
        return copy


class Database:
    """An open database. `Database.open` makes one; close it with `close`."""

    def __init__(self, engine: sa.Engine, tables: Tables, cleanup: ExitStack) -> None:
        self.tables = tables
        self._engine = engine
        self._cleanup = cleanup

    @classmethod
    def open(cls, url: str, *, keys: Sequence[str], environment: Mapping[str, str], debug: bool) -> Self:
        """Open the database, make or check its tables. Raises `StartError`.

        `keys` and `environment` are where encryption keys may come from
        (store_keys.py); `debug` prints every statement, without parameters.
        """
        parsed = _parse(url)
        name = parsed.set(query={}).render_as_string(hide_password=True)  # a query may hold a password too
        with ExitStack() as cleanup:
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
            tables = Tables(cipher)
            try:
                with engine.begin() as connection:
                    tables.prepare(connection)
            except SQLAlchemyError as error:
                raise StartError(f"The database {name} cannot be used: {_reason(error)}.") from error
            except StoreUnavailable as error:
                raise StartError(f"The database {name} cannot be used. {error}") from error
            return cls(engine, tables, cleanup.pop_all())

    def close(self) -> None:
        """Close the connection, and give up the lock after it."""
        self._cleanup.close()

    def load(self) -> list[StoredCluster]:
        """All that is stored. Raises `StoreUnavailable` or `StartError`."""
        try:
            with self._engine.begin() as connection:
                return self.tables.load(connection)
        except SQLAlchemyError as error:
            raise StoreUnavailable(f"The gateway's database cannot be read: {_reason(error)}.") from error

    def commit(self, changes: Sequence[Change]) -> list[Exception | None]:
        """Make these changes in one transaction, and return the error of each, None where it worked.

        A change that fails is undone alone, the others go on. Raises
        `StoreUnavailable` when the transaction itself fails: then none was made
        (or, when only the answer to COMMIT was lost, perhaps all were).
        """
        try:
            with self._engine.begin() as connection:
                return [_attempt(connection, change) for change in changes]
        except SQLAlchemyError as error:
            raise _unavailable(error) from error


def _attempt(connection: sa.Connection, change: Change) -> Exception | None:
    savepoint = connection.begin_nested()
    try:
        change(connection)
        savepoint.commit()
    except SQLAlchemyError as error:
        if connection.invalidated or not _undo(savepoint):
            raise  # the whole transaction is gone: a lost connection, a full disk
        return _translate(error)
    except Exception as error:  # noqa: BLE001 - it is handed to the one who wanted this change
        savepoint.rollback()
        return error
    return None


def _undo(savepoint: sa.NestedTransaction) -> bool:
    try:
        savepoint.rollback()
    except SQLAlchemyError:  # SQLite gives up a whole transaction by itself when the disk is full
        return False
    return True


def _translate(error: SQLAlchemyError) -> StoreError:
    if isinstance(error, OperationalError):
        translated: StoreError = _unavailable(error)
    else:
        translated = StoreError(f"The gateway's database does not accept this: {_reason(error)}.")
    translated.__cause__ = error
    return translated


def _unavailable(error: SQLAlchemyError) -> StoreUnavailable:
    return StoreUnavailable(
        f"The gateway's database cannot be written at the moment: {_reason(error)}. Try again later."
    )


def _reason(error: SQLAlchemyError) -> str:
    """The database's own words, the first line of them; SQLAlchemy would add the statement."""
    text = str(error.orig) if isinstance(error, DBAPIError) else str(error)
    return text.strip().partition("\n")[0].rstrip(".")


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
