"""The groups of an account, as the system knows them.

Asking may take as long as the site's directory service does, so it is done in
threads of its own, and remembered for a while. An account that is not there
has no groups.
"""

import grp
import os
import pwd
from collections.abc import Callable

import structlog
import trio

from gateway.errors import TryAgainLater

_log = structlog.get_logger()

#: Seconds that the system has to answer.
DEADLINE = 10.0
#: Seconds for which an answer holds.
MAX_AGE = 300.0
#: Accounts that are remembered.
MOST = 10_000


def groups_of(name: str) -> frozenset[str]:
    """The names of the groups of an account, blocking. Groups without a name are left out."""
    try:
        account = pwd.getpwnam(name)
    except KeyError:
        return frozenset()
    names = []
    for number in os.getgrouplist(name, account.pw_gid):
        try:
            names.append(grp.getgrgid(number).gr_name)
        except KeyError:  # a group that only has a number
            continue
    return frozenset(names)


class UnixGroups:
    """Asks the system, at most a few times at once.

    They are `needed` when more depends on them than who may use the gateway: nobody is let in without.
    """

    def __init__(
        self,
        ask: Callable[[str], frozenset[str]] = groups_of,
        *,
        deadline: float = DEADLINE,
        most: int = MOST,
        needed: bool = False,
    ) -> None:
        self.needed = needed
        self._ask = ask
        self._deadline = deadline
        self._most = most
        self._known: dict[str, tuple[frozenset[str], float]] = {}
        self._threads = trio.CapacityLimiter(4)

    def known(self, name: str) -> frozenset[str] | None:
        """What was learnt a moment ago; None when the system has to be asked."""
        groups, until = self._known.get(name, (None, 0.0))
        return groups if trio.current_time() < until else None

    async def of(self, name: str) -> frozenset[str]:
        """The groups of an account. Raises `TryAgainLater` when the system does not say."""
        known = self.known(name)
        if known is not None:
            return known
        with trio.move_on_after(self._deadline):
            # A directory that hangs keeps its thread; the request goes on without it.
            groups = await trio.to_thread.run_sync(self._ask, name, limiter=self._threads, abandon_on_cancel=True)
            self._known.pop(name, None)
            while len(self._known) >= self._most:
                del self._known[next(iter(self._known))]
            self._known[name] = groups, trio.current_time() + MAX_AGE
            return groups
        _log.warning("the system does not say which groups an account has", user=name, seconds=self._deadline)
        raise TryAgainLater(f"The groups of user {name} are not known at the moment: the system does not answer")
