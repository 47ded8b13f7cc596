"""The life of one cluster, decided: events in, one decision out (pure).

    machine.heartbeat(...)          something has happened; any event, in any order, late or twice
    actions = machine.next(now)     what to do about it, and when to ask again

All jobs stand in one table, the scheduler's among them (rows.py). Events change
what is known; `next` compares that with what should be. What it returns is under
way until an event answers it (actions.py); submissions answer to `submitter`.

- Nothing else is returned while something has to be recorded: whatever is done
  or shown rests on what is durable. So every submission has an *intent* on
  record, and is looked for under its unique name when its answer was lost.
- One submission is under way at a time. One that came to nothing leaves
  nothing behind: what is missing is planned anew when its time has come.
- Silence alone ends nothing, nor does absence of what is heard of (patience.py).
- A cluster that is told to end cancels its jobs, and has ended when they are gone.
"""

from collections.abc import Callable, Collection

from gateway.clusters.actions import Actions, Cancel, Questions
from gateway.clusters.canceller import Canceller
from gateway.clusters.demand import Demand, Plan
from gateway.clusters.expiry import Expiry
from gateway.clusters.heartbeat import Heartbeat
from gateway.clusters.ledger import Account
from gateway.clusters.lifecycle import ClusterEvent, RowState, is_active, is_ended, next_cluster_status
from gateway.clusters.news import news_of
from gateway.clusters.patience import JOB_ENDED, Patience
from gateway.clusters.reasons import BY_USER, failed
from gateway.clusters.records import Records
from gateway.clusters.rows import Row, Table
from gateway.clusters.rules import Rules
from gateway.clusters.sharing import SharingChange
from gateway.clusters.silence import Answer, Silence
from gateway.clusters.submitter import Room, Submitter
from gateway.clusters.timing import Moment
from gateway.clusters.told import about
from gateway.clusters.workers import Workers
from gateway.config.cluster import ClusterConfig
from gateway.errors import JobError, JobRefused
from gateway.models import ClusterRecord, ClusterStatus, JobId, JobReport, JobState, Role, SubmissionRecord
from gateway.user_text import bounded

#: So many errors of the gateway's own, within so many seconds, end a cluster.
MOST_ERRORS, ERRORS_WINDOW = 5, 60.0


class Machine:
    """What is known of one cluster, and what follows from it. All times are seconds of one clock."""

    def __init__(
        self,
        record: ClusterRecord,
        submissions: Collection[SubmissionRecord],
        now: float,
        *,
        rules: Rules,
        config: ClusterConfig,
        account: Account,
        epoch: float = 0.0,
        room: Room = lambda: None,
        polling: Callable[[], bool] = lambda: False,
    ) -> None:
        """Begin with what is on record: for a cluster of before a restart, with its `submissions`.

        `account` holds the cluster already, and will hold its workers. `epoch` is what the time since the epoch is
        ahead of the clock, in seconds. `room` tells how many jobs one submission may have (None: any number; 0: none
        may be submitted now), `polling` whether a question to the batch system is open.
        """
        self._account = account
        self.rows = Table(account.add_workers)
        submissions = () if is_ended(record.status) else submissions
        self.records = Records(record, submissions)
        self._rules = rules
        self._config = config
        self._tell: list[str] = []
        self.submitter = Submitter(rules, self.rows, self.records, self._tell, self.failed, room, account)
        self._canceller = Canceller()
        self._patience = Patience(rules, self._tell, polling)
        self._workers = Workers(
            demand=Demand(record.count),
            rules=rules,
            config=config,
            rows=self.rows,
            submitter=self.submitter,
            patience=self._patience,
            tell=self._tell,
            fail=self.failed,
        )
        self._expiry = Expiry(config, now, epoch, record.running_since)
        self._heard_of = self._cleaning = False
        self._errors: list[float] = []
        self._account.ending = not self.active
        for submission in submissions:
            state = RowState.ADOPTED
            if submission.role is Role.SCHEDULER:
                state = RowState.ACTIVE if record.status is ClusterStatus.RUNNING else RowState.QUEUED
            self.rows.add(submission, state, now)

    @property
    def active(self) -> bool:
        """True until the cluster is told to end."""
        return is_active(self.records.cluster.status)

    # ---- events: users, and the gateway itself ----

    def scale(self, count: int, now: float) -> None:
        """A user wants `count` workers."""
        if self.active:
            self._workers.scale(count, now)
            self.records.change(count=self._workers.demand.count)

    @property
    def shortfall(self) -> str:
        """Why workers that are wanted wait or are not submitted yet, or an empty text."""
        return self.submitter.shortfall(self._workers.demand.count) if self.active else ""

    def adapt(self) -> None:
        """From now on the scheduler decides how many workers there are."""
        self._workers.demand = self._workers.demand.adaptive()

    def share(self, change: SharingChange) -> None:
        """Somebody changes who else may come in, or is let in."""
        if self.records.change(**change.fields):
            self._tell.append(change.told)

    def stop(self, why: str) -> None:
        """Somebody ends the cluster; `why` is one of reasons.py, for whoever asks later."""
        self._end("Stopping" if why == BY_USER else f"Stopping: {why}", stopped=why)

    def failed(self, reason: str) -> None:
        """Something has failed; the first reason stays."""
        reason = bounded(reason.rstrip())
        self._end(f"{failed(self.records.cluster).capitalize()}: {reason}", reason=reason)

    def broken(self, error: str, now: float) -> None:
        """The gateway has made a mistake, which it has already answered for."""
        self._errors = [time for time in self._errors if time > now - ERRORS_WINDOW] + [now]
        if len(self._errors) >= MOST_ERRORS:
            self.failed(f"an error inside the gateway: {error}")

    def _end(self, told: str, **why: str) -> None:
        if self.active:
            self._tell.append(told)
            self._account.ending = True
            self.records.change(status=next_cluster_status(self.records.cluster.status, ClusterEvent.END), **why)

    def cleaned(self, stop_time: int) -> None:
        """Nothing of the cluster is left; `stop_time` is in milliseconds since the epoch."""
        if self._cleaning:
            self._cleaning = False
            self._tell.append("Ended")
            gone = ClusterEvent.FAILED_JOBS_GONE if self.records.cluster.reason else ClusterEvent.STOPPED_JOBS_GONE
            self.records.change(status=next_cluster_status(self.records.cluster.status, gone), stop_time=stop_time)
            self.records.submissions.clear()

    def deaf(self, at: float, reason: str) -> None:
        """The gateway last could not hear everybody at the time `at`."""
        self._patience.deaf_at, self._patience.deaf_reason = at, reason

    def client(self, connected: bool, now: float) -> None:
        """A client is connected to the scheduler through the gateway, or none is any more."""
        self._expiry.client(connected, now)

    # ---- events: the scheduler ----

    def heartbeat(self, heartbeat: Heartbeat, now: float) -> bool:
        """The scheduler reports; return whether that is news, so that `next` decides anew.

        A heartbeat without news only puts off what is waited for. The first one is news by itself, else the clocks of
        all clusters that were taken back would ring at the same moment.
        """
        record, scheduler = self.records.cluster, self.rows.scheduler
        if not self.active:
            return False
        self._patience.note_silence(scheduler, now, heard_of=self._heard_of)
        news, self._heard_of = not self._heard_of, True
        if scheduler is not None:
            news |= scheduler.on_heartbeat(now)
        news |= self._workers.hear(heartbeat, now)
        addresses = (record.scheduler_address, record.dashboard_address)
        if (heartbeat.scheduler_address, heartbeat.dashboard_address) != addresses:
            started = record.status is ClusterStatus.PENDING
            told = "The scheduler is running" if started else "The scheduler has moved to another address"
            self._tell.append(about([scheduler.job if scheduler else None], told))
        news |= self.records.change(
            status=next_cluster_status(record.status, ClusterEvent.HEARTBEAT),
            scheduler_address=heartbeat.scheduler_address,
            dashboard_address=heartbeat.dashboard_address,
            api_address=heartbeat.api_address,
            count=self._workers.demand.count,
            running_since=self._expiry.reported(now),
        )
        return news

    def asked(self, silence: Silence, answer: Answer, words: str, now: float) -> None:
        """This came of the question to a silent scheduler; `words` say it, for the end of a sentence."""
        if self.active:
            self._patience.asked(self.rows.scheduler, silence, answer, words, now)

    # ---- events: the batch system ----

    def report(self, job: JobId, report: JobReport, now: float) -> None:
        """The batch system says something of a job."""
        row = self.rows.by_job.get(job)
        if row is None:
            return
        was_suspended = row.suspended
        row.on_report(report, now, requeue=self._config.jobs_may_run_again)
        if report.state is JobState.GONE and not report.presumed:
            self._job_ended(row, now)
            self._remove(row)
        elif row.missed and row.cancelled_at <= now:
            self._remove(row)  # of what was cancelled absence is enough
        elif self.active:
            self._tell += [about([job], told) for told in news_of(row, report, was_suspended=was_suspended)]

    def cancelled(self, cancel: Cancel, error: JobError | None, now: float) -> None:
        """A cancel was accepted, or an error came instead."""
        if cancel not in self._canceller.under_way:
            return
        self._canceller.answered(cancel, now, accepted=error is None)
        if error is not None:
            told = f"{cancel.what} could not be cancelled: {error}"
            self._tell.append(about([row.job for row in cancel.rows], told))
        # What is presumed to be gone is gone once that was tried, in case it was there after all.
        for row in cancel.rows if error is None or isinstance(error, JobRefused) else ():
            given_up = row.cancelled or row.state is RowState.GONE or not self.active
            if row.missed and given_up and row.job in self.rows.by_job:
                self._remove(row)

    def explained(self, row: Row, text: str, now: float) -> None:
        """This is why a job has ended, or what is known of it."""
        if not self.active or not self._workers.explanations.end(row):
            return
        verdict = self._patience.verdict
        if verdict is not None and verdict.row is row:
            self.failed(verdict.words + text)
        elif row.role is Role.WORKER:
            self._workers.explained(row, text)

    def _job_ended(self, row: Row, now: float) -> None:
        """The job of a row is gone: judge what that means."""
        if not self.active or row.state is RowState.GONE:
            return
        if row.role is Role.SCHEDULER:
            self._patience.condemn(row, JOB_ENDED, final=True)
        else:
            self._workers.job_ended(row, now)

    def _remove(self, row: Row) -> None:
        """Forget a row, and its submission with the last one; but not that a scheduler was submitted that has ended."""
        self.rows.remove(row)
        vanished = row.role is Role.SCHEDULER and row.state is RowState.GONE
        last = not any(other.group == row.group for other in self.rows.by_name.values())
        if (row.role is Role.WORKER or vanished) and last:
            del self.records.submissions[row.group]

    # ---- the decision ----

    def next(self, now: float) -> Actions:
        """Return what to do now."""
        moment, questions = Moment(now), Questions()
        self._expire(moment)
        wanted = self._plan(moment) if self.active else Plan()
        self._fill_slot(wanted.start, moment)
        if write := self.records.write():
            return Actions(record=write)
        if self.active:
            questions = self._patience.check(self.rows.scheduler, self.submitter.attempts, moment)
        if self.active and (verdict := self._patience.verdict) is not None and verdict.complete:
            self.failed(verdict.words)
            return self.next(now)  # to begin with its record
        record, rows = self.records.cluster, self.rows.by_name.values()
        running = record.status is ClusterStatus.RUNNING
        useless = [row for row in rows if not self.active or row.name in wanted.cancel or row.state is RowState.GONE]
        actions = Actions(
            submit=self.submitter.submit(moment),
            cancel=self._canceller.cancel(useless, moment, ending=not self.active),
            explain=self._explain(),
            questions=questions,
            clean=self._clean(),
            route=(record.scheduler_address, record.dashboard_address) if running else None,
            tell=tuple(self._tell),
            wake_at=moment.wake_at,
        )
        self._tell.clear()
        return actions

    def _expire(self, moment: Moment) -> None:
        if self.active and (reason := self._expiry.check(moment, self._patience.deaf_at, self._tell)):
            self.stop(reason)

    def _fill_slot(self, missing: int, moment: Moment) -> None:
        if not self.active:
            self.submitter.fill(None, 0, moment)
        elif self._patience.verdict is None and self.rows.scheduler is None:
            self.submitter.fill(Role.SCHEDULER, 1, moment)
        elif self._patience.verdict is None:
            self.submitter.fill(Role.WORKER, missing, moment)

    def _plan(self, moment: Moment) -> Plan:
        self._patience.note_silence(self.rows.scheduler, moment.now, heard_of=self._heard_of)
        running = self.records.cluster.status is ClusterStatus.RUNNING and self._patience.verdict is None
        return self._workers.plan(moment, heard_of=self._heard_of, running=running)

    def _explain(self) -> tuple[Row, ...]:
        verdict = self._patience.verdict
        return self._workers.explanations.begin(None if verdict is None else verdict.row) if self.active else ()

    def _clean(self) -> bool:
        """Return whether to remove what is left: all jobs are gone. Once the end is on record nothing is held."""
        if is_ended(self.records.cluster.status):
            self._account.close()
        ending = self.records.cluster.status is ClusterStatus.STOPPING
        left = self.rows.by_job or self.submitter.slot is not None or self._canceller.under_way
        before, self._cleaning = self._cleaning, ending and not left
        return self._cleaning and not before
