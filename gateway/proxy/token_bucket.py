"""A token bucket: how much somebody may send, as a rate with bursts."""

import trio


class TokenBucket:
    """An allowance: fills at `rate` (more than 0) per second up to `most`, and may be overdrawn."""

    __slots__ = ("_level", "_most", "_rate", "_then")

    def __init__(self, rate: float, most: float) -> None:
        self._rate = rate
        self._most = self._level = most
        self._then = trio.current_time()

    def add(self, amount: float) -> float:
        """Add an amount, or take it when negative; return the level then, which is negative when overdrawn."""
        now = trio.current_time()
        self._level = min(self._most, self._level + max(0.0, now - self._then) * self._rate) + amount
        self._then = now
        return self._level

    def skip(self) -> None:
        """Let the time since the last use add nothing."""
        self._then = trio.current_time()

    def seconds_to_fill(self) -> float:
        """Return how many seconds it takes until there is something in it again."""
        return max(0.0, 1.0 - self.add(0)) / self._rate
