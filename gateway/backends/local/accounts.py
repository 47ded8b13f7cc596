"""The system accounts that local jobs run under, from the machine's user database."""

import grp
import os
import pwd
import re
from collections.abc import Collection

from gateway.backends.local.jobs import Account
from gateway.errors import JobRefused

#: Where the system says which numbers its people have, login.defs(5).
LOGIN_DEFS = "/etc/login.defs"
_UID_MIN = re.compile(r"^[ \t]*UID_MIN[ \t]+([0-9]{1,10})[ \t]*$", re.MULTILINE)
_DEFAULT_UID_MIN = 1000

#: Users that stand for the lack of one, of 16 and of 32 bits (user_namespaces(7), nfsnobody).
_NOBODY = frozenset((65534, 65535, 2**32 - 2, 2**32 - 1))


def smallest_uid(path: str = LOGIN_DEFS) -> int:
    """The smallest user id of people on this machine; those below are services'. Never 0, which is root's."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            found = _UID_MIN.findall(file.read(2**20))
    except OSError:
        found = []  # a system without that file has the default
    return max(1, int(found[-1])) if found else _DEFAULT_UID_MIN


def group_id(name: str) -> int | None:
    """The number of a group; None when there is none of that name."""
    try:
        return grp.getgrnam(name).gr_gid
    except (KeyError, ValueError):  # ValueError: a NUL character in the name
        return None


def account_of(username: str, *, minimum_uid: int = 1, groups: Collection[str] = ()) -> Account:
    """The account of a cluster's user. May block while the name service answers; run it in a thread.

    Raises JobRefused for a name without account, for those of root, of services (with a user id below `minimum_uid`)
    and of nobody, and for users in none of the `groups`, if there are some: whoever logs in to the gateway under such
    a name gets no processes.
    """
    try:
        entry = pwd.getpwnam(username)
    except (KeyError, ValueError):  # ValueError: a NUL character in the name
        raise JobRefused(f"The user {username!r} has no account on this machine, so no job can be started.") from None
    if entry.pw_uid == 0:
        raise JobRefused(f"The user {username!r} is an administrator of this machine; jobs are not started as root.")
    if entry.pw_uid < minimum_uid or entry.pw_uid in _NOBODY:
        raise JobRefused(
            f"The user {username!r} is a service of this machine (its user id is {entry.pw_uid}); jobs are started as"
            f" people only. The administrator can set c.LocalBackend.minimum_uid, which is {minimum_uid}."
        )
    member_of = tuple(os.getgrouplist(entry.pw_name, entry.pw_gid))
    if groups and not {group_id(name) for name in groups} & set(member_of):
        raise JobRefused(
            f"The user {username!r} is in no group that may have clusters on this machine ({', '.join(groups)}). The"
            " administrator decides that with c.LocalBackend.allowed_groups."
        )
    return Account(entry.pw_name, entry.pw_uid, entry.pw_gid, member_of, entry.pw_dir)


def own_account() -> Account:
    """The account that the gateway itself runs under."""
    uid, gid = os.geteuid(), os.getegid()
    try:
        entry = pwd.getpwuid(uid)
    except KeyError:  # as in a container that runs under any number
        name, home = os.environ.get("USER", str(uid)), os.environ.get("HOME", "/")
    else:
        name, home = entry.pw_name, entry.pw_dir
    return Account(name, uid, gid, tuple(os.getgroups()), home)
