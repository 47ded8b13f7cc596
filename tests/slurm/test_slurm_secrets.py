"""What another user of the site sees of a job, on the real Slurm: everything that shows jobs, and every file."""

import secrets
import subprocess

import pytest

from gateway.backends.base import ClusterRef, JobSpec
from gateway.backends.slurm.backend import SlurmBackend, SlurmClusterConfig
from gateway.models import JobState, Role
from tests.slurm.real import as_user, ensure_slurm, needs_slurm

pytestmark = needs_slurm

SECRET = secrets.token_hex(16)  # in no file, and in no output of an earlier run
SHOW = 'printf "%s\\n" "token ${#DASK_GATEWAY_API_TOKEN}"; sleep 600'


@pytest.fixture(scope="module", autouse=True)
def slurm():
    ensure_slurm()


async def test_no_other_user_sees_a_secret():
    cluster = ClusterRef(name="visibility", username="alice", config=SlurmClusterConfig(worker_memory=2**27))
    spec = JobSpec(
        cluster=cluster,
        role=Role.WORKER,
        group="w1",
        count=2,
        command=("/bin/sh", "-c", SHOW),
        environment={"COLOR": "blue"},
        secrets={"DASK_GATEWAY_API_TOKEN": SECRET},
    )
    async with SlurmBackend(eager_poll_period=0.5).open_driver() as driver:
        jobs = await driver.submit(spec)
        with driver.watch(cluster) as watch:
            watch.add(*jobs)
            watch.eager = True
            while {watch.jobs[job].state for job in jobs} != {JobState.RUNNING}:
                await watch.wait_changes()
            shown = "\n".join(everything_that_bob_sees(jobs[0]))
            # The search itself works: alice finds her own job's environment.
            mine = as_user("alice", "sh", "-c", f"grep -l {SECRET[:-1]}[{SECRET[-1]}] /proc/[0-9]*/environ 2>/dev/null")
            await driver.cancel(cluster, jobs)
            while {watch.jobs[job].state for job in jobs} != {JobState.GONE}:
                await watch.wait_changes()
        await driver.clean(cluster, keep_logs=False)
    assert jobs[0] in shown
    assert SECRET not in shown
    assert mine.stdout.strip()


def everything_that_bob_sees(job):
    spool = ["/var/spool", "/var/lib/dask-gateway-slurm", "/var/log", "/run", "/tmp", "/var/tmp", "/home"]
    commands = [
        ["scontrol", "--details", "--details", "show", "job", job],
        ["scontrol", "write", "batch_script", job.split("_")[0], "-"],
        ["squeue", "-o", "%all"],
        ["squeue", "--json"],
        ["ps", "auxwwwe"],
        # The pattern is not the secret itself, which stands in no command line of this test either.
        ["sh", "-c", f"cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ 2>/dev/null | tr '\\0' '\\n'; echo {job}"],
        ["sh", "-c", f"grep -r {SECRET[:-1]}[{SECRET[-1]}] {' '.join(spool)} 2>/dev/null"],
    ]
    for command in commands:
        done = as_user("bob", *command)
        yield done.stdout
        yield done.stderr


def test_a_script_is_refused_to_others():
    ensure_slurm()
    submitted = as_user(
        "alice", "sbatch", "--parsable", "--partition=parked", "--output=/dev/null", stdin="#!/bin/sh\n:\n"
    )
    job = submitted.stdout.strip()
    try:
        refused = as_user("bob", "scontrol", "write", "batch_script", job, "-")
        assert refused.stdout == ""
        assert "Invalid user id" in refused.stderr
    finally:
        subprocess.run(["scancel", job], check=True)
