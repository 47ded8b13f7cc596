"""Becoming a user: who that is, whether root's policy allows it, and every right of root's given up.

The order counts: groups, then the group, then the user, since only root may
change the first two. Afterwards nothing is left to go back with: real,
effective and saved ids are the user's, the kernel has dropped all
capabilities, and (unless the policy says otherwise) no setuid program can give
any. The process cannot be traced by its new owner, since it still holds what
it was before: a copy of the daemon.

Standard library only, for the launcher. Looking up users and groups may ask a
directory service, and take as long as that does: callers have a deadline.
"""

import ctypes
import grp
import os
import pwd
import resource
from typing import NamedTuple

from gateway.backends.launcher.policy import Policy
from gateway.backends.launcher.request import Refused
from gateway.backends.launcher.rules import USERNAME

# prctl(2), linux/prctl.h
_SET_DUMPABLE, _SET_CHILD_SUBREAPER, _SET_NO_NEW_PRIVS = 4, 36, 38

_prctl = ctypes.CDLL(None, use_errno=True).prctl
_prctl.argtypes = (ctypes.c_int, *[ctypes.c_ulong] * 4)


class Account(NamedTuple):
    """A user of this host, with the ids of all groups."""

    name: str
    uid: int
    gid: int
    groups: tuple[int, ...]


def find_account(name: str, policy: Policy) -> Account:
    """The account of a user whom the policy allows to act as. Raises `Refused`."""
    if not USERNAME.fullmatch(name):
        raise Refused(f"{name!r:.300} is no name of a user of this system")
    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        raise Refused(f"the user {name} is unknown on the gateway's host") from None
    groups = tuple(os.getgrouplist(entry.pw_name, entry.pw_gid))
    member_of = [group for group in policy.groups if _group_id(group) in groups]
    if why := policy.refusal(entry.pw_name, entry.pw_uid, member_of):
        raise Refused(why)
    return Account(entry.pw_name, entry.pw_uid, entry.pw_gid, groups)


def _group_id(name: str) -> int | None:
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        return None


def gateway_uid(policy: Policy) -> int:
    """The uid of the account whose requests are obeyed. Raises `Refused` when there is none, or it is root's."""
    if not policy.gateway:
        raise Refused("[policy] in root's settings does not name the gateway's account (gateway = dask)")
    try:
        uid = int(policy.gateway) if policy.gateway.isdecimal() else pwd.getpwnam(policy.gateway).pw_uid
    except KeyError:
        raise Refused(f"the gateway's account {policy.gateway} is unknown on this host") from None
    if uid == 0:
        raise Refused("the gateway's account must not be root")
    return uid


def become(account: Account, *, no_new_privileges: bool) -> None:
    """Be this user from now on, in this process and all that it starts. Raises OSError when that fails halfway."""
    os.setgroups(account.groups)
    os.setresgid(account.gid, account.gid, account.gid)
    os.setresuid(account.uid, account.uid, account.uid)
    if os.getresuid() != (account.uid,) * 3 or os.getresgid() != (account.gid,) * 3:
        raise PermissionError(f"the rights of {account.name} could not be taken")
    if no_new_privileges:
        _control(_SET_NO_NEW_PRIVS, 1)
    _control(_SET_DUMPABLE, 0)
    # Scripts hold secrets. The limit is a soft one, which users may raise in their jobs.
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    os.environ.clear()
    os.chdir("/")


def adopt_orphans() -> None:
    """Have processes below this one become its children when theirs end. Raises OSError."""
    _control(_SET_CHILD_SUBREAPER, 1)


def _control(option: int, value: int) -> None:
    if _prctl(option, value, 0, 0, 0) != 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
