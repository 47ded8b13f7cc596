"""The key file beside an SQLite database: a key a line, for its owner alone, replaced as a whole or not at all."""

import os
import stat
from collections.abc import Sequence
from pathlib import Path

from gateway.errors import StartError
from gateway.store.publishing import sync_folder

#: More than any number of keys that somebody keeps.
_MOST_BYTES = 4096


def read_key_file(path: Path) -> list[str]:
    """The keys in it, or what stands there in their place. Raises `StartError`, or FileNotFoundError."""
    try:
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            content = file.read(_MOST_BYTES)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise StartError(f"Cannot read the key file {path}: {error.strerror}.") from error
    if status.st_uid != os.geteuid():
        raise StartError(
            f"The key file {path} belongs to user id {status.st_uid}, not to the gateway's user: chown it."
        )
    if stat.S_IMODE(status.st_mode) & 0o077:
        raise StartError(
            f"The key file {path} can be used by others than its owner (mode {stat.S_IMODE(status.st_mode):04o}): "
            "chmod it to 600. If somebody may have read it, replace the key."
        )
    return [line for line in content.decode("ascii", "replace").split("\n") if line.strip()] or [""]


def write_key_file(path: Path, keys: Sequence[str]) -> None:
    """Make a key file, or replace it. Raises `StartError`."""
    draft = path.with_name(path.name + ".new")
    try:
        draft.unlink(missing_ok=True)  # of an attempt that was interrupted
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with open(descriptor, "wb") as file:
            file.write("".join(f"{key}\n" for key in keys).encode())
            file.flush()
            os.fsync(descriptor)
        draft.rename(path)
        sync_folder(path.parent)
    except OSError as error:
        raise StartError(f"Cannot make the key file {path}: {error.strerror}.") from error
