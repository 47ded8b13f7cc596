"""Schema 3: a table of documents, which are small things that are remembered beside clusters.

Databases of schema 2 may have it already: it was added without another number.
"""

import sqlalchemy as sa
from alembic.operations import Operations

TITLE = "there is a table of documents (personal tokens, ended sessions)"


def upgrade(to: Operations) -> None:
    """From schema 2."""
    to.create_table(
        "dask_gateway_documents",
        sa.Column("kind", sa.Text, primary_key=True),
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("document", sa.Text, nullable=False),
        sa.Column("seal", sa.LargeBinary, nullable=False),
        if_not_exists=True,
    )
