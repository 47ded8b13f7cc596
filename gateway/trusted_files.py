"""Whether others than those who may could change a file: its owner and its folders, down to the last link.

What root or the gateway obeys is asked for here: configuration files, batch
commands, the launcher's settings, the folder of a database.

Standard library only, for the launcher.
"""

import os
import stat
from collections.abc import Collection


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
    here, links = "/", 0
    waiting = [part for part in reversed(path.split("/")) if part not in ("", ".")]
    while True:
        try:
            status = os.lstat(here)
        except OSError as error:
            return f"{here}: {error.strerror}"
        if status.st_uid not in owners:
            return f"{here} does not belong to {others.replace(' and ', ' or ')}"
        if stat.S_ISLNK(status.st_mode):
            links += 1
            if links > 40:
                return f"{here}: too many symbolic links"
            target = os.readlink(here)
            here = "/" if target.startswith("/") else os.path.dirname(here)
            waiting += [part for part in reversed(target.split("/")) if part not in ("", ".")]
        else:
            passage = stat.S_ISDIR(status.st_mode) and not (folder and not waiting)
            if status.st_mode & writers and not (passage and status.st_mode & stat.S_ISVTX):
                return f"{here} can be changed by others than {others}"
            if not waiting:
                return _no_file(here, status.st_mode, program, folder)
        if waiting:
            part = waiting.pop()
            here = os.path.dirname(here) if part == ".." else os.path.join(here, part)


def _no_file(path: str, mode: int, program: bool, folder: bool) -> str:
    if folder:
        return "" if stat.S_ISDIR(mode) else f"{path} is no folder"
    if stat.S_ISREG(mode) and (mode & 0o111 or not program):
        return ""
    return f"{path} is no {'program' if program else 'file'}"
