"""Many deadlines of the same length, at the price of a dictionary entry each.

Things that are all given up the same time after they came are given up in the
order in which they came: one task that waits for the oldest serves them all,
and a thing that is settled in time costs no timer.
"""

from collections.abc import Callable
from typing import Generic, TypeVar

import trio

T = TypeVar("T")


class Deadlines(Generic[T]):
    """Calls `expire(item)` for each item that was not discarded within `seconds` of its adding."""

    def __init__(self, seconds: float, expire: Callable[[T], None]) -> None:
        self._seconds = seconds
        self._expire = expire
        self._items: dict[T, float] = {}
        self._filled = trio.Event()

    def __len__(self) -> int:
        return len(self._items)

    def __contains__(self, item: T) -> bool:
        return item in self._items

    def add(self, item: T) -> None:
        """Let the time of `item` run from now."""
        self._items.pop(item, None)
        if not self._items:
            self._filled.set()
        self._items[item] = trio.current_time() + self._seconds

    def discard(self, item: T) -> None:
        """Forget an item that is settled; an unknown one is fine."""
        self._items.pop(item, None)

    async def run(self) -> None:
        """Call `expire` in time, until cancelled. What it raises ends this task."""
        while True:
            while self._items:
                item, deadline = next(iter(self._items.items()))
                if deadline > trio.current_time():
                    await trio.sleep_until(deadline)
                else:
                    del self._items[item]
                    self._expire(item)
            self._filled = trio.Event()
            await self._filled.wait()
