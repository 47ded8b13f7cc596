"""When a cluster has been silent for too long.

Three clocks, never two at once. While the scheduler's job waits in the queue
only the optional queue limit runs: waiting is not starting. From the moment
the job runs, it has `cluster_start_timeout` seconds to report; after its first
heartbeat it has `cluster_heartbeat_timeout` seconds for each further one. A
job that is requeued starts again. While the batch system does not answer
(UNKNOWN) no clock runs out: a site in trouble must not lose its users' work.
Nor does one while the job is suspended, since it cannot speak then; when it
runs again its clock begins anew.
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
    """What has been seen of the scheduler's job, and when."""

    queued_since: float
    running_since: float | None = None
    last_heartbeat: float | None = None
    known: bool = True
    suspended: bool = False

    def reported(self, report: JobReport, now: float) -> "SchedulerClock":
        """The batch system says something about the job."""
        if report.state is JobState.UNKNOWN:
            return evolve(self, known=False)
        if report.state is JobState.QUEUED:
            waiting = evolve(self, known=True, suspended=False)
            return waiting if self.running_since is None else SchedulerClock(now)  # requeued
        if self.suspended and not report.suspended:
            return SchedulerClock(self.queued_since, now, None if self.last_heartbeat is None else now)
        since = now if self.running_since is None else self.running_since
        return evolve(self, known=True, suspended=report.suspended, running_since=since)

    def heard(self, now: float) -> "SchedulerClock":
        """A heartbeat: the job runs, whatever the last poll said."""
        return evolve(self, last_heartbeat=now, running_since=now if self.running_since is None else self.running_since)

    def deadline(self, limits: Limits) -> tuple[float, Clock]:
        """When the running clock runs out, and which one it is."""
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
