"""The system users whose jobs the tests start when they run as root: alice and bob, in group dask_users."""

import functools
import grp
import os
import pwd
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

USERS = ("alice", "bob")
GROUP = "dask_users"


@functools.cache
def ensure_users() -> tuple[str, ...]:
    """Create the users that are missing; return all of them. Needs root."""
    _ensure(("groupadd", "--force", GROUP), exists=lambda: grp.getgrnam(GROUP))
    for user in USERS:
        _ensure(
            ("useradd", "--create-home", "--shell", "/bin/bash", "--groups", GROUP, user),
            exists=lambda user=user: pwd.getpwnam(user),
        )
    return USERS


@functools.cache
def ensure_dask() -> str:
    """Create the gateway's own account when it is missing; return its name. Needs root."""
    _ensure(("useradd", "--create-home", "--shell", "/bin/bash", "dask"), exists=lambda: pwd.getpwnam("dask"))
    return "dask"


@contextmanager
def miniconda(installation: Path, users: Iterable[str] = USERS) -> Iterator[None]:
    """`~/miniconda` of each user, as the original's guide has it; one that a killed run has left is replaced."""
    made = [link for user in users if not (link := Path(f"/home/{user}/miniconda")).exists()]
    try:
        for link in made:
            link.unlink(missing_ok=True)
            link.symlink_to(installation)
        yield
    finally:
        for link in made:
            link.unlink(missing_ok=True)


def _ensure(command, *, exists):
    try:
        exists()
    except KeyError:
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        # 9: somebody else has just created it (useradd(8))
        assert done.returncode in (0, 9), done.stderr


def is_root() -> bool:
    """Whether other users' processes can be started."""
    return os.geteuid() == 0
