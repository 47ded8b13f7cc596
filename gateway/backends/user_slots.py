"""A limit on what is under way at once, of which no user can take everything.

The launcher runs as the user for whom it acts, so that user can stop it, or
have it take as long as its deadline allows. A plain limiter is then held by
whoever stops enough of them, and everybody else waits. So:

- A user holds a quarter of the slots at most, whatever waits.
- A user whose last call brought no answer holds one slot, and all such users
  together hold at most half, until an answer comes.
- A slot that becomes free goes to the user who holds the fewest, and among
  those to the one who has waited for longest.

The total is never exceeded: it is what the machine is asked to carry.
"""

from collections import Counter, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio

from gateway.errors import AnswerLost, JobError


class UserSlots:
    """`total` slots for the calls of all users. `share` is how many of them one user may hold.

    Where there is only one user, nobody has to be kept from all of them.
    """

    def __init__(self, total: int, *, one_user: bool = False) -> None:
        self.total = total
        self.share = total if one_user else max(1, total // 4)
        self._held: Counter[str] = Counter()  # only users who hold some
        self._lost: set[str] = set()  # users whose last call brought no answer
        self._waiting: dict[str, deque[trio.Event]] = {}  # only users who wait, the longest first

    @asynccontextmanager
    async def held(self, user: str) -> AsyncIterator[None]:
        """Hold one of the slots, in this user's name, while the body runs; wait for it first.

        Whether the body raises AnswerLost is remembered of the user; other errors are answers.
        """
        await self._acquire(user)
        try:
            yield
        except AnswerLost:
            self._lost.add(user)
            raise
        except JobError:
            self._lost.discard(user)
            raise
        else:
            self._lost.discard(user)
        finally:
            self._release(user)

    async def _acquire(self, user: str) -> None:
        await trio.lowlevel.checkpoint()
        if user not in self._waiting and self._may_hold(user):
            self._held[user] += 1
            return
        turn = trio.Event()
        self._waiting.setdefault(user, deque()).append(turn)
        try:
            await turn.wait()
        except trio.Cancelled:
            if turn.is_set():  # it was our turn in the very moment of the cancellation
                self._release(user)
            else:
                self._leave(user, turn)
            raise

    def _release(self, user: str) -> None:
        self._held[user] -= 1
        if not self._held[user]:
            del self._held[user]
        self._grant()

    def _leave(self, user: str, turn: trio.Event) -> None:
        self._waiting[user].remove(turn)
        if not self._waiting[user]:
            del self._waiting[user]

    def _grant(self) -> None:
        """Give free slots to those who may have them."""
        while able := [user for user in self._waiting if self._may_hold(user)]:
            user = min(able, key=lambda user: self._held[user])  # the first of several, who has waited for longest
            turns = self._waiting.pop(user)
            turns.popleft().set()
            self._held[user] += 1
            if turns:
                self._waiting[user] = turns  # behind the others

    def _may_hold(self, user: str) -> bool:
        """Whether a user may hold one slot more now."""
        if self._held.total() >= self.total:
            return False
        if user not in self._lost:
            return self._held[user] < self.share
        doubtful = sum(count for holder, count in self._held.items() if holder in self._lost)
        return not self._held[user] and doubtful < max(1, self.total // 2)
