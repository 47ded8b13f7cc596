"""How often a login may fail, for each user at each address and for each address; pure.

Whoever guesses is slowed down, and nobody else: a right password from another
address is never refused for it, nor that of another user at the same address
before many have failed there (a hub for notebooks is one address). Each limit
is a generic cell rate: one number for each key, the time at which its debt is paid.
"""

from collections.abc import Hashable
from math import ceil

from attrs import frozen


@frozen
class Limit:
    """`burst` failures at once, and one more for every `period` seconds."""

    burst: int
    period: float


#: Of one user at one address: a person with a wrong password in a file, a notebook that tries again and again.
OF_USER = Limit(burst=10, period=6.0)
#: Of all users at one address.
OF_ADDRESS = Limit(burst=100, period=1.0)
#: Keys that are remembered. Beyond it the oldest go; whoever has as many addresses is not held back by this limit.
MOST_KEYS = 20_000


class Failures:
    """Remembers failures. Times are seconds of any one clock that does not go back."""

    def __init__(self, of_user: Limit = OF_USER, of_address: Limit = OF_ADDRESS, most_keys: int = MOST_KEYS) -> None:
        self._of_user = of_user
        self._of_address = of_address
        self._most = most_keys
        self._paid: dict[Hashable, float] = {}

    def seconds_to_wait(self, user: str, address: str, now: float) -> float:
        """How long nothing is tried any more for this user at this address; 0: it may be tried now.

        `user` is the name that was claimed, empty when the credentials say none.
        """
        limits = self._of(user, address)
        return max(0.0, *(self._debt(key, now) - (limit.burst - 1) * limit.period for key, limit in limits))

    def room(self, user: str, address: str, now: float) -> int:
        """How many logins of this user at this address may still fail now, if they all do."""
        return min(limit.burst - ceil(self._debt(key, now) / limit.period) for key, limit in self._of(user, address))

    def note(self, user: str, address: str, now: float) -> None:
        """A login has failed."""
        for key, limit in self._of(user, address):
            debt = min(self._debt(key, now) + limit.period, limit.burst * limit.period)
            self._paid.pop(key, None)  # to the end of the line
            self._paid[key] = now + debt
        while len(self._paid) > self._most:
            del self._paid[next(iter(self._paid))]

    def _debt(self, key: Hashable, now: float) -> float:
        return max(0.0, self._paid.get(key, now) - now)

    def _of(self, user: str, address: str) -> list[tuple[Hashable, Limit]]:
        """What counts them: the address, and the user at it."""
        whole: list[tuple[Hashable, Limit]] = [(address, self._of_address)]
        return [*whole, ((user, address), self._of_user)] if user else whole
