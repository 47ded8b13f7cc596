"""Work per second: whoever gives more of it than their share waits.

Each key has a bucket of `burst` that is refilled at `rate`. Who has emptied it
waits until it is no longer in debt. A key whose bucket is full again is
forgotten, so that this knows only whoever has been busy lately.
"""

import trio

#: Keys are looked through for what can be forgotten when there are twice as many as after the last look, and so many.
_FEW = 64


class Pace:
    """Keeps each key to `rate` per second, after `burst`, in whatever is counted."""

    def __init__(self, rate: float, burst: float) -> None:
        self._rate = rate
        self._burst = burst / rate  # in seconds
        self._full_at: dict[str, float] = {}
        self._many = _FEW

    async def spend(self, key: str, amount: float) -> None:
        """Take `amount`, and wait when that was too much. Cancelling the wait gives nothing back."""
        now = trio.current_time()
        full_at = max(self._full_at.get(key, now), now) + amount / self._rate
        self._full_at[key] = full_at
        if len(self._full_at) > self._many:
            self._full_at = {key: at for key, at in self._full_at.items() if at > now}
            self._many = max(_FEW, 2 * len(self._full_at))
        if full_at - now > self._burst:
            await trio.sleep_until(full_at - self._burst)
