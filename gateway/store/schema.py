"""The schema of a database: which one it has, whether this version and these keys fit it, and how it gets today's.

The table `dask_gateway` holds one row with the number of the schema, and a key
check: encrypted, the same number. So nobody without a key can set the number
back, to have rows believed without seals; and a wrong key is noticed before
anything is done.

What an earlier version has made gets today's schema when it is opened, in one
transaction: its rows are checked, the steps of the room `migrations` are
taken, and all rows are sealed anew. When the first of the keys is not the one
that made the rows, they are encrypted and sealed anew as well: after one start
older keys can be removed.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from attrs import frozen
from cryptography.fernet import InvalidToken
from sqlalchemy.exc import SQLAlchemyError

from gateway.errors import StartError
from gateway.store.errors import reason
from gateway.store.keys import ENVIRONMENT_VARIABLE, OPTION, Cipher
from gateway.store.rows import check_rows, seal_rows, triggers
from gateway.store.seals import Seals
from gateway.store.tables import CLUSTERS, INFO, METADATA, SUBMISSIONS

if TYPE_CHECKING:
    from gateway.store.migrations import Step

#: The last of the steps: raised by each change of the tables, which then needs another step.
SCHEMA_VERSION = 3

#: The only tables whose rows were ever without seals, in schema 1.
_UNSEALED = (CLUSTERS.name, SUBMISSIONS.name)
#: PostgreSQL waits for whoever reads a table (a backup), this long at most.
_LOCK_TIMEOUT = "30s"


@frozen
class Found:
    """The schema that a database has, and its key check."""

    schema: int
    key_check: bytes


@frozen
class Preparation:
    """What had to be done with a database before it could be used."""

    made: bool = False
    #: The schema that it had, if that was not today's; `copy` is of before, if there is one.
    upgraded_from: int | None = None
    copy: Path | None = None
    #: All is encrypted and sealed anew with the first key.
    renewed: bool = False


def prepare(
    engine: sa.Engine, seals: Seals, copy: Callable[[int], Path | None], *, steps: Sequence["Step"] | None = None
) -> Preparation:
    """Make the tables, or see that they fit, or make them fit. Raises `StartError`, or what SQLAlchemy raises.

    `copy` is called with the schema of an older database, and keeps it as it was. `steps` are all there are, if not
    those of the room `migrations`.
    """
    with engine.begin() as connection:
        found = find(connection, seals.cipher)
        if found is None:
            _make(connection, seals.cipher)
            return Preparation(made=True)
        is_of_first_key = seals.cipher.is_of_first_key(found.key_check)
        if found.schema == SCHEMA_VERSION:
            refuse_differences(connection)
            if not is_of_first_key:
                renew(connection, seals)
            return Preparation(renewed=not is_of_first_key)
    kept = copy(found.schema)
    try:
        with _without_foreign_keys(engine), engine.begin() as connection:
            _upgrade(connection, seals, found.schema, steps)
    except SQLAlchemyError as error:
        raise StartError(
            f"The database cannot be upgraded from schema {found.schema} to {SCHEMA_VERSION}, and is as it was: "
            f"{reason(error)}."
        ) from error
    return Preparation(upgraded_from=found.schema, copy=kept, renewed=not is_of_first_key)


def find(connection: sa.Connection, cipher: Cipher) -> Found | None:
    """The schema of a database, None for one that has none of our tables.

    Raises `StartError` when this version or none of these keys fits it.
    """
    tables = _tables_there(connection)
    if not tables:
        return None
    row = connection.execute(sa.select(INFO)).one_or_none() if INFO.name in tables else None
    if row is None:
        raise StartError(
            f"The database has tables of the gateway ({', '.join(tables)}), but {INFO.name} is missing or empty, which "
            "says what they are: restore a backup. To start anew and forget all clusters, drop those tables."
        )
    if isinstance(row.schema_version, int) and row.schema_version > SCHEMA_VERSION:
        raise StartError(
            f"The database was written by a newer version of the gateway (its schema is {row.schema_version}, "
            f"this version knows {SCHEMA_VERSION}): install that version, or restore a backup from before."
        )
    if _checked_key(cipher, row.key_check) != _key_check(row.schema_version):
        raise StartError(
            f"The database says that its schema is {row.schema_version!s:.20}, which is not what the gateway has "
            "written there: somebody has changed it. Restore a backup, or move the database away and forget all "
            "clusters."
        )
    return Found(row.schema_version, row.key_check)


def differences(connection: sa.Connection) -> list[str]:
    """What tables of today's schema lack, for people."""
    inspector = sa.inspect(connection)
    found = []
    for table in METADATA.sorted_tables:
        if not inspector.has_table(table.name):
            found.append(f"the table {table.name} is missing")
            continue
        columns = {column["name"] for column in inspector.get_columns(table.name)}
        found += [f"the table {table.name} has no column {c.name}" for c in table.columns if c.name not in columns]
    return found


def refuse_differences(connection: sa.Connection) -> None:
    """Raises `StartError` when tables of today's schema lack something."""
    if found := differences(connection):
        raise StartError(
            f"The database is not as the gateway has made it: {'; '.join(found)}. Somebody has changed it: restore a "
            "backup."
        )


def check_believed(connection: sa.Connection, seals: Seals, schema: int) -> None:
    """See that what is stored was written by whoever had a key. Raises `StartError`."""
    check_rows(connection, seals, _tables_there(connection), without_seals=_UNSEALED if schema == 1 else ())


def renew(connection: sa.Connection, seals: Seals) -> None:
    """Encrypt and seal all rows anew, with the first key. Raises `StartError` for those that are not believed."""
    _seal(connection, seals, checked=False)


def _make(connection: sa.Connection, cipher: Cipher) -> None:
    METADATA.create_all(connection)
    values = {"id": 1, "schema_version": SCHEMA_VERSION, "key_check": _new_key_check(cipher), "probes": 0}
    connection.execute(INFO.insert().values(values))


def _upgrade(connection: sa.Connection, seals: Seals, schema: int, steps: Sequence["Step"] | None) -> None:
    from gateway.store.migrations import STEPS, steps_from, take  # here, as it brings alembic, and is seldom needed

    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{_LOCK_TIMEOUT}'")
    if found := triggers(connection):  # what they do between the look at the rows and their seals would be believed
        raise StartError(
            f"The database cannot be upgraded from schema {schema} to {SCHEMA_VERSION}, and is as it was: its tables "
            f"have triggers ({', '.join(found)}), which the gateway has not made: see who has, and drop them."
        )
    check_believed(connection, seals, schema)
    take(connection, steps_from(schema, STEPS if steps is None else steps))
    refuse_differences(connection)
    if connection.dialect.name == "sqlite" and (torn := connection.exec_driver_sql("PRAGMA foreign_key_check").all()):
        raise StartError(
            f"The database cannot be upgraded from schema {schema} to {SCHEMA_VERSION}, and is as it was: a row of "
            f"{torn[0][0]} belongs to nothing. Restore a backup, or delete the row."
        )
    _seal(connection, seals, checked=True)


def _seal(connection: sa.Connection, seals: Seals, *, checked: bool) -> None:
    seal_rows(connection, seals, checked=checked)
    values = {"schema_version": SCHEMA_VERSION, "key_check": _new_key_check(seals.cipher)}
    connection.execute(INFO.update().values(values))


@contextmanager
def _without_foreign_keys(engine: sa.Engine) -> Iterator[None]:
    """SQLite alters most of a table by making another one; dropping the first would delete what refers to it."""
    if engine.dialect.name != "sqlite":
        yield
        return
    _set_foreign_keys(engine, "OFF")  # which SQLite does between transactions only
    try:
        yield
    finally:
        _set_foreign_keys(engine, "ON")


def _set_foreign_keys(engine: sa.Engine, value: str) -> None:
    with closing(engine.raw_connection()) as connection:
        connection.cursor().execute(f"PRAGMA foreign_keys={value}")


def _tables_there(connection: sa.Connection) -> list[str]:
    inspector = sa.inspect(connection)
    return [table.name for table in METADATA.sorted_tables if inspector.has_table(table.name)]


def _key_check(schema: object) -> bytes:
    return b"dask-gateway" if schema == 1 else f"dask-gateway {schema}".encode("utf-8", "replace")


def _new_key_check(cipher: Cipher) -> bytes:
    return cipher.encrypt(_key_check(SCHEMA_VERSION))


def _checked_key(cipher: Cipher, key_check: Any) -> bytes:
    """What the key check says. Raises `StartError` when none of the keys opens it."""
    try:
        return cipher.decrypt(key_check)
    except (InvalidToken, TypeError) as error:  # TypeError: SQLite keeps whatever is put into a column
        raise StartError(
            "The database was encrypted with a key that is not among those configured: set the key it was made "
            f"with in {OPTION} or {ENVIRONMENT_VARIABLE} (behind the new one, if it is to be replaced). "
            "To start anew and forget all clusters, move the database away."
        ) from error
