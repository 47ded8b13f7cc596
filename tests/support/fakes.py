"""Stand-ins for what the gateway talks to, scripted by tests.

`FakeDriver` is a batch system in memory. Nothing happens in it by itself: a
test says when jobs run, end, or cannot be asked about, and what becomes of the
next submissions. (`runs_at_once` and `ends_at_once` take over the two steps
that most tests do not care about.) Everything it was asked to do is recorded in
`submissions`, `cancelled`, `cleaned` and `searched`, oldest first.

    driver = FakeDriver()
    driver.refuse_next("no such partition")        # or lose_next(), hang_next(), fail_next(error)
    ...
    await driver.wait_submissions(2)
    driver.run("w1")                               # all jobs of group w1, or by job id or name
    driver.end("w1-0", reason="exit code 3")
"""

import io
from collections import deque
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from typing import Any

import trio
from attrs import define, field, frozen

from gateway.backends.base import ClusterRef, JobSpec, LogText, job_names, submission_name
from gateway.backends.log_part import read_part
from gateway.backends.watch import Watch, WatchBoard
from gateway.clusters.ledger import Account, Ledger
from gateway.clusters.rules import Rules
from gateway.config.backend import DBBackendBase
from gateway.config.cluster import ClusterConfig
from gateway.errors import AnswerLost, BackendUnavailable, JobError, JobRefused, QueueFull
from gateway.models import JobId, JobReport, JobState, Role


def rules_with(**options: Any) -> Rules:
    """The rules of a site with these options of its backend."""
    return Rules(options=DBBackendBase(**options), api_url="http://gateway:8000/api", host="0.0.0.0")


RULES = rules_with()


def adopted(config: ClusterConfig, ledger: Ledger | None = None, user: str = "alice") -> Account:
    """The account of a cluster that is counted; without a ledger nothing is limited."""
    account = (ledger or Ledger()).account(user, (), config)
    account.adopt()
    return account


def fake_backend(default_host: str = "127.0.0.1") -> str:
    """A configuration whose gateway has a FakeDriver of its own as `config.backend.driver`, and takes a free port."""
    return f"""
from gateway.config.backend import DBBackendBase
from tests.support.fakes import FakeDriver, open_fake_driver

class FakeBackend(DBBackendBase):
    default_host = {default_host!r}
    driver = FakeDriver()

    def open_driver(self):
        return open_fake_driver(self.driver)

c.DaskGateway.backend_class = FakeBackend
c.DBBackendBase.db_url = "sqlite://"
c.Proxy.address = "127.0.0.1:0"
"""


class FakeRoutes:
    """The proxy's route table: name → (scheduler, dashboard)."""

    def __init__(self) -> None:
        self.routes: dict[str, tuple[Any, Any]] = {}

    def add(self, name: str, scheduler: Any, dashboard: Any, *, cluster: str = "") -> None:
        self.routes[name] = (scheduler, dashboard)

    def remove(self, name: str) -> None:
        self.routes.pop(name, None)


@define
class FakeJob:
    """One job of the fake batch system, with what it last said of itself."""

    id: JobId
    name: str
    spec: JobSpec
    report: JobReport = field(factory=lambda: JobReport(JobState.QUEUED))
    cancelled: bool = False


@frozen
class _Answer:
    """What becomes of one submission: whether its jobs exist, and what the caller is told."""

    exists: bool = True
    error: JobError | None = None
    hang: trio.Event | None = None


@define
class FakeDriver:
    """A `Driver` (gateway/backends/base.py) without a batch system behind it."""

    #: Jobs are RUNNING as soon as they are submitted.
    runs_at_once: bool = False
    #: Cancelled jobs are GONE at once; otherwise they are ENDING until the test says more.
    ends_at_once: bool = True
    #: The largest group that one submission may have.
    group_limit: int | None = None
    #: What `stalled` says.
    halted: str = ""
    #: So many jobs may be in the queue, and so many in one submission; what is more is turned away.
    room: int | None = None
    room_for_arrays: int | None = None
    #: Called with each job right after its submission, to play a job's life.
    on_submit: Callable[[FakeJob], None] | None = None

    submissions: list[JobSpec] = field(factory=list, init=False)
    cancelled: list[tuple[JobId, ...]] = field(factory=list, init=False)
    cleaned: list[tuple[str, bool]] = field(factory=list, init=False)
    searched: list[str] = field(factory=list, init=False)
    #: The sizes of submissions for which there was no room.
    turned_away: list[int] = field(factory=list, init=False)
    jobs: dict[JobId, FakeJob] = field(factory=dict, init=False)
    board: WatchBoard = field(factory=WatchBoard, init=False)
    #: job id → what `explain` says; a job without an entry is explained by its last report.
    explanations: dict[JobId, str] = field(factory=dict, init=False)
    logs: dict[tuple[str, str], str | JobError] = field(factory=dict, init=False)
    #: Errors that the next calls of `find` and `cancel` raise.
    find_errors: deque[JobError] = field(factory=deque, init=False)
    cancel_errors: deque[JobError] = field(factory=deque, init=False)
    _answers: deque[_Answer] = field(factory=deque, init=False)
    _changed: trio.Event = field(factory=trio.Event, init=False)

    # -- the script: what becomes of the next submissions, in order

    def fail_next(self, error: JobError, *, exists: bool = False) -> None:
        """The next submission raises `error`; `exists` says whether its jobs are in the queue all the same."""
        self._answers.append(_Answer(exists=exists, error=error))

    def refuse_next(self, reason: str) -> None:
        """The next submission is refused in these words."""
        self.fail_next(JobRefused(reason))

    def full_next(self, reason: str = "as many jobs as you may have are in the queue") -> None:
        """The next submission finds the queue full."""
        self.fail_next(QueueFull(reason))

    def unavailable_next(self, reason: str = "the batch system does not answer") -> None:
        """The batch system is away when the next submission comes."""
        self.fail_next(BackendUnavailable(reason))

    def lose_next(self, *, exists: bool = True) -> None:
        """The answer of the next submission is lost; `find` finds its jobs when they exist."""
        self.fail_next(AnswerLost("the answer was lost"), exists=exists)

    def hang_next(self, *, exists: bool = True) -> trio.Event:
        """The next submission does not return before the event is set; its jobs are there at once when they exist."""
        event = trio.Event()
        self._answers.append(_Answer(exists=exists, hang=event))
        return event

    def forget_next(self) -> None:
        """The next submissions have no fate of their own any more."""
        self._answers.clear()

    # -- the script: the jobs' lives

    def select(self, what: str) -> list[FakeJob]:
        """The jobs that `what` names: a job id, the name of a job, or a group. Nothing found is a test's mistake."""
        jobs = [job for job in self.jobs.values() if what in (job.id, job.name, job.spec.group)]
        assert jobs, f"no job, name or group {what!r} among {[(job.id, job.name) for job in self.jobs.values()]}"
        return jobs

    def report(self, what: str, state: JobState, reason: str = "", **more: bool) -> None:
        """The jobs that `what` names are in this state now; `more` are the marks of a `JobReport`."""
        for job in self.select(what):
            job.report = JobReport(state, reason, **more)
            self.board.deliver({job.id: job.report})
        self._wake()

    def run(self, what: str) -> None:
        """These jobs run."""
        self.report(what, JobState.RUNNING)

    def end(self, what: str, reason: str = "") -> None:
        """These jobs are gone."""
        self.report(what, JobState.GONE, reason)

    def unknown(self, reason: str = "the batch system does not answer") -> None:
        """Nothing can be told of any job."""
        self.board.deliver({job: JobReport(JobState.UNKNOWN, reason) for job in self.board.jobs})

    @property
    def living(self) -> list[JobId]:
        """The ids of all jobs that are not gone."""
        return [job.id for job in self.jobs.values() if job.report.state is not JobState.GONE]

    # -- for tests that wait

    async def wait_until(self, condition: Callable[[], bool]) -> None:
        """Wait until the condition holds; it is asked again after each call or report."""
        while not condition():
            await self._changed.wait()

    async def wait_submissions(self, count: int) -> list[JobSpec]:
        """Wait until there were `count` submissions, and return them all."""
        await self.wait_until(lambda: len(self.submissions) >= count)
        return self.submissions

    # -- the Driver

    async def submit(self, spec: JobSpec) -> tuple[JobId, ...]:
        """Follow the script: by default the jobs are queued and their ids returned."""
        if (self.room is not None and len(self.living) + spec.count > self.room) or (
            self.room_for_arrays is not None and spec.count > self.room_for_arrays
        ):
            self.turned_away.append(spec.count)
            await trio.lowlevel.checkpoint()
            raise QueueFull("as many jobs as you may have are in the queue")
        answer = self._answers.popleft() if self._answers else _Answer()
        self.submissions.append(spec)
        ids = self._create(spec) if answer.exists else ()
        self._wake()
        await trio.lowlevel.checkpoint()
        if answer.hang is not None:
            await answer.hang.wait()
        if answer.error is not None:
            raise answer.error
        return ids

    async def find(self, cluster: ClusterRef, role: Role, group: str, count: int) -> tuple[JobId, ...]:
        """The ids of the submission's jobs, as long as one of them is not gone."""
        submission = submission_name(cluster.name, group)
        self.searched.append(submission)
        self._wake()
        await trio.lowlevel.checkpoint()
        if self.find_errors:
            raise self.find_errors.popleft()
        found = {job.name: job for job in self.jobs.values() if job.spec.submission == submission}
        if all(job.report.state is JobState.GONE for job in found.values()):
            return ()
        return tuple(found[name].id for name in job_names(role, group, count))

    async def cancel(self, cluster: ClusterRef, jobs: Collection[JobId]) -> None:
        """Jobs that live are ENDING, and GONE when `ends_at_once`."""
        self.cancelled.append(tuple(jobs))
        self._wake()
        await trio.lowlevel.checkpoint()
        if self.cancel_errors:
            raise self.cancel_errors.popleft()
        for id_ in jobs:
            job = self.jobs.get(id_)
            if job is not None and job.report.state is not JobState.GONE:
                job.cancelled = True
                self.report(id_, JobState.ENDING)
                if self.ends_at_once:
                    self.end(id_)

    async def explain(self, cluster: ClusterRef, job: JobId, name: str) -> str:
        """What the test put into `explanations`, or the job's last reason."""
        await trio.lowlevel.checkpoint()
        default = self.jobs[job].report.reason if job in self.jobs else ""
        return self.explanations.get(job, default)

    async def read_log(
        self, cluster: ClusterRef, name: str, size: int, start: int | None = None, *, whole_lines: bool = False
    ) -> LogText | None:
        """What the test put into `logs`; an error that it put there is raised."""
        await trio.lowlevel.checkpoint()
        log = self.logs.get((cluster.name, name))
        if isinstance(log, JobError):
            raise log
        if log is None:
            return None
        part = read_part(io.BytesIO(log.encode()), size, start, whole_lines=whole_lines)
        return LogText(text=part.content.decode(), start=part.start, end=part.end)

    async def clean(self, cluster: ClusterRef, *, keep_logs: bool) -> None:
        """It is recorded, and logs go."""
        await trio.lowlevel.checkpoint()
        self.cleaned.append((cluster.name, keep_logs))
        if not keep_logs:
            self.logs = {place: log for place, log in self.logs.items() if place[0] != cluster.name}
        self._wake()

    async def orphans(self, known: Collection[str]) -> frozenset[str]:
        """A batch system leaves them alone."""
        await trio.lowlevel.checkpoint()
        return frozenset()

    @property
    def trouble(self) -> str:
        """As any driver: what the board says."""
        return self.board.overdue

    @property
    def stalled(self) -> str:
        """As the test says in `halted`."""
        return self.halted

    def max_group_size(self, cluster: ClusterRef) -> int | None:
        """As the test says in `group_limit`."""
        return self.group_limit

    def watch(self, cluster: ClusterRef) -> Watch:
        """A watch that hears at once what is already known of the jobs added to it."""
        return _FakeWatch(self, cluster)

    # -- inside

    def _create(self, spec: JobSpec) -> tuple[JobId, ...]:
        number = len(self.submissions)
        ids = tuple(JobId(f"{number}_{index}") for index in range(spec.count))
        for id_, name in zip(ids, spec.names, strict=True):
            job = self.jobs[id_] = FakeJob(id_, name, spec)
            if self.runs_at_once:
                self.run(id_)
            if self.on_submit is not None:
                self.on_submit(job)
        return ids

    def _wake(self) -> None:
        self._changed.set()
        self._changed = trio.Event()


class _FakeWatch(Watch):
    """Jobs may change between the submission and `add`; like a poller, the fake tells it afterwards."""

    def __init__(self, driver: FakeDriver, cluster: ClusterRef) -> None:
        super().__init__(driver.board, cluster)
        self._driver = driver

    def add(self, *jobs: JobId) -> None:
        super().add(*jobs)
        gone = JobReport(JobState.GONE, "no such job")
        for id_ in jobs:
            self._driver.board.deliver({id_: self._driver.jobs[id_].report if id_ in self._driver.jobs else gone})


@asynccontextmanager
async def open_fake_driver(driver: FakeDriver | None = None) -> AsyncIterator[FakeDriver]:
    """What a backend's `open_driver` is to a fake."""
    yield driver or FakeDriver()
