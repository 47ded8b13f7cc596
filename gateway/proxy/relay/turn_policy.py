"""When the relay works, yields, busy-polls and sleeps: the decisions of `EpollLoop`, without its clock (pure).

One trio task moves the bytes of all relays, in turns. Three parties want its
time, and what suits one delays the others:

- Streams want long turns: each change between them, and each look at the
  clock, costs a part of their rate.
- Connections that exchange small messages (latency-sensitive ones) want turns
  to be short, and the loop not to sleep between a request and its answer.
- Other tasks of the process want the loop to yield. A web request needs dozens
  of steps of trio, and waits for a turn of the relay in each.

So the policy looks at who is there:

| somebody else                          | events | resumed | share of a watcher | yields        |
|----------------------------------------|--------|---------|--------------------|---------------|
| nobody: `LONG_TURN`                    | 256    | 256     | 1/n of a long one  | after a slice |
| latency-sensitive: `SHORT_TURN`        | 256    | 1       | the least          | after a slice |
| other tasks have work: `SMALL_TURN`    | 8      | 1       | the least          | after it      |

- A slice ends after `SLICE_SECONDS` of work. Then other tasks get as much time
  as the slice took, if they have that much to do. As long as they take steps,
  and `COMPANY_SECONDS` longer, the loop is not `idle_otherwise`.
- A connection counts as latency-sensitive for `COMPANY_SECONDS` after it has
  moved something small.
- To sleep and to be woken costs more than a small message. So when the last
  sleep was shorter than `BUSY_POLL_SECONDS`, the loop polls for that long after
  something small was moved, before it sleeps the next time: a lone request and
  its answer are then carried on at once. After a longer sleep there is no such
  polling, so that rare messages cost no more than they must.

All times are seconds of one monotonic clock.
"""

from typing import Final, NamedTuple

SLICE_SECONDS: Final = 0.001
COMPANY_SECONDS: Final = 0.01
BUSY_POLL_SECONDS: Final = 0.0001


class Turn(NamedTuple):
    """What one turn may do: how many events it handles, and how many watchers it resumes that asked for that."""

    max_events: int
    max_resumed: int
    #: Somebody waits for the end of this turn.
    yield_soon: bool

    def slice_fraction(self, watchers: int) -> float:
        """Return which part of a long turn each of so many watchers may take: from 0, as little as it can, to 1."""
        return 0.0 if self.yield_soon else 1 / watchers


LONG_TURN: Final = Turn(max_events=256, max_resumed=256, yield_soon=False)
SHORT_TURN: Final = Turn(max_events=256, max_resumed=1, yield_soon=True)
SMALL_TURN: Final = Turn(max_events=8, max_resumed=1, yield_soon=True)


class TurnPolicy:
    """Takes what happens in the loop, with the time of it, and answers what the loop shall do next.

    The loop says `woke` before its first turn; then for each turn `begin_turn`, and `turn_ended` or `nothing_ready`.
    """

    def __init__(self) -> None:
        #: No other task of this process has work to do.
        self.idle_otherwise = True
        self._slice_began = 0.0
        self._yield_until = 0.0
        self._company_until = 0.0
        self._latency_sensitive_until = 0.0
        self._busy_poll_seconds = 0.0
        self._busy_poll_until = 0.0
        self._slept_at = float("-inf")

    def woke(self, now: float) -> None:
        """Begin a slice, as the loop does or goes on after a sleep."""
        self._slice_began = now
        self._busy_poll_seconds = BUSY_POLL_SECONDS if now - self._slept_at < BUSY_POLL_SECONDS else 0.0

    def begin_turn(self, now: float) -> Turn:
        """Return what the next turn may do."""
        if not self.idle_otherwise:
            return SMALL_TURN
        return SHORT_TURN if now < self._latency_sensitive_until else LONG_TURN

    def turn_ended(self, now: float, latency_sensitive: bool) -> bool:
        """Note a turn in which something was done; True when the loop shall yield to other tasks.

        `latency_sensitive` says that a watcher has moved something small, to which the answer may come soon.
        """
        if latency_sensitive:
            self._busy_poll_until = now + self._busy_poll_seconds
            self._latency_sensitive_until = now + COMPANY_SECONDS
        worked = now - self._slice_began
        self._yield_until = now + worked
        return worked > SLICE_SECONDS or not self.idle_otherwise

    def yielded(self, now: float, others_ran: bool) -> bool:
        """Note that every other task could take a step, and whether any did; True when the loop shall yield again."""
        if others_ran:
            self._company_until = now + COMPANY_SECONDS
            if now < self._yield_until:
                return True
        self.idle_otherwise = now > self._company_until
        self._slice_began = now
        return False

    def nothing_ready(self, now: float) -> bool:
        """Note that there was nothing to do; True when the loop shall sleep until there is."""
        if now <= self._busy_poll_until:
            return False
        self._slept_at = now
        return True
