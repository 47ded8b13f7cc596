"""When something is due, and when something that failed may be tried again (pure). Times are seconds of one clock."""

from math import inf

from attrs import define

from gateway.backoff import backoff


@define
class Moment:
    """A look at what is due `now`; of what is not, it remembers the next time."""

    now: float
    wake_at: float = inf

    def due(self, when: float) -> bool:
        """Return whether that time has come."""
        if when > self.now:
            self.wake_at = min(self.wake_at, when)
        return when <= self.now


@define
class Retry:
    """Failures in a row, and the time `at` which the next attempt may be made (minus infinity: at any time).

    See backoff.py for `base` and `longest`.
    """

    base: float
    longest: float
    failures: int = 0
    at: float = -inf

    def failed(self, now: float) -> None:
        """Record a failure."""
        self.failures += 1
        self.at = now + backoff(self.failures, base=self.base, longest=self.longest)

    def succeeded(self) -> None:
        """Forget the failures."""
        self.failures, self.at = 0, -inf
