"""A look into a database beside the gateway that may be at work on it: nothing is locked, and nothing written.

All that is read is of one moment: SQLite's readers and writers do not wait for
each other in WAL mode, nor do PostgreSQL's.
"""

import os
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import sqlalchemy as sa
from attrs import frozen
from sqlalchemy.exc import SQLAlchemyError

from gateway.errors import StartError
from gateway.store.engines import BUSY_TIMEOUT, in_memory, parse, postgresql_engine
from gateway.store.errors import StoreUnavailable, reason
from gateway.store.files import check_folder, check_owner, key_file_of
from gateway.store.inspection import Findings, inspect
from gateway.store.keys import Keys, find_keys


class NoDatabase(StartError):
    """There is no database at this place."""


@frozen
class Reader:
    """A database that is open for reading, its keys, and what it is called."""

    connection: sa.Connection
    keys: Keys
    name: str

    def inspect(self) -> Findings:
        """All that can be said of it. Raises what SQLAlchemy raises."""
        return inspect(self.connection, self.keys)


def file_of(url: str) -> Path | None:
    """The file of an SQLite database, None for PostgreSQL.

    Raises `NoDatabase` when there is none, and `StartError` when it is not for this process to open.
    """
    parsed = parse(url)
    if parsed.get_backend_name() == "postgresql":
        return None
    if in_memory(parsed):
        raise NoDatabase(
            "The database is in memory (c.DBBackendBase.db_url): it is the gateway's alone, and ends with it."
        )
    path = Path(os.path.abspath(str(parsed.database)))
    try:
        empty = path.stat().st_size == 0
    except FileNotFoundError:
        empty = True
    except OSError as error:
        raise StartError(f"Cannot open the database {path}: {error.strerror}.") from error
    if empty:
        raise NoDatabase(
            f"There is no database {path}: the gateway makes it at its first start. The path in c.DBBackendBase.db_url"
            " may be relative: then run this in the gateway's working directory."
        )
    check_owner(path)
    check_folder(str(path))
    return path.resolve()


@contextmanager
def open_reader(url: str, *, keys: Sequence[str], environment: Mapping[str, str]) -> Iterator[Reader]:
    """Read the database at this URL. Raises `StartError`."""
    path = file_of(url)
    if path is not None:
        with read_file(path, keys=keys, environment=environment) as reader:
            yield reader
        return
    found = find_keys(keys, environment, None, new=False)
    parsed = parse(url)
    engine = postgresql_engine(parsed, holder="a reader", debug=False, locks=False)
    name = parsed.set(query={}).render_as_string(hide_password=True)
    with _reading(
        engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True), name
    ) as connection:
        yield Reader(connection, found, name)


@contextmanager
def read_file(path: Path, *, keys: Sequence[str], environment: Mapping[str, str]) -> Iterator[Reader]:
    """Read the SQLite database in this file. Raises `StartError`."""
    found = find_keys(keys, environment, key_file_of(path), new=False)
    engine = sa.create_engine("sqlite+pysqlite://", creator=partial(connect_read_only, path), hide_parameters=True)
    sa.event.listen(engine, "begin", _begin)
    with _reading(engine, str(path)) as connection:
        yield Reader(connection, found, str(path))


def connect_read_only(path: Path) -> sqlite3.Connection:
    """A connection to an SQLite database that may be in use. Raises sqlite3.Error."""
    connection = sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, isolation_level=None, timeout=BUSY_TIMEOUT)
    connection.execute("PRAGMA query_only=ON")
    connection.execute("PRAGMA trusted_schema=OFF")
    return connection


def _begin(connection: sa.Connection) -> None:
    connection.exec_driver_sql("BEGIN")


@contextmanager
def _reading(engine: sa.Engine, name: str) -> Iterator[sa.Connection]:
    try:
        with engine.begin() as connection:
            yield connection
    except SQLAlchemyError as error:
        raise StoreUnavailable(f"The database {name} cannot be read: {reason(error)}.") from error
    finally:
        engine.dispose()
