"""The files of an SQLite database: in a safe place, nobody else's, and for one process at a time.

SQLite opens files beside a database by their names alone. So they must be in a
folder where nobody but the gateway's user and root can put files; and what is
found there must be that user's own.

Whoever changes a database holds an `flock` on `<database>.lock`, which the
kernel drops when the process dies, however it dies. (A lock on the database
file itself would not do: closing any other descriptor of that file would drop
SQLite's own locks, https://www.sqlite.org/howtocorrupt.html section 2.2.)
"""

import fcntl
import os
import pwd
import stat
from contextlib import ExitStack
from pathlib import Path

import structlog

from gateway.errors import StartError
from gateway.store.holders import described, in_use
from gateway.trusted_files import unsafe

_log = structlog.get_logger()


def key_file_of(database: Path) -> Path:
    """Where the key of an SQLite database is, unless the configuration or the environment has one."""
    return database.with_name(database.name + ".key")


def check_owner(path: Path) -> None:
    """See that a database is the user's own who runs a command on it. Raises `StartError`.

    Root reads and writes nothing in a folder of somebody else's: who owns it could put links there.
    """
    try:
        owner = path.stat().st_uid
    except OSError:
        return  # which opening the database tells better
    if owner != os.geteuid():
        name = _name_of(owner)
        raise StartError(
            f"The database {path} belongs to user {name}: run this as that user, for example by"
            f" `sudo -u {name} dask-gateway-server db ...`."
        )


def _name_of(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"id {uid}"


def check_folder(path: str) -> None:
    """See that nobody else can put files beside the database, or in its place. Raises `StartError`."""
    absolute = os.path.abspath(path)
    folder = os.path.dirname(absolute)
    if not os.path.isdir(folder):
        return  # which opening the database tells better
    owners = (0, os.geteuid())
    lenient = os.geteuid() != 0  # the group of a service's account is often its own
    # Both where the name is and where links lead. A database that others may write to is closed to them below.
    for place in {folder, os.path.dirname(os.path.realpath(absolute))}:
        why = unsafe(place, folder=True, owners=owners, group_may_write=lenient)
        if not why and os.path.islink(absolute) and os.path.exists(absolute):
            why = unsafe(absolute, owners=owners, group_may_write=lenient)  # links on the way
        if why:
            raise StartError(
                f"The database {absolute} is not safe: {why}. Keep it in a folder of the gateway's user that nobody"
                " else can write to (chown it, chmod 700), or set DBBackendBase.db_url to one in such a folder."
            )
        if why := unsafe(place, folder=True, owners=owners):
            _log.warning("others might replace the database: take the group's right to write", folder=place, why=why)


def close_to_others(path: Path) -> None:
    """Make a database readable for its owner alone, and make it if there is none. Raises OSError or `StartError`.

    SQLite gives the write-ahead log the mode of the database. Before SQLite opens it: see above.
    """
    descriptor = _open_own(path)
    try:
        os.fchmod(descriptor, 0o600)
    finally:
        os.close(descriptor)


def lock(path: Path, holder: str, cleanup: ExitStack) -> None:
    """Hold the lock of a database until `cleanup` ends. Raises OSError, or `StartError` when somebody else has it."""
    descriptor = _open_own(path.with_name(path.name + ".lock"))
    file = cleanup.enter_context(open(descriptor, "r+"))  # noqa: SIM115 - the stack closes it
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise StartError(in_use(str(path), file.read(200))) from error
    file.truncate(0)
    file.write(f"{described(holder)}\n")
    file.flush()


def _open_own(path: Path) -> int:
    """A descriptor of a file that is there and ours alone, or that is made: no link, no device, of one name only."""
    descriptor = os.open(
        path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC, 0o600
    )
    status = os.fstat(descriptor)
    if stat.S_ISREG(status.st_mode) and status.st_uid == os.geteuid() and status.st_nlink == 1:
        return descriptor
    os.close(descriptor)
    raise StartError(
        f"The file {path} is not a plain file of the gateway's user alone (it belongs to user id {status.st_uid}, and"
        f" has {status.st_nlink} names): see who has put it there, then chown or remove it."
    )
