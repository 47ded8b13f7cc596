"""A bell that many can wait for: "something of this cluster has changed, look again".

Whoever waits names the count of changes it has already seen, so nothing is
missed between looking and waiting, and nothing is remembered for those who
do not wait.
"""

from collections.abc import Callable

import trio


class Changes:
    """Counts changes and wakes everybody who waits for the next one. `first` is called before anybody is woken."""

    def __init__(self, first: Callable[[], None] = lambda: None) -> None:
        self.count = 0
        self._first = first
        self._next = trio.Event()

    def notify(self) -> None:
        """Something has changed."""
        self._first()
        self.count += 1
        self._next.set()
        self._next = trio.Event()

    async def wait(self, seen: int) -> int:
        """Wait until the count differs from `seen`, and return it."""
        while self.count == seen:
            await self._next.wait()
        return self.count
