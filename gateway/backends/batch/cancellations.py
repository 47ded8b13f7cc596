"""Jobs that are to end: a cancel that was accepted is repeated for those that are still there (pure).

Batch systems accept a cancel and yet let a job live: PBS while a prologue
runs, or when the ids of finished jobs stood beside it. Whoever cancelled need
not wait for the ends; the driver comes back to what is left.
"""

from collections.abc import Collection, Mapping

from attrs import define, field, frozen

from gateway.backends.base import ClusterRef
from gateway.models import JobId, JobReport, JobState

#: Seconds that a job may take to end after a cancel. Slurm's KillWait is 30 s, PBS kills after 10 s.
TIMEOUT = 45.0

#: How often a cancel is repeated before it is left to its caller.
REPEATS = 3


@frozen
class PendingCancel:
    """A cancelled job: when to look whether it has gone, and how often that was done."""

    cluster: ClusterRef
    due: float
    repeats: int = 0


@define
class PendingCancels:
    """All cancelled jobs that may still be there. Times are those of one clock, in seconds.

    `timeout` is how long a job may take to end after a cancel.
    """

    timeout: float = TIMEOUT
    _jobs: dict[JobId, PendingCancel] = field(factory=dict, init=False)

    def cancelled(self, cluster: ClusterRef, jobs: Collection[JobId], now: float) -> None:
        """A cancel was accepted."""
        for job in jobs:
            before = self._jobs.get(job)
            self._jobs[job] = PendingCancel(cluster, now + self.timeout, before.repeats + 1 if before else 0)

    def hopeless(self, cluster: ClusterRef, job: JobId, now: float) -> None:
        """A job is to be cancelled at once, unless that was done already."""
        self._jobs.setdefault(job, PendingCancel(cluster, now, -1))

    @property
    def jobs(self) -> Collection[JobId]:
        """The jobs that were asked to end and may still be there."""
        return self._jobs.keys()

    @property
    def next_due(self) -> float:
        """When to look again; infinity if there is nothing to look for."""
        return min((ending.due for ending in self._jobs.values()), default=float("inf"))

    def take_due(self, now: float, reports: Mapping[JobId, JobReport]) -> list[tuple[ClusterRef, list[JobId]]]:
        """The jobs to cancel again, by cluster. Those that are gone, or that nobody watches, are forgotten.

        Of those in `reports` that nothing is known of now, nothing is done: later.
        """
        clusters: dict[str, tuple[ClusterRef, list[JobId]]] = {}
        for job, ending in list(self._jobs.items()):
            report = reports.get(job)
            if report is None or report.state is JobState.GONE:
                del self._jobs[job]
            elif ending.due > now:
                continue
            elif report.state in (JobState.UNKNOWN, JobState.ENDING):
                self._jobs[job] = PendingCancel(ending.cluster, now + self.timeout, ending.repeats)
            elif ending.repeats >= REPEATS:
                del self._jobs[job]
            else:
                self._jobs[job] = PendingCancel(ending.cluster, now + self.timeout, ending.repeats)
                clusters.setdefault(ending.cluster.name, (ending.cluster, []))[1].append(job)
        return list(clusters.values())
