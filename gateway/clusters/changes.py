"""A broadcast condition variable: `notify` increments a counter, `wait(seen)` returns once it differs from `seen`.

Whoever waits names the count it has seen, so nothing is missed between
looking and waiting, and nothing is remembered for those who do not wait.
"""

import trio


class ChangeNotifier:
    """Counts changes, and wakes every task that waits for the next one."""

    def __init__(self) -> None:
        self.count = 0
        self._next = trio.Event()

    def notify(self) -> None:
        """Record a change, and wake all waiting tasks."""
        self.count += 1
        self._next.set()
        self._next = trio.Event()

    async def wait(self, seen: int) -> int:
        """Wait until the count differs from `seen`, and return it."""
        while self.count == seen:
            await self._next.wait()
        return self.count
