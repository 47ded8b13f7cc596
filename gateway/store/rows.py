"""All rows of all tables: to see who has written them, and to encrypt and seal them anew."""

from collections.abc import Collection, Iterator
from typing import Any

import sqlalchemy as sa

from gateway.store.seals import Seals
from gateway.store.tables import CLUSTERS, INFO, METADATA


def rows(connection: sa.Connection, table: str) -> Iterator[dict[str, Any]]:
    """All rows of a table, whichever schema it is of: the values in the order of its columns."""
    for row in connection.execute(sa.text(f"SELECT * FROM {table}")):  # noqa: S608 - a name of ours
        yield row._asdict()


def check_rows(
    connection: sa.Connection, seals: Seals, tables: Collection[str], *, without_seals: Collection[str] = ()
) -> None:
    """See that the rows of these tables were written by whoever had a key. Raises `StartError`."""
    for table in tables:
        if table == INFO.name:
            continue
        for row in rows(connection, table):
            if table not in without_seals:
                seals.check(table, row)
            if table == CLUSTERS.name:
                seals.secrets(row)


def triggers(connection: sa.Connection) -> list[str]:
    """What others have the database do when rows of ours change, by names."""
    names = [table.name for table in METADATA.sorted_tables]
    if connection.dialect.name == "sqlite":
        statement = "SELECT name FROM sqlite_master WHERE type = 'trigger' AND tbl_name IN :tables"
    else:
        statement = """SELECT tgname FROM pg_trigger JOIN pg_class ON pg_class.oid = tgrelid
            WHERE relname IN :tables AND NOT tgisinternal
            UNION SELECT rulename FROM pg_rules WHERE tablename IN :tables"""
    found = connection.execute(sa.text(statement).bindparams(sa.bindparam("tables", expanding=True)), {"tables": names})
    return sorted(str(name) for (name,) in found)


def seal_rows(connection: sa.Connection, seals: Seals, *, checked: bool) -> None:
    """Encrypt and seal all rows anew, with the first key.

    Unless they were `checked`, those alone that have a seal. Raises `StartError` for others, and for secrets that no
    key opens. All are read before the first one is written: what a trigger does then, gets no seal.
    """
    tables = [table for table in METADATA.sorted_tables if table is not INFO]
    for table, changes in [(table, list(_renewed(connection, seals, table, checked))) for table in tables]:
        if changes:
            connection.execute(_update(table), changes)


def _renewed(connection: sa.Connection, seals: Seals, table: sa.Table, checked: bool) -> Iterator[dict[str, object]]:
    for values in rows(connection, table.name):
        if not checked:
            seals.check(table.name, values)
        if table is CLUSTERS:
            values["secrets"] = seals.cipher.encrypt(seals.secrets(values))
        yield {f"new_{name}": value for name, value in seals.sealed(table, values).items()}


def _update(table: sa.Table) -> sa.Update:
    """Of one row, by its primary key; the parameters bear the columns' names behind `new_`."""
    parameters: dict[str, sa.BindParameter[Any]] = {
        column.name: sa.bindparam(f"new_{column.name}") for column in table.columns
    }
    is_row = [column == parameters.pop(column.name) for column in table.primary_key]
    return table.update().where(*is_row).values(parameters)
