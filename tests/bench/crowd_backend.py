"""A batch system in which every job runs for ever, for gateways with thousands of clusters."""

from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager

import trio

from gateway.backends.base import ClusterRef, JobSpec, job_names, submission_name
from gateway.backends.watch import Watch, WatchBoard
from gateway.config.backend import DBBackendBase
from gateway.config.fields import configurable
from gateway.models import JobId, JobReport, JobState, Role


def job_ids(cluster: str, role: Role, group: str, count: int) -> tuple[JobId, ...]:
    """The ids of a submission's jobs."""
    return tuple(JobId(submission_name(cluster, name)) for name in job_names(role, group, count))


class CrowdDriver:
    """A `Driver` (gateway/backends/base.py) without a batch system behind it."""

    def __init__(self) -> None:
        self._board = WatchBoard()

    async def run(self) -> None:
        """Answer whoever asks; as a poller, once for all jobs."""
        while True:
            await self._board.wait_poll_requested()
            await trio.sleep(1)
            states = self._board.jobs.items()
            self._board.deliver(
                {job: JobReport(JobState.RUNNING) for job, report in states if report.state is JobState.UNKNOWN}
            )

    async def submit(self, spec: JobSpec) -> tuple[JobId, ...]:
        """Taken."""
        return job_ids(spec.cluster.name, spec.role, spec.group, spec.count)

    async def find(self, cluster: ClusterRef, role: Role, group: str, count: int) -> tuple[JobId, ...]:
        """It is there."""
        return job_ids(cluster.name, role, group, count)

    async def cancel(self, cluster: ClusterRef, jobs: Collection[JobId]) -> None:
        """They are gone."""
        self._board.deliver({job: JobReport(JobState.GONE) for job in jobs})

    async def explain(self, cluster: ClusterRef, job: JobId, name: str) -> str:
        """Nothing is known."""
        return ""

    async def clean(self, cluster: ClusterRef, *, keep_logs: bool) -> None:
        """There is nothing."""

    async def orphans(self, known: Collection[str]) -> frozenset[str]:
        """There are none."""
        return frozenset()

    @property
    def trouble(self) -> str:
        """There is none."""
        return ""

    @property
    def stalled(self) -> str:
        """Never."""
        return ""

    def max_group_size(self, cluster: ClusterRef) -> int | None:
        """There is no limit."""
        return None

    def watch(self, cluster: ClusterRef) -> Watch:
        """A watch for this cluster's jobs."""
        return self._board.open(cluster)


@configurable
class CrowdBackend(DBBackendBase):
    """Clusters that cost nothing but the gateway's own work."""

    @asynccontextmanager
    async def open_driver(self) -> AsyncIterator[CrowdDriver]:
        """See the base."""
        driver = CrowdDriver()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(driver.run)
            yield driver
            nursery.cancel_scope.cancel()
