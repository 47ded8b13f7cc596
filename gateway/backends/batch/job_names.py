"""Whose job an id names: before a job is cancelled for the first time its id is known to bear our name.

An id is what a site's submit command has printed. It can be wrong: a number of
a banner, or that of another job of the same user, who would lose that job when
the cluster ends. So each submission's id is asked for once, and what bears
another name is left alone; what was submitted is looked for by its name.

`run` asks soon after each submission, so that a cancel has no need to: it may
come when commands are slow, or when PBS is short of ports.
"""

from collections import deque
from collections.abc import Awaitable, Callable, Collection, Mapping

import structlog
import trio

from gateway.backends.base import ClusterRef, JobSpec, submission_name
from gateway.backends.batch.dialect import StatusFailed
from gateway.backends.batch.poller import Queue
from gateway.errors import BackendUnavailable
from gateway.models import JobId, Role

_log = structlog.get_logger()


class JobNames:
    """The ids of a driver's clusters, and which of them are known to be ours.

    `find` is the driver's own, which looks for a submission by its name.
    """

    def __init__(
        self, queue: Queue, find: Callable[[ClusterRef, Role, str, int], Awaitable[tuple[JobId, ...]]]
    ) -> None:
        self._queue = queue
        self._find = find
        self._submitted: dict[str, dict[JobId, JobSpec]] = {}  # by cluster and the id that was answered
        self._ours: dict[str, set[JobId]] = {}  # by cluster
        self._new: deque[tuple[ClusterRef, JobId]] = deque()
        self._wakeup = trio.Event()

    async def run(self) -> None:
        """Ask for the name of each submission soon after it was made, until cancelled."""
        while True:
            while self._new:
                cluster, job = self._new[0]
                if cluster.name in self._submitted:  # else it has ended meanwhile
                    try:
                        await self.known_as_ours(cluster, [job])
                    except BackendUnavailable as error:
                        _log.info("a job's name is asked for again before it is cancelled", job=job, reason=str(error))
                self._new.popleft()
            self._wakeup = trio.Event()
            await self._wakeup.wait()

    def submitted(self, spec: JobSpec, jobs: Collection[JobId]) -> None:
        """The submit command has answered with these ids."""
        job = self._submission_of(next(iter(jobs)))
        self._submitted.setdefault(spec.cluster.name, {})[job] = spec
        self._new.append((spec.cluster, job))
        self._wakeup.set()

    def found(self, cluster: ClusterRef, jobs: Collection[JobId]) -> None:
        """These ids were found by their name."""
        self._ours.setdefault(cluster.name, set()).update(map(self._submission_of, jobs))

    def forget(self, cluster: ClusterRef) -> None:
        """The cluster has ended."""
        self._submitted.pop(cluster.name, None)
        self._ours.pop(cluster.name, None)

    async def known_as_ours(self, cluster: ClusterRef, jobs: Collection[JobId]) -> Collection[JobId]:
        """The jobs whose ids bear our cluster's name, as far as the batch system knows them.

        An id is what a site's submit command has printed, and might be another job of the same user's. Each submission
        is asked for once. Where its id turns out to be somebody else's, what has our name is taken in its place. Raises
        BackendUnavailable when names cannot be told.
        """
        ours = self._ours.setdefault(cluster.name, set())
        asked = sorted({self._submission_of(job) for job in jobs} - ours)
        if not asked:
            return jobs
        names = await self._names(cluster, asked)
        prefix = submission_name(cluster.name, "")
        ours.update(job for job, name in names.items() if name.startswith(prefix))
        foreign = {job for job, name in names.items() if name and not name.startswith(prefix)}
        instead: list[JobId] = []
        for job in foreign:
            _log.error("a job id is not ours and is left alone", cluster=cluster.name, job=job, name=names[job])
            if spec := self._submitted.get(cluster.name, {}).get(job):
                instead += await self._find(cluster, spec.role, spec.group, spec.count)
        return [*(job for job in jobs if self._submission_of(job) not in foreign), *instead]

    async def _names(self, cluster: ClusterRef, jobs: Collection[JobId]) -> Mapping[JobId, str]:
        """The names of jobs, by their ids or else by a search; empty for those that the batch system does not know."""
        try:
            answers = await self._queue.answers(self._queue.dialect.name_commands(jobs))
            return self._queue.dialect.parse_names(jobs, answers)
        except StatusFailed as failure:
            return {job: await self._name_by_search(cluster, job, failure) for job in jobs}

    async def _name_by_search(self, cluster: ClusterRef, job: JobId, failure: StatusFailed) -> str:
        """The name of a job that cannot be asked for by its id, if it is found by the name that it was submitted under.

        Raises BackendUnavailable with the `failure` otherwise.
        """
        spec = self._submitted.get(cluster.name, {}).get(job)
        if spec is not None:
            commands = self._queue.dialect.find_commands(cluster, spec.role, spec.group)
            try:
                found = await self._queue.answers(commands)
                jobs = self._queue.dialect.parse_found(cluster, spec.role, spec.group, spec.count, found)
            except StatusFailed:
                jobs = ()
            if job in map(self._submission_of, jobs):
                return spec.submission
        raise BackendUnavailable(f"{self._queue.dialect.name} does not answer: {failure}") from None

    def _submission_of(self, job: JobId) -> JobId:
        """The id of the whole submission that a job belongs to."""
        return self._queue.dialect.array_of(job) or job
