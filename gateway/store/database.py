"""The database, blocking, for one thread at a time: it is read once, and written in groups.

A group of changes is one transaction, and each change in it a savepoint: one
that fails is undone alone. What fails with the whole transaction (a full disk,
a lost connection) fails for all of the group.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import Self, TypeVar

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from gateway.errors import StartError
from gateway.models import Document
from gateway.store.engines import open_engine
from gateway.store.errors import StoreUnavailable, reason, unwritable, write_error
from gateway.store.keys import Cipher
from gateway.store.tables import StoredCluster, Tables

Change = Callable[[sa.Connection], None]
T = TypeVar("T")


class Database:
    """An open database. `Database.open` makes one; close it with `close`."""

    def __init__(self, engine: sa.Engine, tables: Tables, cipher: Cipher, cleanup: ExitStack) -> None:
        self.tables = tables
        self.cipher = cipher
        self._engine = engine
        self._cleanup = cleanup

    @classmethod
    def open(cls, url: str, *, keys: Sequence[str], environment: Mapping[str, str], debug: bool) -> Self:
        """Open the database, make or check its tables. Raises `StartError`.

        `keys` and `environment` are where encryption keys may come from
        (keys.py); `debug` prints every statement, without parameters.
        """
        with ExitStack() as cleanup:
            engine, cipher = open_engine(url, keys=keys, environment=environment, debug=debug, cleanup=cleanup)
            name = engine.url.set(query={}).render_as_string(hide_password=True)  # a query may hold a password too
            tables = Tables(cipher)
            try:
                with engine.begin() as connection:
                    tables.prepare(connection)
            except SQLAlchemyError as error:
                raise StartError(f"The database {name} cannot be used: {reason(error)}.") from error
            except StoreUnavailable as error:
                raise StartError(f"The database {name} cannot be used. {error}") from error
            return cls(engine, tables, cipher, cleanup.pop_all())

    def close(self) -> None:
        """Close the connection, and give up the lock after it."""
        self._cleanup.close()

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
