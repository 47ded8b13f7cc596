"""What SQLAlchemy and the databases say, mapped once to errors for people.

OperationalError is the database's trouble (https://peps.python.org/pep-0249/:
"not necessarily under the control of the programmer"), everything else the
trouble of the one statement.
"""

from typing import Self

from sqlalchemy.exc import DBAPIError, OperationalError, SQLAlchemyError

from gateway.errors import GatewayError, TryAgainLater


class StoreError(GatewayError):
    """A record is not accepted by the database; the text has the database's words."""


class StoreUnavailable(StoreError, TryAgainLater):
    """The database cannot be read or written at the moment: disk full, read-only, server down."""

    def again(self) -> Self:
        """The same for somebody else: an exception that many tasks raise would mix up their tracebacks."""
        copy = type(self)(str(self))
        copy.__cause__ = self
        return copy


def write_error(error: SQLAlchemyError) -> StoreError:
    """The error of one statement, for the one who wanted it."""
    if isinstance(error, OperationalError):
        return unwritable(error)
    failure = StoreError(f"The gateway's database does not accept this: {reason(error)}.")
    failure.__cause__ = error
    return failure


def unwritable(error: SQLAlchemyError) -> StoreUnavailable:
    """The error of a whole transaction."""
    failure = StoreUnavailable(
        f"The gateway's database cannot be written at the moment: {reason(error)}. Try again later."
    )
    failure.__cause__ = error
    return failure


def reason(error: SQLAlchemyError) -> str:
    """The database's own words, the first line of them; SQLAlchemy would add the statement."""
    text = str(error.orig) if isinstance(error, DBAPIError) else str(error)
    return text.strip().partition("\n")[0].rstrip(".")
