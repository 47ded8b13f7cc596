"""Whom the launcher daemon obeys, and as whom it acts: the section `[policy]` of root's settings (pure).

    [policy]
    gateway = dask
    groups = dask_users
    minimum_uid = 1000
    commands = sbatch scancel

With sudo, sudoers says who may act as whom, so `commands` alone counts there.
Nobody may be acted as unless the policy names the user, or a group of theirs;
root never, whatever it says.

Standard library only, for the launcher.
"""

import re
from collections.abc import Collection

from gateway.backends.launcher.rules import USERNAME

#: The lowest uid of people, as Debian, Red Hat and SUSE number them.
MINIMUM_UID = 1000

_LISTS = ("users", "groups", "commands")
_NAMES = ("gateway", *_LISTS, "minimum_uid", "no_new_privileges")


class Policy:
    """What root allows; as it is made it allows nobody anything."""

    def __init__(self) -> None:
        #: The account, by name or number, whose requests are obeyed.
        self.gateway = ""
        self.users: tuple[str, ...] = ()
        self.groups: tuple[str, ...] = ()
        self.minimum_uid = MINIMUM_UID
        #: The names of the commands that may be run; none: those of every batch system.
        self.commands: tuple[str, ...] = ()
        #: Whether what runs for a user is kept from gaining rights by setuid programs.
        self.no_new_privileges = True

    def read(self, name: str, value: str) -> None:
        """Take a line of the section; lists may have several. Raises ValueError, with what is wrong of it."""
        if name in _LISTS:
            setattr(self, name, (*getattr(self, name), *value.replace(",", " ").split()))
        elif name == "gateway":
            if not USERNAME.fullmatch(value):
                raise ValueError(f"gateway must be the name or the number of an account, not {value!r}")
            self.gateway = value
        elif name == "minimum_uid":
            if not re.fullmatch(r"[1-9][0-9]{0,9}", value):
                raise ValueError(f"minimum_uid must be a number from 1 on, not {value!r}")
            self.minimum_uid = int(value)
        elif name == "no_new_privileges":
            if value not in ("yes", "no"):
                raise ValueError(f"no_new_privileges must be yes or no, not {value!r}")
            self.no_new_privileges = value == "yes"
        else:
            raise ValueError(f"there is no {name!r} in [policy]; there are {', '.join(_NAMES)}")

    def refusal(self, name: str, uid: int, groups: Collection[str]) -> str:
        """Why nobody may act as this user, a member of those of the policy's `groups`; empty when that is allowed."""
        if uid == 0:
            return "jobs are not run as root; log in to the gateway as somebody else"
        if not self.users and not self.groups:
            return "nobody may have jobs until [policy] in root's settings names users or groups"
        if uid < self.minimum_uid:
            return f"{name} may not have jobs: the uid {uid} is below the minimum_uid {self.minimum_uid}"
        if name in self.users or groups:
            return ""
        allowed = [f"the group {' or '.join(self.groups)}"] if self.groups else []
        allowed += ["the users that root has listed"] if self.users else []
        return f"{name} may not have jobs: an administrator can add {name} to {', or to '.join(allowed)}"

    def forbids(self, command: str) -> bool:
        """Whether a batch command of this name is not to be run."""
        return bool(self.commands) and command not in self.commands
