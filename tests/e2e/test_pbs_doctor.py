"""Broken set-ups on a simulated PBS: the doctor names each, and nothing on one that is well."""

import re
import subprocess

import pytest

from tests.e2e.gateway_process import schedulers_here
from tests.pbs.simulation import Simulation, jobs_named
from tests.slurm.real import allow_dask
from tests.support.doctor_site import assert_found, open_site, problems
from tests.support.users import ensure_dask, ensure_users, is_root

pytestmark = [
    pytest.mark.root,
    pytest.mark.host,
    pytest.mark.skipif(not is_root(), reason="jobs of several users need root"),
    pytest.mark.timeout(300),
]

CONFIG = """
c.DaskGateway.backend_class = "dask_gateway_server.backends.jobqueue.pbs.PBSBackend"
c.PBSBackend.submit_command = "{bin}/qsub"
c.PBSBackend.cancel_command = "{bin}/qdel"
c.PBSBackend.status_command = "{bin}/qstat"
c.PBSClusterConfig.queue = "workq"
c.PBSClusterConfig.time = "8:00:00"
"""
TRY = ("--submit-as", "alice")


@pytest.fixture(scope="module")
def pbs():
    ensure_users()
    ensure_dask()
    allow_dask()
    timing = {"kill": 1.0, "poll": 0.5, "hold": 0.5, "exit": 0.3, "delete": 0.3}
    with Simulation.start(timing=timing, queues={"workq": True, "stopped": False}) as simulation:
        simulation.fault(qstat_pause=0.0, ports=1_000_000)
        yield simulation


@pytest.fixture(scope="module")
def site(pbs):
    with open_site(CONFIG.format(bin=pbs.bin) + schedulers_here()) as site:
        yield site


def test_nothing_is_wrong_where_nothing_is(site, pbs):
    found = site.doctor("", *TRY)
    assert problems(found) == {}
    assert {"job's Python", "worker's Python", "scheduler's port", "api_url", "job's name", "queue"} <= {
        one["check"] for one in found
    }
    assert jobs_named(pbs.bin, "dask-gateway-doctor.*") == []


@pytest.mark.parametrize(
    ("config", "check", "words"),
    [
        ("c.PBSClusterConfig.queue = 'nosuch'", "worker's job", ["no queue nosuch", "workq"]),
        ("c.PBSClusterConfig.worker_queue = 'stopped'", "worker's job", ["starts no jobs", "started = True"]),
        ("c.PBSBackend.submit_command = '/usr/bin/env'", "configuration", ["submit_command", "would not be run"]),
        ("c.PBSBackend.status_command = '/no/where/qstat'", "PBS's server", ["/no/where/qmgr cannot be run"]),
        ("c.PBSClusterConfig.log_directory = '/opt/{username}'", "alice's logs", ["alice cannot make", "install -d"]),
    ],
)
def test_what_the_configuration_has_wrong(site, config, check, words):
    assert_found(site.doctor(config), check, *words)


@pytest.mark.parametrize(
    ("wrong", "right", "check", "words"),
    [
        (
            {"operators": ["root"], "query_other_jobs": False},
            {"operators": ["root", "dask"], "query_other_jobs": True},
            "jobs of others",
            ["dask is no operator", "operators += dask@*"],
        ),
        ({"history": False}, {"history": True}, "ends of jobs", ["no history", "job_history_enable = True"]),
        ({"max_array_size": 1}, {"max_array_size": 10_000}, "job arrays", ["forbids them", "worker_job_arrays"]),
        ({"disabled": ["workq"]}, {"disabled": []}, "worker's job", ["takes no jobs", "enabled = True"]),
        ({"nodes_up": False}, {"nodes_up": True}, "worker's job", ["no node can be used: down", "pbsnodes -l"]),
        ({"memory": 64 << 20}, {"memory": 64 << 30}, "worker's job", ["the largest node has 64mb", "worker_memory"]),
    ],
)
def test_how_the_server_is_set(site, pbs, wrong, right, check, words):
    pbs.set(**wrong)
    try:
        assert_found(site.doctor(), check, *words)
    finally:
        pbs.set(**right)


def test_an_operator_sees_the_jobs_of_others(site, pbs):
    pbs.set(query_other_jobs=False)
    try:
        assert problems(site.doctor()) == {}
    finally:
        pbs.set(query_other_jobs=True)


def test_a_server_that_is_away(site, pbs):
    with pbs.away():
        assert_found(site.doctor(), "PBS's server", "does not answer", "systemctl status pbs")


def test_a_server_that_hangs(site, pbs):
    with pbs.frozen():
        found = site.doctor("c.JobQueueBackend.command_timeout = 1")
    assert_found(found, "PBS's server", "did not answer within 1 seconds")


def test_a_limit_that_refuses_jobs(site, pbs):
    limit = "queue workq resources_max.walltime"
    subprocess.run([pbs.bin / "qmgr", "-c", f"set {limit} = 01:00:00"], check=True)
    try:
        found = site.doctor("", *TRY)
    finally:
        subprocess.run([pbs.bin / "qmgr", "-c", f"unset {limit}"], check=True)
    assert_found(found, "scheduler: submission", "PBS refused the job", "resource limits")


def test_a_submit_command_that_prints_the_id_of_another_job(site, pbs):
    command = ["sudo", "-nHu", "alice", pbs.bin / "qsub", "-h", "-N", "mine", "-o", "/dev/null", "-j", "oe"]
    done = subprocess.run(command, cwd="/", input="sleep 1\n", check=True, capture_output=True, text=True)
    other = done.stdout.strip()
    qsub = site.wrapper("qsub", f'{pbs.bin}/qsub "$@" >/dev/null && echo {other}')
    try:
        found = site.doctor(f"c.PBSBackend.submit_command = '{qsub}'", *TRY)
        assert_found(found, "job's name", f"has answered {other}", "the job mine")
        assert jobs_named(pbs.bin, "mine") == [other]  # it is nobody's to delete
    finally:
        subprocess.run([pbs.bin / "qdel", other], check=True)
    assert jobs_named(pbs.bin, "dask-gateway-doctor.*") == []


def test_commands_that_say_more_than_they_should(site, pbs):
    for name in ("qstat", "qmgr", "qselect"):
        site.wrapper(name, f'echo "qsub: banner of {name}" >&2; exec {pbs.bin}/{name} "$@"')
    found = site.doctor(f"c.PBSBackend.status_command = '{site.safe}/qstat'")
    assert_found(found, "qselect", "banner of qselect", "wrapper")


def test_jobs_that_find_no_dask(site):
    found = site.doctor("c.JobQueueClusterConfig.scheduler_setup = 'PATH=/usr/bin:/bin'", *TRY)
    assert_found(found, "job's Python", "not found", "scheduler_setup")


def test_an_api_that_jobs_cannot_reach(site):
    found = site.doctor("c.Backend.api_url = 'http://127.0.0.1:9/api'", *TRY)
    assert_found(found, "api_url", "cannot be reached", "Connection refused")


def test_schedulers_to_which_the_gateway_would_not_connect(site):
    found = site.doctor("c.Proxy.scheduler_networks = ['198.51.100.0/24']", *TRY)
    assert_found(found, "scheduler's port", "the gateway would not connect", "c.Proxy.scheduler_networks")


def test_a_sudo_rule_for_another_file(site):
    found = site.doctor("c.JobQueueBackend.dask_gateway_jobqueue_launcher = '/usr/bin/true'", *TRY)
    told = problems(found)
    assert re.search("lists no rule", told["sudo rule"])
    assert re.search("sudo has no rule", told["launcher"])
