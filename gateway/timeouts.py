"""When a cluster has been silent for too long.

Three clocks, never two at once. While the scheduler's job waits in the queue
only the optional queue limit runs: waiting is not starting. From the moment
the job runs, it has `cluster_start_timeout` seconds to report; after its first
heartbeat it has `cluster_heartbeat_timeout` seconds for each further one. A
job that is requeued starts again. While the batch system does not answer
(UNKNOWN) no clock runs out: a site in trouble must not lose its users' work.
After minutes of that (overdue) they go on all the same: a batch system that is
never going to answer must not keep a dead cluster alive. Nor does a clock run
while the job is suspended, since it cannot speak then; when it runs again its
clock begins anew.

A job that is only presumed to be gone has until its next heartbeat is due.
"""

import enum
from math import inf

from attrs import evolve, frozen

from gateway.models import JobReport, JobState


class Clock(enum.StrEnum):
    """Which limit is concerned."""

    QUEUE = "queue"
    START = "start"
    HEARTBEAT = "heartbeat"
    MISSED = "missed"


@frozen(kw_only=True)
class Limits:
    """Seconds. A `queue` of 0 is no limit. `heartbeat_period` is what schedulers are told to keep."""

    queue: float = 0.0
    start: float
    heartbeat: float
    heartbeat_period: float
    worker_start: float


@frozen
class SchedulerClock:
    """What has been seen of the scheduler's job, and when.

    `seen` says whether the batch system has ever told anything of it. Since `missed_since` the job is presumed to be
    gone, which a later heartbeat refutes.
    """

    queued_since: float
    running_since: float | None = None
    last_heartbeat: float | None = None
    known: bool = True
    suspended: bool = False
    seen: bool = False
    missed_since: float | None = None

    def reported(self, report: JobReport, now: float) -> "SchedulerClock":
        """The batch system says something about the job."""
        if report.state is JobState.UNKNOWN:
            if not report.overdue:
                return evolve(self, known=False)
            # Nobody knows whether it waits. What was never seen may have ended long ago, so it counts as started.
            since = now if self.running_since is None and not self.seen else self.running_since
            return evolve(self, known=True, running_since=since)
        if report.presumed:
            return evolve(self, known=True, missed_since=now if self.missed_since is None else self.missed_since)
        if report.state is JobState.QUEUED:
            waiting = evolve(self, known=True, suspended=False, seen=True, missed_since=None)
            return waiting if self.running_since is None else SchedulerClock(now, seen=True)  # requeued
        if self.suspended and not report.suspended:
            return SchedulerClock(self.queued_since, now, None if self.last_heartbeat is None else now, seen=True)
        return evolve(
            self,
            known=True,
            suspended=report.suspended,
            running_since=now if self.running_since is None else self.running_since,
            seen=True,
            missed_since=None,
        )

    def heard(self, now: float) -> "SchedulerClock":
        """A heartbeat: the job runs, whatever the last poll said."""
        since = now if self.running_since is None else self.running_since
        return evolve(self, last_heartbeat=now, running_since=since, missed_since=None)

    def deadline(self, limits: Limits) -> tuple[float, Clock]:
        """When the running clock runs out, and which one it is."""
        if self.missed_since is not None:
            # A heartbeat that is due may still come; a scheduler that never sent any has nothing to say.
            until = self.missed_since if self.last_heartbeat is None else max(self.missed_since, self.late(limits))
            return until, Clock.MISSED
        if self.running_since is None:
            until = self.queued_since + limits.queue if limits.queue and self.known else inf
            return until, Clock.QUEUE
        stopped = self.suspended or not self.known
        if self.last_heartbeat is None:
            return (inf if stopped else self.running_since + limits.start), Clock.START
        return (inf if stopped else self.last_heartbeat + limits.heartbeat), Clock.HEARTBEAT

    def late(self, limits: Limits) -> float:
        """When a missing heartbeat is a reason to ask the batch system; infinity before the first one."""
        if self.last_heartbeat is None:
            return inf
        return self.last_heartbeat + min(1.5 * limits.heartbeat_period, 0.75 * limits.heartbeat)
