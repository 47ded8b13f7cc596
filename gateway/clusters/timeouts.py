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

Silence is no evidence. A heartbeat is missing only when it could have been
heard: the time counts from when the gateway was last deaf (hearing.py), and a
scheduler that starts meanwhile has as long again to be heard. And a
heartbeat that is missing is a reason to ask the scheduler itself. When it
answers, it lives, and is asked again after as long a silence. When its port
refuses, it has ended. When nothing comes back, it is asked again; it has ended
when that was so at least `ASKS` times, over at least `unreachable` seconds in
which the gateway could hear. What was presumed to be gone has ended when
nothing comes back once.
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


#: So often a scheduler that does not answer is asked, at least, before it is believed to have ended.
ASKS = 3


class Answer(enum.StrEnum):
    """What came of a question to a scheduler."""

    HERE = "here"
    REFUSED = "refused"
    """Nobody listens there any more."""
    SILENT = "silent"
    """Nothing came back, or nothing that a scheduler says."""
    NOT_ASKED = "not asked"
    """For reasons that are not the scheduler's: the gateway's own, or a name server's."""


@frozen(kw_only=True)
class Limits:
    """Seconds. A `queue` of 0 is no limit. `heartbeat_period` is what schedulers are told to keep."""

    queue: float = 0.0
    start: float
    heartbeat: float
    heartbeat_period: float
    worker_start: float
    unreachable: float = 30.0

    @property
    def ask_again(self) -> float:
        """How long to wait before a scheduler that has not answered is asked again."""
        return min(self.heartbeat_period, self.unreachable / (ASKS - 1))


@frozen
class SchedulerClock:
    """What has been seen of the scheduler's job, and when.

    `seen` says whether the batch system has ever told anything of it. Since `missed_since` the job is presumed to be
    gone, which a later heartbeat refutes.

    Of the questions since the last heartbeat: when it `answered` one, when one was `asked` that it has not answered,
    how many of those in a row were `unanswered`, and when the first of them was.
    """

    queued_since: float
    running_since: float | None = None
    last_heartbeat: float | None = None
    known: bool = True
    suspended: bool = False
    seen: bool = False
    missed_since: float | None = None
    answered: float = -inf
    asked: float = -inf
    unanswered: int = 0
    unanswered_since: float = inf

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
        heard = evolve(self, last_heartbeat=now, running_since=since, missed_since=None)
        return heard if self.asked == self.answered else _unasked(heard)

    def told(self, answer: Answer, now: float, deaf: float = -inf) -> "SchedulerClock":
        """It was asked, and this came of it. `deaf` is when the gateway could last not hear everybody."""
        if answer is Answer.HERE:
            return evolve(_unasked(self), answered=now)
        if answer is Answer.NOT_ASKED:
            return evolve(self, asked=now)
        if not deaf < self.unanswered_since < inf:
            return evolve(self, asked=now, unanswered=1, unanswered_since=now)
        return evolve(self, asked=now, unanswered=self.unanswered + 1)

    def is_over(self, clock: Clock, answer: Answer, limits: Limits) -> bool:
        """Whether the answer to the last question, when this clock had run out, shows that the scheduler has ended."""
        if answer is Answer.SILENT:
            for_long = self.unanswered >= ASKS and self.asked - self.unanswered_since >= limits.unreachable
            return for_long or clock is Clock.MISSED
        return answer is Answer.REFUSED

    def deadline(self, limits: Limits, deaf: float = -inf) -> tuple[float, Clock]:
        """When the running clock runs out, and which one it is. `deaf` is when the gateway could last not hear all."""
        if self.missed_since is not None:
            # A heartbeat that is due may still come; a scheduler that never sent any has nothing to say.
            if self.last_heartbeat is None:
                return self.missed_since, Clock.MISSED
            due = self._silent_since(deaf) + _patience(limits)
            return max(self.missed_since, due, self.asked + limits.ask_again), Clock.MISSED
        if self.running_since is None:
            until = self.queued_since + limits.queue if limits.queue and self.known else inf
            return until, Clock.QUEUE
        stopped = self.suspended or not self.known
        if self.last_heartbeat is None:
            due = max(self.running_since + limits.start, deaf + limits.heartbeat)
            return (inf if stopped else due), Clock.START
        due = max(self._silent_since(deaf) + limits.heartbeat, self.asked + limits.ask_again)
        return (inf if stopped else due), Clock.HEARTBEAT

    def late(self, limits: Limits) -> float:
        """When a missing heartbeat is a reason to ask the batch system; infinity before the first one."""
        return inf if self.last_heartbeat is None else self.last_heartbeat + _patience(limits)

    def is_excused(self, limits: Limits, now: float, deaf: float) -> bool:
        """True while a heartbeat is missing only because the gateway could not hear everybody."""
        if self.last_heartbeat is None or self.missed_since is not None or self.suspended or not self.known:
            return False
        return self._silent_since(-inf) + limits.heartbeat <= now < deaf + limits.heartbeat

    def _silent_since(self, deaf: float) -> float:
        """Since when nothing has come that could have been heard."""
        assert self.last_heartbeat is not None
        return max(self.last_heartbeat, self.answered, deaf)


def _unasked(clock: SchedulerClock) -> SchedulerClock:
    return evolve(clock, answered=-inf, asked=-inf, unanswered=0, unanswered_since=inf)


def _patience(limits: Limits) -> float:
    return min(1.5 * limits.heartbeat_period, 0.75 * limits.heartbeat)
