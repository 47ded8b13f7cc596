"""The database, blocking, for one thread at a time: it is read once, and written in groups.

A group of changes is one transaction, and each change in it a savepoint: one
that fails is undone alone. What fails with the whole transaction (a full disk,
a lost connection) fails for all of the group.
"""

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path
from typing import Self, TypeVar

import sqlalchemy as sa
import structlog
from sqlalchemy.exc import SQLAlchemyError

from gateway.errors import StartError
from gateway.models import Document
from gateway.store.copies import keep_copy
from gateway.store.engines import Opened, open_engine
from gateway.store.errors import StoreUnavailable, reason, unwritable, write_error
from gateway.store.holders import GATEWAY
from gateway.store.inspection import Findings, inspect
from gateway.store.keys import Keys
from gateway.store.schema import SCHEMA_VERSION, Preparation, prepare, renew
from gateway.store.seals import Seals
from gateway.store.tables import StoredCluster, Tables

_log = structlog.get_logger()

Change = Callable[[sa.Connection], None]
T = TypeVar("T")


class Database:
    """An open database. `Database.open` makes one; close it with `close`."""

    def __init__(self, opened: Opened, preparation: Preparation, cleanup: ExitStack) -> None:
        self.keys = opened.keys
        self.file = opened.file
        #: What had to be done with it at first.
        self.preparation = preparation
        self._engine = opened.engine
        self._cleanup = cleanup
        self._use(opened.keys)

    def _use(self, keys: Keys) -> None:
        self.keys = keys
        self.cipher = keys.cipher()
        self.tables = Tables(Seals(self.cipher))

    @classmethod
    def open(
        cls,
        url: str,
        *,
        keys: Sequence[str],
        environment: Mapping[str, str],
        debug: bool = False,
        holder: str = GATEWAY,
    ) -> Self:
        """Open the database, make or check its tables, or bring them to today's schema. Raises `StartError`.

        `keys` and `environment` are where encryption keys may come from
        (keys.py); `debug` prints every statement, without parameters; `holder`
        is what others are told who want to open it meanwhile.
        """
        with ExitStack() as cleanup:
            opened = open_engine(url, keys=keys, environment=environment, debug=debug, holder=holder, cleanup=cleanup)
            # A query may hold a password too.
            name = str(opened.file or opened.engine.url.set(query={}).render_as_string(hide_password=True))
            try:
                done = prepare(opened.engine, Seals(opened.keys.cipher()), partial(_keep_copy, opened.file))
            except SQLAlchemyError as error:
                raise StartError(f"The database {name} cannot be used: {reason(error)}.") from error
            except StoreUnavailable as error:
                raise StartError(f"The database {name} cannot be used. {error}") from error
            _tell(name, done)
            return cls(opened, done, cleanup.pop_all())

    def close(self) -> None:
        """Close the connection, and give up the lock after it."""
        self._cleanup.close()

    def renew(self, keys: Keys) -> None:
        """Encrypt and seal everything anew with the first of these keys, and use them from now on.

        Raises `StoreUnavailable`, or `StartError` for rows that are not believed.
        """
        try:
            with self._engine.begin() as connection:
                renew(connection, Seals(keys.cipher()))
        except SQLAlchemyError as error:
            raise unwritable(error) from error
        self._use(keys)

    def rewrite(self) -> None:
        """Leave nothing in an SQLite file of what was deleted or replaced. Raises `StoreUnavailable`."""
        if self.file is None:
            return
        try:
            with closing(self._engine.raw_connection()) as connection:
                cursor = connection.cursor()
                cursor.execute("VACUUM")  # between transactions
                cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        except sqlite3.Error as error:
            raise StoreUnavailable(f"The database cannot be written anew: {error}.") from error

    def inspect(self, keys: Keys) -> Findings:
        """All that can be said of it with these keys. Raises `StoreUnavailable`."""
        return self._read(partial(inspect, keys=keys))

    def load(self) -> list[StoredCluster]:
        """All that is stored. Raises `StoreUnavailable` or `StartError`."""
        return self._read(self.tables.load)

    def load_documents(self) -> list[Document]:
        """All documents. Raises `StoreUnavailable` or `StartError`."""
        return self._read(self.tables.load_documents)

    def _read(self, read: Callable[[sa.Connection], T]) -> T:
        try:
            with self._engine.begin() as connection:
                return read(connection)
        except SQLAlchemyError as error:
            raise StoreUnavailable(f"The gateway's database cannot be read: {reason(error)}.") from error

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
            raise unwritable(error) from error


def _keep_copy(file: Path | None, schema: int) -> Path | None:
    """Keep an SQLite database as it is before it is upgraded; others are backed up by those who run their servers."""
    return None if file is None else keep_copy(file, schema)


def _tell(name: str, done: Preparation) -> None:
    if done.upgraded_from is not None:
        copy = "none" if done.copy is None else str(done.copy)
        _log.info("database upgraded", database=name, before=done.upgraded_from, now=SCHEMA_VERSION, copy=copy)
    if done.renewed:
        _log.info("database encrypted and sealed anew with the first key", database=name)


def _attempt(connection: sa.Connection, change: Change) -> Exception | None:
    savepoint = connection.begin_nested()
    try:
        change(connection)
        savepoint.commit()
    except SQLAlchemyError as error:
        if connection.invalidated or not _undo(savepoint):
            raise  # the whole transaction is gone: a lost connection, a full disk
        return write_error(error)
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
