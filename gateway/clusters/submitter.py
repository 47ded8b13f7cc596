"""What is submitted next, and when (pure).

One submission at a time has the slot. It begins with an intent on record; it
ends with the jobs' ids, or it came to nothing and leaves nothing. When its
answer was lost its jobs are looked for, and so are those of the intents that
were found at a restart. Of workers only so many are submitted as limits leave
room for (ledger.py).
"""

from collections.abc import Callable
from math import inf

from attrs import evolve

from gateway.clusters.actions import Submit
from gateway.clusters.job_specs import SCHEDULER_GROUP
from gateway.clusters.ledger import Account
from gateway.clusters.lifecycle import LIVE_STATES, RowState
from gateway.clusters.news import because, workers
from gateway.clusters.records import Records
from gateway.clusters.rows import Table
from gateway.clusters.rules import Rules
from gateway.clusters.timing import Moment, Retry
from gateway.clusters.told import about
from gateway.errors import BackendUnavailable, JobError, JobRefused, QueueFull
from gateway.models import JobId, Role, SubmissionRecord

#: Seconds after which a submission that is still unanswered is told of.
SLOW_SUBMIT = 10.0

#: Seconds until the batch system is asked for more while as many of the user's jobs wait as it, or the site, allows.
QUEUE_RETRY = 10.0
TOO_MANY_WAIT = "As many of your jobs wait in the queue as the site allows; more are submitted when some have started"

#: Ends the cluster with a reason.
Fail = Callable[[str], None]

#: Tells how many jobs one submission may have (None: any number), 0 while none may be submitted.
Room = Callable[[], int | None]


class Submitter:
    """Fills the slot. Sentences for the user are added to `tell`."""

    def __init__(
        self, rules: Rules, rows: Table, records: Records, tell: list[str], fail: Fail, room: Room, account: Account
    ) -> None:
        base, longest = rules.options.backoff_base_delay, rules.options.backoff_max_delay
        self.slot: Submit | None = None
        self.attempts = 0
        """How often this process has submitted the scheduler."""
        self.failed_starts = Retry(base, longest)
        """Failed starts in a row: since a worker last connected."""
        self.refusals = Retry(max(1.0, base), longest)
        """Refused submissions of workers in a row: since one was accepted or a worker connected."""
        self._limit = rules.options.worker_start_failure_limit
        self._rows, self._records = rows, records
        self._tell, self._fail, self._room = tell, fail, room
        self._account = account
        self._short = False  # of what the limits leave; told once
        self._away = Retry(1.0, 15.0)
        self._wait_until = -inf
        self._full = ""  # why the batch system takes no more jobs at the moment, in its own words
        self._fitting: int | None = None  # the largest group that it may take while it is full

    # ---- what is next ----

    def fill(self, role: Role | None, missing: int, moment: Moment) -> None:
        """Give the slot, if it is free, to what has to be looked for, or to as many of the `missing` as may be.

        Without a `role` nothing is to be submitted any more.
        """
        if role is None:
            self._withdraw()
        if self.slot is not None:
            return
        unanswered = [submission for submission in self._records.submissions.values() if submission.jobs is None]
        if unanswered:
            self.slot = Submit(unanswered[0], look=True, adopted=True)
        elif role is None or not missing:
            self._full, self._fitting, self._short = "", None, False
        elif moment.due(max(self._wait_until, self.refusals.at, self._away.at, self.failed_starts.at)):
            self._take_slot(role, missing, moment)

    def _take_slot(self, role: Role, missing: int, moment: Moment) -> None:
        """Give the slot to as many of the `missing` as the batch system and the limits leave room for."""
        size = min(limit for limit in (missing, self._room(), self._fitting) if limit is not None)
        granted = self._account.grant(size) if role is Role.WORKER else size
        if granted:
            self._begin(role, granted, moment)
        if granted < size:
            self._tell_short(missing - granted)
        elif not size:
            # A submission would wait as well, but nothing could be cancelled meanwhile.
            self._tell.append(TOO_MANY_WAIT)
            self.wait(QUEUE_RETRY, moment.now)
            moment.due(self._wait_until)

    def _tell_short(self, missing: int) -> None:
        """Limits leave no room for so many workers: the account wakes when there is more."""
        if not self._short:
            _, why = self._account.missing(self._account.workers + missing)
            self._tell.append(f"{workers(missing, 'waits', 'wait')} until there is room: {why}")
        self._short = True

    def _withdraw(self) -> None:
        """Take back what is not under way yet."""
        if self.slot is not None and not self.slot.under_way and not self.slot.look:
            self._drop(self.slot.intent)
            self.slot = None

    def _begin(self, role: Role, count: int, moment: Moment) -> None:
        group, cluster = SCHEDULER_GROUP, self._records.cluster
        if role is Role.WORKER:
            self._records.change(groups=cluster.groups + 1)
            group = f"w{cluster.groups + 1}"
        intent = SubmissionRecord(cluster=cluster.name, group=group, role=role, count=count)
        self._records.submissions[group] = intent
        self._rows.add(intent, RowState.QUEUED, moment.now)
        self.slot = Submit(intent)

    def wait(self, seconds: float, now: float) -> None:
        """Submit nothing for so long."""
        self._wait_until = max(self._wait_until, now + seconds)

    def submit(self, moment: Moment) -> Submit | None:
        """Return what is to be submitted or looked for now; from then on it is under way."""
        slot = self.slot
        if slot is None or not moment.due(slot.at):
            return None
        if slot.under_way:
            late = f"{slot.intent.group} for {SLOW_SUBMIT:g} seconds"
            self._tell.append(f"The batch system has not answered the submission of {late}")
            slot.at = inf
            return None
        slot.under_way, slot.at = True, inf if slot.look else moment.now + SLOW_SUBMIT
        moment.due(slot.at)
        return slot

    # ---- what came of it (said twice, or too late, it is no news) ----

    def submitted(self, action: Submit, jobs: tuple[JobId, ...], now: float) -> None:
        """The jobs have these ids, which are on record; without ids, no jobs were found."""
        if action is not self.slot:
            return
        self.slot = None
        if not jobs:
            self._drop(action.intent)
            if not action.adopted:
                self._away.failed(now)
            return
        group = action.intent.group
        self._rows.set_jobs(group, jobs)
        self._records.stored(evolve(action.intent, jobs=jobs))
        for row in self._rows.members(group):
            row.since = now if row.state is RowState.QUEUED else row.since
        self.refusals.succeeded()
        self._away.succeeded()
        if action.intent.role is Role.SCHEDULER and not action.adopted:
            self.attempts += 1
            self._tell.append(about(jobs, f"The scheduler is job {jobs[0]}"))
        elif not action.adopted:
            self._tell.append(about(jobs, f"{workers(len(jobs), 'was', 'were')} submitted as {group}"))

    def failed(self, action: Submit, error: JobError, now: float) -> None:
        """There is no answer, or a bad one."""
        if action is not self.slot:
            return
        self.slot = None
        if isinstance(error, BackendUnavailable):
            self._tell.append(f"The batch system does not answer ({error}); trying again")
            self._away.failed(now)
            if action.look:
                self.slot = Submit(action.intent, look=True, adopted=action.adopted, at=self._away.at)
                return
        elif not isinstance(error, JobRefused | QueueFull):  # the jobs may exist
            lost = f"{action.intent.group} was lost ({str(error).rstrip('.')}); looking for its jobs"
            self._tell.append(f"The answer to the submission of {lost}")
            self.slot = Submit(action.intent, look=True, adopted=action.adopted)
            return
        self._drop(action.intent)
        if isinstance(error, JobRefused):
            self._refused(action.intent, error, now)
        elif isinstance(error, QueueFull):
            self._no_room(action.intent, error, now)

    def _refused(self, intent: SubmissionRecord, error: JobRefused, now: float) -> None:
        if intent.role is Role.SCHEDULER:
            self._fail(f"the scheduler could not be submitted: {error}")
        else:
            self.refusals.failed(now)
            self._tell.append(f"Workers could not be submitted: {error}")
            if self.refusals.failures >= self._limit and not self._rows.workers:
                self._fail(f"workers could not be submitted: {error}")

    def _no_room(self, intent: SubmissionRecord, error: QueueFull, now: float) -> None:
        """Submit half as many, down to single jobs; what does not fit has to wait."""
        scheduler = intent.role is Role.SCHEDULER
        if not scheduler:
            self._full, self._fitting = str(error), max(1, intent.count // 2)
        if intent.count == 1:
            who = "The scheduler cannot be submitted yet" if scheduler else "Not all workers can be submitted"
            self._tell.append(f"{who}; trying again: {error}")
            self.wait(QUEUE_RETRY, now)

    def _drop(self, intent: SubmissionRecord) -> None:
        """Forget a submission without jobs."""
        self._rows.remove(*self._rows.members(intent.group))
        del self._records.submissions[intent.group]

    # ---- for the user ----

    def shortfall(self, wanted: int) -> str:
        """Return why workers that are wanted are not there; empty when nothing is known to keep them."""
        parts, rows = [], self._rows.workers
        waiting = [row for row in rows if row.shown is RowState.QUEUED and row.waits]
        if waiting:
            reason = next((row.report.reason for row in waiting if row.report.reason), "")
            parts.append(workers(len(waiting), "waits in the queue", "wait in the queue") + because(reason))
        if self._full:
            missing = max(1, wanted - sum(row.shown in LIVE_STATES for row in rows))
            parts.append(workers(missing, "is not submitted yet", "are not submitted yet") + because(self._full))
        short, why = self._account.missing(wanted)
        if short:
            parts.append(f"{workers(short, 'waits', 'wait')} until there is room: {why}")
        return "; ".join(parts)
