"""The tables, and how records become rows.

A record is kept as one JSON document: a field that a later version adds to it
needs no migration, one that it drops is ignored, and since the JSON is pure
ASCII every text survives in every database, whatever its encoding and whatever
a job printed. What is secret is taken out of the document and encrypted.

Each row is sealed (seals.py). schema.py makes the tables, and brings those of
earlier versions to the form in which they are here.

All names begin with `dask_gateway`, so that the tables can live in a database
with others. Everything here runs inside a transaction of the caller.
"""

import functools
import json
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import cattrs
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from gateway.errors import StartError
from gateway.models import ClusterRecord, Document, SubmissionRecord
from gateway.store.seals import Seals, Values, described

Record = ClusterRecord | SubmissionRecord | Document
_T = TypeVar("_T")
StoredCluster = tuple[ClusterRecord, tuple[SubmissionRecord, ...]]

#: What of a cluster is encrypted. By a name of `route` and `guests` alone somebody's connections are told from others'.
_SECRETS = ("token", "tls_key", "route", "guests")

METADATA = sa.MetaData()
INFO = sa.Table(
    "dask_gateway",
    METADATA,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("schema_version", sa.Integer, nullable=False),
    sa.Column("key_check", sa.LargeBinary, nullable=False),
    sa.Column("probes", sa.Integer, nullable=False),
)
CLUSTERS = sa.Table(
    "dask_gateway_clusters",
    METADATA,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("document", sa.Text, nullable=False),
    sa.Column("secrets", sa.LargeBinary, nullable=False),
    sa.Column("seal", sa.LargeBinary, nullable=False),
)
SUBMISSIONS = sa.Table(
    "dask_gateway_submissions",
    METADATA,
    sa.Column("cluster", sa.Text, sa.ForeignKey(CLUSTERS.c.name, ondelete="CASCADE"), primary_key=True),
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("document", sa.Text, nullable=False),
    sa.Column("seal", sa.LargeBinary, nullable=False),
)
DOCUMENTS = sa.Table(
    "dask_gateway_documents",
    METADATA,
    sa.Column("kind", sa.Text, primary_key=True),
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("document", sa.Text, nullable=False),
    sa.Column("seal", sa.LargeBinary, nullable=False),
)

_converter = cattrs.Converter()


class Tables:
    """Reads and changes the tables, whose rows `seals` protects."""

    def __init__(self, seals: Seals) -> None:
        self._seals = seals

    def save(self, connection: sa.Connection, records: Sequence[Record]) -> None:
        """Insert these records, or replace what is stored of them."""
        clusters = [self._cluster_row(record) for record in records if isinstance(record, ClusterRecord)]
        submissions = [self._submission_row(record) for record in records if isinstance(record, SubmissionRecord)]
        _execute_each(connection, _upsert(connection.dialect.name, CLUSTERS), clusters)
        documents = [self._document_row(record) for record in records if isinstance(record, Document)]
        _execute_each(connection, _upsert(connection.dialect.name, SUBMISSIONS), submissions)
        _execute_each(connection, _upsert(connection.dialect.name, DOCUMENTS), documents)

    def forget_clusters(self, connection: sa.Connection, names: Sequence[str]) -> None:
        """Delete clusters with all their submissions; unknown ones are fine."""
        statement = CLUSTERS.delete().where(CLUSTERS.c.name == sa.bindparam("cluster"))
        _execute_each(connection, statement, [{"cluster": name} for name in names])

    def forget_submissions(self, connection: sa.Connection, cluster: str, groups: Sequence[str]) -> None:
        """Delete submissions of one cluster; unknown ones are fine."""
        statement = SUBMISSIONS.delete().where(
            SUBMISSIONS.c.cluster == cluster, SUBMISSIONS.c.name == sa.bindparam("group")
        )
        _execute_each(connection, statement, [{"group": group} for group in groups])

    def forget_documents(self, connection: sa.Connection, kind: str, names: Sequence[str]) -> None:
        """Delete documents of one kind; unknown ones are fine."""
        statement = DOCUMENTS.delete().where(DOCUMENTS.c.kind == kind, DOCUMENTS.c.name == sa.bindparam("document"))
        _execute_each(connection, statement, [{"document": name} for name in names])

    def probe(self, connection: sa.Connection) -> None:
        """Write something that means nothing, to learn whether writing works."""
        # SQLite would not write a row that stays the same.
        connection.execute(INFO.update().values(probes=INFO.c.probes + 1))

    def load(self, connection: sa.Connection) -> list[StoredCluster]:
        """All clusters, the oldest first, each with its submissions. Raises `StartError`."""
        submissions: dict[str, list[SubmissionRecord]] = {}
        for row in connection.execute(sa.select(SUBMISSIONS).order_by(SUBMISSIONS.c.name)):
            submissions.setdefault(row.cluster, []).append(self.read_submission(row._asdict()))
        clusters = [self.read_cluster(row._asdict()) for row in connection.execute(sa.select(CLUSTERS))]
        clusters.sort(key=lambda cluster: (cluster.start_time, cluster.name))
        return [(cluster, tuple(submissions.get(cluster.name, ()))) for cluster in clusters]

    def load_documents(self, connection: sa.Connection) -> list[Document]:
        """All documents. Raises `StartError`."""
        rows = connection.execute(sa.select(DOCUMENTS).order_by(DOCUMENTS.c.kind, DOCUMENTS.c.name))
        return [self.read_document(row._asdict()) for row in rows]

    def read_cluster(self, row: Values) -> ClusterRecord:
        """The cluster of a row. Raises `StartError`."""
        self._seals.check(CLUSTERS.name, row)
        return _read(ClusterRecord, CLUSTERS, row, json.loads(self._seals.secrets(row)))

    def read_submission(self, row: Values) -> SubmissionRecord:
        """The submission of a row. Raises `StartError`."""
        self._seals.check(SUBMISSIONS.name, row)
        return _read(SubmissionRecord, SUBMISSIONS, row, {})

    def read_document(self, row: Values) -> Document:
        """The document of a row. Raises `StartError`."""
        self._seals.check(DOCUMENTS.name, row)
        return Document(row["kind"], row["name"], _content(DOCUMENTS, row))

    def _cluster_row(self, record: ClusterRecord) -> dict[str, object]:
        fields = _converter.unstructure(record)
        secrets = {name: fields.pop(name) for name in _SECRETS}
        encrypted = self._seals.cipher.encrypt(json.dumps(secrets).encode())
        return self._seals.sealed(CLUSTERS, {"name": record.name, "document": json.dumps(fields), "secrets": encrypted})

    def _submission_row(self, record: SubmissionRecord) -> dict[str, object]:
        document = json.dumps(_converter.unstructure(record))
        return self._seals.sealed(SUBMISSIONS, {"cluster": record.cluster, "name": record.group, "document": document})

    def _document_row(self, record: Document) -> dict[str, object]:
        document = json.dumps(_converter.unstructure(record.content))
        return self._seals.sealed(DOCUMENTS, {"kind": record.kind, "name": record.name, "document": document})


def _read(kind: type[_T], table: sa.Table, row: Values, secrets: Values) -> _T:
    content = _content(table, row)
    try:
        return _converter.structure({**content, **secrets}, kind)
    except (ValueError, TypeError, cattrs.BaseValidationError) as error:
        raise _unreadable(table, row) from error


def _content(table: sa.Table, row: Values) -> dict[str, Any]:
    try:
        return dict(json.loads(row["document"]))
    except (ValueError, TypeError) as error:
        raise _unreadable(table, row) from error


def _unreadable(table: sa.Table, row: Values) -> StartError:
    what = described(table.name, row)
    return StartError(f"The database holds a {what} that cannot be read: restore a backup, or delete it.")


def _execute_each(connection: sa.Connection, statement: sa.Executable, rows: Sequence[Mapping[str, object]]) -> None:
    if rows:
        connection.execute(statement, rows)


@functools.cache  # making the statement takes longer than executing it
def _upsert(dialect: str, table: sa.Table) -> sa.Insert:
    insert = postgresql.insert if dialect == "postgresql" else sqlite.insert
    statement = insert(table)
    values = {column.name: statement.excluded[column.name] for column in table.columns if not column.primary_key}
    return statement.on_conflict_do_update(index_elements=list(table.primary_key), set_=values)
