"""The table of a cluster's jobs, in which the scheduler is a row like any worker (pure).

`deadline` is the one rule that says when patience with a row ends. Never do
two clocks run at once. While a scheduler's job waits in the queue only the
optional queue limit runs: waiting is not starting. From the moment a job runs,
it has the start timeout to report for duty; after its first heartbeat a
scheduler has the heartbeat timeout for each further one. Both are heard of by
heartbeats, so nobody is overdue before these could be heard again: while the
gateway is deaf, or a worker's scheduler silent or requeued, its clock does not run out. A
job that is requeued starts again. While the batch system does not answer (UNKNOWN) no
clock runs out: a site in trouble must not lose its users' work. After minutes
of that (overdue) they go on all the same: a batch system that is never going
to answer must not keep a dead cluster alive. Nor does a clock run while the
job is suspended, since it cannot speak then; when it runs again its clock
begins anew.

A job that is only presumed to be gone has ended, unless it was heard of: then
a scheduler has until its next heartbeat is due, and a worker for as long as
its scheduler says that it is connected. A worker that has left its scheduler
is lost at once; but where jobs may run again its job has some time to come
back to the queue.
"""

import enum
from collections.abc import Callable, Collection, Mapping
from math import inf

from attrs import define, evolve, field

from gateway.backends.base import job_names
from gateway.clusters.lifecycle import COMING_STATES, RowEvent, RowState, next_row_state
from gateway.clusters.rules import Rules
from gateway.clusters.silence import Silence
from gateway.models import JobId, JobReport, JobState, Role, SubmissionRecord


class Clock(enum.StrEnum):
    """Which limit of a row is concerned."""

    QUEUE = "queue"
    START = "start"
    HEARTBEAT = "heartbeat"
    MISSED = "missed"
    OTHER = "other"


@define(eq=False, kw_only=True)
class Row:
    """One job, or one that is being submitted: then `job` is None.

    `since` is when its clock began: as it came into its state, or at the last heartbeat of a scheduler. `report` is the
    batch system's newest word, `seen` says that there ever was one of substance, `waits` and `suspended` what the last
    of those said. Since `missed_since` the job is presumed to be gone. `cancelled` says that the batch system was asked
    to end the job, and `cancelled_at` when it agreed.
    """

    name: str
    group: str
    role: Role
    state: RowState
    since: float
    job: JobId | None = None
    report: JobReport = JobReport(JobState.QUEUED)  # noqa: RUF009 (frozen)
    seen: bool = False
    waits: bool = False
    suspended: bool = False
    missed_since: float = inf
    silence: Silence = Silence()  # noqa: RUF009 (frozen)
    cancelled: bool = False
    cancelled_at: float = inf

    @property
    def shown(self) -> RowState:
        """The state as others see it."""
        return RowState.ENDING if self.cancelled else self.state

    @property
    def missed(self) -> bool:
        """True while the job is presumed to be gone."""
        return self.missed_since < inf

    def apply(self, event: RowEvent, now: float) -> bool:
        """Record that something happened; return whether that changed the state."""
        state = next_row_state(self.role, self.state, event)
        if state is self.state:
            return False
        self.state, self.since, self.silence = state, now, Silence()
        return True

    def on_heartbeat(self, now: float) -> bool:
        """Record that this scheduler has reported: its job runs, whatever the last poll said.

        Return whether that is more than one heartbeat after another.
        """
        news = self.state is not RowState.ACTIVE or self.missed or self.silence != Silence()
        self.state, self.since, self.silence, self.missed_since = RowState.ACTIVE, now, Silence(), inf
        return news

    def on_report(self, report: JobReport, now: float, *, requeue: bool) -> None:
        """Record what the batch system says of the job.

        Where jobs are run once only (not `requeue`), a worker's job that has gone back to the queue is lost.
        """
        self.report, self.silence = report, evolve(self.silence, open=None)
        if report.state is JobState.GONE:
            self.missed_since = min(now, self.missed_since)
        elif report.state is JobState.UNKNOWN:
            # What was never seen to wait, and is unknown for minutes, counts as started, so that its time runs out.
            if report.overdue and not self.waits:
                self.apply(RowEvent.JOB_RUNNING, now)
        else:
            resumed = self.suspended and not report.suspended
            rerun = self.role is Role.WORKER and self.state is RowState.STARTING and not requeue
            self.seen, self.waits, self.suspended = True, report.state is JobState.QUEUED, report.suspended
            self.missed_since = inf
            if not self.waits:
                self.apply(RowEvent.JOB_RUNNING, now)
            else:
                self.apply(RowEvent.DISCONNECTED if rerun else RowEvent.JOB_QUEUED, now)
            if resumed:
                self.since, self.silence = now, Silence()

    def silent_since(self, deaf: float) -> float:
        """Return since when nothing has come of this scheduler that could have been received."""
        return max(self.since, self.silence.answered, deaf)


def deadline(row: Row, rules: Rules, *, requeue: bool, deaf: float = -inf) -> tuple[float, Clock]:
    """Return when patience with a row ends (infinity: never), and which clock runs out then.

    `requeue` says whether jobs may run again, `deaf` when it last could not be heard of the row.
    """
    options = rules.options
    if row.missed:
        return _missed_deadline(row, rules, deaf)
    if row.suspended:
        return inf, Clock.OTHER
    if row.state is RowState.LOST:
        back = max(row.since + rules.requeue_timeout, deaf + options.heartbeat_timeout)
        return back if requeue else row.since, Clock.OTHER
    if row.report.state is JobState.UNKNOWN and not row.report.overdue:
        return inf, Clock.OTHER
    if row.state is RowState.STARTING:
        scheduler = row.role is Role.SCHEDULER
        start = options.cluster_start_timeout if scheduler else options.worker_start_timeout
        return max(row.since + start, deaf + options.heartbeat_timeout), Clock.START
    if row.role is Role.WORKER:
        return inf, Clock.OTHER
    if row.state is RowState.ACTIVE:
        return _silent_until(row, rules, options.heartbeat_timeout, deaf), Clock.HEARTBEAT
    return (row.since + options.queue_timeout, Clock.QUEUE) if options.queue_timeout else (inf, Clock.OTHER)


def _missed_deadline(row: Row, rules: Rules, deaf: float) -> tuple[float, Clock]:
    """Of a job that is presumed to be gone."""
    if row.state is not RowState.ACTIVE:
        return row.missed_since, Clock.MISSED
    if row.role is Role.WORKER:
        return inf, Clock.OTHER
    return max(row.missed_since, _silent_until(row, rules, rules.late, deaf)), Clock.MISSED


def _silent_until(row: Row, rules: Rules, limit: float, deaf: float) -> float:
    """When a scheduler has been silent for `limit` seconds, and long enough after the last question to it."""
    return max(row.silent_since(deaf) + limit, row.silence.asked + rules.ask_again)


@define
class Table:
    """The rows of a cluster's jobs that have not ended, in the order of their submission: by name, and by known id."""

    count_workers: Callable[[int], None] = lambda count: None
    """Told how many more workers there are, or fewer."""
    by_name: dict[str, Row] = field(factory=dict, init=False)
    by_job: dict[JobId, Row] = field(factory=dict, init=False)

    @property
    def scheduler(self) -> Row | None:
        """The scheduler's row."""
        return next((row for row in self.by_name.values() if row.role is Role.SCHEDULER), None)

    @property
    def workers(self) -> list[Row]:
        """The workers' rows."""
        return [row for row in self.by_name.values() if row.role is Role.WORKER]

    @property
    def states(self) -> Mapping[str, RowState]:
        """The state of each worker, by its name."""
        return {name: row.shown for name, row in self.by_name.items() if row.role is Role.WORKER}

    @property
    def coming(self) -> bool:
        """True while a worker is on its way."""
        return not COMING_STATES.isdisjoint(self.states.values())

    def members(self, group: str) -> list[Row]:
        """Return the rows of one submission, in the order of its jobs."""
        return [row for row in self.by_name.values() if row.group == group]

    def add(self, submission: SubmissionRecord, state: RowState, now: float) -> None:
        """Add a row for each job of a submission, under its id if that is known."""
        group, role = submission.group, submission.role
        for name in job_names(role, group, submission.count):
            self.by_name[name] = Row(name=name, group=group, role=role, state=state, since=now)
        if role is Role.WORKER:
            self.count_workers(submission.count)
        if submission.jobs is not None:
            self.set_jobs(group, submission.jobs)

    def set_jobs(self, group: str, jobs: Collection[JobId]) -> None:
        """Record the ids of a submission's jobs. Raise ValueError if there is not one for each."""
        for row, job in zip(self.members(group), jobs, strict=True):
            row.job = job
            self.by_job[job] = row

    def remove(self, *rows: Row) -> None:
        """Forget rows that have ended or never came to be."""
        for row in rows:
            del self.by_name[row.name]
            if row.job is not None:
                del self.by_job[row.job]
        self.count_workers(-sum(row.role is Role.WORKER for row in rows))
