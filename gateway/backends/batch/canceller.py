"""Ends jobs: one call of the cancel command for many of them, and again for those that are still there."""

from collections.abc import Collection, Sequence

import structlog
import trio

from gateway.backends.base import ClusterRef
from gateway.backends.batch.cancellations import PendingCancels
from gateway.backends.batch.dialect import Dialect, Refusal
from gateway.backends.batch.job_names import JobNames
from gateway.backends.batch.user_commands import UserCommands
from gateway.backends.user_slots import UserSlots
from gateway.backends.watch import WatchBoard
from gateway.errors import AnswerLost, BackendUnavailable, JobError, JobRefused
from gateway.models import JobId, alive

_log = structlog.get_logger()


class Canceller:
    """Cancels jobs as their users with the command at `path`, in `slots` of their own."""

    def __init__(
        self,
        dialect: Dialect,
        commands: UserCommands,
        *,
        path: str,
        names: JobNames,
        board: WatchBoard,
        slots: UserSlots,
        timeout: float,
    ) -> None:
        self._dialect = dialect
        self._commands = commands
        self._path = path
        self._names = names
        self._board = board
        self._slots = slots
        self._pending = PendingCancels(timeout)
        self._changed = trio.Event()  # set when something was added to those that are pending

    @property
    def jobs(self) -> Collection[JobId]:
        """The jobs that were asked to end and may still be there."""
        return self._pending.jobs

    async def cancel(self, cluster: ClusterRef, jobs: Collection[JobId]) -> None:
        """One call of the cancel command for a thousand jobs or arrays, as the user, of ids that bear our name.

        Raises BackendUnavailable or JobRefused; see `gateway.backends.base.Driver`.
        """
        jobs = await self._names.known_as_ours(cluster, jobs)
        whole = self._with_whole_arrays(cluster, jobs)
        # Arrays go by their own ids only where that saves calls: those with gaps.
        for arguments in min(map(self._dialect.cancel_arguments, (jobs, whole)), key=len):
            request = {
                "action": "cancel",
                "rules": self._dialect.rules.name,
                "path": self._path,
                "arguments": arguments,
            }
            try:
                async with self._slots.held(cluster.username):
                    answer = await self._commands.run(cluster, request)
            except AnswerLost as error:
                raise BackendUnavailable(str(error)) from None
            if self._dialect.cancel_failed(answer):
                if answer.returncode == 0 or self._dialect.refusal(answer) in (Refusal.AWAY, Refusal.LOST):
                    raise BackendUnavailable(f"{self._dialect.name} does not answer: {answer.words}")
                raise JobRefused(f"{self._dialect.name} does not end the jobs: {answer.words}")
        _log.info("cancelled", cluster=cluster.name, jobs=len(jobs))
        self._pending.cancelled(cluster, jobs, trio.current_time())
        self._changed.set()
        self._board.poll_now()

    def _with_whole_arrays(self, cluster: ClusterRef, jobs: Collection[JobId]) -> frozenset[JobId]:
        """The same jobs, but arrays of which nothing else is known to live by their own ids."""
        watched = [
            item for watch in self._board.watches if watch.cluster.name == cluster.name for item in watch.jobs.items()
        ]
        array_of = self._dialect.array_of
        others = set(alive(watched)).difference(jobs)
        unwatched = set(jobs).difference(job for job, _ in watched)  # of their arrays we may not know all
        spared = {array_of(job) for job in (*others, *unwatched)}
        arrays = {job: array_of(job) for job in jobs}
        return frozenset(job if array is None or array in spared else array for job, array in arrays.items())

    def cancel_hopeless(self, jobs: Collection[JobId]) -> None:
        """Have jobs cancelled that can never run."""
        for watch in self._board.watches:
            if isinstance(watch.cluster, ClusterRef):
                for job in watch.jobs.keys() & set(jobs):
                    self._pending.hopeless(watch.cluster, job, trio.current_time())
        self._changed.set()

    async def retry_cancels(self) -> None:
        """Cancel again what should have gone long ago; a user whose launcher takes its time delays nobody else."""
        under_way: set[str] = set()
        async with trio.open_nursery() as nursery:
            while True:
                with trio.move_on_at(self._pending.next_due):
                    await self._changed.wait()
                self._changed = trio.Event()
                due: dict[str, list[tuple[ClusterRef, list[JobId]]]] = {}
                for cluster, jobs in self._pending.take_due(trio.current_time(), self._board.jobs):
                    due.setdefault(cluster.username, []).append((cluster, jobs))
                for username in due.keys() - under_way:  # the others' jobs come again
                    under_way.add(username)
                    nursery.start_soon(self._cancel_again, username, due[username], under_way)

    async def _cancel_again(
        self, username: str, due: Sequence[tuple[ClusterRef, Collection[JobId]]], under_way: set[str]
    ) -> None:
        try:
            for cluster, jobs in due:
                _log.info("cancelling what is still there", cluster=cluster.name, jobs=len(jobs))
                try:
                    await self.cancel(cluster, jobs)
                except JobError as error:
                    _log.warning("jobs cannot be cancelled", cluster=cluster.name, reason=str(error))
        finally:
            under_way.discard(username)
