"""What a cluster asks of a batch system: the values and the interface.

A *backend* is a frozen class of options that the configuration names
(`c.DaskGateway.backend_class`); `open_driver` brings it to life. A *driver*
submits, cancels, explains, and feeds the watch board (watch.py) with what it
learns of jobs. Drivers never decide: whether a job that ended is a failure,
or is to be replaced, is the cluster's business.

One submission is one `JobSpec`: a scheduler, or a *group* of like workers.
Everything that is known of it is in its name, `dask-gateway-<cluster>-<group>`,
which is unique, so that a submission whose answer was lost is found again in
the queue. Workers of group `w3` are called `w3-0`, `w3-1`, ...: the array
index of a job array is enough to build the name. (`dask worker --nworkers k`
appends another index, so names reported by a scheduler may have a third part.)
"""

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Protocol

from attrs import field, frozen

from gateway.config.cluster import ClusterConfig
from gateway.models import JobId, Role

if TYPE_CHECKING:
    from gateway.backends.watch import Watch


@frozen(kw_only=True)
class ClusterRef:
    """The cluster a job belongs to: enough to find its directory, its user and its options.

    `groups` are those that its user was in when it was made.
    """

    name: str
    username: str
    config: ClusterConfig = field(repr=False, eq=False)
    groups: frozenset[str] = field(default=frozenset(), repr=False, eq=False)


def submission_name(cluster: str, group: str) -> str:
    """The unique name under which the batch system knows a submission.

    It doubles as the job name; it has at most 51 + 15 + 10 characters of `[a-z0-9-]`.
    """
    return f"dask-gateway-{cluster}-{group}"


def job_names(role: Role, group: str, count: int) -> tuple[str, ...]:
    """The names of a group's jobs in the order of their array index."""
    if role is Role.SCHEDULER:
        return (group,)
    return tuple(f"{group}-{index}" for index in range(count))


@frozen(kw_only=True)
class JobSpec:
    """One submission: a scheduler, or a group of `count` like workers.

    `command` is an argv without the worker's `--name`; `argv` completes it.
    `environment` may be seen by other users of the site, `secrets` (further
    environment variables: token, certificate and key as PEM text) may not:
    they never stand in an argv, a log line, or a file that others can read.
    """

    cluster: ClusterRef
    role: Role
    group: str
    count: int
    command: tuple[str, ...]
    environment: Mapping[str, str]
    secrets: Mapping[str, str] = field(repr=False)

    @property
    def submission(self) -> str:
        """The unique name of this submission."""
        return submission_name(self.cluster.name, self.group)

    @property
    def names(self) -> tuple[str, ...]:
        """The jobs' names, in the order of the ids that `Driver.submit` returns."""
        return job_names(self.role, self.group, self.count)

    def argv(self, name: str) -> tuple[str, ...]:
        """The command of the job called `name`."""
        if self.role is Role.SCHEDULER:
            return self.command
        return (*self.command, "--name", name)


@frozen(kw_only=True)
class LogText:
    """A part of a job's log as it was written, in whole characters; `start` and `end` are bytes of the file."""

    text: str
    start: int
    end: int


class Driver(Protocol):
    """A batch system at work. All methods are safe to cancel at every await.

    No method waits for ever: each command a driver runs has a deadline.
    """

    async def submit(self, spec: JobSpec) -> tuple[JobId, ...]:
        """Submit, and return one id a job in the order of `spec.names`.

        Raises `JobRefused` (the batch system said no, its words are the text), `BackendUnavailable`
        (nothing was submitted, trying again is safe) or `AnswerLost` (ask `find` before trying again).
        A cancellation while the answer is awaited is the caller's AnswerLost.
        """
        ...

    async def find(self, cluster: ClusterRef, role: Role, group: str, count: int) -> tuple[JobId, ...]:
        """The ids of a submission of which no answer is known; empty when there is none.

        Ids come in the order of `job_names`. Raises `BackendUnavailable` when that cannot be told.
        """
        ...

    async def cancel(self, cluster: ClusterRef, jobs: Collection[JobId]) -> None:
        """Ask for the end of these jobs in as few commands as possible; jobs that are already gone are fine.

        Returns when the request is accepted: the end itself is reported through the watch. Raises
        `BackendUnavailable` (or `JobRefused`, with the batch system's words) when it has to be repeated.
        """
        ...

    async def explain(self, cluster: ClusterRef, job: JobId, name: str) -> str:
        """Why this job ended, or what is known of it while it runs, for its user.

        State, exit code or signal, node, the last lines of its log.

        Several lines, without secrets; never raises: what cannot be found out is left out.
        """
        ...

    async def read_log(
        self, cluster: ClusterRef, name: str, size: int, start: int | None = None, *, whole_lines: bool = False
    ) -> LogText | None:
        """At most `size` bytes of a job's log, at most 64 KiB, as the cluster's user: from `start` on, or the end.

        With `whole_lines` an incomplete last line is left for later. None when there is no log (yet, or any more).
        Nothing is removed from it: that is for whoever shows it. Raises `JobError` when it cannot be read.
        """
        ...

    async def clean(self, cluster: ClusterRef, *, keep_logs: bool) -> None:
        """Remove what submissions of this cluster left on disk; the logs stay when `keep_logs`.

        Called after the jobs are gone. Something that is already missing is fine.
        """
        ...

    async def orphans(self, known: Collection[str]) -> frozenset[str]:
        """End the jobs of this gateway that belong to none of the `known` clusters; returns the clusters they were of.

        For the start of a gateway whose predecessor crashed. A driver that cannot be sure whose a job is (several
        gateways may share one batch system) leaves it alone: what was submitted is on record before it is submitted.
        """
        ...

    @property
    def trouble(self) -> str:
        """Why the batch system is of no use at the moment, for `/api/health`; empty when all is well."""
        ...

    @property
    def stalled(self) -> str:
        """Why the driver itself has come to a halt, so that a new process is needed; empty when all is well."""
        ...

    def max_group_size(self, cluster: ClusterRef) -> int | None:
        """The largest `JobSpec.count` that one submission may have; None when there is no limit."""
        ...

    def watch(self, cluster: ClusterRef) -> "Watch":
        """A watch for this cluster's jobs; close it (it is a context manager) when the cluster ends."""
        ...
