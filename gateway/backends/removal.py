"""Remove what jobs have left in a directory, whatever that is.

What is in there was made by a user's processes, some of which may still be at
work in it. So the walk never follows a link, takes each step from a descriptor
of the directory before, stays on one file system, and takes a bounded amount of
everything: descriptors, stack, memory, time.

- It is a loop, not a recursion. Below MAX_DEPTH directories, one that is found
  is moved up to the top, under a name that nobody can guess, and has its turn
  later: a chain of any length is removed in pieces.
- Names are read in batches, so that millions of files are no list in memory.
- When the time is up, the rest stays. What stays is told, not raised.

Standard library only, for the launcher.
"""

import errno
import os
import stat
import time
from collections.abc import Collection
from itertools import islice

#: Directories that are open at once: ordinary trees are no deeper.
MAX_DEPTH = 32
#: Names that are read at once from one directory.
BATCH = 4096
#: Lines about what could not be removed.
MAX_PROBLEMS = 10

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def empty(directory: int, *, keep: Collection[str] = (), deadline: float) -> list[str]:
    """Remove all that is in an open directory but the entries called as in `keep`.

    Returns a line for each thing that could not be removed, a few at most: with none of them, all is gone. `deadline`
    is on the monotonic clock (`time.monotonic`); what has not been removed by then stays, with a line about that.
    """
    removal = _Removal(directory, frozenset(keep), deadline)
    try:
        removal.run()
    except TimeoutError as error:
        removal.problems.append(str(error))
    except OSError as error:
        removal.note("its entries", error)
    return removal.problems


class _Level:
    """A directory on the way down: its descriptor, its name in the one above, and names that have their turn."""

    def __init__(self, descriptor: int, name: str) -> None:
        self.descriptor = descriptor
        self.name = name
        self.names: list[str] = []
        self.removed = 1  # entries of the last batch; as long as there are some, there may be more to read

    def read(self, keep: Collection[str]) -> bool:
        """Read the next names; False when there are none, or when the last ones could not be removed."""
        if not self.removed:
            return False
        with os.scandir(self.descriptor) as entries:
            self.names = list(islice((entry.name for entry in entries if entry.name not in keep), BATCH))
        self.removed = 0
        return bool(self.names)


class _Removal:
    def __init__(self, top: int, keep: frozenset[str], deadline: float) -> None:
        self.problems: list[str] = []
        self._top = top
        self._keep = keep
        self._deadline = deadline
        self._device = os.fstat(top).st_dev
        self._levels: list[_Level] = []

    def note(self, name: str, error: OSError) -> None:
        """Remember why something stays."""
        if len(self.problems) < MAX_PROBLEMS:
            self.problems.append(f"{name!r:.200}: {error.strerror or error}")

    def run(self) -> None:
        """Empty the top. Raises TimeoutError when the time is up, OSError when the top itself cannot be read."""
        _make_ours(self._top)
        self._levels = [_Level(self._top, "")]
        try:
            while self._levels:
                self._step(self._levels[-1])
        finally:
            for level in self._levels[1:]:
                os.close(level.descriptor)

    def _step(self, level: _Level) -> None:
        """Remove one entry, or go down into it; go up when there are no more."""
        if time.monotonic() > self._deadline:
            raise TimeoutError("there was no time for the rest")
        top = level.descriptor == self._top
        try:
            more = bool(level.names) or level.read(self._keep if top else ())
        except OSError as error:
            if top:
                raise
            self.note(level.name, error)
            more = False
        if not more:
            self._go_up()
            return
        name = level.names.pop()
        try:
            if _unlink(level.descriptor, name):
                level.removed += 1
            elif len(self._levels) > MAX_DEPTH:
                os.close(self._opened(level.descriptor, name))  # only who may write to a directory may move it
                os.rename(name, f".removed-{os.urandom(16).hex()}", src_dir_fd=level.descriptor, dst_dir_fd=self._top)
                level.removed += 1
                self._levels[0].removed += 1
            else:
                self._go_down(level.descriptor, name)
        except FileNotFoundError:
            level.removed += 1  # somebody else was faster
        except OSError as error:
            self.note(name, error)

    def _go_down(self, parent: int, name: str) -> None:
        self._levels.append(_Level(self._opened(parent, name), name))

    def _opened(self, parent: int, name: str) -> int:
        """A descriptor of a directory that we may empty, if it is our own."""
        descriptor = _open(parent, name)
        try:
            if os.fstat(descriptor).st_dev != self._device:
                raise OSError("another file system is mounted there")
            _make_ours(descriptor)
        except OSError:
            os.close(descriptor)
            raise
        return descriptor

    def _go_up(self) -> None:
        level = self._levels.pop()
        if not self._levels:
            return
        os.close(level.descriptor)
        try:
            os.rmdir(level.name, dir_fd=self._levels[-1].descriptor)
        except FileNotFoundError:
            self._levels[-1].removed += 1
        except OSError as error:
            if not (error.errno == errno.ENOTEMPTY and self.problems):  # what is in there was told
                self.note(level.name, error)
        else:
            self._levels[-1].removed += 1


def _unlink(directory: int, name: str) -> bool:
    """Remove an entry that is no directory, or an empty one; False when it is a directory with something in it."""
    try:
        os.unlink(name, dir_fd=directory)
    except IsADirectoryError:
        pass
    else:
        return True
    try:
        os.rmdir(name, dir_fd=directory)
    except OSError:
        return False  # why not is found out inside, or at the way up
    return True


def _open(parent: int, name: str) -> int:
    """A descriptor of a directory; of one that its owner may not open, after permitting that."""
    try:
        return os.open(name, _DIRECTORY, dir_fd=parent)
    except PermissionError:
        handle = os.open(name, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
    try:
        if os.fstat(handle).st_uid == os.geteuid():
            os.chmod(f"/proc/self/fd/{handle}", stat.S_IRWXU)
        return os.open(name, _DIRECTORY, dir_fd=parent)
    finally:
        os.close(handle)


def _make_ours(descriptor: int) -> None:
    """See that the owner of a directory, if that is us, may remove what is in it."""
    status = os.fstat(descriptor)
    if status.st_uid == os.geteuid() and status.st_mode & stat.S_IRWXU != stat.S_IRWXU:
        os.fchmod(descriptor, stat.S_IRWXU)
