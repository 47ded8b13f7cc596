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


def seal_rows(connection: sa.Connection, seals: Seals) -> None:
    """Encrypt and seal all rows anew, with the first key. Raises `StartError` for secrets that no key opens."""
    for table in METADATA.sorted_tables:
        if table is not INFO and (changes := list(_renewed(connection, seals, table))):
            connection.execute(_update(table), changes)


def _renewed(connection: sa.Connection, seals: Seals, table: sa.Table) -> Iterator[dict[str, object]]:
    for values in rows(connection, table.name):
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
