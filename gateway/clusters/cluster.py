"""The life of one cluster: one task tree, from its durable record to its end.

    run:  living → ending → ended
    living:  keep record │ start scheduler │ watch jobs │ keep workers │ watch clocks

The children of *living* are supervised: a failure restarts one of them, too
many restarts fail the cluster with the reason, and nothing else. A stop or a
failure cancels them; *ending* then cancels the jobs and waits until the batch
system says that they are gone. Cancelling the whole tree from outside ends
our watching and leaves jobs alone: the next start of the gateway takes them
back.

The record is kept by record.py: nothing is shown before it is durable. Workers
are soft state, found again after a restart from their submissions
(worker_keeper.py, submissions.py).
"""

from collections.abc import Collection, Mapping
from functools import partial
from math import inf
from typing import Any

import structlog
import trio
from attrs import evolve

from gateway.backends.base import ClusterRef
from gateway.clusters.changes import Changes
from gateway.clusters.events import Events, time_ms
from gateway.clusters.heartbeat import Heartbeat
from gateway.clusters.job_specs import SCHEDULER_GROUP, scheduler_spec
from gateway.clusters.lifecycle import ClusterEvent, is_active, is_ended, next_cluster_status
from gateway.clusters.reasons import BY_USER, by_scheduler, cannot_start, failed, not_running
from gateway.clusters.record import Ledger
from gateway.clusters.scheduler_client import tell_scheduler
from gateway.clusters.services import Services
from gateway.clusters.submissions import Submissions
from gateway.clusters.timeouts import Answer, Clock, SchedulerClock
from gateway.clusters.worker_keeper import QUEUE_RETRY, TOO_MANY_WAIT, WorkerKeeper
from gateway.clusters.workers import Workers
from gateway.config.cluster import ClusterConfig
from gateway.errors import BackendUnavailable, ClusterFailed, Conflict, JobError, JobRefused, QueueFull
from gateway.models import ClusterRecord, ClusterStatus, JobId, JobReport, JobState, SubmissionRecord, alive
from gateway.supervise import FOR_EVER, describe, supervise
from gateway.user_text import bounded, redact

_log = structlog.get_logger()

#: How often a scheduler is submitted whose job is given an id and then is never in the queue.
MOST_ATTEMPTS = 3

#: Seconds until a cancel is repeated for jobs that are still there.
CANCEL_AGAIN = 30.0


class Cluster:
    """One cluster. Its methods are called by the API; `run` is its task."""

    def __init__(
        self,
        record: ClusterRecord,
        config: ClusterConfig,
        services: Services,
        submissions: Collection[SubmissionRecord] = (),
    ) -> None:
        self.ref = ClusterRef(name=record.name, username=record.username, config=config)
        self._log = _log.bind(cluster=record.name, user=record.username)
        self.events = Events(self._log)
        self.changes = Changes(self._set_urgency)
        self._ledger = Ledger(record, services.store, self.changes)
        self._services = services
        self._rules = services.rules
        self._driver = services.driver
        self._watch = services.driver.watch(self.ref)
        self._submissions = Submissions(self.ref, services.driver, services.store, self.events.tell, submissions)
        self._keeper = WorkerKeeper(
            self.ref,
            services,
            ledger=self._ledger,
            submissions=self._submissions,
            watch=self._watch,
            events=self.events,
            changes=self.changes,
            fail=self._fail,
        )
        self._keeper.adopt(submissions)
        self._scheduler_job: JobId | None = None
        self._attempts = 0  # how often the scheduler was submitted by this process
        self._clock = SchedulerClock(trio.current_time())
        self._asked_when_late: float | None = None
        self._heard_of = False
        self._living = trio.CancelScope()

    # ---- what the API asks -------------------------------------------------

    @property
    def name(self) -> str:
        """The cluster's name."""
        return self.record.name

    @property
    def record(self) -> ClusterRecord:
        """What is durable of it."""
        return self._ledger.record

    @property
    def workers(self) -> Workers:
        """Its workers that have not ended."""
        return self._keeper.workers

    @property
    def ended(self) -> bool:
        """True when the cluster is STOPPED or FAILED, durably."""
        return is_ended(self.record.status)

    async def wait_started(self, patience: float) -> None:
        """Wait at most `patience` seconds for the end of PENDING.

        Raises `ClusterFailed` with the reason when the cluster has failed, or has stopped without its user's doing.
        """
        seen = self.changes.count
        with trio.move_on_after(patience):
            while self.record.status is ClusterStatus.PENDING:
                seen = await self.changes.wait(seen)
        if words := cannot_start(self.record):
            raise ClusterFailed(words)

    async def heartbeat(self, heartbeat: Heartbeat) -> None:
        """The scheduler reports. Returns when what it changed is durable."""
        if not is_active(self._draft.status):
            raise Conflict(f"Cluster {self.name} is {self._draft.status.lower()}")
        moved = (heartbeat.scheduler_address, heartbeat.dashboard_address) != (
            self._draft.scheduler_address,
            self._draft.dashboard_address,
        )
        # Heartbeats without news wake no task of the cluster: they only put off what its clocks wait for. The first one
        # sets the clocks by itself; else those of all clusters that were taken back would ring at the same moment.
        if not self._heard_of or self._clock.last_heartbeat in (None, self._asked_when_late):
            self._heard_of = True
            self.changes.notify()
        self._clock = self._clock.heard(trio.current_time())
        started = self._draft.status is ClusterStatus.PENDING
        self._ledger.change(
            status=next_cluster_status(self._draft.status, ClusterEvent.HEARTBEAT),
            scheduler_address=heartbeat.scheduler_address,
            dashboard_address=heartbeat.dashboard_address,
            api_address=heartbeat.api_address,
            count=self._keeper.hear(heartbeat),
        )
        if moved:
            self._services.routes.add(self.name, heartbeat.scheduler_address, heartbeat.dashboard_address)
            self.events.tell("The scheduler is running" if started else "The scheduler has moved to another address")
        await self._ledger.wait_durable()

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
        waiting = self._keeper.ask(count)
        await self._ledger.wait_durable()
        return message or waiting

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
        self._keeper.free()
        return message

    async def stop(self, why: str = BY_USER) -> None:
        """Ask for the end of the cluster; returns when that wish is durable. No-op when it ends already.

        `why` is one of reasons.py, for whoever asks later.
        """
        self._end(why)
        await self._ledger.wait_durable()

    async def stop_itself(self) -> None:
        """Its own scheduler asks for the end: the cluster was idle for too long."""
        await self.stop(by_scheduler(self.ref.config.idle_timeout))

    def ask(self) -> None:
        """Ask the batch system about our jobs at once."""
        self._watch.poll_now()

    async def wait_ended(self) -> None:
        """Wait until the cluster is STOPPED or FAILED."""
        seen = self.changes.count
        while not self.ended:
            seen = await self.changes.wait(seen)

    @property
    def _draft(self) -> ClusterRecord:
        return self._ledger.draft

    def _set_urgency(self) -> None:
        self._watch.eager = self._draft.status is not ClusterStatus.RUNNING or self.workers.coming

    # ---- the task tree -----------------------------------------------------

    async def run(self) -> None:
        """Live until the end. The record is durable before this is called: nothing unrecorded is submitted."""
        with self._watch:
            async with trio.open_nursery() as nursery:
                # A cluster is never given up for want of a database or at its end, however long that takes.
                nursery.start_soon(partial(supervise, "keeping the record", self._ledger.keep, **FOR_EVER))
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
                        "keeping the workers": self._keeper.keep,
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
            reason = bounded(reason)
            self.events.tell(f"{failed(self._draft).capitalize()}: {reason}")
            self._end(reason=reason)

    def _end(self, stopped: str = "", reason: str = "") -> None:
        """Begin to end the cluster: it was `stopped`, in these words, or it failed for this `reason`."""
        if is_active(self._draft.status):
            if stopped:
                self.events.tell("Stopping" if stopped == BY_USER else f"Stopping: {stopped}")
            status = next_cluster_status(self._draft.status, ClusterEvent.END)
            self._ledger.change(status=status, reason=reason, stopped=stopped)
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
            while self._driver.max_group_size(self.ref) == 0:
                self.events.tell(TOO_MANY_WAIT)
                await trio.sleep(QUEUE_RETRY)
            spec = scheduler_spec(
                self.ref,
                self._draft,
                api_url=self._rules.api_url,
                host=self._rules.host,
                heartbeat_period=self._rules.limits.heartbeat_period,
            )
            while not jobs:
                try:
                    jobs = await self._submissions.submit(spec)
                    self._attempts += 1
                except QueueFull as error:
                    self.events.tell(f"The scheduler cannot be submitted yet; trying again: {error}")
                    await trio.sleep(QUEUE_RETRY)
                except JobRefused as error:
                    self._fail(f"the scheduler could not be submitted: {error}")
                    return
            self.events.tell(f"The scheduler is job {jobs[0]}")
        self._scheduler_job = jobs[0]
        self._clock = evolve(self._clock, queued_since=trio.current_time())
        self._watch.add(*jobs)
        self.changes.notify()

    # ---- jobs --------------------------------------------------------------

    async def _watch_jobs(self) -> None:
        """Hear what the batch system says of our jobs."""
        changes: Mapping[JobId, JobReport] = dict(self._watch.jobs)  # again, after a restart of this task
        while True:
            job = self._scheduler_job
            if job is not None and job in changes:
                await self._scheduler_reported(job, changes[job])
            await self._keeper.report([news for news in changes.items() if news[0] != job])
            self.changes.notify()
            changes = await self._watch.wait_changes()

    async def _scheduler_reported(self, job: JobId, report: JobReport) -> None:
        self._clock = self._clock.reported(report, trio.current_time())
        if report.presumed:
            if self._clock.last_heartbeat is not None:
                self.events.tell("The scheduler's job is not in the queue any more; its next heartbeat decides")
        elif report.state is JobState.GONE:
            self._fail("the scheduler's job ended: " + await self._explain(job))
        elif report.suspended:
            self.events.tell(f"The batch system has suspended the scheduler{_because(report.reason)}")
        elif report.state is JobState.QUEUED and report.reason:
            self.events.tell(f"The scheduler waits in the queue: {report.reason}")
        elif report.overdue:
            self.events.tell(f"The state of the scheduler's job has not been known for minutes: {report.reason}")
        elif report.state is JobState.UNKNOWN and report.reason:
            self.events.tell(f"The state of the scheduler's job is not known at the moment: {report.reason}")

    async def _explain(self, job: JobId) -> str:
        """Why the scheduler's job ended, or what is known of it.

        A driver keeps the secrets of what it has submitted out of this; of clusters that were taken back it knows none.
        """
        return redact(await self._submissions.explain(job, SCHEDULER_GROUP), self.record.secrets)

    # ---- clocks ------------------------------------------------------------

    async def _watch_clocks(self) -> None:
        """Act when the scheduler or a worker has been silent for too long."""
        limits, hearing = self._rules.limits, self._services.hearing
        seen = -1
        while True:
            now = trio.current_time()
            deadline, clock = self._clock.deadline(limits, hearing.deaf_at)
            if deadline <= now:
                # A question that is open (a controller that hangs) may end with nothing being known at the moment.
                await self._watch.wait_polled()
                job = self._scheduler_job
                if job is not None and job in self._watch.jobs:
                    self._clock = self._clock.reported(self._watch.jobs[job], trio.current_time())
                deadline, clock = self._clock.deadline(limits, hearing.deaf_at)
                if deadline > trio.current_time() or await self._submit_again(clock):
                    continue
                if await self._silent(clock):
                    return
                continue
            if self._clock.is_excused(limits, now, hearing.deaf_at):
                self.events.tell(
                    f"No heartbeat of the scheduler for {limits.heartbeat:g} s, in which the gateway may have missed "
                    f"some ({hearing.reason}); waiting"
                )
            late = self._clock.late(limits)
            if late <= now and self._asked_when_late != self._clock.last_heartbeat:
                self._asked_when_late = self._clock.last_heartbeat
                self._watch.poll_now()
            wake = min(deadline, late if late > now else inf, await self._keeper.give_up_overdue())
            with trio.move_on_at(wake):
                seen = await self.changes.wait(seen)

    async def _submit_again(self, clock: Clock) -> bool:
        """Submit the scheduler once more when its job was given an id but never came into the queue.

        So it is with a batch server that crashed before it had stored the job. False when that is not the case.
        """
        job, seen = self._scheduler_job, self._clock.seen or self._clock.last_heartbeat is not None
        if clock is not Clock.MISSED or job is None or seen or not 0 < self._attempts < MOST_ATTEMPTS:
            return False
        self.events.tell(f"The scheduler's job {job} was never in the queue; submitting it again")
        try:
            await self._driver.cancel(self.ref, [job])  # in case it is there after all
        except JobError as error:
            self.events.tell(f"Job {job} could not be cancelled: {error}")
        self._watch.discard(job)
        self._scheduler_job, self._clock = None, SchedulerClock(trio.current_time())
        await self._submissions.forget(SCHEDULER_GROUP)
        await self._start()
        return True

    async def _silent(self, clock: Clock) -> bool:
        """A clock has run out; False when that does not show that the cluster has failed, and it was set anew."""
        limits = self._rules.limits
        job = self._scheduler_job
        if clock is Clock.QUEUE:
            reason = self._watch.jobs[job].reason if job is not None and job in self._watch.jobs else ""
            self._fail(f"the scheduler's job waited in the queue for more than {limits.queue:g} s{_because(reason)}")
            return True
        words = ""
        if self._clock.last_heartbeat is not None and not (words := await self._ask_scheduler(clock)):
            return False
        log = await self._explain(job) if job is not None else ""
        if clock is Clock.MISSED:
            self._fail(f"the scheduler's job ended: {log}")
        elif clock is Clock.START:
            self._fail(f"the scheduler did not report within {limits.start:g} s after its job had started\n{log}")
        else:
            self._fail(f"the scheduler has not been heard of for {limits.heartbeat:g} s, and {words}\n{log}")
        return True

    async def _ask_scheduler(self, clock: Clock) -> str:
        """Ask a scheduler whose heartbeat is missing; returns what shows that it has ended, else an empty text."""
        limits, hearing = self._rules.limits, self._services.hearing
        before, began = self._clock, trio.current_time()
        asked = await self._services.ask(self._draft.api_address, self._draft.token)
        if self._clock is not before:
            return ""  # something was heard meanwhile, of it or of its job
        answer = asked.answer
        if hearing.deaf_at >= began and answer is not Answer.HERE:
            answer = Answer.NOT_ASKED  # whatever kept us from hearing others may have kept us from hearing the answer
        self._clock = self._clock.told(answer, trio.current_time(), hearing.deaf_at)
        because = f" ({asked.words})" if asked.words else ""
        if self._clock.is_over(clock, answer, limits):
            return f"its port refuses{because}" if answer is Answer.REFUSED else f"it does not answer{because}"
        silence = f"No heartbeat of the scheduler for {limits.heartbeat:g} s"
        if answer is Answer.HERE:
            self.events.tell(f"{silence}, but it answers when it is asked; waiting")
        elif answer is Answer.SILENT:
            self.events.tell(f"{silence}, and it does not answer{because}; it will be asked again")
        else:
            self.events.tell(f"{silence}, and it cannot be asked{because}; trying again")
        return ""

    # ---- the end -----------------------------------------------------------

    async def _finish(self) -> None:
        """End all jobs, wait until they are gone, and record the end."""
        if self.ended:
            return
        self._services.routes.remove(self.name)
        self.changes.notify()
        for group in self._submissions.groups:
            self._watch.add(*await self._submissions.recover(group))
        await self._end_jobs()
        failed = bool(self._draft.reason)
        try:
            await self._driver.clean(self.ref, keep_logs=failed)
        except JobError as error:
            self._log.warning("cannot clean up after a cluster", error=str(error))
        except Exception:  # noqa: BLE001 - what jobs have left behind never keeps a cluster from ending
            self._log.exception("cannot clean up after a cluster")
        await self._submissions.forget(*self._submissions.groups)
        gone = ClusterEvent.FAILED_JOBS_GONE if failed else ClusterEvent.STOPPED_JOBS_GONE
        self.events.tell("Ended")
        self._ledger.change(status=next_cluster_status(self._draft.status, gone), stop_time=time_ms())
        while not self.ended:
            await self.changes.wait(self.changes.count)

    async def _end_jobs(self) -> None:
        """One cancel for all jobs, repeated for those that are still there after a while.

        Those that are only presumed to be gone are among them the first time.
        """
        jobs = alive(self._watch.jobs.items())
        while jobs:
            try:
                await self._driver.cancel(self.ref, jobs)
            except BackendUnavailable as error:
                self.events.tell(f"The batch system does not answer ({error}); trying again")
                await trio.sleep(5)
                continue
            except JobError as error:
                self.events.tell(f"Jobs could not be cancelled: {error}")
            with trio.move_on_after(CANCEL_AGAIN):
                while any(report.state is not JobState.GONE for report in self._watch.jobs.values()):
                    await self._watch.wait_changes()
            jobs = [job for job, report in self._watch.jobs.items() if report.state is not JobState.GONE]

    async def _tell_scheduler(self, message: dict[str, Any]) -> None:
        self._check_runs()
        try:
            await tell_scheduler(
                self._draft.api_address,
                self._draft.token,
                message,
                attempts=self._rules.scheduler_api_retries,
            )
        except Conflict:
            self._watch.poll_now()  # perhaps it is gone
            self._check_runs()  # and that is known by now, with the reason
            raise
        self._check_runs()  # still: nothing changes a record any more once its end is written

    def _check_runs(self) -> None:
        if self._draft.status is not ClusterStatus.RUNNING:
            raise Conflict(not_running(self._draft))


def _because(reason: str) -> str:
    return f": {reason}" if reason else ""
