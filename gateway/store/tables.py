"""The tables, and how records become rows.

A record is kept as one JSON document: a field that a later version adds to it
needs no migration, one that it drops is ignored, and since the JSON is pure
ASCII every text survives in every database, whatever its encoding and whatever
a job printed. What is secret is taken out of the document and encrypted.

Each row has a seal (keys.py) over all of it, its table and its name: a
document says as whom something is run, and what, so none is believed that
somebody without a key has written, changed, or moved to another name. A
database of schema 1 has no seals; its rows get them at its first start here.
(What a seal cannot tell is that a row is missing, or was so at an earlier time.)

All names begin with `dask_gateway`, so that the tables can live in a database
with others. Everything here runs inside a transaction of the caller.
"""

import functools
import json
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import cattrs
import sqlalchemy as sa
from cryptography.fernet import InvalidToken
from sqlalchemy.dialects import postgresql, sqlite

from gateway.errors import StartError
from gateway.models import ClusterRecord, Document, SubmissionRecord
from gateway.store.keys import ENVIRONMENT_VARIABLE, OPTION, Cipher

Record = ClusterRecord | SubmissionRecord | Document
_T = TypeVar("_T")
StoredCluster = tuple[ClusterRecord, tuple[SubmissionRecord, ...]]

#: To be raised by a change that this version's predecessors could not read.
SCHEMA_VERSION = 2

_SECRETS = ("token", "tls_key")
#: By schema version, what the key check says: so nobody without a key can have rows believed without seals.
_KEY_CHECKS = {1: b"dask-gateway", 2: b"dask-gateway 2"}

_metadata = sa.MetaData()
_info = sa.Table(
    "dask_gateway",
    _metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("schema_version", sa.Integer, nullable=False),
    sa.Column("key_check", sa.LargeBinary, nullable=False),
    sa.Column("probes", sa.Integer, nullable=False),
)
_clusters = sa.Table(
    "dask_gateway_clusters",
    _metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("document", sa.Text, nullable=False),
    sa.Column("secrets", sa.LargeBinary, nullable=False),
    sa.Column("seal", sa.LargeBinary, nullable=False),
)
_submissions = sa.Table(
    "dask_gateway_submissions",
    _metadata,
    sa.Column("cluster", sa.Text, sa.ForeignKey(_clusters.c.name, ondelete="CASCADE"), primary_key=True),
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("document", sa.Text, nullable=False),
    sa.Column("seal", sa.LargeBinary, nullable=False),
)
_documents = sa.Table(
    "dask_gateway_documents",
    _metadata,
    sa.Column("kind", sa.Text, primary_key=True),
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("document", sa.Text, nullable=False),
    sa.Column("seal", sa.LargeBinary, nullable=False),
)

_converter = cattrs.Converter()


class Tables:
    """Reads and changes the tables; `cipher` protects the secrets in them."""

    def __init__(self, cipher: Cipher) -> None:
        self._cipher = cipher

    def prepare(self, connection: sa.Connection) -> None:
        """Make the tables, or check that this version and these keys fit them.

        Raises `StartError`. When the newest key did not encrypt what is stored,
        everything is encrypted and sealed anew: after one start older keys can be removed.
        """
        _metadata.create_all(connection)
        row = connection.execute(sa.select(_info)).one_or_none()
        if row is None:
            connection.execute(
                _info.insert().values(id=1, schema_version=SCHEMA_VERSION, key_check=self._key_check(), probes=0)
            )
            return
        if isinstance(row.schema_version, int) and row.schema_version > SCHEMA_VERSION:
            raise StartError(
                f"The database was written by a newer version of the gateway (its schema is {row.schema_version}, "
                f"this version knows {SCHEMA_VERSION}): install that version, or restore a backup."
            )
        if self._checked_key(row.key_check) != _KEY_CHECKS.get(row.schema_version):
            raise StartError(
                f"The database says that its schema is {row.schema_version!s:.20}, which is not what the gateway has "
                "written there: somebody has changed it. Restore a backup, or move the database away and forget all "
                "clusters."
            )
        if row.schema_version == 1:
            for table in (_clusters, _submissions):  # the only ones of schema 1
                _add_seals(connection, table)
            self._renew(connection, sealed=False)
        elif not self._cipher.is_of_first_key(row.key_check):
            self._renew(connection, sealed=True)

    def save(self, connection: sa.Connection, records: Sequence[Record]) -> None:
        """Insert these records, or replace what is stored of them."""
        clusters = [self._cluster_row(record) for record in records if isinstance(record, ClusterRecord)]
        submissions = [self._submission_row(record) for record in records if isinstance(record, SubmissionRecord)]
        _execute_each(connection, _upsert(connection.dialect.name, _clusters), clusters)
        documents = [self._document_row(record) for record in records if isinstance(record, Document)]
        _execute_each(connection, _upsert(connection.dialect.name, _submissions), submissions)
        _execute_each(connection, _upsert(connection.dialect.name, _documents), documents)

    def forget_clusters(self, connection: sa.Connection, names: Sequence[str]) -> None:
        """Delete clusters with all their submissions; unknown ones are fine."""
        statement = _clusters.delete().where(_clusters.c.name == sa.bindparam("cluster"))
        _execute_each(connection, statement, [{"cluster": name} for name in names])

    def forget_submissions(self, connection: sa.Connection, cluster: str, groups: Sequence[str]) -> None:
        """Delete submissions of one cluster; unknown ones are fine."""
        statement = _submissions.delete().where(
            _submissions.c.cluster == cluster, _submissions.c.name == sa.bindparam("group")
        )
        _execute_each(connection, statement, [{"group": group} for group in groups])

    def forget_documents(self, connection: sa.Connection, kind: str, names: Sequence[str]) -> None:
        """Delete documents of one kind; unknown ones are fine."""
        statement = _documents.delete().where(_documents.c.kind == kind, _documents.c.name == sa.bindparam("document"))
        _execute_each(connection, statement, [{"document": name} for name in names])

    def probe(self, connection: sa.Connection) -> None:
        """Write something that means nothing, to learn whether writing works."""
        # SQLite would not write a row that stays the same.
        connection.execute(_info.update().values(probes=_info.c.probes + 1))

    def load(self, connection: sa.Connection) -> list[StoredCluster]:
        """All clusters, the oldest first, each with its submissions. Raises `StartError`."""
        submissions: dict[str, list[SubmissionRecord]] = {}
        for row in connection.execute(sa.select(_submissions).order_by(_submissions.c.name)):
            self._check_seal(_submissions, row)
            record = _read(SubmissionRecord, row.document, {}, _describe(_submissions, row))
            submissions.setdefault(row.cluster, []).append(record)
        clusters = [self._read_cluster(row) for row in connection.execute(sa.select(_clusters))]
        clusters.sort(key=lambda cluster: (cluster.start_time, cluster.name))
        return [(cluster, tuple(submissions.get(cluster.name, ()))) for cluster in clusters]

    def load_documents(self, connection: sa.Connection) -> list[Document]:
        """All documents. Raises `StartError`."""
        documents = []
        for row in connection.execute(sa.select(_documents).order_by(_documents.c.kind, _documents.c.name)):
            self._check_seal(_documents, row)
            documents.append(Document(row.kind, row.name, json.loads(row.document)))
        return documents

    def _key_check(self) -> bytes:
        return self._cipher.encrypt(_KEY_CHECKS[SCHEMA_VERSION])

    def _checked_key(self, key_check: bytes) -> bytes:
        """What the key check says. Raises `StartError` when none of the keys opens it."""
        try:
            return self._cipher.decrypt(key_check)
        except InvalidToken as error:
            raise StartError(
                "The database was encrypted with a key that is not among those configured: set the key it was made "
                f"with in {OPTION} or {ENVIRONMENT_VARIABLE} (behind the new one, if it is to be replaced). "
                "To start anew and forget all clusters, move the database away."
            ) from error

    def _renew(self, connection: sa.Connection, *, sealed: bool) -> None:
        """Encrypt and seal all rows with the first key. Those that are `sealed` already are believed only if it fits.

        Raises `StartError`.
        """
        for table in (_clusters, _submissions, _documents):
            names = [column.name for column in table.columns if column.primary_key]
            update = table.update().where(*(table.c[name] == sa.bindparam(f"old_{name}") for name in names))
            for row in connection.execute(sa.select(table)).all():
                if sealed:
                    self._check_seal(table, row)
                values = row._asdict()
                if table is _clusters:
                    values["secrets"] = self._cipher.encrypt(self._decrypt(row))
                new = self._sealed(table, values)
                old = {f"old_{name}": values[name] for name in names}
                connection.execute(update.values({column: new[column] for column in new if column not in names}), old)
        connection.execute(_info.update().values(schema_version=SCHEMA_VERSION, key_check=self._key_check()))

    def _sealed(self, table: sa.Table, values: Mapping[str, Any]) -> dict[str, object]:
        """The values of a row with the seal that belongs to them."""
        return {**values, "seal": self._cipher.seal(*_sealed_parts(table, values))}

    def _check_seal(self, table: sa.Table, row: sa.Row[Any]) -> None:
        if not isinstance(row.seal, bytes) or not self._cipher.is_sealed(
            row.seal, *_sealed_parts(table, row._asdict())
        ):
            raise StartError(
                f"The {_describe(table, row)} in the database is not as the gateway has written it: somebody without "
                "its key has changed the row, which says as whom jobs are run, and what. See who can write to the "
                "database, then restore a backup, or delete the row (jobs that it stands for are to be ended by hand)."
            )

    def _cluster_row(self, record: ClusterRecord) -> dict[str, object]:
        fields = _converter.unstructure(record)
        secrets = {name: fields.pop(name) for name in _SECRETS}
        encrypted = self._cipher.encrypt(json.dumps(secrets).encode())
        return self._sealed(_clusters, {"name": record.name, "document": json.dumps(fields), "secrets": encrypted})

    def _submission_row(self, record: SubmissionRecord) -> dict[str, object]:
        document = json.dumps(_converter.unstructure(record))
        return self._sealed(_submissions, {"cluster": record.cluster, "name": record.group, "document": document})

    def _document_row(self, record: Document) -> dict[str, object]:
        document = json.dumps(_converter.unstructure(record.content))
        return self._sealed(_documents, {"kind": record.kind, "name": record.name, "document": document})

    def _read_cluster(self, row: sa.Row[Any]) -> ClusterRecord:
        self._check_seal(_clusters, row)
        secrets = json.loads(self._decrypt(row))
        return _read(ClusterRecord, row.document, secrets, _describe(_clusters, row))

    def _decrypt(self, row: sa.Row[Any]) -> bytes:
        try:
            return self._cipher.decrypt(row.secrets)
        except (InvalidToken, TypeError) as error:  # TypeError: SQLite keeps whatever is put into a column
            raise StartError(
                f"The secrets of cluster {row.name!s:.100} in the database cannot be decrypted with the keys "
                "configured: add the key that was in use when it was started, or delete the row."
            ) from error


def _add_seals(connection: sa.Connection, table: sa.Table) -> None:
    """Add the column of seals to a table of schema 1; what it holds fits nothing."""
    kind = table.c.seal.type.compile(connection.dialect)
    connection.exec_driver_sql(f"ALTER TABLE {table.name} ADD COLUMN seal {kind} NOT NULL DEFAULT ''")


def _sealed_parts(table: sa.Table, values: Mapping[str, Any]) -> list[bytes]:
    """What a seal is made over: the table, and all values of the row but the seal itself, in the table's order."""
    contents = (values[column.name] for column in table.columns if column.name != "seal")
    return [
        table.name.encode(),
        # What is neither text nor bytes has been put there by somebody else: its seal fits nothing.
        *(value if isinstance(value, bytes) else str(value).encode("utf-8", "surrogatepass") for value in contents),
    ]


def _describe(table: sa.Table, row: sa.Row[Any]) -> str:
    name = f"{row.name!s:.100}"
    if table is _documents:
        return f"{row.kind!s:.100} {name}"
    return f"cluster {name}" if table is _clusters else f"submission {name} of cluster {row.cluster!s:.100}"


def _read(kind: type[_T], document: str, secrets: Mapping[str, object], what: str) -> _T:
    try:
        return _converter.structure({**json.loads(document), **secrets}, kind)
    except (ValueError, TypeError, cattrs.BaseValidationError) as error:
        raise StartError(f"The database holds a {what} that cannot be read: restore a backup, or delete it.") from error


def _execute_each(connection: sa.Connection, statement: sa.Executable, rows: Sequence[Mapping[str, object]]) -> None:
    if rows:
        connection.execute(statement, rows)


@functools.cache  # making the statement takes longer than executing it
def _upsert(dialect: str, table: sa.Table) -> sa.Insert:
    insert = postgresql.insert if dialect == "postgresql" else sqlite.insert
    statement = insert(table)
    values = {column.name: statement.excluded[column.name] for column in table.columns if not column.primary_key}
    return statement.on_conflict_do_update(index_elements=list(table.primary_key), set_=values)
