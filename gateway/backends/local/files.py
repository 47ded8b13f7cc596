"""The clusters directory: one folder for each cluster, with its jobs' logs.

    <clusters directory>/          ours alone; locked by the one gateway that uses it
        <cluster>/                 the jobs' working directory, 0700, the user's
            logs/<job>.log         what the job wrote, appended to

A cluster's folder belongs to its user, who may put anything there: links to
the files of others, devices, pipes. So everything below it is opened relative
to its parent's descriptor, no link is followed, nothing is given away or read
that is not a plain file or folder of that user, and folders are removed by
descriptor too (backends/removal.py).
"""

import fcntl
import os
import stat
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress

from gateway.backends.local.jobs import Account
from gateway.backends.log_part import LogPart, read_part
from gateway.backends.removal import empty
from gateway.errors import JobRefused, StartError

#: Seconds that the removal of one cluster's folder may take.
REMOVAL_TIME = 60.0

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_LOCK = ".lock"
_LOGS = "logs"


class ClustersDirectory:
    """The folder of all clusters' folders, held open and locked. `path` is absolute."""

    def __init__(self, path: str, fd: int) -> None:
        self.path = path
        self._fd = fd

    def prepare(self, cluster: str, account: Account) -> str:
        """Make the cluster's folder when it is not there yet, and return its path.

        Raises JobRefused when that is impossible.
        """
        path = os.path.join(self.path, cluster)
        try:
            with suppress(FileExistsError):
                os.mkdir(cluster, 0o700, dir_fd=self._fd)
            with self._open_folder(cluster) as (fd, owner):
                if owner == os.geteuid():  # new; or left half made by a crash, before the user could touch it
                    _give_logs(fd, account)
                    os.fchown(fd, account.uid, account.gid)
                elif owner != account.uid:
                    raise JobRefused(f"The cluster's folder {path} does not belong to user {account.name!r}.")
        except OSError as error:
            raise JobRefused(f"The cluster's folder {path} cannot be made: {error.strerror}.") from error
        return path

    @contextmanager
    def open_log(self, cluster: str, job: str, account: Account) -> Iterator[int]:
        """A descriptor to append to a job's log with. Raises JobRefused when there cannot be one."""
        path = os.path.join(self.path, cluster, _LOGS, f"{job}.log")
        try:
            with self._open_folder(cluster, _LOGS) as (logs, _):
                fd = _open_log(logs, f"{job}.log", account)
        except OSError as error:
            raise JobRefused(f"The log {path} cannot be opened: {error.strerror or error}.") from error
        try:
            yield fd
        finally:
            os.close(fd)

    def read_log(
        self, cluster: str, job: str, size: int, start: int | None = None, *, whole_lines: bool = False
    ) -> LogPart | None:
        """A part of a job's log, as `read_part` has it; None when there is none that may be shown to the user."""
        try:
            with self._open_folder(cluster, _LOGS) as (logs, owner):
                # Opening a pipe would wait for a writer, were it not for O_NONBLOCK.
                flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
                with open(os.open(f"{job}.log", flags, dir_fd=logs), "rb") as file:
                    about = os.fstat(file.fileno())
                    if not stat.S_ISREG(about.st_mode) or about.st_uid != owner:
                        return None
                    return read_part(file, size, start, whole_lines=whole_lines)
        except OSError:
            return None

    def remove(self, cluster: str, *, keep_logs: bool, seconds: float = REMOVAL_TIME) -> list[str]:
        """Remove the cluster's folder, all of it or all but the logs; return a line for each thing that stays.

        A folder that is already gone is fine. Takes `seconds` at most; what is left by then stays.
        """
        deadline = time.monotonic() + seconds
        try:
            with self._open_folder(cluster) as (fd, _):
                problems = empty(fd, keep=(_LOGS,) if keep_logs else (), deadline=deadline)
            if not problems and not keep_logs:
                os.rmdir(cluster, dir_fd=self._fd)
        except FileNotFoundError:
            return []
        except OSError as error:
            return [f"{cluster}: {error.strerror or error}"]
        return problems

    @contextmanager
    def _open_folder(self, cluster: str, *names: str) -> Iterator[tuple[int, int]]:
        """A cluster's folder, or one below it: its descriptor, and the owner of both. No name may be a link."""
        fd = os.open(cluster, _FOLDER, dir_fd=self._fd)
        try:
            owner = os.fstat(fd).st_uid
            for name in names:
                below = os.open(name, _FOLDER, dir_fd=fd)
                os.close(fd)
                fd = below
                if os.fstat(fd).st_uid != owner:
                    raise OSError(f"its folder {name} does not belong to the user")
            yield fd, owner
        finally:
            os.close(fd)


def _give_logs(folder: int, account: Account) -> None:
    with suppress(FileExistsError):
        os.mkdir(_LOGS, 0o700, dir_fd=folder)
    logs = os.open(_LOGS, _FOLDER, dir_fd=folder)
    try:
        os.fchown(logs, account.uid, account.gid)
    finally:
        os.close(logs)


def _open_log(logs: int, name: str, account: Account) -> int:
    """Only what was made here is given to the user; what is found has to be the user's own plain file."""
    flags = os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
    try:
        fd = os.open(name, flags | os.O_CREAT | os.O_EXCL, 0o600, dir_fd=logs)
        made = True
    except FileExistsError:
        fd = os.open(name, flags, dir_fd=logs)
        made = False
    try:
        if made:
            os.fchown(fd, account.uid, account.gid)
        about = os.fstat(fd)
        if not stat.S_ISREG(about.st_mode) or about.st_uid != account.uid or about.st_nlink != 1:
            raise OSError("it is not a plain file of the user")
        os.set_blocking(fd, True)
    except BaseException:
        os.close(fd)
        raise
    return fd


@contextmanager
def open_clusters_directory(path: str, *, shared: bool, strict: bool) -> Iterator[ClustersDirectory]:
    """Make the folder when it is missing, lock it, and hold it open.

    `shared`: other users have clusters in it, so they may pass through it. `strict`: no folder above it may be
    in the hands of anybody but root or us. Raises StartError when it is in use by another gateway, or not safe.
    """
    path = os.path.abspath(path)
    try:
        _make_folder(path, 0o711 if shared else 0o700)
        _check_safe(path, strict=strict)
        path = os.path.realpath(path)
        fd = os.open(path, _FOLDER)
    except OSError as error:
        raise StartError(f"The clusters directory {path} cannot be used: {error.strerror}.") from error
    try:
        with _locked(path, fd):
            yield ClustersDirectory(path, fd)
    finally:
        os.close(fd)


def _make_folder(path: str, mode: int) -> None:
    """Like os.makedirs, but every folder that is made has this mode, whatever the umask."""
    if not os.path.isdir(path):
        _make_folder(os.path.dirname(path), mode)
        os.mkdir(path, mode)
        os.chmod(path, mode)


@contextmanager
def _locked(path: str, fd: int) -> Iterator[None]:
    try:
        lock = os.open(_LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=fd)
    except OSError as error:
        raise StartError(f"The clusters directory {path} cannot be locked: {error.strerror}.") from error
    with closing(os.fdopen(lock, "rb")):
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            text = (
                f"Another gateway uses the clusters directory {path}. Give this one c.LocalBackend.clusters_directory."
            )
            raise StartError(text) from None
        yield


def _check_safe(path: str, *, strict: bool) -> None:
    """Nobody but root and us may put other things into this folder or, when `strict`, in the place of it.

    Links are fine as long as they are root's or ours, and lead to where that is true as well.
    """
    real = os.path.realpath(path)
    above = {*_above(path), *_above(real)} if strict else set()
    for folder in (path, real, *sorted(above)):
        about = os.lstat(folder)
        writable = about.st_mode & 0o022 and not stat.S_ISLNK(about.st_mode)
        if folder in above and about.st_mode & stat.S_ISVTX:
            writable = False  # as in /tmp, only the owner of a thing may replace it
        if about.st_uid not in (0, os.geteuid()):
            whose = f"{folder} belongs to neither root nor the gateway's user"
        elif writable:
            whose = f"others may write to {folder}"
        else:
            continue
        raise StartError(
            f"The clusters directory {path} is not safe: {whose}. Change that, or choose another with"
            " c.LocalBackend.clusters_directory."
        )


def _above(path: str) -> Iterator[str]:
    while path != (path := os.path.dirname(path)):
        yield path
