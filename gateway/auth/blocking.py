"""Questions to libraries that block, in a few threads of their own, each with a deadline.

A library that hangs keeps its thread; whoever asked goes on without it. When
all of them hang, nobody waits longer than the deadline either.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import trio

from gateway.errors import TryAgainLater
from gateway.log import RateLimitedLog

T = TypeVar("T")

#: Seconds that a question may take, with the time before its turn.
DEADLINE = 10.0
#: Threads of each kind.
THREADS = 4


class Blocking:
    """Asks one kind of thing; `whom` is asked, as a sentence begins with it ("Kerberos", "The system")."""

    def __init__(self, whom: str, *, threads: int = THREADS, deadline: float = DEADLINE) -> None:
        self._whom = whom
        self._deadline = deadline
        self._threads = trio.CapacityLimiter(threads)
        self._log = RateLimitedLog()

    async def ask(self, question: Callable[..., T], *arguments: Any) -> T:
        """What the function returns or raises. Raises `TryAgainLater` when it does not."""
        with trio.move_on_after(self._deadline):
            return await trio.to_thread.run_sync(question, *arguments, limiter=self._threads, abandon_on_cancel=True)
        self._log.warning("users cannot be authenticated, as no answer comes", whom=self._whom, seconds=self._deadline)
        raise TryAgainLater(f"{self._whom} does not answer: try again later")
