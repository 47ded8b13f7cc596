"""How many workers there should be, and which to start or cancel to get there (pure).

Two voices say how many workers are wanted. The user says so in `scale`, which
the gateway forwards to the scheduler; the scheduler says so in every heartbeat
(it decides alone when it adapts). `Demand` weighs them:

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

from gateway.clusters.lifecycle import COMING_STATES, LIVE_STATES, RowState
from gateway.config.cluster import ClusterConfig


@frozen
class Demand:
    """The number of workers to have now, and what a user has asked for that no heartbeat has confirmed (None: nothing).

    Until the time `until`, heartbeats that say another number than `asked` are late.
    """

    count: int = 0
    asked: int | None = None
    until: float = 0.0

    def requested(self, count: int, until: float) -> "Demand":
        """Return the demand after a user has asked for `count`."""
        return Demand(max(self.count, count), count, until)

    def adaptive(self) -> "Demand":
        """Return the demand after the decision was left to the scheduler."""
        return Demand(self.count)

    def confirmed(self, count: int, now: float) -> "Demand":
        """Return the demand after a heartbeat has said `count`."""
        late = self.asked not in (None, count) and now < self.until
        return self if late else Demand(count)


@frozen
class Plan:
    """What to do now: start so many workers, cancel the jobs of these."""

    start: int = 0
    cancel: frozenset[str] = frozenset()


def plan(wanted: int, workers: Mapping[str, RowState], limit: int | None) -> Plan:
    """Return what brings `workers` (in the order of their submission) to `wanted`, never above `limit`.

    Those that are of no more use are cancelled and replaced; lost ones may come back, and count as queued. When there
    are too many, those that are not yet of use go first: lost before queued before starting, of them the youngest;
    connected ones are the scheduler's to retire. Workers that are closing or ending leave by themselves and are not
    counted.
    """
    target = wanted if limit is None else min(wanted, limit)
    useless = frozenset(name for name, state in workers.items() if state in (RowState.FAILED, RowState.GONE))
    live = sum(state in LIVE_STATES or state is RowState.LOST for state in workers.values())
    if live <= target:
        return Plan(start=target - live, cancel=useless)
    coming = [name for name, state in workers.items() if state in COMING_STATES or state is RowState.LOST][::-1]
    coming.sort(key=lambda name: (workers[name] is RowState.STARTING) - (workers[name] is RowState.LOST))
    return Plan(cancel=useless.union(coming[: live - target]))


@frozen
class WorkerLimit:
    """The most workers that a cluster may ever have (None: any number), and the option that says so, if one does."""

    most: int | None = None
    option: str = ""

    def __str__(self) -> str:
        return f"resource limit of {self.most} workers" + (f" ({self.option})" if self.option else "")


def own_limit(config: ClusterConfig) -> WorkerLimit:
    """Return the limit that a cluster's own options set."""
    most = config.max_workers
    named = (option for option, number in config.worker_limits.items() if number == most)
    return WorkerLimit(most, next(named, ""))


def limited_count(count: int, limit: WorkerLimit) -> tuple[int, str]:
    """Return the number of workers that a user gets who asks for `count`, and a sentence if that is less."""
    if limit.most is None or count <= limit.most:
        return count, ""
    asked = f"Scale request of {count} workers would exceed {limit}."
    return limit.most, f"{asked} Scaling to {limit.most} instead."


def limited_range(minimum: int | None, maximum: int | None, limit: WorkerLimit) -> tuple[int | None, int | None, str]:
    """Return the bounds within which a user's cluster adapts, and a sentence if they are not those asked for."""
    if limit.most is None:
        return minimum, maximum, ""
    low, high = min(minimum or 0, limit.most), min(limit.most if maximum is None else maximum, limit.most)
    asked = f"Adapt with `maximum={maximum}, minimum={minimum}` workers would exceed {limit}."
    within = max(minimum or 0, maximum or 0) <= limit.most
    return low, high, "" if within else f"{asked} Using `maximum={high}, minimum={low}` instead."
