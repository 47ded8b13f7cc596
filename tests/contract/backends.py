"""The backends that the contract suite runs against, each behind the same few questions.

A backend takes part by an entry in `BACKENDS`: a context manager that is given
an empty folder and yields a `Bench`. Programs are what the suite's jobs run:
real ones for real backends, and for the fake one a description of what they do.
"""

import enum
import getpass
import hashlib
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from pathlib import Path

import pytest
from attrs import evolve, frozen

from gateway.backends.base import ClusterRef, Driver, JobSpec
from gateway.backends.batch.options import JobQueueBackend
from gateway.backends.local.backend import LocalBackend, LocalClusterConfig, UnsafeLocalBackend
from gateway.backends.local.process import read_marked
from gateway.backends.pbs.backend import PBSBackend, PBSClusterConfig
from gateway.backends.slurm.backend import SlurmBackend, SlurmClusterConfig
from gateway.config.cluster import ClusterConfig
from gateway.errors import JobRefused
from gateway.models import JobId
from tests.pbs.simulation import server_of, some_pbs
from tests.pbs.tidy import no_directories_left, no_jobs_left
from tests.slurm.real import ensure_slurm, needs_slurm, queue
from tests.support.fakes import FakeDriver, FakeJob, open_fake_driver
from tests.support.users import ensure_users, is_root

#: In the names of all clusters of this run of the suite: on this machine there may be others.
THIS_RUN = secrets.token_hex(4)
#: The names of its clusters (`new_cluster` in test_driver_contract.py), and of their jobs.
OUR_CLUSTERS = rf"c\d+{THIS_RUN}"
OUR_JOBS = rf"dask-gateway-{OUR_CLUSTERS}-.*"


class Program(enum.StrEnum):
    """What a job does: a script of /bin/sh. The job's arguments are its own (`--name NAME` for workers)."""

    SLEEP = "exec sleep 600"
    FAIL = "echo 'no such file: input.csv'; exit 3"
    DIE = "echo 'out of patience'; kill -KILL $$"
    #: Prints whatever the suite wants to know of a job, and fails, so that it is told by `explain`.
    REPORT = (
        'echo "user=$(id -un) name=$2 cluster=$DASK_GATEWAY_CLUSTER_NAME"; echo "cwd=$(pwd)";'
        ' echo "color=$COLOR home=$HOME path=${PATH:+set}"; echo "token=${#DASK_GATEWAY_API_TOKEN}";'
        ' echo "pem=$(printf %s "$DASK_DISTRIBUTED__COMM__TLS__CA_FILE" | sha256sum | cut -c 1-16)"; exit 7'
    )
    #: Leaves a child in its session, which outlives it.
    LEAVE = "sleep 600 & echo left; exit 5"

    @property
    def command(self) -> tuple[str, ...]:
        """The argv that runs it; `$0` is `job`."""
        return ("/bin/sh", "-c", self.value, "job")


@frozen(kw_only=True)
class Bench:
    """One backend under test."""

    #: Another driver for the same batch system each time; they are opened one after the other.
    open_driver: Callable[[], AbstractAsyncContextManager[Driver]]
    #: Users who may have clusters; two of them where jobs run under accounts of their own.
    users: tuple[str, ...]
    #: The account that a user's jobs run under.
    account: Callable[[str], str]
    config: ClusterConfig
    #: Makes a specification that the batch system refuses, and a word of the refusal.
    refused: Callable[[JobSpec], tuple[JobSpec, str]]
    #: A job id of the right form that names no job.
    unknown_job: JobId
    #: What is left on disk of a cluster.
    files: Callable[[ClusterRef], list[Path]]
    #: Whether jobs are processes of this machine, so that /proc shows what they show to others.
    real: bool = True
    #: Whether what a job leaves behind ends with it; not all sites have their batch system see to that.
    sweeps: bool = True
    #: Seconds that any step may take.
    deadline: float = 60.0
    #: The options that `open_driver` brings to life, where there are some to change.
    backend: JobQueueBackend | None = None


def _missing_command(spec: JobSpec) -> tuple[JobSpec, str]:
    return evolve(spec, command=("/nowhere/dask-program", "--really")), "/nowhere/dask-program"


def _play(driver: FakeDriver) -> Callable[[FakeJob], None]:
    def play(job: FakeJob) -> None:
        program = Program(job.spec.command[2])
        spec, user = job.spec, job.spec.cluster.username
        pem = spec.secrets.get("DASK_DISTRIBUTED__COMM__TLS__CA_FILE", "")
        environment = {**spec.environment, "HOME": f"/home/{user}"}
        report = (
            f"exit code 7\nuser={user} name={job.name} cluster={spec.cluster.name}\ncwd=/clusters/{spec.cluster.name}\n"
            f"color={environment.get('COLOR')} home={environment['HOME']} path=set\n"
            f"token={len(spec.secrets.get('DASK_GATEWAY_API_TOKEN', ''))}\n"
            f"pem={hashlib.sha256(pem.encode()).hexdigest()[:16]}"
        )
        ends = {
            Program.FAIL: ("exit code 3", "exit code 3\nno such file: input.csv"),
            Program.DIE: ("killed by signal 9 (SIGKILL)", "killed by signal 9 (SIGKILL)\nout of patience"),
            Program.REPORT: ("exit code 7", report),
            Program.LEAVE: ("exit code 5", "exit code 5\nleft"),
        }
        driver.run(job.id)
        if program in ends:
            reason, driver.explanations[job.id] = ends[program]
            driver.logs[spec.cluster.name, job.name] = driver.explanations[job.id].partition("\n")[2] + "\n"
            driver.end(job.id, reason)

    return play


@contextmanager
def fake(folder: Path) -> Iterator[Bench]:
    """The batch system in memory: what the cluster's tests rely on has to keep the contract, too."""
    driver = FakeDriver(ends_at_once=True)
    driver.on_submit = _play(driver)

    def refused(spec: JobSpec) -> tuple[JobSpec, str]:
        driver.fail_next(JobRefused("the fake was told to refuse this"))
        return spec, "refuse"

    yield Bench(
        open_driver=lambda: open_fake_driver(driver),
        users=("alice", "bob"),
        account=lambda user: user,
        config=ClusterConfig(),
        refused=refused,
        unknown_job=JobId("4711_0"),
        files=lambda cluster: [],
        real=False,
    )


@contextmanager
def unsafe_local(folder: Path) -> Iterator[Bench]:
    """Processes under our own account."""
    backend = UnsafeLocalBackend(clusters_directory=str(folder / "clusters"), sigint_timeout=2, sigterm_timeout=2)
    with _local(backend) as bench:
        yield evolve(bench, users=("alice", "bob"), account=lambda user: getpass.getuser())


@contextmanager
def local_as_root(folder: Path) -> Iterator[Bench]:
    """Processes under the accounts of two users. Their folder is not below `folder`, which only root may enter."""
    top = Path(tempfile.mkdtemp(prefix="clusters-", dir="/var/tmp"))
    top.chmod(0o711)
    backend = LocalBackend(clusters_directory=str(top / "clusters"), sigint_timeout=2, sigterm_timeout=2)
    try:
        with _local(backend) as bench:
            yield evolve(bench, users=ensure_users(), account=lambda user: user)
    finally:
        shutil.rmtree(top)


@contextmanager
def _local(backend: LocalBackend) -> Iterator[Bench]:
    directory = os.path.realpath(backend.clusters_directory)
    try:
        yield Bench(
            open_driver=backend.open_driver,
            users=(),
            account=lambda user: user,
            config=LocalClusterConfig(),
            refused=_missing_command,
            unknown_job=JobId("1234567890.1.00000000"),
            files=lambda cluster: sorted(Path(directory, cluster.name).rglob("*")),
        )
    finally:
        left = read_marked(directory)
        for process in left:  # of a test that failed
            os.kill(process.id.pid, signal.SIGKILL)
    assert not left, f"processes are left: {left}"


@contextmanager
def slurm(folder: Path) -> Iterator[Bench]:
    """The real Slurm, with jobs of two users."""
    ensure_slurm()
    backend = SlurmBackend(eager_poll_period=0.5)
    users = ensure_users()
    staging = {user: Path(pwd.getpwnam(user).pw_dir, ".dask-gateway") for user in users}
    yield Bench(
        backend=backend,
        open_driver=backend.open_driver,
        users=users,
        account=lambda user: user,
        config=SlurmClusterConfig(worker_memory=100 * 2**20, scheduler_memory=100 * 2**20),
        refused=lambda spec: (
            evolve(spec, cluster=evolve(spec.cluster, config=evolve(spec.cluster.config, partition="nowhere"))),
            "invalid partition specified: nowhere",
        ),
        unknown_job=JobId("99999999"),
        files=lambda cluster: sorted((staging[cluster.username] / cluster.name).rglob("*")),
    )
    left = queue(*users, names=OUR_JOBS)
    if left:
        subprocess.run(["scancel", *left], check=False)
    assert not left, f"jobs are left: {left}"


@contextmanager
def pbs(folder: Path) -> Iterator[Bench]:
    """The PBS that PBS_EXEC names, else a simulated one, with jobs of two users."""
    users = ensure_users()
    staging = {user: Path(pwd.getpwnam(user).pw_dir, ".dask-gateway") for user in users}
    with some_pbs() as commands, no_directories_left(OUR_CLUSTERS), no_jobs_left(commands, OUR_JOBS):
        backend = PBSBackend(
            submit_command=str(commands / "qsub"),
            cancel_command=str(commands / "qdel"),
            status_command=str(commands / "qstat"),
            eager_poll_period=0.5,
        )
        yield Bench(
            backend=backend,
            open_driver=backend.open_driver,
            users=users,
            account=lambda user: user,
            config=PBSClusterConfig(worker_memory=100 * 2**20, scheduler_memory=100 * 2**20),
            refused=lambda spec: (
                evolve(spec, cluster=evolve(spec.cluster, config=evolve(spec.cluster.config, queue="nowhere"))),
                "Unknown queue",
            ),
            unknown_job=JobId(f"99999999.{server_of(commands)}"),
            files=lambda cluster: sorted((staging[cluster.username] / cluster.name).rglob("*")),
        )


#: Everything that has to keep the contract.
BACKENDS = [
    pytest.param(fake, id="fake"),
    pytest.param(unsafe_local, id="unsafe-local"),
    pytest.param(
        local_as_root,
        id="local-as-root",
        marks=[pytest.mark.root, pytest.mark.skipif(not is_root(), reason="starts processes of other users")],
    ),
    pytest.param(slurm, id="slurm", marks=needs_slurm),
    pytest.param(
        pbs,
        id="pbs",
        marks=[pytest.mark.root, pytest.mark.skipif(not is_root(), reason="submits jobs of other users")],
    ),
]
