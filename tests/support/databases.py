"""Databases for tests: opened, filled, and made as versions of old have left them."""

import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path

import sqlalchemy as sa

from gateway.models import ClusterStatus, Document, Role
from gateway.store.database import Database
from gateway.store.tables import Record
from tests.support.store_records import a_cluster, a_submission

KEYS = ["MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=", "YWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWE="]

DATA = Path(__file__).parents[1] / "data" / "store"
#: What is in the recorded databases, with the key KEYS[0].
CLUSTERS = [
    (
        a_cluster("one", reason="\x00 \udcff 'x"),
        (a_submission("one", "s", role=Role.SCHEDULER, count=1, jobs=None), a_submission("one", "w1")),
    ),
    (a_cluster("two", username="bob", status=ClusterStatus.STOPPED, stop_time=5), ()),
]
#: From schema 2 on.
DOCUMENTS = [Document("sessions", "b2", {"until": 5}), Document("tokens", "a1", {"user": "alice", "label": "it's"})]


@contextmanager
def opened(url: str | Path, *keys: str, debug: bool = False) -> Iterator[Database]:
    """A database; one of PostgreSQL has KEYS[0], if no other keys are given."""
    text = f"sqlite:///{url}" if isinstance(url, Path) else url
    keys = keys or (() if text.startswith("sqlite") else (KEYS[0],))
    with closing(Database.open(text, keys=keys, environment={}, debug=debug)) as database:
        yield database


def save(database: Database, *records: Record) -> None:
    """Save these as one change that has to work."""
    assert database.commit([partial(database.tables.save, records=records)]) == [None]


def restore(url: str, schema: int, *statements: str) -> None:
    """Make a database of this schema at a URL, as it was recorded, then change it."""
    if not url.startswith("postgresql"):
        script = (DATA / f"schema-{schema}.sql").read_text()
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as connection:
            connection.executescript(script + ";".join(statements))
        return
    engine = sa.create_engine(url.replace("postgresql:", "postgresql+psycopg:"), poolclass=sa.NullPool)
    for group in (_recorded(schema), statements):  # what is recorded ends with a session of no search path
        with engine.begin() as connection:
            for statement in group:
                connection.exec_driver_sql(statement)


def _recorded(schema: int) -> tuple[str, ...]:
    dump = DATA / f"schema-{schema}.postgresql.sql"
    if dump.exists():
        return (dump.read_text(),)
    script = (DATA / f"schema-{schema}.sql").read_text()
    script = re.sub(r"X'([0-9A-F]*)'", r"'\\x\1'", script).replace("BLOB", "BYTEA")
    return tuple(script.split(";\n")[1:-2])


def change(url: str, statement: str, *keys: str) -> None:
    """Change a database behind the gateway's back."""
    with opened(url, *keys) as database:
        assert database.commit([lambda connection: connection.execute(sa.text(statement))]) == [None]
