"""Local jobs at work: started, followed to their end, ended on request.

    open_local_driver ─ nursery ┬ a task for each submission, until its processes are started
                                ├ a task for each job: its pidfd is readable → kill the rest of its session → GONE
                                └ a task for each job being ended: SIGINT to its leader, SIGTERM and SIGKILL to all

Nothing polls. Closing the driver ends no job: the next driver on the same
clusters directory takes the jobs back by their ids, or finds them by the marks
in their environment (jobs.py). Only jobs whose end was asked for, and
that are still there, are killed with the driver.

A submission goes on when its caller is cancelled, as in a batch system: either
all of a group starts, or nothing of it is left. `find` waits for that.
"""

from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from shutil import which
from signal import SIGINT, SIGKILL, SIGTERM
from typing import TypeVar, TypeVarTuple

import structlog
import trio
from attrs import define, field, frozen

from gateway.backends.base import ClusterRef, JobSpec, LogText, submission_name
from gateway.backends.commands import with_fallback
from gateway.backends.local.files import ClustersDirectory
from gateway.backends.local.followed import FollowedJob, FollowedJobs
from gateway.backends.local.jobs import (
    CLUSTER_MARK,
    Account,
    MarkedProcess,
    find_jobs,
    job_environment,
)
from gateway.backends.local.process import Process, read_marked, start_process
from gateway.backends.local.sessions import end_processes
from gateway.backends.log_tail import READ_BYTES, explain_end
from gateway.backends.user_slots import UserSlots
from gateway.backends.watch import Watch, WatchBoard
from gateway.errors import AnswerLost, BackendUnavailable, JobError, JobRefused
from gateway.models import JobId, JobReport, JobState, Role

Answer = TypeVar("Answer")
Arguments = TypeVarTuple("Arguments")

_log = structlog.get_logger()


@frozen(kw_only=True)
class LocalOptions:
    """What a driver is told. `programs` is the folder in which jobs look for commands last; times are seconds."""

    account_of: Callable[[str], Account]
    inherited: Mapping[str, str]
    programs: str
    sigint_timeout: float
    sigterm_timeout: float
    sigkill_timeout: float
    parallelism: int


@define(eq=False)
class _Submission:
    """A submission under way: nothing is known before it is done."""

    done: trio.Event = field(factory=trio.Event)
    jobs: tuple[JobId, ...] = ()
    error: JobError | None = None


class LocalDriver:
    """The `Driver` (backends/base.py) of jobs that are plain processes of this machine."""

    def __init__(self, directory: ClustersDirectory, options: LocalOptions, nursery: trio.Nursery) -> None:
        self._directory = directory
        self._options = options
        self._nursery = nursery
        self._board = WatchBoard()
        self._starts = trio.CapacityLimiter(options.parallelism)
        self._reading = trio.CapacityLimiter(options.parallelism)
        # What a user's jobs have left may take its time to remove: not in the threads that everything else waits for,
        # and not in all of these for one user.
        self._removals = UserSlots(options.parallelism)
        self._removing = trio.CapacityLimiter(options.parallelism)
        self._submissions: dict[str, _Submission] = {}
        self._followed = FollowedJobs(nursery, self._board, options.sigint_timeout)
        # Kept until the cluster is cleaned, as is how its jobs ended: what must not be shown of their logs.
        self._secrets: dict[str, set[str]] = {}

    # ---- Driver ------------------------------------------------------------

    async def submit(self, spec: JobSpec) -> tuple[JobId, ...]:
        """Start all processes of a submission, or none; see `Driver.submit`.

        Raises `JobRefused` when the processes cannot be started.
        """
        submission = self._submissions[spec.submission] = _Submission()
        self._nursery.start_soon(self._run_submission, spec, submission)
        await submission.done.wait()
        if submission.error is not None:
            raise submission.error
        return submission.jobs

    async def find(self, cluster: ClusterRef, role: Role, group: str, count: int) -> tuple[JobId, ...]:
        """The jobs of a submission, by their marks; see `Driver.find` and `find_jobs`."""
        submission = self._submissions.get(submission_name(cluster.name, group))
        if submission is not None:
            await submission.done.wait()
        try:
            account = await _look(self._options.account_of, cluster.username)
        except JobRefused:
            return ()
        with _unavailable_on_errors():
            marked = await _look(read_marked, self._directory.path)
        return find_jobs(marked, cluster.name, role, group, count, uid=account.uid)

    async def cancel(self, cluster: ClusterRef, jobs: Collection[JobId]) -> None:
        """Begin to end these jobs; see `Driver.cancel`."""
        await trio.lowlevel.checkpoint()
        options = self._options
        steps = (
            (SIGINT, options.sigint_timeout),
            (SIGTERM, options.sigterm_timeout),
            (SIGKILL, options.sigkill_timeout),
        )
        ending: list[FollowedJob] = []
        for id in jobs:
            with _unavailable_on_errors():
                job = self._followed.jobs.get(id) or self._followed.take_back(cluster.name, id)
            if job is not None:
                ending.append(job)
                self._board.deliver({id: JobReport(JobState.ENDING)})
        # A cluster's oldest job, its scheduler, is the last to end: one that ends first tells its workers to close,
        # and nannies that are interrupted in that moment wait in vain for their workers (distributed 2026.8, 8 s).
        mine = (job for job in self._followed.jobs.values() if job.cluster == cluster.name)
        oldest = min(mine, key=lambda job: job.process.id.start, default=None)
        for job in ending:
            self._followed.end(
                job, steps, after=[other for other in ending if other is not oldest] if job is oldest else ()
            )

    async def explain(self, cluster: ClusterRef, job: JobId, name: str) -> str:
        """How the job ended, and the last lines of its log; see `Driver.explain`."""
        how = self._followed.ends.get(cluster.name, {}).get(job, "")
        log = await self.read_log(cluster, name, READ_BYTES)
        return explain_end(how, log.text if log else "", self._secrets.get(cluster.name, ()))

    async def read_log(
        self, cluster: ClusterRef, name: str, size: int, start: int | None = None, *, whole_lines: bool = False
    ) -> LogText | None:
        """A file's part; see `Driver.read_log`."""
        # Not abandoned when cancelled, for the directory's descriptor, as below.
        read = partial(self._directory.read_log, cluster.name, name, size, start, whole_lines=whole_lines)
        part = await trio.to_thread.run_sync(read, limiter=self._reading)
        return part and LogText(text=part.content.decode("utf-8", "replace"), start=part.start, end=part.end)

    async def clean(self, cluster: ClusterRef, *, keep_logs: bool) -> None:
        """Remove the cluster's folder, and end what its jobs have left running in sessions of their own."""
        with _unavailable_on_errors():
            await self._end_marked(lambda process: process.marks.get(CLUSTER_MARK) == cluster.name)
        # Not abandoned when cancelled: the directory's descriptor must not be closed meanwhile.
        remove = partial(self._directory.remove, cluster.name, keep_logs=keep_logs)
        async with self._removals.held(cluster.username):
            problems = await trio.to_thread.run_sync(remove, limiter=self._removing)
        for problem in problems:
            _log.warning("a part of a cluster's folder could not be removed", cluster=cluster.name, problem=problem)
        self._followed.ends.pop(cluster.name, None)
        self._secrets.pop(cluster.name, None)

    @property
    def trouble(self) -> str:
        """Never any: processes of this machine can always be looked at."""
        return ""

    @property
    def stalled(self) -> str:
        """Never: nothing is asked here that has no deadline."""
        return ""

    def max_group_size(self, cluster: ClusterRef) -> int | None:
        """No limit but the machine's own."""
        return None

    def watch(self, cluster: ClusterRef) -> Watch:
        """A watch that follows each job from the moment it is added; see `Driver.watch`."""
        return _LocalWatch(self, self._board, cluster)

    # ---- beyond the Driver -------------------------------------------------

    async def orphans(self, known: Collection[str]) -> frozenset[str]:
        """End all processes of this gateway's clusters except the `known` ones; return the clusters they were of.

        For the start of a gateway whose predecessor crashed: clusters that are not on record are nobody's.
        Processes of gateways with another clusters directory are not touched.
        """
        return await self._end_marked(lambda process: process.marks.get(CLUSTER_MARK) not in known)

    def tell(self, cluster: ClusterRef, job: JobId) -> None:
        """Report what is known of a job that a cluster has begun to watch; follow it, if it is still there."""
        known = self._followed.jobs.get(job)
        if known is None and job not in self._followed.ends.get(cluster.name, {}):
            known = self._followed.take_back(cluster.name, job)
        if known is None:
            report = JobReport(JobState.GONE, self._followed.ends[cluster.name][job])
        else:
            report = JobReport(JobState.ENDING if known.steps else JobState.RUNNING)
        self._board.deliver({job: report})

    def close(self) -> None:
        """The last resort: kill what should have ended, without waiting for it."""
        self._followed.kill_ending()

    # ---- starting ----------------------------------------------------------

    async def _run_submission(self, spec: JobSpec, submission: _Submission) -> None:
        submission.error = AnswerLost(f"The gateway stopped while it started {spec.submission}.")
        try:
            submission.jobs = await self._start_all(spec)
            submission.error = None
        except JobError as error:
            submission.error = error
        finally:
            del self._submissions[spec.submission]
            submission.done.set()

    async def _start_all(self, spec: JobSpec) -> tuple[JobId, ...]:
        account = await _look(self._options.account_of, spec.cluster.username)
        folder = await trio.to_thread.run_sync(self._directory.prepare, spec.cluster.name, account)
        self._secrets.setdefault(spec.cluster.name, set()).update(spec.secrets.values())
        started: dict[str, FollowedJob] = {}
        errors: list[JobError] = []

        async def start(name: str) -> None:
            begin = partial(self._start, spec, name, account, folder)
            try:
                process = await trio.to_thread.run_sync(begin, limiter=self._starts)
            except JobError as error:
                errors.append(error)
                nursery.cancel_scope.cancel()
            else:
                started[name] = self._followed.follow(FollowedJob(JobId(str(process.id)), spec.cluster.name, process))

        async with trio.open_nursery() as nursery:
            for name in spec.names:
                nursery.start_soon(start, name)
        if not errors:
            return tuple(started[name].id for name in spec.names)
        timeout = self._options.sigkill_timeout
        for job in started.values():
            self._followed.end(job, ((SIGKILL, timeout),))
        with trio.move_on_after(timeout):
            for job in started.values():
                await job.gone.wait()
        raise errors[0]

    def _start(self, spec: JobSpec, name: str, account: Account, folder: str) -> Process:
        environment = job_environment(
            spec,
            name,
            account,
            inherited=self._options.inherited,
            programs=self._options.programs,
            directory=self._directory.path,
        )
        argv = with_fallback(spec.argv(name), partial(which, path=environment["PATH"]))
        with self._directory.open_log(spec.cluster.name, name, account) as output:
            return start_process(argv, directory=folder, environment=environment, output=output, account=account)

    async def _end_marked(self, chosen: Callable[[MarkedProcess], bool]) -> frozenset[str]:
        """End the chosen ones among the processes with our marks; return the clusters they were of."""
        clusters: set[str] = set()
        for number, timeout in ((SIGTERM, self._options.sigterm_timeout), (SIGKILL, self._options.sigkill_timeout)):
            found = list(filter(chosen, await _look(read_marked, self._directory.path)))
            if not found:
                break
            clusters.update(process.marks.get(CLUSTER_MARK, "") for process in found)
            with trio.move_on_after(timeout):
                await end_processes([process.id for process in found], number)
        return frozenset(clusters)


class _LocalWatch(Watch):
    """A watch that asks the driver of each job added: nothing else would, as nothing polls."""

    def __init__(self, driver: LocalDriver, board: WatchBoard, cluster: ClusterRef) -> None:
        super().__init__(board, cluster)
        self._driver = driver
        self._ref = cluster

    def add(self, *jobs: JobId) -> None:
        super().add(*jobs)
        for job in jobs:
            self._driver.tell(self._ref, job)


@contextmanager
def _unavailable_on_errors() -> Iterator[None]:
    """The system's errors in looking for processes, mapped once: it is out of something, file descriptors as a rule."""
    try:
        yield
    except OSError as error:
        raise BackendUnavailable(f"This machine's processes cannot be looked at: {error.strerror}.") from error


async def _look(question: Callable[[*Arguments], Answer], *arguments: *Arguments) -> Answer:
    """Ask something that may block, in a thread that is left alone when we are cancelled."""
    return await trio.to_thread.run_sync(question, *arguments, abandon_on_cancel=True)


@asynccontextmanager
async def open_local_driver(directory: ClustersDirectory, options: LocalOptions) -> AsyncIterator[LocalDriver]:
    """A driver with a nursery of its own. Jobs go on when it closes, except those that are being ended."""
    async with trio.open_nursery() as nursery:
        driver = LocalDriver(directory, options, nursery)
        try:
            yield driver
        finally:
            driver.close()
            nursery.cancel_scope.cancel()
