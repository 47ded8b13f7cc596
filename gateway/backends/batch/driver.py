"""The one driver of all batch systems: a dialect's words, said through the launcher and the poller.

    open_batch_driver ─ nursery ┬ poller: one look at the queue for all jobs
                                ├ limits: asks for the batch system's limits until it answers
                                ├ names: asks whether the ids of submissions are ours
                                ├ cancels: cancels again what is still there long after a cancel
                                └ logs: removes those that were kept for long enough

What users' jobs are made of and how they are ended goes through the launcher,
as the user. Questions (squeue, scontrol) are the gateway's own. Nothing is
cancelled when the driver is closed: jobs outlive the gateway.
"""

import os
import sys
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import structlog
import trio
from attrs import evolve

from gateway.backends.base import ClusterRef, JobSpec, LogText
from gateway.backends.batch.cancellations import TIMEOUT as CANCEL_TIMEOUT
from gateway.backends.batch.canceller import Canceller
from gateway.backends.batch.dialect import Dialect, Refusal, SiteLimits, StatusFailed
from gateway.backends.batch.extra_directives import with_extra_directives
from gateway.backends.batch.job_names import JobNames
from gateway.backends.batch.options import JobQueueBackend
from gateway.backends.batch.poller import Poller, Queue
from gateway.backends.batch.script import profile_hint
from gateway.backends.batch.user_commands import UserCommands, config_of, directory_of, log_text, submit_request
from gateway.backends.commands import Answer
from gateway.backends.launcher.client import AsUsers, Launcher, own_account
from gateway.backends.launcher.settings import Settings
from gateway.backends.launcher.socket_client import SocketLauncher
from gateway.backends.log_tail import READ_BYTES, explain_end
from gateway.backends.user_slots import UserSlots
from gateway.backends.watch import Watch, WatchBoard
from gateway.errors import AnswerLost, BackendUnavailable, JobError, JobRefused, QueueFull
from gateway.models import JobId, JobReport, JobState, Role
from gateway.supervise import supervise

_log = structlog.get_logger()

#: A submission whose answer was lost may still be under way: an empty queue is believed when it is empty twice,
#: this many seconds apart.
SECOND_LOOK = 3.0

#: Seconds between two looks for logs whose time is up.
EXPIRY_PERIOD = 86400.0

#: Seconds between questions for the batch system's limits while it does not answer.
LIMITS_PERIOD = 60.0


class BatchDriver:
    """A batch system at work; see `gateway.backends.base.Driver` for what its methods promise."""

    def __init__(
        self, backend: JobQueueBackend, launcher: AsUsers, queue: Queue, *, cancel_timeout: float = CANCEL_TIMEOUT
    ) -> None:
        """Cancel again, after `cancel_timeout` seconds, what has not ended by then."""
        self._backend = backend
        self._dialect = queue.dialect
        self._commands = UserCommands(launcher, backend.command_timeout)
        self._queue = queue
        self._board = WatchBoard()
        self._limits = SiteLimits()
        self._secrets: dict[str, tuple[str, ...]] = {}
        self._ids = JobNames(queue, self.find)
        # No user holds all the slots of any kind, and ending never waits for starting.
        slots = partial(UserSlots, backend.parallelism, one_user=backend.impersonation == "none")
        self._submitting = slots()
        self._tidying = slots()  # the ends of logs, directories that are removed
        self._canceller = Canceller(
            self._dialect,
            self._commands,
            path=backend.cancel_command,
            names=self._ids,
            board=self._board,
            slots=slots(),
            timeout=cancel_timeout,
        )
        self._kept: dict[tuple[str, str], ClusterRef] = {}  # by user and directory: a cluster whose logs are kept

    async def submit(self, spec: JobSpec) -> tuple[JobId, ...]:
        """One call of the submit command, as the user. Raises as `Driver.submit` does."""
        self._check_pending(spec.cluster.username)
        spec = await with_extra_directives(spec, self._backend)
        config = config_of(spec.cluster)
        inherited = {name: os.environ[name] for name in config.pass_environment if name in os.environ}
        self._secrets[spec.cluster.name] = tuple(spec.secrets.values())
        submission = self._dialect.submission(evolve(spec, environment={**inherited, **spec.environment}))
        request = submit_request(self._dialect, self._backend.submit_command, submission)
        async with self._submitting.held(spec.cluster.username):
            answer = await self._commands.run(spec.cluster, request)
        if answer.returncode != 0:
            raise refusal_of(self._dialect, answer)
        try:
            jobs = self._dialect.parse_submitted(spec, answer.stdout)
        except ValueError as error:
            raise AnswerLost(f"{error}.") from None
        self._ids.submitted(spec, jobs)
        _log.info("submitted", cluster=spec.cluster.name, group=spec.group, count=spec.count, first_job=jobs[0])
        return jobs

    async def find(self, cluster: ClusterRef, role: Role, group: str, count: int) -> tuple[JobId, ...]:
        """Asked of the queue by name and user. Raises `BackendUnavailable` when that cannot be told."""
        if self._limits.hides_jobs and all(report.state is JobState.UNKNOWN for report in self._board.jobs.values()):
            raise BackendUnavailable(self._limits.hides_jobs)  # an operator's gateway has seen some job by now
        try:
            for thorough in (False, True):
                commands = self._dialect.find_commands(cluster, role, group, thorough=thorough)
                jobs = self._dialect.parse_found(cluster, role, group, count, await self._queue.answers(commands))
                if jobs:
                    self._ids.found(cluster, jobs)
                    return jobs
                if not thorough:
                    await trio.sleep(SECOND_LOOK)
        except StatusFailed as failure:
            raise BackendUnavailable(f"{self._dialect.name} does not answer: {failure}") from None
        return ()

    async def cancel(self, cluster: ClusterRef, jobs: Collection[JobId]) -> None:
        """See canceller.py."""
        await self._canceller.cancel(cluster, jobs)

    async def explain(self, cluster: ClusterRef, job: JobId, name: str) -> str:
        """The batch system's own account of the job's end, or what was last seen; then the end of its log."""
        found: dict[str, Any] = {}

        async def ask(key: str, question: Any) -> None:
            found[key] = await question()

        with trio.move_on_after(self._backend.command_timeout):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(ask, "end", partial(self._explain_end, job))
                nursery.start_soon(ask, "log", partial(self._log_end, cluster, name))
        end = found.get("end") or self._last_seen(job)
        log: LogText | None = found.get("log")
        text, words = log.text if log else "", self._dialect.log_words
        return explain_end(
            f"Job {job}: {end.rstrip('.')}." if end else "",
            text,
            self._secrets.get(cluster.name, ()),
            name=name,
            hint=profile_hint(end, text, words) if log and not log.start else "",
            killed=words.killed,
        )

    async def read_log(
        self, cluster: ClusterRef, name: str, size: int, start: int | None = None, *, whole_lines: bool = False
    ) -> LogText | None:
        """Read by the launcher, as the user. Raises as `Driver.read_log` does."""
        place = {"log": self._dialect.log_name(name), "size": size, "start": start, "whole_lines": whole_lines}
        async with self._tidying.held(cluster.username):
            answer = await self._commands.request(cluster, {"action": "tail", **place})
        return log_text(answer) if answer.get("found") is True else None

    async def clean(self, cluster: ClusterRef, *, keep_logs: bool) -> None:
        """The cluster's directory goes, and older ones of the user whose time is up."""
        self._secrets.pop(cluster.name, None)
        self._ids.forget(cluster)
        request = {"action": "clean", "keep_logs": keep_logs, "retention": self._backend.log_retention}
        place = cluster.username, directory_of(cluster)
        try:
            async with self._tidying.held(cluster.username):
                kept = (await self._commands.request(cluster, request)).get("kept")
        except JobError as error:
            _log.warning("a directory was not cleaned", cluster=cluster.name, reason=str(error))
            return
        if kept:
            self._kept[place] = cluster
        else:
            self._kept.pop(place, None)

    def max_group_size(self, cluster: ClusterRef) -> int:
        """The site's option, or less if the batch system's arrays are smaller; 1 without arrays.

        0 while so many jobs of the user wait that no more are submitted.
        """
        limit = self._backend.max_pending_jobs_per_user
        if limit is not None and self._pending(cluster.username) >= limit:
            return 0
        if not self._backend.worker_job_arrays:
            return 1
        return min(self._backend.max_workers_per_submit, self._limits.max_array_size or sys.maxsize)

    async def orphans(self, known: Collection[str]) -> frozenset[str]:
        """None are sought: another gateway may share this batch system, and its jobs look alike."""
        await trio.lowlevel.checkpoint()
        return frozenset()

    @property
    def trouble(self) -> str:
        """Why users are affected at the moment: nothing has been learnt of some jobs for minutes."""
        return self._board.overdue

    @property
    def stalled(self) -> str:
        """Why nothing is learnt of jobs any more, although each question has a deadline."""
        return self._board.stalled

    def watch(self, cluster: ClusterRef) -> Watch:
        """A watch on the poller's board."""
        return self._board.open(cluster)

    async def run(self) -> None:
        """Follow the queue, until cancelled."""
        backend = self._backend
        poller = Poller(
            queue=self._queue,
            board=self._board,
            period=backend.poll_period,
            eager_period=backend.eager_poll_period,
            limits=lambda: self._limits,
            give_up=self._canceller.cancel_hopeless,
            cancelled=lambda: self._canceller.jobs,
        )
        async with trio.open_nursery() as nursery:
            for name, run in (
                ("poller", poller.run),
                ("limits", self._read_limits),
                ("names", self._ids.run),
                ("cancels", self._canceller.retry_cancels),
                ("logs", self._remove_expired_logs),
            ):
                # All clusters hang on these: they are never given up.
                nursery.start_soon(
                    partial(
                        supervise,
                        name,
                        run,
                        limit=sys.maxsize,
                        base_delay=backend.backoff_base_delay,
                        max_delay=min(backend.backoff_max_delay, backend.poll_period),
                    )
                )

    async def _remove_expired_logs(self) -> None:
        """Remove logs that were kept for long enough, also of users who do not come back."""
        while True:
            await trio.sleep(min(EXPIRY_PERIOD, self._backend.log_retention + 1))
            for cluster in list(self._kept.values()):
                await self.clean(cluster, keep_logs=True)

    async def _read_limits(self) -> None:
        while True:
            try:
                self._limits = await self._queue.limits()
            except (BackendUnavailable, StatusFailed) as error:
                _log.warning("the batch system's limits are not known yet", reason=str(error))
                await trio.sleep(LIMITS_PERIOD)
            else:
                _log.info("the batch system's limits are known", max_array_size=self._limits.max_array_size)
                if self._limits.hides_jobs:
                    _log.error("the batch system hides jobs", reason=self._limits.hides_jobs)
                return

    def _check_pending(self, username: str) -> None:
        """Raise BackendUnavailable, so that the submission is tried again, while too many of the user's jobs wait."""
        limit = self._backend.max_pending_jobs_per_user
        if limit is not None and (pending := self._pending(username)) >= limit:
            waiting = f"{pending} jobs of {username} wait in the queue already"
            raise BackendUnavailable(f"{waiting}; the site's limit is {limit}.")

    def _pending(self, username: str) -> int:
        """The user's jobs that wait; those of which nothing was heard yet were submitted a moment ago."""
        return sum(
            report.state is JobState.QUEUED or report == JobReport(JobState.UNKNOWN)
            for watch in self._board.watches
            if watch.cluster.username == username
            for report in watch.jobs.values()
        )

    async def _explain_end(self, job: JobId) -> str:
        for command in self._dialect.explain_commands(job):
            try:
                answer = await self._queue.answer(command)
            except StatusFailed as failure:
                _log.info("a job's end cannot be asked for", job=job, reason=str(failure))
                continue
            if text := self._dialect.parse_explanation(job, answer):
                return text
        return ""

    def _last_seen(self, job: JobId) -> str:
        report = self._board.jobs.get(job)
        return report.reason if report is not None else ""

    async def _log_end(self, cluster: ClusterRef, name: str) -> LogText | None:
        try:
            return await self.read_log(cluster, name, READ_BYTES)
        except JobError as error:
            _log.info("a log cannot be read", cluster=cluster.name, job=name, reason=str(error))
            return None


def refusal_of(dialect: Dialect, answer: Answer) -> JobError:
    """The error that stands for a submit command's failure."""
    name, refusal = dialect.name, dialect.refusal(answer)
    if refusal is Refusal.LOST:
        return AnswerLost(f"{name}'s answer was lost: {answer.words}")
    if refusal is Refusal.AWAY:
        return BackendUnavailable(f"{name} does not answer: {answer.words}")
    if refusal is Refusal.FULL:
        return QueueFull(f"{name} takes no more jobs at the moment: {answer.words}")
    advice = dialect.advice(answer)
    return JobRefused(f"{name} refused the job: {answer.words}" + (f" {advice}" if advice else ""))


def launcher_of(backend: JobQueueBackend) -> AsUsers:
    """The way to the launcher that the option `impersonation` names."""
    if backend.impersonation == "socket":
        return SocketLauncher(backend.launcher_socket)
    beside = os.path.join(os.path.dirname(sys.executable), "dask-gateway-jobqueue-launcher")
    return Launcher(
        path=backend.dask_gateway_jobqueue_launcher or beside,
        impersonate=backend.impersonation == "sudo",
        own_name=own_account(),
    )


@asynccontextmanager
async def open_batch_driver(
    backend: JobQueueBackend,
    dialect: Dialect,
    settings: Settings | None = None,
    *,
    cancel_timeout: float = CANCEL_TIMEOUT,
) -> AsyncIterator[BatchDriver]:
    """The driver at work, for as long as the context lasts; `settings` are root's for batch commands."""
    environment = {} if settings is None else settings.environment
    queue = Queue(dialect=dialect, command_timeout=backend.command_timeout, environment=environment)
    driver = BatchDriver(backend, launcher_of(backend), queue, cancel_timeout=cancel_timeout)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(driver.run)
        yield driver
        nursery.cancel_scope.cancel()
