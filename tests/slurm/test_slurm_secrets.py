"""What another user of the site sees of a job, on the real Slurm: all that shows jobs, and every file that tells of it.

Files that may hold something of a job are those below Slurm's own folders, and
what belongs to the job's user or to Slurm in the user's home and in folders
for temporary files. Whatever else is on this machine is not looked at.
"""

import os
import re
import secrets
import subprocess

import pytest

from gateway.backends.base import ClusterRef, JobSpec
from gateway.backends.slurm.backend import SlurmBackend, SlurmClusterConfig
from gateway.models import JobState, Role
from tests.slurm.real import as_user, ensure_slurm, needs_slurm

pytestmark = needs_slurm

SECRET = secrets.token_hex(16)  # in no file, and in no output of an earlier run
#: Settings of Slurm that name files below its own folders.
OWN_FILES = ("SlurmctldLogFile", "SlurmctldPidFile", "SlurmdLogFile", "SlurmdPidFile", "SlurmdSpoolDir")
TEMPORARY = ("/tmp", "/var/tmp", "/dev/shm", "/run")
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


def places_of_a_job():
    """Folders and files in which something of alice's job may be."""
    settings = subprocess.run(["scontrol", "show", "config"], check=True, capture_output=True, text=True).stdout
    named = dict(re.findall(r"^(\w+) += (/\S+)", settings, re.MULTILINE))
    folders = {named["StateSaveLocation"], *(os.path.dirname(path) for key, path in named.items() if key in OWN_FILES)}
    command = ["find", *TEMPORARY, "-maxdepth", "3", "(", "-user", "alice", "-o", "-user", named_user(settings), ")"]
    found = subprocess.run(command, check=False, capture_output=True, text=True)  # what goes meanwhile is an error
    return ["/home/alice", *sorted(folders), *found.stdout.splitlines()]


def named_user(settings):
    """Whom Slurm's controller runs as: `SlurmUser = slurm(64030)`."""
    return re.search(r"^SlurmUser += (\w+)", settings, re.MULTILINE)[1]


def everything_that_bob_sees(job):
    commands = [
        ["scontrol", "--details", "--details", "show", "job", job],
        ["scontrol", "write", "batch_script", job.split("_")[0], "-"],
        ["squeue", "-o", "%all"],
        ["squeue", "--json"],
        ["ps", "auxwwwe"],
        # The pattern is not the secret itself, which stands in no command line of this test either.
        ["sh", "-c", f"cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ 2>/dev/null | tr '\\0' '\\n'; echo {job}"],
        ["grep", "-rs", f"{SECRET[:-1]}[{SECRET[-1]}]", *places_of_a_job()],
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
