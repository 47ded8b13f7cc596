"""What a local job is, apart from its process: its id, its marks, its environment, its end (pure).

A job id is `PID.START.BOOT`: the process's number, its start in clock ticks
since boot (field 22 of /proc/PID/stat, proc(5)), and the first digits of the
kernel's boot id. Together they name one process for ever, across restarts of
the gateway and of the machine, and whatever the number is used for later.

Each job carries marks in its environment, which its children inherit. They say
whose it is (the absolute clusters directory is the gateway's identity: one
gateway at a time holds it), and find the job again when its id was lost.
"""

import re
from collections.abc import Iterable, Mapping

from attrs import frozen

from gateway.backends.base import JobSpec, job_names, submission_name
from gateway.backends.exit_words import killed_by
from gateway.models import JobId, Role

DIRECTORY_MARK = "DASK_GATEWAY_CLUSTERS_DIRECTORY"
CLUSTER_MARK = "DASK_GATEWAY_CLUSTER_NAME"
SUBMISSION_MARK = "DASK_GATEWAY_SUBMISSION"
JOB_MARK = "DASK_GATEWAY_JOB_NAME"

_ID = re.compile(r"([1-9][0-9]{0,9})\.([0-9]{1,20})\.([0-9a-f]{8})", re.ASCII)


@frozen
class ProcessId:
    """One process of one boot of this machine; `start` is in clock ticks since that boot."""

    pid: int
    start: int
    boot: str

    def __str__(self) -> str:
        return f"{self.pid}.{self.start}.{self.boot}"


@frozen
class Account:
    """The system account that a cluster's processes run under. `groups` are the supplementary ones."""

    name: str
    uid: int
    gid: int
    groups: tuple[int, ...]
    home: str


@frozen
class ProcessStatus:
    """What /proc/PID/stat says of a process. `start` is in clock ticks since boot."""

    pid: int
    state: str
    session: int
    start: int

    @property
    def alive(self) -> bool:
        """False for what has ended and only waits to be noticed by its parent (a zombie)."""
        return self.state not in "ZXx"


@frozen
class MarkedProcess:
    """A process that carries the marks of a job, or inherited them from one.

    `leads` is true for a job itself: each is started as the leader of its own session.
    """

    id: ProcessId
    leads: bool
    uid: int
    marks: Mapping[str, str]


def parse_job_id(job: JobId) -> ProcessId | None:
    """The process that an id names; None for an id that never named one, see `ended_job_id`."""
    match = _ID.fullmatch(job)
    return ProcessId(int(match[1]), int(match[2]), match[3]) if match else None


def ended_job_id(submission: str, name: str) -> JobId:
    """The id of a job of which only its end is known: found missing among its living siblings."""
    return JobId(f"ended:{submission}:{name}")


def parse_process_status(data: bytes) -> ProcessStatus:
    """The contents of a /proc/PID/stat. The command in it may hold spaces and brackets of its own; proc(5)."""
    before, _, after = data.rpartition(b")")
    fields = after.split()
    return ProcessStatus(int(before.split()[0]), fields[0].decode(), session=int(fields[3]), start=int(fields[19]))


def parse_marks(data: bytes, directory: str) -> Mapping[str, str] | None:
    """The marks in a /proc/PID/environ; None for a process of no job of this clusters directory."""
    found = {}
    for entry in data.split(b"\0"):
        name, _, value = entry.decode("utf-8", "surrogateescape").partition("=")
        if name in (DIRECTORY_MARK, CLUSTER_MARK, SUBMISSION_MARK, JOB_MARK):
            found[name] = value
    return found if found.get(DIRECTORY_MARK) == directory else None


def find_jobs(
    processes: Iterable[MarkedProcess], cluster: str, role: Role, group: str, count: int, *, uid: int
) -> tuple[JobId, ...]:
    """The jobs of a submission among these processes: one id for each, or none at all.

    A job that is missing while a sibling lives has ended; it gets an id that says so. A process that a job
    started in a session of its own bears the same marks; the job is the oldest.
    """
    submission = submission_name(cluster, group)
    leaders: dict[str, ProcessId] = {}
    for process in sorted(processes, key=lambda process: process.id.start, reverse=True):
        if process.leads and process.uid == uid and process.marks.get(SUBMISSION_MARK) == submission:
            leaders[process.marks.get(JOB_MARK, "")] = process.id
    names = job_names(role, group, count)
    if leaders.keys().isdisjoint(names):
        return ()
    return tuple(JobId(str(leaders[name])) if name in leaders else ended_job_id(submission, name) for name in names)


def job_environment(
    spec: JobSpec, name: str, account: Account, *, inherited: Mapping[str, str], programs: str, directory: str
) -> dict[str, str]:
    """All environment variables of one job.

    `inherited` come from the gateway's own environment, `programs` is a folder in which commands are looked
    for last, `directory` the absolute clusters directory. What the cluster's configuration says wins over
    what is inherited; nothing wins over secrets and marks.
    """
    environment = {
        **inherited,
        "USER": account.name,
        "LOGNAME": account.name,
        "HOME": account.home,
        # Without it, setproctitle (which distributed uses where it is installed) overwrites the memory that
        # /proc/PID/environ shows, and with it the marks. See "Environment variables" in py-setproctitle's README.
        "SPT_NOENV": "1",
        # What workers spill to disk goes with the cluster's folder, even when they are killed.
        "DASK_TEMPORARY_DIRECTORY": f"{directory}/{spec.cluster.name}",
        **spec.environment,
        **spec.secrets,
        DIRECTORY_MARK: directory,
        CLUSTER_MARK: spec.cluster.name,
        SUBMISSION_MARK: spec.submission,
        JOB_MARK: name,
    }
    environment["PATH"] = ":".join(filter(None, (environment.get("PATH") or "/usr/local/bin:/usr/bin:/bin", programs)))
    return environment


def describe_exit(code: int) -> str:
    """How a process ended, in words: an exit code, or minus the number of the signal that killed it."""
    return f"exit code {code}" if code >= 0 else killed_by(-code)
