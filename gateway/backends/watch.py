"""Who waits for which job: the board between one poller and many clusters.

A cluster opens a `Watch`, adds the jobs it has submitted, and sleeps in
`wait_changes` until something was learnt of one of them. Drivers deliver what
they learn to the `WatchBoard`; a report that says nothing new wakes nobody.
Changes that arrive while a cluster is busy are merged, newest wins, so a slow
cluster costs no memory and delays nobody.

In the other direction a watch tells the driver how urgent its jobs are:
`eager` while anything starts or ends, and `poll_now()` for an answer at once (a
late heartbeat, a refused connection). A driver that polls sleeps in
`WatchBoard.wait_poll_requested`.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import Protocol, Self

import trio

from gateway.models import JobId, JobReport, JobState

#: Seconds: a look is a few commands, each of which is ended after a minute.
LONGEST_QUESTION = 900.0

_NOTHING_HEARD = JobReport(JobState.UNKNOWN)


class _Cluster(Protocol):
    @property
    def name(self) -> str: ...

    @property
    def username(self) -> str: ...


class Watch:
    """One cluster's view of its jobs. `jobs` maps each watched job to its last report."""

    def __init__(self, board: "WatchBoard", cluster: _Cluster) -> None:
        self.cluster = cluster
        self.jobs: dict[JobId, JobReport] = {}
        self.awaits_answer = False
        self._board = board
        self._eager = False
        self._changes: dict[JobId, JobReport] = {}
        self._wakeup = trio.Event()

    def __enter__(self) -> Self:
        self._board._watches.add(self)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.discard(*tuple(self.jobs))
        self._board._watches.discard(self)

    def add(self, *jobs: JobId) -> None:
        """Start to watch jobs, and ask for news of them; until something is heard they count as UNKNOWN."""
        if jobs:
            self._board.poll_now()
        for job in jobs:
            self.jobs.setdefault(job, _NOTHING_HEARD)
            self._board._owners[job] = self

    def discard(self, *jobs: JobId) -> None:
        """Stop to watch jobs; unknown ones are fine."""
        for job in jobs:
            if self.jobs.pop(job, None) is not None:
                del self._board._owners[job]
            self._changes.pop(job, None)

    @property
    def eager(self) -> bool:
        """True while a job of this cluster starts or ends, so that answers matter within seconds."""
        return self._eager

    @eager.setter
    def eager(self, value: bool) -> None:
        if value and not self._eager:
            self._board.poll_now()
        self._eager = value

    def poll_now(self) -> None:
        """Ask for news at once."""
        self._board.poll_now()

    @property
    def polling(self) -> bool:
        """True while a question to the batch system is open: its answer, or that there is none, is not on the board."""
        return self._board.question_open

    async def wait_changes(self) -> dict[JobId, JobReport]:
        """Wait until something new is known, and return it: job → newest report.

        While `awaits_answer` is set, this also returns when a question has been answered without news.
        """
        await self._wakeup.wait()
        self._wakeup = trio.Event()
        changes, self._changes = self._changes, {}
        return changes

    def _deliver(self, job: JobId, report: JobReport) -> None:
        known = self.jobs[job]
        if known == report:
            return
        if known.state is JobState.GONE and (not known.presumed or report.state is JobState.UNKNOWN):
            return  # nothing comes back from GONE, and what was only presumed needs more than ignorance to be refuted
        self.jobs[job] = self._changes[job] = report
        self._wakeup.set()


class WatchBoard:
    """All watches of a driver."""

    def __init__(self) -> None:
        self._watches: set[Watch] = set()
        self._owners: dict[JobId, Watch] = {}
        self._poll_requested = trio.Event()
        self.question_open = False
        """True while a question to the batch system has not been answered."""
        self._asked_at = 0.0

    def open(self, cluster: _Cluster) -> Watch:
        """A new watch; enter it as a context manager to put it on the board."""
        return Watch(self, cluster)

    @property
    def watches(self) -> frozenset[Watch]:
        """All open watches."""
        return frozenset(self._watches)

    @property
    def jobs(self) -> Mapping[JobId, JobReport]:
        """Every watched job with its last report."""
        return {job: watch.jobs[job] for job, watch in self._owners.items()}

    @property
    def eager(self) -> bool:
        """True while any cluster is in a hurry."""
        return any(watch.eager for watch in self._watches)

    def deliver(self, reports: Mapping[JobId, JobReport]) -> None:
        """Hand reports to the clusters concerned; jobs that nobody watches are ignored."""
        for job, report in reports.items():
            owner = self._owners.get(job)
            if owner is not None:
                owner._deliver(job, report)

    @property
    def overdue(self) -> str:
        """Why nothing has been learnt of some job for minutes; empty when all is well."""
        reports = (report for watch in self._watches for report in watch.jobs.values())
        return next((report.reason for report in reports if report.overdue), "")

    @property
    def stalled(self) -> str:
        """Why the driver has come to a halt: its question has been open for far longer than any may be; else empty."""
        if not self.question_open or trio.current_time() - self._asked_at < LONGEST_QUESTION:
            return ""
        return f"a look at the batch system's queue has not ended for {LONGEST_QUESTION:g} seconds"

    def poll_now(self) -> None:
        """Wake the driver for a poll at once."""
        self._poll_requested.set()

    @contextmanager
    def polling(self) -> Iterator[None]:
        """A driver that polls has a question open while this is entered; `deliver` what was learnt inside."""
        self.question_open, self._asked_at = True, trio.current_time()
        try:
            yield
        finally:
            self.question_open = False
            for watch in self._watches:
                if watch.awaits_answer:
                    watch._wakeup.set()

    async def wait_poll_requested(self) -> None:
        """Wait until somebody asks; every call of `poll_now` before this one returns counts."""
        await self._poll_requested.wait()
        self._poll_requested = trio.Event()
