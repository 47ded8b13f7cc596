"""Schema 2: a row of clusters and submissions has a seal.

The rows' own get theirs after the last step. Until then they have one that
fits nothing.
"""

import sqlalchemy as sa
from alembic.operations import Operations

TITLE = "rows of clusters and submissions are sealed"


def upgrade(to: Operations) -> None:
    """From schema 1."""
    for table in ("dask_gateway_clusters", "dask_gateway_submissions"):
        to.add_column(table, sa.Column("seal", sa.LargeBinary, nullable=False, server_default=""))
