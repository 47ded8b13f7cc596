"""The life of one cluster: one task tree, from its durable record to its end.

    run:  living → ending → ended
    living:  keep record │ start scheduler │ watch jobs │ keep workers │ watch clocks

The children of *living* are supervised: a failure restarts one of them, too
many restarts fail the cluster with the reason, and nothing else. A stop or a
failure cancels them; *ending* then cancels the jobs and waits until the batch
system says that they are gone. Cancelling the whole tree from outside ends
our watching and leaves jobs alone: the next start of the gateway takes them
back.

State is kept in three places. `_draft` is the newest belief, changed at once
by whoever learns something. The *keep record* task writes it to the store and
moves it to `record`, which is what users see: nothing is shown before it is
durable. Workers are soft state (workers.py), found again after a restart from
their submissions (submissions.py).
"""

import time
from collections.abc import Collection, Mapping
from functools import partial
from math import inf
from typing import Any, Final, Protocol, TypedDict

import structlog
import trio
from attrs import evolve, frozen

from gateway import scaling
from gateway.backends.base import ClusterRef, Driver
from gateway.changes import Changes
from gateway.cluster_config import ClusterConfig
from gateway.errors import BackendUnavailable, ClusterFailed, Conflict, JobError, JobRefused, TryAgainLater
from gateway.events import Event, Events
from gateway.heartbeat import Heartbeat
from gateway.jobs import SCHEDULER_GROUP, scheduler_spec, worker_spec
from gateway.lifecycle import (
    ClusterEvent,
    WorkerEnding,
    WorkerEvent,
    WorkerState,
    is_active,
    is_ended,
    next_cluster_status,
)
from gateway.models import ClusterRecord, ClusterStatus, JobId, JobReport, JobState, Role, SubmissionRecord
from gateway.scheduler_client import tell_scheduler
from gateway.store import Store
from gateway.submissions import Submissions
from gateway.supervise import describe, supervise
from gateway.timeouts import Clock, Limits, SchedulerClock
from gateway.workers import Worker, Workers

_log = structlog.get_logger()

#: Seconds that an API request waits for the store before it is told to try again.
RECORD_DEADLINE = 20.0

#: Seconds until a cancel is repeated for jobs that are still there.
CANCEL_AGAIN = 30.0

#: Seconds until the cancel of single workers is repeated when the batch system did not take it.
CANCEL_RETRY = 2.0

#: At most so many workers of one wave of failures are asked why; they fail alike.
EXPLAINED_AT_ONCE = 3


class _Persistence(TypedDict):
    limit: int
    max_delay: float


#: For children that are never given up.
FOR_EVER: Final[_Persistence] = {"limit": 1_000_000, "max_delay": 3.0}


class Routing(Protocol):
    """What a cluster asks of the proxy's route table."""

    def add(self, name: str, scheduler: str, dashboard: str) -> None:
        """Route to these addresses from now on."""
        ...

    def remove(self, name: str) -> None:
        """End the route and its connections; an unknown name is fine."""
        ...


@frozen(kw_only=True)
class Rules:
    """What the site says about the life of clusters. Times are seconds."""

    api_url: str
    host: str
    limits: Limits
    worker_start_failure_limit: int
    backoff_base_delay: float
    backoff_max_delay: float
    scheduler_api_retries: int = 3


@frozen(kw_only=True)
class Services:
    """What clusters share."""

    driver: Driver
    store: Store
    routes: Routing
    rules: Rules


class Cluster:
    """One cluster. Its methods are called by the API; `run` is its task."""

    def __init__(
        self,
        record: ClusterRecord,
        config: ClusterConfig,
        services: Services,
        submissions: Collection[SubmissionRecord] = (),
    ) -> None:
        self.record = record
        self.ref = ClusterRef(name=record.name, username=record.username, config=config)
        self.events = Events()
        self.changes = Changes()
        self.workers = Workers()
        self._draft = record
        self._revision = 0
        self._recorded = 0
        self._services = services
        self._rules = services.rules
        self._driver = services.driver
        self._submissions = Submissions(self.ref, services.driver, services.store, self.tell, submissions)
        for submission in submissions:
            if submission.role is Role.WORKER:
                self.workers.adopt(submission.group, submission.count, trio.current_time())
        self._watch = services.driver.watch(self.ref)
        self._scheduler_job: JobId | None = None
        self._clock = SchedulerClock(trio.current_time())
        self._asked_when_late: float | None = None
        self._demand = scaling.Demand(record.count)
        self._may_start_again = 0.0
        self._refusals = 0
        self._living = trio.CancelScope()
        self._log = _log.bind(cluster=record.name, user=record.username)

    # ---- what the API asks -------------------------------------------------

    @property
    def name(self) -> str:
        """The cluster's name."""
        return self.record.name

    @property
    def ended(self) -> bool:
        """True when the cluster is STOPPED or FAILED, durably."""
        return is_ended(self.record.status)

    async def wait_started(self, patience: float) -> None:
        """Wait at most `patience` seconds for the end of PENDING. Raises `ClusterFailed` with the reason."""
        seen = self.changes.count
        with trio.move_on_after(patience):
            while self.record.status is ClusterStatus.PENDING:
                seen = await self.changes.wait(seen)
        if self.record.reason:
            raise ClusterFailed(f"Cluster {self.name} failed: {self.record.reason}")

    async def heartbeat(self, heartbeat: Heartbeat) -> None:
        """The scheduler reports. Returns when what it changed is durable."""
        if not is_active(self._draft.status):
            raise Conflict(f"Cluster {self.name} is {self._draft.status.lower()}")
        now = trio.current_time()
        moved = (heartbeat.scheduler_address, heartbeat.dashboard_address) != (
            self._draft.scheduler_address,
            self._draft.dashboard_address,
        )
        self._clock = self._clock.heard(now)
        self._demand = self._demand.hear(heartbeat.count, now)
        self.workers.hear(heartbeat, now)
        if self.workers.count(WorkerState.ACTIVE):
            self._refusals = 0
        started = self._draft.status is ClusterStatus.PENDING
        self._change(
            status=next_cluster_status(self._draft.status, ClusterEvent.HEARTBEAT),
            scheduler_address=heartbeat.scheduler_address,
            dashboard_address=heartbeat.dashboard_address,
            api_address=heartbeat.api_address,
            count=self._demand.count,
        )
        if moved:
            self._services.routes.add(self.name, heartbeat.scheduler_address, heartbeat.dashboard_address)
            self.tell("The scheduler is running" if started else "The scheduler has moved to another address")
        await self._wait_recorded()

    async def scale(self, count: int) -> str:
        """Ask for `count` workers; returns what the user should know, or an empty text.

        Raises `Conflict` when the cluster does not run or its scheduler does not listen.
        """
        limit = self.ref.config.max_workers
        message = ""
        if limit is not None and count > limit:
            message = (
                f"Scale request of {count} workers would exceed resource limit of {limit} workers. "
                f"Scaling to {limit} instead."
            )
            count = limit
        await self._tell_scheduler({"op": "scale", "count": count})
        until = trio.current_time() + self._rules.limits.heartbeat_period + 5
        self._demand = self._demand.ask(count, until)
        self._change(count=self._demand.count)
        waiting = self.workers.waiting_reason()
        if waiting and not message:
            message = f"{self.workers.count(WorkerState.QUEUED)} workers wait in the queue: {waiting}"
        return message

    async def adapt(self, minimum: int | None, maximum: int | None, active: bool) -> str:
        """Let the scheduler choose the number of workers; returns what the user should know, or an empty text."""
        limit = self.ref.config.max_workers
        message = ""
        if limit is not None:
            low, high = min(minimum or 0, limit), limit if maximum is None else min(maximum, limit)
            if (minimum or 0) > limit or (maximum is not None and maximum > limit):
                message = (
                    f"Adapt with `maximum={maximum}, minimum={minimum}` workers would exceed resource limit of "
                    f"{limit} workers. Using `maximum={high}, minimum={low}` instead."
                )
            minimum, maximum = low, high
        await self._tell_scheduler({"op": "adapt", "minimum": minimum, "maximum": maximum, "active": active})
        self._demand = self._demand.free()
        return message

    async def stop(self) -> None:
        """Ask for the end of the cluster; returns when that wish is durable. No-op when it ends already."""
        self._end()
        await self._wait_recorded()

    def ask(self) -> None:
        """Ask the batch system about our jobs at once."""
        self._watch.ask()

    async def wait_ended(self) -> None:
        """Wait until the cluster is STOPPED or FAILED."""
        seen = self.changes.count
        while not self.ended:
            seen = await self.changes.wait(seen)

    # ---- changing and recording --------------------------------------------

    def _change(self, **changes: Any) -> None:
        draft = evolve(self._draft, **changes)
        if draft != self._draft:
            self._draft = draft
            self._revision += 1
        self._notify()

    def _notify(self) -> None:
        self._watch.eager = self._draft.status is not ClusterStatus.RUNNING or self.workers.coming
        self.changes.notify()

    def tell(self, message: str) -> None:
        """An event for the user and for the log; the same message twice in a row is said once."""
        if self.events.add(Event(time_ms(), message)):
            self._log.info("cluster event", event_text=message)

    async def _wait_recorded(self) -> None:
        """Wait until the present draft is durable. Raises `TryAgainLater` when the store takes too long."""
        revision = self._revision
        seen = self.changes.count
        try:
            with trio.fail_after(RECORD_DEADLINE):
                while self._recorded < revision:
                    seen = await self.changes.wait(seen)
        except trio.TooSlowError:
            raise TryAgainLater("The gateway's database does not answer; please try again") from None

    async def _keep_record(self) -> None:
        """Write every change of the draft to the store, in order."""
        while True:
            seen = self.changes.count
            draft, revision = self._draft, self._revision
            if revision == self._recorded:
                await self.changes.wait(seen)
                continue
            await self._services.store.save(draft)
            self.record, self._recorded = draft, revision
            self.changes.notify()

    # ---- the task tree -----------------------------------------------------

    async def run(self) -> None:
        """Live until the end. The record is durable before this is called: nothing unrecorded is submitted."""
        with self._watch:
            async with trio.open_nursery() as nursery:
                # A cluster is never given up for want of a database or at its end, however long that takes.
                nursery.start_soon(partial(supervise, "keeping the record", self._keep_record, **FOR_EVER))
                if is_active(self._draft.status):
                    await self._live()
                await supervise("end of the cluster", self._finish, **FOR_EVER)
                nursery.cancel_scope.cancel()

    async def _live(self) -> None:
        try:
            with self._living:
                async with trio.open_nursery() as nursery:
                    for name, child in {
                        "start of the scheduler": self._start,
                        "watch over the jobs": self._watch_jobs,
                        "keeping the workers": self._keep_workers,
                        "watch over the clocks": self._watch_clocks,
                    }.items():
                        nursery.start_soon(supervise, name, child)
        except* Exception as group:  # noqa: BLE001
            # The cluster's boundary: whatever went wrong ends this cluster, and no other.
            self._log.error("the cluster's tasks failed", exc_info=group)
            self._fail(f"an error inside the gateway: {describe(group)}")

    def _fail(self, reason: str) -> None:
        """End the cluster because of a failure; the first reason stays."""
        if is_active(self._draft.status):
            self.tell(f"Failed: {reason}")
            self._end(reason)

    def _end(self, reason: str = "") -> None:
        if is_active(self._draft.status):
            if not reason:
                self.tell("Stopping")
            self._change(status=next_cluster_status(self._draft.status, ClusterEvent.END), reason=reason)
            self._living.cancel()

    async def _start(self) -> None:
        """Find or submit the scheduler's job."""
        if self._draft.status is ClusterStatus.RUNNING:
            self._services.routes.add(self.name, self._draft.scheduler_address, self._draft.dashboard_address)
            self._clock = self._clock.heard(trio.current_time())
        jobs: tuple[JobId, ...] = ()
        if SCHEDULER_GROUP in self._submissions:
            jobs = await self._submissions.recover(SCHEDULER_GROUP)
        if not jobs:
            spec = scheduler_spec(
                self.ref,
                self._draft,
                api_url=self._rules.api_url,
                host=self._rules.host,
                heartbeat_period=self._rules.limits.heartbeat_period,
            )
            try:
                jobs = await self._submissions.submit(spec)
            except JobRefused as error:
                self._fail(f"the scheduler could not be submitted: {error}")
                return
            self.tell(f"The scheduler is job {jobs[0]}")
        self._scheduler_job = jobs[0]
        self._clock = evolve(self._clock, queued_since=trio.current_time())
        self._watch.add(*jobs)
        self._notify()

    # ---- jobs --------------------------------------------------------------

    async def _watch_jobs(self) -> None:
        """Hear what the batch system says of our jobs."""
        changes: Mapping[JobId, JobReport] = dict(self._watch.jobs)  # again, after a restart of this task
        while True:
            failed: list[tuple[JobId, Worker]] = []
            for job, report in changes.items():
                if job == self._scheduler_job:
                    await self._scheduler_reported(job, report)
                elif (end := self.workers.report(job, report, trio.current_time())) is not None:
                    self._watch.discard(job)
                    if end[1] is WorkerEnding.FAILED_START:
                        failed.append((job, end[0]))
                    elif end[1] is WorkerEnding.LOST:
                        self.tell(f"Worker {end[0].name} was lost{_because(report.reason)}")
                elif report.state is JobState.QUEUED and report.reason:
                    self.tell(f"Workers wait in the queue: {report.reason}")
            if failed:
                await self._workers_failed(failed)
            await self._forget_ended_groups()
            self._notify()
            changes = await self._watch.wait_changes()

    async def _scheduler_reported(self, job: JobId, report: JobReport) -> None:
        self._clock = self._clock.reported(report, trio.current_time())
        if report.state is JobState.GONE:
            self._fail("the scheduler's job ended: " + await self._explain(job, SCHEDULER_GROUP))
        elif report.state is JobState.QUEUED and report.reason:
            self.tell(f"The scheduler waits in the queue: {report.reason}")
        elif report.state is JobState.UNKNOWN and report.reason:
            self.tell(f"The state of the scheduler's job is not known at the moment: {report.reason}")

    async def _workers_failed(self, failed: Collection[tuple[JobId, Worker]]) -> None:
        """Workers ended, or were given up, before they had connected."""
        self._may_start_again = trio.current_time() + scaling.restart_delay(
            self.workers.failed_starts, self._rules.backoff_base_delay, self._rules.backoff_max_delay
        )
        reasons: list[str] = []
        for job, worker in list(failed)[:EXPLAINED_AT_ONCE]:
            reasons.append(await self._explain(job, worker.name))
            self.tell(f"Worker {worker.name} failed to start: {reasons[-1]}")
        if self.workers.failed_starts >= self._rules.worker_start_failure_limit and not self.workers.count(
            WorkerState.ACTIVE
        ):
            self._fail(f"{self.workers.failed_starts} workers in a row failed to start; the last one: {reasons[-1]}")

    async def _explain(self, job: JobId, name: str) -> str:
        with trio.move_on_after(15):
            return await self._driver.explain(self.ref, job, name) or "no reason is known"
        return "the batch system did not say why in time"

    async def _forget_ended_groups(self) -> None:
        ended = set(self._submissions.groups) - self.workers.groups() - {SCHEDULER_GROUP}
        # Without ids it is a submission whose answer is awaited.
        done = [group for group in ended if self._submissions[group].jobs is not None]
        if done:
            await self._submissions.forget(*done)

    # ---- workers -----------------------------------------------------------

    async def _keep_workers(self) -> None:
        """Start and cancel workers whenever something has changed."""
        for group in self.workers.nameless_groups():
            await self._recover_workers(group)
        while True:
            seen = self.changes.count
            look_again = inf
            if self._draft.status is ClusterStatus.RUNNING:
                look_again = await self._balance_workers()
            with trio.move_on_at(look_again):
                await self.changes.wait(seen)

    async def _recover_workers(self, group: str) -> None:
        """Find the jobs of workers of before a restart, of the gateway or of this task."""
        if group in self._submissions and (jobs := await self._submissions.recover(group)):
            self.workers.submitted(group, jobs)
            self._watch.add(*jobs)
        else:
            self.workers.drop_group(group)
            await self._submissions.forget(group)
        self._notify()

    async def _balance_workers(self) -> float:
        """Bring the workers one step closer to what is wanted; returns when to look again at the latest."""
        plan = scaling.plan(self._demand.count, self.workers.states, self.ref.config.max_workers)
        cancel = [worker for worker in self.workers.named(plan.cancel) if worker.job is not None]
        if cancel and not await self._cancel_workers(cancel):
            return trio.current_time() + CANCEL_RETRY
        if not plan.start:
            return inf
        if trio.current_time() < self._may_start_again:
            return self._may_start_again
        size = self._driver.max_group_size(self.ref)
        await self._start_workers(plan.start if size is None else min(plan.start, size))
        return inf

    async def _start_workers(self, count: int) -> None:
        number = self._draft.groups + 1
        group = f"w{number}"
        self._change(groups=number)
        self.workers.submit(group, count, trio.current_time())
        spec = worker_spec(
            self.ref, self._draft, api_url=self._rules.api_url, host=self._rules.host, group=group, count=count
        )
        try:
            jobs = await self._submissions.submit(spec)
        except JobRefused as error:
            self.workers.drop_group(group)
            self._refused(error)
            return
        self.workers.submitted(group, jobs)
        self._watch.add(*jobs)
        self._refusals = 0
        self.tell(f"{count} workers submitted as {group}")
        self._notify()

    def _refused(self, error: JobRefused) -> None:
        """The batch system takes no workers: wait longer each time, and give up when nothing else is left."""
        self._refusals += 1
        self.tell(f"Workers could not be submitted: {error}")
        self._may_start_again = trio.current_time() + scaling.restart_delay(
            self._refusals, max(1.0, self._rules.backoff_base_delay), self._rules.backoff_max_delay
        )
        if self._refusals >= self._rules.worker_start_failure_limit and not len(self.workers):
            self._fail(f"workers could not be submitted: {error}")
        self._notify()

    async def _cancel_workers(self, workers: Collection[Worker]) -> bool:
        """Cancel the jobs of these workers; False when that has to be tried again."""
        # Marked before the batch system is asked: their ends may be reported before its answer is.
        before = [(worker, worker.state, worker.since) for worker in workers]
        for worker in workers:
            self.workers.apply(worker, WorkerEvent.CANCELLED, trio.current_time())
        try:
            await self._driver.cancel(self.ref, [worker.job for worker in workers if worker.job is not None])
        except JobError as error:
            self.tell(f"Workers could not be cancelled: {error}")
            for worker, state, since in before:
                worker.state, worker.since = state, since
            return False
        self._notify()
        return True

    # ---- clocks ------------------------------------------------------------

    async def _watch_clocks(self) -> None:
        """Act when the scheduler or a worker has been silent for too long."""
        limits = self._rules.limits
        seen = -1
        while True:
            now = trio.current_time()
            deadline, clock = self._clock.deadline(limits)
            if deadline <= now:
                await self._silent(clock)
                return
            late = self._clock.late(limits)
            if late <= now and self._asked_when_late != self._clock.last_heartbeat:
                self._asked_when_late = self._clock.last_heartbeat
                self._watch.ask()
            wake = min(deadline, late if late > now else inf)
            if overdue := self.workers.overdue(limits.worker_start, now):
                if await self._give_up_on(overdue):
                    continue
                wake = min(wake, now + CANCEL_RETRY)
            else:
                wake = min(wake, self.workers.next_overdue(limits.worker_start))
            with trio.move_on_at(wake):
                seen = await self.changes.wait(seen)

    async def _silent(self, clock: Clock) -> None:
        limits = self._rules.limits
        job = self._scheduler_job
        if clock is Clock.QUEUE:
            reason = self._watch.jobs[job].reason if job is not None and job in self._watch.jobs else ""
            self._fail(f"the scheduler's job waited in the queue for more than {limits.queue:g} s{_because(reason)}")
            return
        log = await self._explain(job, SCHEDULER_GROUP) if job is not None else ""
        if clock is Clock.START:
            self._fail(f"the scheduler did not report within {limits.start:g} s after its job had started\n{log}")
        else:
            self._fail(f"the scheduler has not been heard of for {limits.heartbeat:g} s\n{log}")

    async def _give_up_on(self, overdue: Collection[Worker]) -> bool:
        """Workers whose jobs run, but which do not connect in time. False when that has to be tried again."""
        if not await self._cancel_workers(overdue):
            return False
        self.workers.failed_starts += len(overdue)
        await self._workers_failed([(worker.job, worker) for worker in overdue if worker.job is not None])
        return True

    # ---- the end -----------------------------------------------------------

    async def _finish(self) -> None:
        """End all jobs, wait until they are gone, and record the end."""
        if self.ended:
            return
        self._services.routes.remove(self.name)
        self._notify()
        for group in self._submissions.groups:
            self._watch.add(*await self._submissions.recover(group))
        await self._end_jobs()
        failed = bool(self._draft.reason)
        try:
            await self._driver.clean(self.ref, keep_logs=failed)
        except JobError as error:
            self._log.warning("cannot clean up after a cluster", error=str(error))
        await self._submissions.forget(*self._submissions.groups)
        gone = ClusterEvent.FAILED_JOBS_GONE if failed else ClusterEvent.STOPPED_JOBS_GONE
        self.tell("Ended")
        self._change(status=next_cluster_status(self._draft.status, gone), stop_time=time_ms())
        while not self.ended:
            await self.changes.wait(self.changes.count)

    async def _end_jobs(self) -> None:
        """One cancel for all jobs, repeated for those that are still there after a while."""
        while jobs := [job for job, report in self._watch.jobs.items() if report.state is not JobState.GONE]:
            try:
                await self._driver.cancel(self.ref, jobs)
            except BackendUnavailable as error:
                self.tell(f"The batch system does not answer ({error}); trying again")
                await trio.sleep(5)
                continue
            except JobError as error:
                self.tell(f"Jobs could not be cancelled: {error}")
            with trio.move_on_after(CANCEL_AGAIN):
                while any(report.state is not JobState.GONE for report in self._watch.jobs.values()):
                    await self._watch.wait_changes()

    async def _tell_scheduler(self, message: dict[str, Any]) -> None:
        if self._draft.status is not ClusterStatus.RUNNING:
            raise Conflict(f"Cluster {self.name} is not running")
        try:
            await tell_scheduler(
                self._draft.api_address,
                self._draft.token,
                message,
                attempts=self._rules.scheduler_api_retries,
            )
        except Conflict:
            self._watch.ask()  # perhaps it is gone
            raise


def time_ms() -> int:
    """The wall clock as records have it: milliseconds since the epoch."""
    return int(time.time() * 1000)


def _because(reason: str) -> str:
    return f": {reason}" if reason else ""
