"""Nothing is left behind on a PBS that others use as well, and in its users' homes, however a test ends.

Jobs that a test left are deleted and their ends awaited: what they were in, a
queue or a directory, can be removed only then.
"""

import pwd
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.pbs.simulation import jobs_named
from tests.support.users import USERS

#: Seconds until deleted jobs must have ended: the signal, the kill 10 s later, and the MoM's next look 10 s after it.
PATIENCE = 90.0
#: Who has not ended. What is in E ends by itself.
LIVING = "QHWTRSU"


@contextmanager
def no_jobs_left(commands: Path, names: str) -> Iterator[None]:
    """Jobs with names like this that are new afterwards are deleted; that there were any is told at the end.

    All are awaited, those as well that were on their way out. (The users may have jobs of another gateway.)
    """
    before = set(jobs_named(commands, names))
    left: list[str] = []
    try:
        yield
    finally:
        left = end_jobs(commands, names, before)
    assert not left, f"jobs are left: {left}"


def end_jobs(commands: Path, names: str, spared: Collection[str] = ()) -> list[str]:
    """Delete the jobs with names like this, wait until they have ended, and return which they were.

    Those that are on their way out are awaited as well, and not returned.
    """

    def jobs(states: str) -> list[str]:
        return [job for job in jobs_named(commands, names, states) if job not in spared]

    left = jobs(LIVING)
    for job in left:  # one by one: qdel of several has its traps
        subprocess.run([commands / "qdel", job], check=False, capture_output=True)
    _wait("the jobs of a test to end", lambda: not jobs(LIVING + "E"))
    return left


@contextmanager
def queue(commands: Path, name: str) -> Iterator[None]:
    """A queue for as long as it is needed, unless there is one of this name."""
    create = f"create queue {name} queue_type=execution, enabled=true, started=true"
    made = subprocess.run([commands / "qmgr", "-c", create], check=False, capture_output=True).returncode == 0
    try:
        yield
    finally:
        if made:
            asked = [commands / "qselect", "-q", name]
            _wait(
                f"the jobs of {name} to end",
                lambda: not subprocess.run(asked, check=True, capture_output=True).stdout,
            )
            subprocess.run([commands / "qmgr", "-c", f"delete queue {name}"], check=True, capture_output=True)


@contextmanager
def no_directories_left(names: str) -> Iterator[None]:
    """The directories of clusters with names like this are removed from the users' homes in the end."""
    try:
        yield
    finally:
        remove_directories(names)


def remove_directories(names: str) -> None:
    """Remove the directories of clusters with names like this from the users' homes; those of others stay."""
    for user in USERS:
        top = Path(pwd.getpwnam(user).pw_dir, ".dask-gateway")
        for path in top.iterdir() if top.is_dir() else ():
            if re.fullmatch(names, path.name):
                shutil.rmtree(path, ignore_errors=True)


def _wait(what: str, reached: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not reached():
        assert time.monotonic() < end, f"waited for {what}"
        time.sleep(0.5)  # PBS tells nobody when something changes
