"""When the gateway could not hear everybody: connections were turned away, or its own loop stood still.

A heartbeat that is missing says something of its sender only when it would
have been heard. So whoever turns a connection away, and the watch over the
loop below, note when that was (`Hearing.missed`), and clusters let their
clocks begin there (rows.py).
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import inf

import trio

from gateway import metrics

#: Seconds for which the loop may be busy with one round, or wait for longer than it wanted to. Less delays heartbeats,
#: but hides none: there is more time than that between when they are due and when they are missing.
STALL = 2.0


class Hearing:
    """The last moment at which somebody may have spoken in vain, and why.

    `deaf_at` is in seconds of trio's clock, minus infinity when that never happened; `stalled_at` likewise, when it was
    for the loop, and `refused_at` when it was for want of room.
    """

    def __init__(self) -> None:
        self.deaf_at = self.stalled_at = self.refused_at = -inf
        self.reason = ""

    def missed(self, reason: str) -> None:
        """Somebody was turned away, just now."""
        self.deaf_at = self.refused_at = trio.current_time()
        self.reason = reason

    def stalled(self, reason: str) -> None:
        """Nobody was listened to until just now."""
        self.deaf_at = self.stalled_at = trio.current_time()
        self.reason = reason


class _Rounds(trio.abc.Instrument):
    """Times the rounds of trio's loop: no task, no timer, and nothing to do while nothing happens."""

    def __init__(self, hearing: Hearing, clock: Callable[[], float]) -> None:
        self._hearing = hearing
        self._clock = clock
        self._since = clock()

    def before_io_wait(self, timeout: float) -> None:
        """See trio. All tasks of a round have had their turn."""
        self._note(0.0, "the gateway was busy")

    def after_io_wait(self, timeout: float) -> None:
        """See trio."""
        self._note(timeout, "the gateway did not get to run")

    def _note(self, wanted: float, what: str) -> None:
        now = self._clock()
        took, self._since = now - self._since, now
        late = took - wanted
        if late > metrics.STALL:
            metrics.STALLS.observe(late)
            if late > STALL:
                self._hearing.stalled(f"{what} for {late:.1f} s")


@contextmanager
def noting_stalls(hearing: Hearing, clock: Callable[[], float] = time.perf_counter) -> Iterator[None]:
    """While entered, `hearing` learns of each time that the loop stood still."""
    rounds = _Rounds(hearing, clock)
    trio.lowlevel.add_instrument(rounds)
    try:
        yield
    finally:
        trio.lowlevel.remove_instrument(rounds)
