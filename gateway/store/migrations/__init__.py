"""Steps from each schema of the database to the next, with alembic's operations.

A step is a file `schema_<N>.py`, which says what it does and does it. All that
a database needs are made in one transaction, so that it has either the new
schema or the old one. Rules for a step:

- It moves tables and columns, and what is in them. Rows are checked before the
  first step and sealed after the last one (schema.py): no step needs a key.
- It says all by itself: nothing that tables.py says, which is about today.
- A column is added at the end of its table, here and in tables.py, since a
  seal is over the columns in their order.
- `alter_table` in batches is what SQLite needs for all but added columns. It
  makes another table and drops the first one, which is safe here: foreign keys
  are not followed meanwhile, and looked at afterwards.

Alembic's own table of versions is not used. Whoever can write to a database
could set it back, and have rows believed that no seal protects yet; our number
stands beside something that is encrypted and says the same. Nor does that
table say whose it is: programs that share a database would share it, too.

May import: no other room.
"""

import logging
from collections.abc import Callable, Sequence

import sqlalchemy as sa
from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext
from attrs import frozen

from gateway.store.migrations import schema_2, schema_3


@frozen
class Step:
    """To a schema, from the one before it."""

    schema: int
    title: str
    upgrade: Callable[[Operations], None]


STEPS = (
    Step(2, schema_2.TITLE, schema_2.upgrade),
    Step(3, schema_3.TITLE, schema_3.upgrade),
)


def steps_from(schema: int, steps: Sequence[Step] = STEPS) -> tuple[Step, ...]:
    """What a database of this schema needs."""
    return tuple(step for step in steps if step.schema > schema)


def take(connection: sa.Connection, steps: Sequence[Step]) -> None:
    """Take these steps inside the transaction of this connection. Raises what SQLAlchemy raises."""
    logging.getLogger("alembic").setLevel(logging.WARNING)  # it says what it always says
    operations = Operations(MigrationContext.configure(connection, opts={"transactional_ddl": True}))
    for step in steps:
        step.upgrade(operations)
