"""What can be said of a database without changing it: whether a gateway would start with it, and what it would do."""

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import sqlalchemy as sa
from attrs import evolve, frozen

from gateway.errors import StartError
from gateway.store.keys import Keys
from gateway.store.rows import rows
from gateway.store.schema import SCHEMA_VERSION, check_believed, differences, find
from gateway.store.seals import Seals, Values
from gateway.store.tables import CLUSTERS, DOCUMENTS, SUBMISSIONS, Tables

#: Problems that are told one by one.
_MOST_PROBLEMS = 20


@frozen(kw_only=True)
class Findings:
    """What was found in a database."""

    #: None where no gateway has made its tables yet, or where they cannot be made out.
    schema: int | None = None
    #: What an upgrade would do.
    steps: tuple[str, ...] = ()
    clusters: int = 0
    submissions: int = 0
    documents: int = 0
    #: Whether the first of the keys has encrypted and sealed it all, so that others are not needed any more.
    of_first_key: bool = False
    problems: tuple[str, ...] = ()


def inspect(connection: sa.Connection, keys: Keys) -> Findings:
    """Look at all that there is. Raises what SQLAlchemy raises."""
    damage = _damage(connection)
    if damage:
        return Findings(problems=damage)
    cipher = keys.cipher()
    try:
        found = find(connection, cipher)
    except StartError as error:
        return Findings(problems=(str(error),))
    if found is None:
        return Findings()
    findings = Findings(
        schema=found.schema, steps=_steps(found.schema), of_first_key=cipher.is_of_first_key(found.key_check)
    )
    if found.schema < SCHEMA_VERSION:
        return evolve(findings, problems=_problems_of_older(connection, Seals(cipher), found.schema))
    if lacking := differences(connection):
        return evolve(findings, problems=tuple(f"Somebody has changed the database: {what}." for what in lacking))
    return _contents(connection, Tables(Seals(cipher)), findings)


def _damage(connection: sa.Connection) -> tuple[str, ...]:
    """What SQLite finds wrong with its file."""
    if connection.dialect.name != "sqlite":
        return ()
    said = [str(line) for (line,) in connection.exec_driver_sql(f"PRAGMA quick_check({_MOST_PROBLEMS})")]
    return () if said == ["ok"] else tuple(f"The file is damaged: {line}" for line in said)


def _steps(schema: int) -> tuple[str, ...]:
    if schema == SCHEMA_VERSION:
        return ()
    from gateway.store.migrations import steps_from  # here, as it brings alembic, and is seldom needed

    return tuple(f"{step.schema}: {step.title}" for step in steps_from(schema))


def _problems_of_older(connection: sa.Connection, seals: Seals, schema: int) -> tuple[str, ...]:
    try:
        check_believed(connection, seals, schema)
    except StartError as error:
        return (str(error),)
    return ()


def _contents(connection: sa.Connection, tables: Tables, findings: Findings) -> Findings:
    read: dict[str, Callable[[Values], object]] = {
        CLUSTERS.name: tables.read_cluster,
        SUBMISSIONS.name: tables.read_submission,
        DOCUMENTS.name: tables.read_document,
    }
    counts: Counter[str] = Counter()
    problems: list[str] = []
    for table, row in _all(connection, read):
        counts[table] += 1
        try:
            read[table](row)
        except StartError as error:
            problems.append(str(error))
    more = len(problems) - _MOST_PROBLEMS
    told = [*problems[:_MOST_PROBLEMS], *([f"The same is true of {more} more rows."] if more > 0 else [])]
    return evolve(
        findings,
        clusters=counts[CLUSTERS.name],
        submissions=counts[SUBMISSIONS.name],
        documents=counts[DOCUMENTS.name],
        problems=tuple(told),
    )


def _all(connection: sa.Connection, tables: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for table in tables:
        for row in rows(connection, table):
            yield table, row
