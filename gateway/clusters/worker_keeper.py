"""Keeping the workers of one cluster: as many as are wanted, replaced when lost, given up when they fail.

`keep` is a task of the cluster's tree. What it does is decided by scaling.py
from the states in workers.py; this file acts, one step at a time, and looks
again. Failed starts are tried again after a delay that doubles; too many in a
row, with no worker at work, fail the cluster with the reason of the last one.
"""

from collections.abc import Callable, Collection
from math import inf

import trio

from gateway.backends.base import ClusterRef
from gateway.backends.watch import Watch
from gateway.clusters import scaling
from gateway.clusters.changes import Changes
from gateway.clusters.events import Events
from gateway.clusters.heartbeat import Heartbeat
from gateway.clusters.job_specs import SCHEDULER_GROUP, worker_spec
from gateway.clusters.lifecycle import LIVE_STATES, WorkerEnding, WorkerEvent, WorkerState
from gateway.clusters.record import Ledger
from gateway.clusters.services import Services
from gateway.clusters.submissions import Submissions
from gateway.clusters.workers import Worker, Workers
from gateway.errors import JobError, JobRefused, QueueFull
from gateway.models import ClusterStatus, JobId, JobReport, JobState, Role, SubmissionRecord
from gateway.user_text import redact

#: Seconds until the cancel of single workers is repeated when the batch system did not take it.
CANCEL_RETRY = 2.0

#: Seconds until the batch system is asked for more while as many of the user's jobs wait as the site lets wait.
QUEUE_RETRY = 10.0
TOO_MANY_WAIT = "As many of your jobs wait in the queue as the site allows; more are submitted when some have started"

#: Seconds in which a lost worker's job may come back to the queue, where the site lets jobs run again, before the
#: worker is replaced.
REQUEUE_PATIENCE = 60.0

#: At most so many workers of one wave of failures are asked why; they fail alike.
EXPLAINED_AT_ONCE = 3

#: Seconds that a scheduler has, beyond its heartbeat period, to confirm what a user has asked for.
CONFIRMATION = 5.0


class WorkerKeeper:
    """The workers of a cluster and what is wanted of them."""

    def __init__(
        self,
        cluster: ClusterRef,
        services: Services,
        *,
        ledger: Ledger,
        submissions: Submissions,
        watch: Watch,
        events: Events,
        changes: Changes,
        fail: Callable[[str], None],
    ) -> None:
        """`fail` ends the cluster with a reason."""
        self.workers = Workers()
        self._cluster = cluster
        self._services = services
        self._rules = services.rules
        self._ledger = ledger
        self._submissions = submissions
        self._watch = watch
        self._events = events
        self._changes = changes
        self._fail = fail
        self._demand = scaling.Demand(ledger.record.count)
        self._may_start_again = 0.0
        self._refusals = 0
        self._full = ""  # why the batch system takes no more jobs at the moment, in its own words
        self._fitting: int | None = None  # the largest group that it may take while it is full
        self._suspended: set[JobId] = set()

    # ---- what others tell --------------------------------------------------

    def adopt(self, submissions: Collection[SubmissionRecord]) -> None:
        """Take back the workers of before a restart; `keep` finds their jobs."""
        for submission in submissions:
            if submission.role is Role.WORKER:
                self.workers.adopt(submission.group, submission.count, trio.current_time())

    def ask(self, count: int) -> str:
        """A user wants `count` workers; returns why some wait or are not submitted yet, or an empty text."""
        until = trio.current_time() + self._rules.limits.heartbeat_period + CONFIRMATION
        self._demand = self._demand.ask(count, until)
        self._ledger.change(count=self._demand.count)
        return self._why_not_all()

    def _why_not_all(self) -> str:
        """What keeps workers that are wanted from being there, for the user; empty when nothing is known to."""
        waiting, reason = self.workers.waiting()
        parts = []
        if waiting:
            parts.append(
                _workers(waiting, "waits in the queue", "wait in the queue") + (f": {reason}" if reason else "")
            )
        if self._full:
            live = sum(state in LIVE_STATES for state in self.workers.states.values())
            missing = max(1, self._demand.count - live)
            parts.append(_workers(missing, "is not submitted yet", "are not submitted yet") + f": {self._full}")
        return "; ".join(parts)

    def free(self) -> None:
        """From now on the scheduler decides how many."""
        self._demand = self._demand.free()

    def hear(self, heartbeat: Heartbeat) -> int:
        """The scheduler says who is connected and how many it wants; returns how many are wanted now."""
        now = trio.current_time()
        before, self._demand = self._demand, self._demand.hear(heartbeat.count, now)
        if self.workers.hear(heartbeat, now) or self._demand != before:
            self._changes.notify()
            if self._may_be_requeued and self.workers.count(WorkerState.LOST):
                self._watch.poll_now()
        if self.workers.missed():
            self._changes.notify()
        if self.workers.count(WorkerState.ACTIVE):
            self._refusals = 0
        return self._demand.count

    async def report(self, reports: Collection[tuple[JobId, JobReport]]) -> None:
        """The batch system says something of workers' jobs."""
        failed: list[tuple[JobId, Worker]] = []
        presumed: list[JobId] = []
        for job, report in reports:
            end = self.workers.report(job, report, trio.current_time(), requeue=self._may_be_requeued)
            self._heed_suspension(job, report)
            if end is None:
                if report.state is JobState.QUEUED and report.reason:
                    self._events.tell(f"Workers wait in the queue: {report.reason}")
                continue
            worker, ending = end
            self._watch.discard(job)
            if report.presumed:
                presumed.append(job)
            if ending is WorkerEnding.FAILED_START:
                failed.append((job, worker))
            elif ending is WorkerEnding.LOST:
                because = f": {report.reason}" if report.reason else ""
                self._events.tell(f"Worker {worker.name} was lost{because}")
            elif ending in (WorkerEnding.DELETED, WorkerEnding.VANISHED):
                because = f": {report.reason}" if report.reason else ""
                how = (
                    "was deleted before it had started" if ending is WorkerEnding.DELETED else "was never in the queue"
                )
                self._events.tell(f"The job of worker {worker.name} {how}{because}")
                # Not a failure, but whatever deletes jobs must not become a loop.
                self._wait_before_start(1, max(1.0, self._rules.backoff_base_delay))
        if presumed:
            await self._cancel_presumed(presumed)
        if failed:
            await self._failed(failed)
        await self._forget_ended_groups()

    async def _cancel_presumed(self, jobs: Collection[JobId]) -> None:
        """Nobody has said that these jobs have ended: if they are there after all, they must not run on unseen."""
        try:
            await self._services.driver.cancel(self._cluster, jobs)
        except JobError as error:
            self._events.tell(f"Jobs that are not in the queue any more could not be cancelled: {error}")

    def _heed_suspension(self, job: JobId, report: JobReport) -> None:
        """A suspended worker cannot connect: its time to do so begins anew when its job runs again."""
        before = job in self._suspended
        if report.suspended:
            self._suspended.add(job)
        elif before and report.state is not JobState.UNKNOWN:
            self._suspended.discard(job)
        if report.suspended or before:
            for worker in self.workers:
                if worker.job == job and worker.state is WorkerState.STARTING:
                    worker.since = inf if job in self._suspended else trio.current_time()
        if report.suspended and not before:
            self._events.tell(
                "The batch system has suspended workers" + (f": {report.reason}" if report.reason else "")
            )

    # ---- the task ----------------------------------------------------------

    async def keep(self) -> None:
        """Start and cancel workers whenever something has changed, until cancelled."""
        for group in self.workers.nameless_groups():
            await self._recover(group)
        while True:
            seen = self._changes.count
            look_again = inf
            if self._ledger.draft.status is ClusterStatus.RUNNING:
                look_again = await self._balance()
            with trio.move_on_at(look_again):
                await self._changes.wait(seen)

    async def _recover(self, group: str) -> None:
        """Find the jobs of workers of before a restart, of the gateway or of this task."""
        if group in self._submissions and (jobs := await self._submissions.recover(group)):
            self.workers.submitted(group, jobs)
            self._watch.add(*jobs)
        else:
            self.workers.drop_group(group)
            await self._submissions.forget(group)
        self._changes.notify()

    async def _balance(self) -> float:
        """Bring the workers one step closer to what is wanted; returns when to look again at the latest."""
        if missed := self.workers.missed():
            await self.report(missed)
        states, look_again = self._states()
        plan = scaling.plan(self._demand.count, states, self._cluster.config.max_workers)
        cancel = [worker for worker in self.workers.named(plan.cancel) if worker.job is not None]
        if cancel and not await self._cancel(cancel):
            return trio.current_time() + CANCEL_RETRY
        if not plan.start:
            self._full, self._fitting = "", None
            return look_again
        if trio.current_time() < self._may_start_again:
            return min(look_again, self._may_start_again)
        size = self._services.driver.max_group_size(self._cluster)
        if size == 0:
            # A submission would wait as well, but nothing could be cancelled meanwhile.
            self._events.tell(TOO_MANY_WAIT)
            return min(look_again, trio.current_time() + QUEUE_RETRY)
        await self._start(min(limit for limit in (plan.start, size, self._fitting) if limit is not None))
        return look_again

    @property
    def _may_be_requeued(self) -> bool:
        """Whether the batch system may run a job of this cluster again."""
        return bool(getattr(self._cluster.config, "requeue", False))  # an option of batch systems only

    def _states(self) -> tuple[dict[str, WorkerState], float]:
        """What to plan with, and when that changes by itself.

        A worker whose job is requeued is lost to the scheduler before the batch system says why. So where jobs may run
        again, a lost worker counts as a queued one for a while, and is one as soon as its job is known to wait. So does
        one that is suspended, however long: it was lost only because it could not speak.
        """
        states, look_again, now = dict(self.workers.states), inf, trio.current_time()
        for worker in self.workers:
            if worker.state is not WorkerState.LOST or worker.job not in self._watch.jobs:
                continue
            report, until = self._watch.jobs[worker.job], worker.since + REQUEUE_PATIENCE
            if report.suspended:
                states[worker.name] = WorkerState.QUEUED
            elif not self._may_be_requeued:
                continue
            elif report.state is JobState.QUEUED:
                self.workers.apply(worker, WorkerEvent.JOB_QUEUED, now)
                states[worker.name] = worker.state
            elif now < until:
                states[worker.name] = WorkerState.QUEUED
                look_again = min(look_again, until)
        return states, look_again

    async def _start(self, count: int) -> None:
        number = self._ledger.draft.groups + 1
        group = f"w{number}"
        self._ledger.change(groups=number)
        self.workers.submit(group, count, trio.current_time())
        record, rules = self._ledger.draft, self._rules
        spec = worker_spec(self._cluster, record, api_url=rules.api_url, host=rules.host, group=group, count=count)
        try:
            jobs = await self._submissions.submit(spec)
        except JobRefused as error:
            self.workers.drop_group(group)
            self._refused(error)
            return
        except QueueFull as error:
            self.workers.drop_group(group)
            self._is_full(count, error)
            return
        self.workers.submitted(group, jobs)
        self._watch.add(*jobs)
        self._refusals = 0
        self._events.tell(f"{_workers(count, 'was', 'were')} submitted as {group}")
        self._changes.notify()

    async def _cancel(self, workers: Collection[Worker]) -> bool:
        """Cancel the jobs of these workers; False when that has to be tried again."""
        # Marked before the batch system is asked: their ends may be reported before its answer is.
        before = [(worker, worker.state, worker.since) for worker in workers]
        for worker in workers:
            self.workers.apply(worker, WorkerEvent.CANCELLED, trio.current_time())
        jobs = [worker.job for worker in workers if worker.job is not None]
        try:
            await self._services.driver.cancel(self._cluster, jobs)
        except Exception as error:
            for worker, state, since in before:
                worker.state, worker.since = state, since
            if not isinstance(error, JobError):
                raise
            self._events.tell(f"Workers could not be cancelled: {error}")
            return False
        self._changes.notify()
        return True

    async def _forget_ended_groups(self) -> None:
        ended = set(self._submissions.groups) - self.workers.groups() - {SCHEDULER_GROUP}
        # Without ids it is a submission whose answer is awaited.
        done = [group for group in ended if self._submissions[group].jobs is not None]
        if done:
            await self._submissions.forget(*done)

    # ---- failures ----------------------------------------------------------

    async def give_up_overdue(self) -> float:
        """Give up workers whose jobs run but which do not connect in time; returns when to look again.

        Their scheduler's heartbeats say who is connected: none is given up before these could be heard again.
        """
        limits = self._rules.limits
        timeout, heard = limits.worker_start, self._services.hearing.deaf_at + limits.heartbeat
        if trio.current_time() < heard:
            return max(self.workers.next_overdue(timeout), heard)
        overdue = self.workers.overdue(timeout, trio.current_time())
        if overdue:
            if not await self._cancel(overdue):
                return trio.current_time() + CANCEL_RETRY
            self.workers.failed_starts += len(overdue)
            await self._failed([(worker.job, worker) for worker in overdue if worker.job is not None])
        return self.workers.next_overdue(timeout)

    async def _failed(self, failed: Collection[tuple[JobId, Worker]]) -> None:
        """Workers ended, or were given up, before they had connected."""
        rules = self._rules
        self._wait_before_start(self.workers.failed_starts, rules.backoff_base_delay)
        reasons: list[str] = []
        for job, worker in list(failed)[:EXPLAINED_AT_ONCE]:
            explanation = await self._submissions.explain(job, worker.name)
            reasons.append(redact(explanation, self._ledger.record.secrets))
            self._events.tell(f"Worker {worker.name} failed to start: {reasons[-1]}")
        count = self.workers.failed_starts
        if count >= rules.worker_start_failure_limit and not self.workers.count(WorkerState.ACTIVE):
            self._fail(f"{count} workers in a row failed to start; the last one: {reasons[-1]}")

    def _refused(self, error: JobRefused) -> None:
        """The batch system takes no workers: wait longer each time, and give up when nothing else is left."""
        self._refusals += 1
        self._events.tell(f"Workers could not be submitted: {error}")
        self._wait_before_start(self._refusals, max(1.0, self._rules.backoff_base_delay))
        if self._refusals >= self._rules.worker_start_failure_limit and not len(self.workers):
            self._fail(f"workers could not be submitted: {error}")
        self._changes.notify()

    def _is_full(self, count: int, error: QueueFull) -> None:
        """A limit of the batch system: submit half as many, down to single jobs; what does not fit has to wait."""
        self._full = str(error)
        if count > 1:
            self._fitting = count // 2
        else:
            self._fitting = 1
            self._events.tell(f"Not all workers can be submitted; trying again: {error}")
            self._may_start_again = trio.current_time() + QUEUE_RETRY
        self._changes.notify()

    def _wait_before_start(self, failures: int, base: float) -> None:
        delay = scaling.restart_delay(failures, base, self._rules.backoff_max_delay)
        self._may_start_again = trio.current_time() + delay


def _workers(count: int, singular: str, plural: str) -> str:
    return f"1 worker {singular}" if count == 1 else f"{count} workers {plural}"
