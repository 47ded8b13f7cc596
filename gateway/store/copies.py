"""Copies of an SQLite database that is in use, by its online backup, with the key file beside it.

A copy is complete, or it has not its name yet: it is made under another one
(`.draft`), which whoever makes it removes.
"""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from gateway.errors import StartError
from gateway.store.files import key_file_of
from gateway.store.publishing import sync_folder
from gateway.store.reader import connect_read_only


def keep_copy(database: Path, schema: int) -> Path:
    """Keep a database as it is, beside it, in the place of an earlier copy of the same schema. Raises `StartError`.

    To be called by whoever holds the lock.
    """
    target = database.with_name(f"{database.name}.schema-{schema}")
    draft = draft_of(target)
    try:
        remove_drafts(target)  # of an attempt that was interrupted
        with drafts_removed(target):
            copy_database(database, draft)
            if key_file_of(database).exists():
                copy_key_file(database, draft)
                key_file_of(draft).replace(key_file_of(target))
            draft.replace(target)
            sync_folder(target.parent)
    except (OSError, sqlite3.Error) as error:
        raise StartError(
            f"The database {database} has to be upgraded from schema {schema}, and cannot be copied to {target} first: "
            f"{said(error)}."
        ) from error
    return target


def copy_database(database: Path, draft: Path) -> None:
    """Copy a database to a name that is free. Raises OSError or sqlite3.Error."""
    _make(draft, b"")
    with (
        closing(connect_read_only(database)) as source,
        closing(sqlite3.connect(draft, isolation_level=None)) as copy,
    ):
        source.backup(copy)
        copy.execute("PRAGMA journal_mode=DELETE")  # one file, which can be read where nothing can be written
    _sync(draft)


def copy_key_file(database: Path, draft: Path) -> None:
    """Copy the key file of a database that was copied before. Raises OSError.

    In this order: while a key is replaced, the file holds both until all rows are of the new one.
    """
    _make(key_file_of(draft), key_file_of(database).read_bytes())


def draft_of(target: Path) -> Path:
    """The name of a copy that is not complete."""
    return target.with_name(target.name + ".draft")


@contextmanager
def drafts_removed(target: Path) -> Iterator[None]:
    """Removes what is left of drafts in the end."""
    try:
        yield
    finally:
        remove_drafts(target)


def remove_drafts(target: Path) -> None:
    """Remove the drafts of a copy, and what SQLite has put beside them. Raises OSError."""
    draft = draft_of(target)
    for suffix in (".key", "-journal", "-wal", "-shm", ""):
        draft.with_name(draft.name + suffix).unlink(missing_ok=True)


def said(error: OSError | sqlite3.Error) -> str:
    """What went wrong, in a few words."""
    return str(error.strerror or error) if isinstance(error, OSError) else str(error)


def _make(path: Path, content: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with open(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
