"""Whether others than those who may could change a file: its owner and its folders, down to the last link.

What root or the gateway obeys is asked for here: configuration files, batch
commands, the launcher's settings, the folder of a database.

Standard library only, for the launcher.
"""

import os
import stat
from collections.abc import Collection, Iterator

#: Symbolic links on one way; path_resolution(7).
_MOST_LINKS = 40


def unsafe(
    path: str,
    *,
    program: bool = False,
    folder: bool = False,
    owners: Collection[int] = (0,),
    group_may_write: bool = False,
) -> str:
    """Why others than its owners could change a file, or (for a `program`) what runs as it; empty when they cannot.

    `owners` are the users who may: root, unless told otherwise. Each folder, symbolic link and file on the way must
    belong to one of them; none may be writable by others, nor by a group unless `group_may_write`, except sticky
    folders, where only its owner can replace an entry. For a `folder` the question is whether others could put
    something into it, for which it must not be a sticky one either.
    """
    others = "root" if set(owners) == {0} else "root and the gateway's user"
    writers = 0o002 if group_may_write else 0o022
    try:
        for here, status, is_last in _way_to(path):
            if status.st_uid not in owners:
                return f"{here} does not belong to {others.replace(' and ', ' or ')}"
            if _is_open(status.st_mode, writers, is_passage=not (folder and is_last)):
                return f"{here} can be changed by others than {others}"
    except _Lost as error:
        return str(error)
    return _no_file(here, status.st_mode, program, folder)


def _is_open(mode: int, writers: int, *, is_passage: bool) -> bool:
    """Whether one of these may write to it; of a sticky folder that is a passage, nobody can replace an entry."""
    if stat.S_ISLNK(mode):
        return False
    return bool(mode & writers) and not (is_passage and stat.S_ISDIR(mode) and mode & stat.S_ISVTX)


class _Lost(Exception):
    """The way leads nowhere; the text says where and why."""


def _way_to(path: str) -> Iterator[tuple[str, os.stat_result, bool]]:
    """Each folder, link and file on the way, and whether it is the end. Raises _Lost."""
    here, links = "/", 0
    waiting = _parts(path)
    while True:
        try:
            status = os.lstat(here)
        except OSError as error:
            raise _Lost(f"{here}: {error.strerror}") from None
        is_link = stat.S_ISLNK(status.st_mode)
        yield here, status, not waiting and not is_link
        if is_link:
            links += 1
            if links > _MOST_LINKS:
                raise _Lost(f"{here}: too many symbolic links")
            target = os.readlink(here)
            here = "/" if target.startswith("/") else os.path.dirname(here)
            waiting += _parts(target)
        elif not waiting:
            return
        if waiting:
            part = waiting.pop()
            here = os.path.dirname(here) if part == ".." else os.path.join(here, part)


def _parts(path: str) -> list[str]:
    """The steps of a path, the last one first."""
    return [part for part in reversed(path.split("/")) if part not in ("", ".")]


def _no_file(path: str, mode: int, program: bool, folder: bool) -> str:
    if folder:
        return "" if stat.S_ISDIR(mode) else f"{path} is no folder"
    if stat.S_ISREG(mode) and (mode & 0o111 or not program):
        return ""
    return f"{path} is no {'program' if program else 'file'}"
