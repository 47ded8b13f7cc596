"""How many workers there should be, and which to start or cancel to get there.

Two voices say how many workers are wanted. The user says so in `scale`, which
the gateway forwards to the scheduler; the scheduler says so in every heartbeat
(it has its own mind when it adapts). `Demand` weighs them:

- More workers are started as soon as the user asks.
- Fewer are not acted upon before the scheduler's heartbeat, which follows at
  once: only it knows who has connected in the meantime, and whom it retires.
- A heartbeat that was already under way when the user asked still carries the
  old number, and believing it would cancel what was just started. So until a
  heartbeat repeats what was asked (or the scheduler has had time enough to),
  another number is old news.
"""

from collections.abc import Mapping

from attrs import frozen

from gateway.clusters.lifecycle import COMING_STATES, LIVE_STATES, WorkerState


@frozen
class Demand:
    """The number of workers to have now, and what a user has asked for that no heartbeat has confirmed (None: nothing).

    Until the time `until`, heartbeats that say another number than `asked` are late.
    """

    count: int = 0
    asked: int | None = None
    until: float = 0.0

    def ask(self, count: int, until: float) -> "Demand":
        """A user asks for `count`."""
        return Demand(max(self.count, count), count, until)

    def free(self) -> "Demand":
        """From now on the scheduler decides (adaptive scaling)."""
        return Demand(self.count)

    def hear(self, count: int, now: float) -> "Demand":
        """A heartbeat says `count`."""
        late = self.asked not in (None, count) and now < self.until
        return self if late else Demand(count)


@frozen
class Plan:
    """What to do now: start so many workers, cancel the jobs of these."""

    start: int = 0
    cancel: tuple[str, ...] = ()


def plan(wanted: int, workers: Mapping[str, WorkerState], limit: int | None) -> Plan:
    """What brings `workers` (in the order of their submission) to `wanted`, never above `limit`.

    Lost workers are cancelled and replaced. When there are too many, those
    that are not yet of use go first, the youngest first, queued before
    starting; connected ones are the scheduler's to retire. Workers that are
    closing or ending leave by themselves and are not counted.
    """
    target = wanted if limit is None else min(wanted, limit)
    lost = tuple(name for name, state in workers.items() if state is WorkerState.LOST)
    live = sum(state in LIVE_STATES for state in workers.values())
    if live <= target:
        return Plan(start=target - live, cancel=lost)
    coming = [name for name, state in workers.items() if state in COMING_STATES][::-1]
    coming.sort(key=lambda name: workers[name] is WorkerState.STARTING)
    return Plan(cancel=lost + tuple(coming[: live - target]))


def restart_delay(failures: int, base: float, maximum: float) -> float:
    """Seconds to wait before workers are started again after `failures` failed starts in a row."""
    if failures <= 0:
        return 0.0
    return float(min(maximum, base * 2.0 ** min(failures - 1, 60)))
