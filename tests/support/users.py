"""The system users whose jobs the tests start when they run as root: alice and bob, in group dask_users."""

import fcntl
import functools
import grp
import os
import pwd
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

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
    """Create the gateway's own account when it is missing, and keep it until this process ends; return its name.

    Needs root.
    """
    fcntl.flock(_users_of_dask(), fcntl.LOCK_SH)
    _ensure(("useradd", "--create-home", "--shell", "/bin/bash", "dask"), exists=lambda: pwd.getpwnam("dask"))
    return "dask"


@contextmanager
def dask_to_be_made() -> Iterator[bool]:
    """Remove the gateway's own account, for the body to make it anew. False: others need it."""
    users = _users_of_dask()
    try:
        fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        removed = False
    else:
        # 6: there is none; 12: it has no home
        done = subprocess.run(["userdel", "--remove", "dask"], check=False, capture_output=True)
        removed = done.returncode in (0, 6, 12)
    try:
        yield removed
    finally:
        fcntl.flock(users, fcntl.LOCK_SH)


@functools.cache
def _users_of_dask() -> TextIO:
    """The lock that processes share who need the account."""
    return open("/run/lock/dask-gateway-account", "w")


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
