"""The workers of one cluster: who they are, what state they are in, and since when.

This is bookkeeping without I/O: the cluster's tasks feed it with job reports
and heartbeats, and ask what is to be done. Every worker belongs to a group,
that is, to one submission.
"""

from collections.abc import Iterable, Iterator, Mapping

from attrs import define

from gateway.backends.base import job_names
from gateway.clusters.heartbeat import Heartbeat, worker_events
from gateway.clusters.lifecycle import (
    COMING_STATES,
    WorkerEnding,
    WorkerEvent,
    WorkerState,
    ending_of,
    next_worker_state,
)
from gateway.models import JobId, JobReport, JobState, Role


@define
class Worker:
    """One worker.

    `job` is None while its submission's answer is awaited; `since` is when it came into `state`. `seen` says that the
    batch system has told anything of its job, `waits` that it waits, and `reason` why. It is `missed` while its job is
    presumed to be gone, although the scheduler says that it is connected.
    """

    name: str
    group: str
    job: JobId | None = None
    state: WorkerState = WorkerState.QUEUED
    since: float = 0.0
    reason: str = ""
    waits: bool = False
    seen: bool = False
    missed: JobReport | None = None


class Workers:
    """The workers that have not ended, in the order of their submission."""

    def __init__(self) -> None:
        self.failed_starts = 0
        """Failed starts in a row: since a worker last connected."""
        self._by_name: dict[str, Worker] = {}
        self._by_job: dict[JobId, Worker] = {}

    def __iter__(self) -> Iterator[Worker]:
        return iter(self._by_name.values())

    def __len__(self) -> int:
        return len(self._by_name)

    @property
    def states(self) -> Mapping[str, WorkerState]:
        """The state of each worker, in the order of submission."""
        return {name: worker.state for name, worker in self._by_name.items()}

    @property
    def coming(self) -> bool:
        """True while a worker is on its way."""
        return any(worker.state in COMING_STATES for worker in self)

    def groups(self) -> frozenset[str]:
        """The groups that still have a worker."""
        return frozenset(worker.group for worker in self)

    def nameless_groups(self) -> tuple[str, ...]:
        """The groups whose jobs' ids are not known."""
        return tuple(dict.fromkeys(worker.group for worker in self if worker.job is None))

    def count(self, state: WorkerState) -> int:
        """The number of workers in `state`."""
        return sum(worker.state is state for worker in self)

    def waiting(self) -> tuple[int, str]:
        """How many workers wait in the queue, and why in the batch system's words; empty when it says nothing."""
        waiting = [worker for worker in self if worker.state is WorkerState.QUEUED and worker.waits]
        return len(waiting), next((worker.reason for worker in waiting if worker.reason), "")

    def named(self, names: Iterable[str]) -> list[Worker]:
        """The workers of these names that have not ended."""
        return [self._by_name[name] for name in names if name in self._by_name]

    def submit(self, group: str, count: int, now: float) -> None:
        """A group of workers is about to be submitted."""
        for name in job_names(Role.WORKER, group, count):
            self._by_name[name] = Worker(name, group, since=now)

    def adopt(self, group: str, count: int, now: float) -> None:
        """A group was submitted before a restart of the gateway; its ids follow with `submitted`."""
        self.submit(group, count, now)
        for worker in self._members(group):
            worker.state = WorkerState.ADOPTED

    def submitted(self, group: str, jobs: Iterable[JobId]) -> None:
        """The batch system has accepted the group under these ids, in the order of their names."""
        for worker, job in zip(self._members(group), jobs, strict=True):
            worker.job = job
            self._by_job[job] = worker

    def drop_group(self, group: str) -> None:
        """The group was never submitted after all."""
        for worker in self._members(group):
            self._remove(worker)

    def report(
        self, job: JobId, report: JobReport, now: float, *, requeue: bool = True
    ) -> tuple[Worker, WorkerEnding] | None:
        """The batch system said something about a job; returns the worker and the meaning when it has ended.

        Without `requeue` a job must run once only: one that has gone back to the queue is lost. (Arrays of PBS are
        always run again.) A job that is only presumed to be gone has not ended while its worker is connected.
        """
        worker = self._by_job.get(job)
        if worker is None:
            return None
        worker.reason = report.reason
        worker.missed = report if report.presumed and worker.state is WorkerState.ACTIVE else None
        if report.state is JobState.GONE and worker.missed is None:
            self._remove(worker)
            ending = ending_of(worker.state, deleted=report.deleted, seen=worker.seen or not report.presumed)
            self.failed_starts += ending is WorkerEnding.FAILED_START
            return worker, ending
        if report.state not in (JobState.UNKNOWN, JobState.GONE):
            worker.waits, worker.seen = report.state is JobState.QUEUED, True
        # What has never been seen to wait, and is unknown for minutes, counts as started, so that its time runs out.
        unheard = report.overdue and not worker.waits
        if report.state is JobState.QUEUED:
            rerun = worker.state is WorkerState.STARTING and not requeue
            self.apply(worker, WorkerEvent.DISCONNECTED if rerun else WorkerEvent.JOB_QUEUED, now)
        elif report.state is JobState.RUNNING or unheard:
            self.apply(worker, WorkerEvent.JOB_RUNNING, now)
        return None

    def missed(self) -> list[tuple[JobId, JobReport]]:
        """The reports of jobs that were presumed gone and whose workers are no longer connected."""
        return [
            (worker.job, worker.missed)
            for worker in self
            if worker.missed is not None and worker.job is not None and worker.state is not WorkerState.ACTIVE
        ]

    def hear(self, heartbeat: Heartbeat, now: float) -> bool:
        """A heartbeat says who is connected; returns whether that is news of anybody."""
        news = [self.apply(self._by_name[name], event, now) for name, event in worker_events(self.states, heartbeat)]
        return any(news)

    def apply(self, worker: Worker, event: WorkerEvent, now: float) -> bool:
        """Something happened to a worker; returns whether that changed its state."""
        state = next_worker_state(worker.state, event)
        if state is worker.state:
            return False
        worker.state, worker.since = state, now
        if state is WorkerState.ACTIVE:
            self.failed_starts = 0
        return True

    def overdue(self, timeout: float, now: float) -> list[Worker]:
        """Workers whose jobs run for `timeout` seconds without having connected."""
        return [worker for worker in self if worker.state is WorkerState.STARTING and now >= worker.since + timeout]

    def next_overdue(self, timeout: float) -> float:
        """When the next worker will be overdue; infinity when none is starting."""
        starting = (worker.since + timeout for worker in self if worker.state is WorkerState.STARTING)
        return min(starting, default=float("inf"))

    def _members(self, group: str) -> list[Worker]:
        return [worker for worker in self if worker.group == group]

    def _remove(self, worker: Worker) -> None:
        del self._by_name[worker.name]
        if worker.job is not None:
            del self._by_job[worker.job]
