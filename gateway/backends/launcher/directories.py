"""The directories of clusters: made, read and removed so that a request reaches nothing else.

The path to them is the request's, and who sent it may be able to rename what
it leads through, at any moment. So the path is followed once; every further
step starts from the directory that was opened. An entry counts as ours when it
is a directory (no link), belongs to the user, and holds our marker, which only
this program puts into directories that it has made.

Standard library only, for the launcher. Functions raise OSError.
"""

import os
import stat
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

from gateway.backends.log_part import LogPart, read_part
from gateway.backends.removal import empty

#: The file that marks a directory as made by this program, so that it may be removed again.
MARKER = ".dask-gateway"

#: The file that marks the directory of a cluster that has ended; it is as old as that end.
ENDED = ".ended"


class NotOurs(Exception):
    """A directory of that name is there, but this program did not make it."""


@contextmanager
def opened(path: str, parent: int | None = None) -> Iterator[int]:
    """A descriptor of a directory: wherever the path leads at this moment, or an entry of `parent` that is no link."""
    follow = 0 if parent is None else os.O_NOFOLLOW
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | follow, dir_fd=parent)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def ours(parent: int, name: str) -> Iterator[int | None]:
    """A descriptor of a directory of ours in `parent`; None when `name` is missing, or is anything else."""
    with ExitStack() as stack:
        try:
            descriptor = stack.enter_context(opened(name, parent))
        except OSError:
            yield None
        else:
            yield descriptor if _is_marked(descriptor) else None


def _is_marked(directory: int) -> bool:
    try:
        marker = os.stat(MARKER, dir_fd=directory, follow_symlinks=False)
    except OSError:
        return False
    return stat.S_ISREG(marker.st_mode) and marker.st_uid == os.fstat(directory).st_uid == os.getuid()


def make(path: str, cluster: str) -> str:
    """The path of the cluster's own directory, made if it is missing, open to the user alone. Raises NotOurs."""
    os.makedirs(path, mode=0o700, exist_ok=True)
    with opened(path) as parent:
        try:
            os.mkdir(cluster, mode=0o700, dir_fd=parent)
        except FileExistsError:
            with ours(parent, cluster) as directory:
                if directory is None:
                    raise NotOurs(cluster) from None
        else:
            try:
                with opened(cluster, parent) as directory:
                    _mark(directory, MARKER)
            except OSError:
                os.rmdir(cluster, dir_fd=parent)  # without its marker nobody could remove it later
                raise
    return os.path.join(path, cluster)


def _mark(directory: int, name: str) -> None:
    """Put an empty file into a directory; one that is there is left as it is."""
    flags = os.O_CREAT | os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK
    os.close(os.open(name, flags, 0o600, dir_fd=directory))


def read_log(
    path: str, cluster: str, name: str, size: int, start: int | None = None, *, whole_lines: bool = False
) -> LogPart | None:
    """A part of a file of the cluster's, as `read_part` has it; None when there is no such ordinary file."""
    try:
        with opened(path) as parent, ours(parent, cluster) as directory:
            if directory is None:
                return None
            descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=directory)
            with os.fdopen(descriptor, "rb") as file:
                if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                    return None
                return read_part(file, size, start, whole_lines=whole_lines)
    except OSError:
        return None


def remove(path: str, cluster: str, deadline: float) -> list[str]:
    """Remove the cluster's directory, if it is there and ours; returns a line for each thing that stays, a few at most.

    `deadline` is on the monotonic clock.
    """
    with opened(path) as parent:
        return _remove(parent, cluster, deadline)


def _remove(parent: int, name: str, deadline: float) -> list[str]:
    with ours(parent, name) as directory:
        if directory is None:
            return []
        # What is emptied is the directory that was looked at, whatever bears its name by now. The markers go last, so
        # that a removal that fails can be tried again.
        if problems := empty(directory, keep=(MARKER, ENDED), deadline=deadline):
            return problems
        for marker in (ENDED, MARKER):
            with suppress(FileNotFoundError):
                os.unlink(marker, dir_fd=directory)
        os.rmdir(name, dir_fd=parent)
        return []


def end(path: str, cluster: str) -> None:
    """Note that the cluster has ended; the first note counts."""
    with opened(path) as parent, ours(parent, cluster) as directory:
        if directory is not None:
            _mark(directory, ENDED)


def sweep(path: str, oldest: float, deadline: float) -> int:
    """Remove directories of clusters that ended before `oldest` (seconds since the epoch); how many ended ones stay.

    Those of clusters that have not ended are never touched, however old: jobs may be at work in them. One that cannot
    be removed, or not before the `deadline` (on the monotonic clock), stays and keeps no other.
    """
    kept = 0
    with opened(path) as parent:
        for name in os.listdir(parent):
            with ours(parent, name) as directory:
                ended = 0.0 if directory is None else _end_of(directory)
            if not ended:
                continue
            try:
                kept += ended >= oldest or bool(_remove(parent, name, deadline))
            except FileNotFoundError:
                continue  # somebody else was faster
            except OSError:
                kept += 1
    return kept


def _end_of(directory: int) -> float:
    """When the cluster was said to have ended; 0 if it was not."""
    try:
        return os.stat(ENDED, dir_fd=directory, follow_symlinks=False).st_mtime
    except OSError:
        return 0.0
