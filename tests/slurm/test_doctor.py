"""Broken set-ups on the real Slurm: the doctor names each, and nothing on one that is well."""

import os
import re
import shutil
import socket
import subprocess
from contextlib import contextmanager

import pytest

from tests.slurm.real import allow_dask, as_user, ensure_slurm, needs_slurm, queue
from tests.support.doctor_site import assert_found, open_site, problems

pytestmark = [*needs_slurm, pytest.mark.timeout(300)]

SLURM = """
c.DaskGateway.backend_class = "dask_gateway_server.backends.jobqueue.slurm.SlurmBackend"
c.SlurmClusterConfig.partition = "main"
c.SlurmClusterConfig.time = "8:00:00"
"""
TRY = ("--submit-as", "alice")


@pytest.fixture(scope="module")
def site():
    ensure_slurm()
    allow_dask()
    with open_site(SLURM) as site:
        yield site


@pytest.fixture
def status(site):
    """Slurm's commands in a folder of their own, so that one can be replaced: `status("squeue", script)`."""
    for name in ("squeue", "scontrol", "sinfo"):
        (site.safe / name).unlink(missing_ok=True)
        (site.safe / name).symlink_to(shutil.which(name))

    def replace(name, script):
        (site.safe / name).unlink()
        site.wrapper(name, script.replace("REAL", shutil.which(name)))
        return f'c.SlurmBackend.status_command = "{site.safe}/squeue"\n'

    return replace


def test_nothing_is_wrong_where_nothing_is(site):
    found = site.doctor("", *TRY)
    assert problems(found) == {}
    assert {"job's Python", "worker's Python", "scheduler's port", "api_url", "job's name", "queue"} <= {
        one["check"] for one in found
    }
    (name, *_) = (one["evidence"] for one in found if one["check"] == "job's name")
    cluster = re.search(r"dask-gateway-(doctor\w+)-scheduler", name)[1]
    assert not queue("alice", names=f"dask-gateway-{cluster}.*")
    assert as_user("alice", "test", "-e", f"/home/alice/.dask-gateway/{cluster}").returncode == 1


# --- what is seen without a job ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "check", "words"),
    [
        ("c.SlurmClusterConfig.partition = 'nosuch'", "worker's job", ["no partition nosuch", "main"]),
        ("c.SlurmClusterConfig.worker_partition = 'parked'", "worker's job", ["parked is DOWN", "scontrol update"]),
        ("c.SlurmClusterConfig.scheduler_partition = 'short'", "scheduler's job", ["8:00:00", "00:01:00"]),
        (
            "c.JobQueueClusterConfig.worker_memory = '1000 G'",
            "worker's job",
            ["--mem=1024000M", "largest node", "RealMemory"],
        ),
        ("c.JobQueueClusterConfig.worker_cores = 1000", "worker's job", ["1000 cores", "has 16"]),
        ("c.Backend.nosuch = 1", "configuration", ["nosuch", "check-config"]),
        ("c.SlurmBackend.submit_command = '/usr/bin/env'", "configuration", ["submit_command", "would not be run"]),
        (
            "c.SimpleAuthenticator.password = None; c.Proxy.address = ':0'",
            "configuration",
            ["ANYBODY CAN ACT AS ANYBODY"],
        ),
        ("c.Proxy.address = '192.0.2.1:8000'", "port 192.0.2.1:8000", ["ip -brief address"]),
        ("c.Proxy.tls_cert = c.Proxy.tls_key = '/etc/hostname'", "certificate", ["no certificate in PEM"]),
        (
            "c.DBBackendBase.db_url = 'sqlite:////opt/a.sqlite'",
            "database folder",
            ["cannot make files in /opt", "chown"],
        ),
        ("c.DBBackendBase.db_url = 'sqlite:////no/where.sqlite'", "database folder", ["no folder /no", "install -d"]),
        (
            "c.JobQueueBackend.dask_gateway_jobqueue_launcher = '/usr/bin/true'",
            "sudo rule",
            ["lists no rule", "visudo"],
        ),
        ("c.JobQueueBackend.impersonation = 'socket'", "launcher's policy", ["launcher.conf", "gateway = dask"]),
    ],
)
def test_what_is_seen_without_a_job(site, config, check, words):
    assert_found(site.doctor(config), check, *words)


PROFILES = """
from dask_gateway_server.options import Options, Select

def handler(options):
    return {"small": {}, "large": {"worker_partition": "bigmem"}, "odd": {"worker_cores": -1}}[options.profile]

c.Backend.cluster_options = Options(Select("profile", ["small", CHOICES]), handler=handler)
"""


def test_a_profile_that_leads_nowhere(site):
    found = site.doctor(PROFILES.replace("CHOICES", '"large"'))
    assert_found(found, "worker's job", "with profile = 'large' there is no partition bigmem")
    assert_found(site.doctor(PROFILES.replace("CHOICES", '"odd"')), "users' choices", "profile = 'odd'", "worker_cores")


def test_a_port_of_another_program(site):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        found = site.doctor(f"c.Proxy.address = '127.0.0.1:{port}'")
    assert_found(found, f"port 127.0.0.1:{port}", "another program", f"sport = :{port}")


def test_few_files(site):
    found = site.doctor(before=["prlimit", "--nofile=512:512"])
    assert_found(found, "file limit", "512", "LimitNOFILE")


def test_commands_that_say_more_than_they_should(site, status):
    assert_found(site.doctor(status("squeue", 'echo Welcome! >&2; exec REAL "$@"')), "squeue", "Welcome!", "wrapper")


def test_a_command_that_hangs(site, status):
    config = status("squeue", "sleep 60") + "c.JobQueueBackend.command_timeout = 1\n"
    assert_found(site.doctor(config), "squeue", "did not answer within 1 seconds")


def test_a_controller_that_is_away(site, status):
    conf = site.safe / "slurm.conf"
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    conf.write_text(f"ClusterName=away\nSlurmctldHost=localhost(127.0.0.1)\nSlurmctldPort={port}\nMessageTimeout=2\n")
    found = site.doctor(status("scontrol", f'SLURM_CONF={conf} exec REAL "$@"'))
    assert_found(found, "Slurm's controller", "DOWN", "slurmctld")


@pytest.mark.parametrize(
    ("change", "check", "words"),
    [
        ("MaxArraySize *=.*/MaxArraySize = 1", "job arrays", ["MaxArraySize=1 forbids", "worker_job_arrays = False"]),
        ("PrivateData *=.*/PrivateData = jobs,usage", "jobs of others", ["hides", "adminlevel=operator"]),
        ("MinJobAge *=.*/MinJobAge = 2 sec", "ends of jobs", ["MinJobAge=2", "forgotten", "MinJobAge=300"]),
    ],
)
def test_limits_of_slurm(site, status, change, check, words):
    """As Slurm would print them, which others use at the same time."""
    assert_found(site.doctor(status("scontrol", f"REAL \"$@\" | sed -E 's/^{change}/'")), check, *words)


# --- users ------------------------------------------------------------------------------------------------------------


@contextmanager
def account(*options):
    """A user of dask_users, whose home is as the options of useradd say."""
    name = f"dgtdoctor{os.getpid()}"
    subprocess.run(["useradd", "--groups", "dask_users", *options, name], check=True)
    try:
        yield name
    finally:
        subprocess.run(["userdel", name], check=True, stderr=subprocess.DEVNULL)


def test_a_user_whom_nobody_knows(site):
    assert_found(site.doctor("", "--submit-as", "nosuch"), "user nosuch", "no account nosuch", "getent passwd")


def test_a_user_without_a_home(site):
    with account("--no-create-home") as name:
        assert_found(site.doctor("", "--submit-as", name), f"{name}'s home", "cannot be reached", "mkhomedir_helper")


def test_a_user_whose_home_is_somebody_elses(site):
    with account("--no-create-home", "--home-dir", str(site.safe)) as name:
        assert_found(site.doctor("", "--submit-as", name), f"{name}'s home", "belongs to root", f"chown {name}")


def test_a_directory_for_logs_that_users_cannot_make(site):
    found = site.doctor(f"c.SlurmClusterConfig.staging_directory = '{site.safe}/logs/{{username}}'")
    assert_found(found, "alice's logs", "alice cannot make", "install -d")


def test_a_user_whom_sudo_does_not_allow(site):
    assert_found(site.doctor("", "--submit-as", "dask"), "launcher", "sudo has no rule", "add dask to the group")


def test_a_launcher_that_others_can_change(site):
    launcher = site.folder / "dask-gateway-jobqueue-launcher"
    launcher.write_text("#!/bin/sh\n")
    launcher.chmod(0o777)
    found = site.doctor(f"c.JobQueueBackend.dask_gateway_jobqueue_launcher = '{launcher}'", *TRY)
    assert_found(found, "launcher", "does not belong to root", "where root alone can write")


def test_a_daemon_that_does_not_run(site):
    config = """
c.JobQueueBackend.impersonation = "socket"
c.JobQueueBackend.launcher_socket = "/nowhere/launcherd.sock"
"""
    assert_found(site.doctor(config, *TRY), "launcher", "cannot be asked at /nowhere", "systemctl status")


def test_status_commands_that_others_can_change(site):
    command = site.folder / "bin" / "squeue"
    command.parent.mkdir()
    command.symlink_to(shutil.which("squeue"))
    (site.folder / "bin" / "scontrol").symlink_to(shutil.which("scontrol"))
    command.parent.chmod(0o777)
    try:
        found = site.doctor(f"c.SlurmBackend.status_command = '{command}'")
    finally:
        shutil.rmtree(command.parent)
    assert_found(found, "squeue", "can be changed by others", "chmod go-w")


# --- what a job tells -------------------------------------------------------------------------------------------------


def test_a_job_that_slurm_refuses(site):
    found = site.doctor("c.SlurmClusterConfig.scheduler_constraint = 'nosuch'", *TRY)
    assert_found(found, "scheduler: submission", "Invalid feature specification")


def test_jobs_that_find_no_dask(site):
    found = site.doctor("c.JobQueueClusterConfig.scheduler_setup = 'PATH=/usr/bin:/bin'", *TRY)
    assert_found(found, "job's Python", "not found", "scheduler_setup")


def test_workers_whose_command_is_not_there(site):
    found = site.doctor("c.JobQueueClusterConfig.worker_cmd = '/no/such/dask-worker'", *TRY)
    assert_found(found, "worker's Python", "/no/such", "worker_cmd")


def test_an_api_that_jobs_cannot_reach(site):
    found = site.doctor("c.Backend.api_url = 'http://127.0.0.1:9/api'", *TRY)
    assert_found(found, "api_url", "http://127.0.0.1:9/api cannot be reached", "Connection refused", "firewall")


def test_a_queue_that_shows_nothing_new(site, status):
    assert_found(site.doctor(status("squeue", "exit 0"), *TRY), "queue", "not shown", "cache")


def test_a_submit_command_that_greets(site):
    sbatch = site.wrapper("sbatch", f'echo "Welcome to our cluster" >&2; exec {shutil.which("sbatch")} "$@"')
    found = site.doctor(f"c.SlurmBackend.submit_command = '{sbatch}'", *TRY)
    assert_found(found, "scheduler: submission", "Welcome to our cluster", "wrapper")


def test_a_submit_command_that_prints_the_id_of_another_job(site):
    other = as_user("alice", "sbatch", "--parsable", "--hold", "--output=/dev/null", stdin="#!/bin/sh\ntrue\n").stdout
    try:
        sbatch = site.wrapper("sbatch", f'{shutil.which("sbatch")} "$@" >/dev/null && echo {other}')
        found = site.doctor(f"c.SlurmBackend.submit_command = '{sbatch}'", *TRY)
        assert_found(found, "job's name", f"has answered {other.strip()}", "and that is the job", "wrapper")
        assert other.strip() in queue("alice")  # it is nobody's to cancel
    finally:
        subprocess.run(["scancel", other.strip()], check=True)
    assert not queue("alice", names="dask-gateway-doctor.*")


def test_a_submit_command_that_prints_no_id(site):
    sbatch = site.wrapper("sbatch", f'{shutil.which("sbatch")} "$@" >/dev/null; echo done')
    found = site.doctor(f"c.SlurmBackend.submit_command = '{sbatch}'", *TRY)
    assert_found(found, "scheduler: submission", "done", "print the id")
    assert not queue("alice", names="dask-gateway-doctor.*")
