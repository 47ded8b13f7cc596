"""Local jobs from their start to their end: each is followed by a task, and another one ends it when that is asked for.

A job is a session of processes. It has ended when its leader has, and then what
is left of the session is killed. Sessions are told apart by their numbers,
which are used again only after the leader was reaped.
"""

from collections.abc import Collection
from functools import partial
from signal import SIGINT, SIGKILL, Signals

import structlog
import trio
from attrs import define, field

from gateway.backends.local.jobs import describe_exit, parse_job_id
from gateway.backends.local.process import Process, read_sessions
from gateway.backends.local.sessions import Census, end_processes, send_signal
from gateway.backends.watch import WatchBoard
from gateway.models import JobId, JobReport, JobState
from gateway.supervise import supervise

_log = structlog.get_logger()

#: How a job ended of which no exit code can be known, because it was no child of this gateway.
TAKEN_BACK = "its exit code is unknown, as the gateway was restarted while it ran"
NOT_THERE = "it ended while the gateway was not running"

#: A job's tasks must not be given up: they fail when the system is out of file descriptors, and pass that.
_FOR_EVER = 1_000_000

#: Signals, each with the seconds for which its effect is waited for.
Steps = tuple[tuple[Signals, float], ...]


@define(eq=False)
class FollowedJob:
    """A job that has not ended. `steps` are those of its ending, once it has begun."""

    id: JobId
    cluster: str
    process: Process
    steps: Steps = ()
    gone: trio.Event = field(factory=trio.Event)


class FollowedJobs:
    """The `jobs` that have not ended, and how the others did (`ends`, by cluster). Ends are told to `board`."""

    def __init__(self, nursery: trio.Nursery, board: WatchBoard, sigint_timeout: float) -> None:
        self.jobs: dict[JobId, FollowedJob] = {}
        self.ends: dict[str, dict[JobId, str]] = {}
        self._nursery = nursery
        self._board = board
        self._sigint_timeout = sigint_timeout
        self._census = Census()

    def kill_ending(self) -> None:
        """The last resort of a driver that closes: kill what should have ended, without waiting for it."""
        ending = [job for job in self.jobs.values() if job.steps]
        sessions = read_sessions() if ending else {}
        for job in ending:
            send_signal(sessions.get(job.process.id.pid, ()), SIGKILL)

    def take_back(self, cluster: str, job: JobId) -> FollowedJob | None:
        """Follow a job that an earlier driver started; None when it is not there any more."""
        id = parse_job_id(job)
        process = Process.open(id) if id is not None else None
        if process is None:
            self.ends.setdefault(cluster, {}).setdefault(job, NOT_THERE)
            return None
        return self.follow(FollowedJob(job, cluster, process))

    def follow(self, job: FollowedJob) -> FollowedJob:
        """Begin to follow a job that was just started."""
        self.jobs[job.id] = job
        self._nursery.start_soon(self._run, job)
        return job

    async def _run(self, job: FollowedJob) -> None:
        try:
            await supervise(f"job {job.id}", partial(self._wait_session_ended, job), kind="job", limit=_FOR_EVER)
        finally:
            # A child that has ended is reaped only now: until then its session's number is not used again.
            code = job.process.reap()
            job.process.close()
            del self.jobs[job.id]
        how = TAKEN_BACK if code is None else describe_exit(code)
        self.ends.setdefault(job.cluster, {})[job.id] = how
        job.gone.set()
        self._board.deliver({job.id: JobReport(JobState.GONE, how)})

    async def _wait_session_ended(self, job: FollowedJob) -> None:
        await trio.lowlevel.wait_readable(job.process.fd)
        while left := await self._census.members(job.process.id.pid):
            await end_processes(left, SIGKILL)

    def end(self, job: FollowedJob, steps: Steps, after: Collection[FollowedJob] = ()) -> None:
        """Begin to end a job, unless that is under way: `after` others, for which it waits as long as for a step."""
        if not job.steps:
            job.steps = steps
            run = partial(self._run_steps, job, after)
            name, kind = f"the end of job {job.id}", "end of a job"
            self._nursery.start_soon(partial(supervise, name, run, kind=kind, limit=_FOR_EVER))

    async def _run_steps(self, job: FollowedJob, after: Collection[FollowedJob]) -> None:
        with trio.move_on_after(self._sigint_timeout):
            for other in after:
                await other.gone.wait()
        while job.steps:
            number, timeout = job.steps[0]
            if number is SIGINT:
                # The leader alone: it tells its children what to do. A worker's process that is interrupted
                # behind its nanny's back cannot answer it any more, and the nanny waits for that in vain.
                job.process.send(number)
            else:
                send_signal(await self._census.members(job.process.id.pid), number)
            with trio.move_on_after(timeout):
                await job.gone.wait()
                return
            job.steps = job.steps[1:]
        _log.warning("a job goes on after SIGKILL", job=job.id, cluster=job.cluster)
