"""The tables, and how records become rows.

A record is kept as one JSON document: a field that a later version adds to it
needs no migration, one that it drops is ignored, and since the JSON is pure
ASCII every text survives in every database, whatever its encoding and whatever
a job printed. What is secret is taken out of the document and encrypted.

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
from gateway.models import ClusterRecord, SubmissionRecord
from gateway.store_keys import ENVIRONMENT_VARIABLE, OPTION, Cipher

Record = ClusterRecord | SubmissionRecord
_T = TypeVar("_T")
StoredCluster = tuple[ClusterRecord, tuple[SubmissionRecord, ...]]

#: To be raised by a change that this version's predecessors could not read.
SCHEMA_VERSION = 1

_SECRETS = ("token", "tls_key")
_KEY_CHECK = b"dask-gateway"

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
)
_submissions = sa.Table(
    "dask_gateway_submissions",
    _metadata,
    sa.Column("cluster", sa.Text, sa.ForeignKey(_clusters.c.name, ondelete="CASCADE"), primary_key=True),
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("document", sa.Text, nullable=False),
)

_converter = cattrs.Converter()


class Tables:
    """Reads and changes the tables; `cipher` protects the secrets in them."""

    def __init__(self, cipher: Cipher) -> None:
        self._cipher = cipher

    def prepare(self, connection: sa.Connection) -> None:
        """Make the tables, or check that this version and these keys fit them.

        Raises `StartError`. When the newest key did not encrypt what is stored,
        everything is encrypted anew: after one start older keys can be removed.
        """
        _metadata.create_all(connection)
        row = connection.execute(sa.select(_info)).one_or_none()
        if row is None:
            check = self._cipher.encrypt(_KEY_CHECK)
            connection.execute(_info.insert().values(id=1, schema_version=SCHEMA_VERSION, key_check=check, probes=0))
            return
        if row.schema_version > SCHEMA_VERSION:
            raise StartError(
                f"The database was written by a newer version of the gateway (its schema is {row.schema_version}, "
                f"this version knows {SCHEMA_VERSION}): install that version, or restore a backup."
            )
        self._check_keys(connection, row.key_check)

    def save(self, connection: sa.Connection, records: Sequence[Record]) -> None:
        """Insert these records, or replace what is stored of them."""
        clusters = [self._cluster_row(record) for record in records if isinstance(record, ClusterRecord)]
        submissions = [_submission_row(record) for record in records if isinstance(record, SubmissionRecord)]
        _execute_each(connection, _upsert(connection.dialect.name, _clusters), clusters)
        _execute_each(connection, _upsert(connection.dialect.name, _submissions), submissions)

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

    def probe(self, connection: sa.Connection) -> None:
        """Write something that means nothing, to learn whether writing works."""
        # SQLite would not write a row that stays the same.
        connection.execute(_info.update().values(probes=_info.c.probes + 1))

    def load(self, connection: sa.Connection) -> list[StoredCluster]:
        """All clusters, the oldest first, each with its submissions. Raises `StartError`."""
        submissions: dict[str, list[SubmissionRecord]] = {}
        for row in connection.execute(sa.select(_submissions).order_by(_submissions.c.name)):
            record = _read(SubmissionRecord, row.document, {}, f"submission {row.name} of cluster {row.cluster}")
            submissions.setdefault(row.cluster, []).append(record)
        clusters = [self._read_cluster(row) for row in connection.execute(sa.select(_clusters))]
        clusters.sort(key=lambda cluster: (cluster.start_time, cluster.name))
        return [(cluster, tuple(submissions.get(cluster.name, ()))) for cluster in clusters]

    def _check_keys(self, connection: sa.Connection, key_check: bytes) -> None:
        try:
            self._cipher.decrypt(key_check)
        except InvalidToken as error:
            raise StartError(
                "The database was encrypted with a key that is not among those configured: set the key it was made "
                f"with in {OPTION} or {ENVIRONMENT_VARIABLE} (behind the new one, if it is to be replaced). "
                "To start anew and forget all clusters, move the database away."
            ) from error
        if not self._cipher.is_of_first_key(key_check):
            self._encrypt_anew(connection)

    def _encrypt_anew(self, connection: sa.Connection) -> None:
        update = _clusters.update().where(_clusters.c.name == sa.bindparam("cluster"))
        for row in connection.execute(sa.select(_clusters)).all():
            secrets = self._cipher.encrypt(self._decrypt(row))
            connection.execute(update.values(secrets=secrets), {"cluster": row.name})
        connection.execute(_info.update().values(key_check=self._cipher.encrypt(_KEY_CHECK)))

    def _cluster_row(self, record: ClusterRecord) -> dict[str, object]:
        fields = _converter.unstructure(record)
        secrets = {name: fields.pop(name) for name in _SECRETS}
        return {
            "name": record.name,
            "document": json.dumps(fields),
            "secrets": self._cipher.encrypt(json.dumps(secrets).encode()),
        }

    def _read_cluster(self, row: sa.Row[Any]) -> ClusterRecord:
        return _read(ClusterRecord, row.document, json.loads(self._decrypt(row)), f"cluster {row.name}")

    def _decrypt(self, row: sa.Row[Any]) -> bytes:
        try:
            return self._cipher.decrypt(row.secrets)
        except InvalidToken as error:
            raise StartError(
                f"The secrets of cluster {row.name} in the database cannot be decrypted with the keys configured: "
                "add the key that was in use when it was started, or delete the row."
            ) from error


def _submission_row(record: SubmissionRecord) -> dict[str, object]:
    return {
        "cluster": record.cluster,
        "name": record.group,
        "document": json.dumps(_converter.unstructure(record)),
    }


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
