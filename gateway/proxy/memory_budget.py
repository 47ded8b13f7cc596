"""Memory that peers make the gateway hold: one sum over all of them, and a share for each.

What a connection may hold without asking is small (`SMALL`), so that whatever
honest peers usually say needs no permission and is never held up by others.
More comes out of one of two pools:

- `buffers`, for what is on its way to a peer: from another one, or a large
  answer. The receiver may take it as slowly as it likes, so nobody waits for
  this: who gets none goes on in small pieces, or is told to come again.
- `bodies`, for what has to be complete before anything is done with it: large
  heads, bodies of requests. It is reserved as a whole, before more is read;
  who gets none waits. Whoever has got it waits for nothing else, and has a
  deadline, so that there is always somebody who gives back.

Of each pool one owner (a client's address, a cluster) has a quarter at most,
and those who wait are served in turns, owner by owner.
"""

from collections import OrderedDict, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio
from attrs import define, field

#: Bytes that are read at once, and held, without asking.
SMALL = 4 * 1024
#: Bytes that are read at once with a buffer.
LARGE = 64 * 1024
#: Something that passes is there as it was read, as it is framed, and as it is encrypted.
COPIES = 3

DEFAULT_TOTAL = 256 * 1024 * 1024


def owner_at(address: str) -> str:
    """Return the owner of what connections from an address hold."""
    return f"address {address}"


@define(eq=False)
class _Waiting:
    size: int
    granted: trio.Event = field(factory=trio.Event)


class Pool:
    """`total` bytes, of which each owner may have a quarter."""

    def __init__(self, total: int) -> None:
        self._share = total // 4
        self._free = total
        self._taken: dict[str, int] = {}
        self._waiting: OrderedDict[str, deque[_Waiting]] = OrderedDict()

    @property
    def free(self) -> int:
        """Bytes that nobody has."""
        return self._free

    def take(self, owner: str, size: int) -> bool:
        """Take `size` bytes, or an owner's share if that is less; False and nothing when they are not there."""
        size = min(size, self._share)
        taken = self._taken.get(owner, 0) + size
        if size > self._free or taken > self._share:
            return False
        self._free -= size
        self._taken[owner] = taken
        return True

    def give_back(self, owner: str, size: int) -> None:
        """Give back `size` bytes that were taken at once."""
        size = min(size, self._share)
        self._free += size
        self._taken[owner] -= size
        if not self._taken[owner]:
            del self._taken[owner]
        self._grant()

    @asynccontextmanager
    async def reserved(self, owner: str, size: int) -> AsyncIterator[None]:
        """Wait for `size` bytes, and have them as long as the body runs. A deadline is the caller's to set."""
        await self.reserve(owner, size)
        try:
            yield
        finally:
            self.give_back(owner, size)

    async def reserve(self, owner: str, size: int) -> None:
        """Wait for `size` bytes, and take them; when cancelled, none are taken. A deadline is the caller's to set."""
        if owner not in self._waiting and self.take(owner, size):
            return
        waiting = _Waiting(size)
        line = self._waiting.setdefault(owner, deque())
        line.append(waiting)
        self._grant()
        try:
            await waiting.granted.wait()
        except trio.Cancelled:
            if waiting.granted.is_set():
                self.give_back(owner, size)
            else:
                line.remove(waiting)
                if not line:
                    del self._waiting[owner]
                self._grant()  # a smaller one may have waited behind it
            raise

    def _grant(self) -> None:
        """Each owner in turn gets what it waits for first, as long as something fits."""
        refused = 0
        while refused < len(self._waiting):
            owner, line = next(iter(self._waiting.items()))
            self._waiting.move_to_end(owner)
            if not self.take(owner, line[0].size):
                refused += 1
                continue
            refused = 0
            line.popleft().granted.set()
            if not line:
                del self._waiting[owner]


class MemoryBudget:
    """The pools of `total` bytes, one half each."""

    def __init__(self, total: int = DEFAULT_TOTAL) -> None:
        self.buffers = Pool(total // 2)
        self.bodies = Pool(total // 2)


class Holding:
    """What is kept for one answer until its peer has taken it. To be closed in the end."""

    def __init__(self, pool: Pool, owner: str) -> None:
        self._pool = pool
        self._owner = owner
        self._sizes: list[int] = []

    def take(self, size: int) -> bool:
        """Take `size` bytes; False when they are not there. Up to `LARGE` bytes need no room."""
        if size <= LARGE:
            return True
        if not self._pool.take(self._owner, size):
            return False
        self._sizes.append(size)
        return True

    def close(self) -> None:
        """Give all of it back; a second time does nothing."""
        while self._sizes:
            self._pool.give_back(self._owner, self._sizes.pop())


class ReadSize:
    """How much a reader reads at once: little, and when there was more, much, if there is a buffer for it.

    To be closed in the end. What was read last counts as held until the next read. Without a budget it reads little.
    """

    def __init__(self, budget: MemoryBudget | None, owner: str) -> None:
        self._pool = None if budget is None else budget.buffers
        self._owner = owner
        self._large = False

    @property
    def now(self) -> int:
        """How many bytes to read next: `SMALL` or `LARGE`."""
        return LARGE if self._large else SMALL

    def was(self, size: int) -> None:
        """Note that `size` bytes have been read."""
        if size < SMALL:
            self.close()
        elif not self._large and self._pool is not None:
            self._large = self._pool.take(self._owner, COPIES * LARGE)

    def close(self) -> None:
        """Give the buffer back; a second time does nothing."""
        if self._large and self._pool is not None:
            self._large = False
            self._pool.give_back(self._owner, COPIES * LARGE)
