"""A new key in the place of the old one, by whoever holds the lock of the database.

With a key file the new key is written in front of the old ones, then all rows
are encrypted and sealed anew in one transaction, and only then, when they have
been read with the new key alone, the file is left with that. Whenever this is
interrupted, the file has a key for each row, and doing it once more is all
that there is to do.

Where an administrator keeps the keys, they put a new one in front; the gateway
or this encrypts everything anew, and then the others may go.

SQLite keeps what was replaced in its file, and in its write-ahead log, until
that space is needed: so the file is written anew, lest whoever has the old key
finds in a later copy what it opens.
"""

from gateway.store.database import Database
from gateway.store.errors import StoreError
from gateway.store.inspection import Findings
from gateway.store.key_file import write_key_file
from gateway.store.keys import as_keys, new_key


def replace_key(database: Database) -> Findings:
    """Make a new key, and leave the key file of this database with it alone.

    Returns what was found with it. Raises `StoreError` or `StartError`.
    """
    path = database.keys.file
    assert path is not None
    old = [key.decode() for key in database.keys.values]
    both = as_keys([new_key(), *old], database.keys.source, file=path)
    write_key_file(path, [key.decode() for key in both.values])
    database.renew(both)
    findings = finish(database)
    write_key_file(path, [both.first().values[0].decode()])
    return findings


def finish(database: Database) -> Findings:
    """Leave nothing of other keys than the first in the database, and see that this one suffices.

    Raises `StoreError` when it does not.
    """
    database.rewrite()
    findings = database.inspect(database.keys.first())
    if findings.problems:
        raise StoreError(f"The first key alone does not do, so that the others are kept: {' '.join(findings.problems)}")
    return findings
