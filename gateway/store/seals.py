"""Rows that nobody without a key has written or changed.

Each row has a seal (keys.py) over all of it, its table and its name: a
document says as whom something is run, and what, so none is believed that
somebody without a key has written, changed, or moved to another name. (What a
seal cannot tell is that a row is missing, or was so at an earlier time.)

A seal is over the columns in their order, so that of a row can be checked
without knowing which schema it is of.
"""

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa
from cryptography.fernet import InvalidToken

from gateway.errors import StartError
from gateway.store.keys import Cipher

Values = Mapping[str, Any]


class Seals:
    """Seals rows and checks them, and opens their secrets, with the keys of a cipher."""

    def __init__(self, cipher: Cipher) -> None:
        self.cipher = cipher

    def sealed(self, table: sa.Table, values: Values) -> dict[str, object]:
        """The values of a row with the seal that belongs to them."""
        ordered = {column.name: values[column.name] for column in table.columns if column.name != "seal"}
        return {**ordered, "seal": self.cipher.seal(*_parts(table.name, ordered))}

    def check(self, table: str, row: Values) -> None:
        """Raises `StartError` for a row whose seal does not fit, or that has none."""
        seal = row.get("seal")
        if not isinstance(seal, bytes) or not self.cipher.is_sealed(seal, *_parts(table, row)):
            raise StartError(
                f"The {described(table, row)} in the database is not as the gateway has written it: somebody without "
                "its key has changed the row, which says as whom jobs are run, and what. See who can write to the "
                "database, then restore a backup, or delete the row (jobs that it stands for are to be ended by hand)."
            )

    def secrets(self, row: Values) -> bytes:
        """What is encrypted in the row of a cluster. Raises `StartError`."""
        try:
            return self.cipher.decrypt(row["secrets"])
        except (InvalidToken, TypeError) as error:  # TypeError: SQLite keeps whatever is put into a column
            raise StartError(
                f"The secrets of cluster {row['name']!s:.100} in the database cannot be decrypted with the keys "
                "configured: add the key that was in use when it was started, or delete the row."
            ) from error


def described(table: str, row: Values) -> str:
    """What a row is of, for people."""
    name = f"{row['name']!s:.100}"
    match table:
        case "dask_gateway_clusters":
            return f"cluster {name}"
        case "dask_gateway_submissions":
            return f"submission {name} of cluster {row['cluster']!s:.100}"
        case _:
            return f"{row['kind']!s:.100} {name}"


def _parts(table: str, row: Values) -> list[bytes]:
    """What a seal is made over: the table, and all values of the row but the seal itself."""
    return [
        table.encode(),
        # What is neither text nor bytes has been put there by somebody else: its seal fits nothing.
        *(
            value if isinstance(value, bytes) else str(value).encode("utf-8", "surrogatepass")
            for name, value in row.items()
            if name != "seal"
        ),
    ]
