"""The system accounts that local jobs run under, from the machine's user database."""

import os
import pwd

from gateway.backends.local_jobs import Account
from gateway.errors import JobRefused


def account_of(username: str) -> Account:
    """The account of a cluster's user. May block while the name service answers; run it in a thread.

    Raises JobRefused for a name without account, and for root's: whoever logs in to the gateway under such a
    name gets no processes.
    """
    try:
        entry = pwd.getpwnam(username)
    except (KeyError, ValueError):  # ValueError: a NUL character in the name
        raise JobRefused(f"The user {username!r} has no account on this machine, so no job can be started.") from None
    if entry.pw_uid == 0:
        raise JobRefused(f"The user {username!r} is an administrator of this machine; jobs are not started as root.")
    groups = tuple(os.getgrouplist(entry.pw_name, entry.pw_gid))
    return Account(entry.pw_name, entry.pw_uid, entry.pw_gid, groups, entry.pw_dir)


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
