"""What users do, with the published client, on PBS: the gateway runs as dask, jobs as alice and bob.

The PBS is a simulated one, or that of PBS_EXEC; what a simulation alone can do
(a server that goes away) is in test_pbs_away.py.
"""

import re
import subprocess
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.e2e.gateway_process import ClientFailed, open_gateway, schedulers_here
from tests.e2e.test_slurm import (
    compute,
    connect_fails,
    create,
    events,
    profile_of_bob,
    scale_when_running,
    status,
    wait_until,
)
from tests.pbs.simulation import jobs_named, some_pbs
from tests.pbs.tidy import end_jobs, queue, remove_directories
from tests.slurm.real import allow_dask, folder_of_dask, installation
from tests.support import original_guide
from tests.support.users import ensure_dask, ensure_users, is_root, miniconda

pytestmark = [
    pytest.mark.root,
    pytest.mark.host,
    pytest.mark.skipif(not is_root(), reason="jobs of several users need root"),
    pytest.mark.timeout(300),
]

#: Where things are on this machine, and one option for the tests that follow the walkthrough.
PATHS = """
c.Proxy.address = "127.0.0.1:0"
c.DaskGateway.log_level = "DEBUG"
c.PBSBackend.submit_command = "PBS/qsub"
c.PBSBackend.cancel_command = "PBS/qdel"
c.PBSBackend.status_command = "PBS/qstat"
c.PBSBackend.dask_gateway_jobqueue_launcher = "PREFIX/bin/dask-gateway-jobqueue-launcher"

from dask_gateway_server.options import Bool, Integer, Options, String

def handler(options):
    chosen = {"scheduler_setup": options.scheduler_setup, "worker_setup": options.worker_setup}
    if options.queue:
        chosen["queue"] = options.queue
    if options.small:
        chosen |= {"worker_cores": 1, "worker_memory": "500 M"}
    return {**chosen, "scheduler_cores": options.scheduler_cores}

c.Backend.cluster_options = Options(
    String("queue", default=""),
    String("scheduler_setup", default=""),
    String("worker_setup", default=""),
    Integer("scheduler_cores", default=1),
    Bool("small", default=False),
    handler=handler,
)
"""


@contextmanager
def open_house(folder, commands, config="", **more):
    """A gateway that leaves no jobs of its own clusters; on a real PBS the users may have clusters of others."""
    paths = PATHS.replace("PBS/", f"{commands}/").replace("PREFIX", str(installation()))
    text = original_guide.PBS + paths + config + schedulers_here()
    made = []
    try:
        python = installation() / "bin" / "python"
        with open_gateway(folder, text, base="", user="dask", python=python, **more) as house:
            try:
                yield house
            finally:
                made = re.findall(r'event="cluster created" cluster=(\w+)', house.log)
    finally:
        left = end_jobs(commands, f"dask-gateway-(?:{'|'.join(made)})-.*") if made else []
        remove_directories("|".join(made) or "-")
    assert not left, f"jobs are left: {left}"


@pytest.fixture(scope="module")
def pbs():
    ensure_dask()
    allow_dask()
    # A simulation has the guide's queue; a real PBS may not.
    with (
        miniconda(installation(), ensure_users()),
        some_pbs() as commands,
        queue(commands, "dask"),
    ):
        yield commands


@pytest.fixture(scope="module")
def house(pbs):
    with folder_of_dask() as folder, open_house(folder, pbs) as house:
        yield house


def pbs_jobs(commands, name="[0-9a-f]{32}"):
    """The ids of a cluster's jobs that have not ended (an array has one), or of those of all clusters."""
    return jobs_named(commands, f"dask-gateway-{name}-.*")


def until_ended(commands, name):
    wait_until(lambda: not pbs_jobs(commands, name))


# --- the guide --------------------------------------------------------------------------------------------------------


async def walkthrough(gateway):
    """The last section of the guide: list, new_cluster, get_client, shutdown."""
    before = await gateway.list_clusters()
    cluster = await gateway.new_cluster()
    await cluster.scale(2)
    client = await cluster.get_client(set_as_default=False)
    await client.wait_for_workers(2, timeout=60)
    total = await client.gather(client.map(inc, range(10)))
    workers = await client.run(lambda: __import__("getpass").getuser())
    scheduler = await client.run_on_scheduler(lambda: __import__("getpass").getuser())
    info = await client.run(lambda dask_worker: [dask_worker.state.nthreads, dask_worker.memory_manager.memory_limit])
    await client.close()
    await cluster.shutdown()
    return [len(before), cluster.name, total, sorted({*workers.values(), scheduler}), list(info.values())]


@pytest.mark.parametrize("user", ["alice", "bob"])
def test_the_guide_s_walkthrough(house, pbs, user):
    before, name, total, users, info = house.client(walkthrough, user=user, timeout=120)
    assert before == 0
    assert total == list(range(1, 11))
    assert users == [user]
    assert [threads for threads, _ in info] == [2, 2]
    until_ended(pbs, name)
    wait_until(lambda: not Path(f"/home/{user}/.dask-gateway/{name}").exists())
    assert not list(Path(f"/home/{user}").glob("*.[eo][0-9]*")), "output is left in the home directory"


# --- what users see ---------------------------------------------------------------------------------------------------


def test_twenty_workers_are_one_submission_and_one_round_of_qdel(house, pbs):
    name = house.client(create, {"small": True})
    house.client(scale_when_running, name, 20, timeout=90)
    wait_until(lambda: len(pbs_jobs(pbs, name)) == 2)  # the scheduler, and one array
    assert house.client(compute, name, 20, timeout=150) == [1, 2, 3, 4, 5]
    house.client(stop, name)
    until_ended(pbs, name)
    told = [line for line in house.log.splitlines() if name in line]
    assert len([line for line in told if "event=submitted" in line]) == 2
    assert len([line for line in told if "event=cancelled" in line]) == 1


async def stop(gateway, name):
    await gateway.stop_cluster(name)


def test_a_scheduler_that_fails_is_explained(house, pbs):
    name = house.client(create, {"scheduler_setup": "echo no luck with the environment; exit 4"})
    reason = house.client(connect_fails, name)
    assert "exit code 4, on node " in reason
    assert "no luck with the environment" in reason
    until_ended(pbs, name)


@pytest.mark.parametrize("profile", ["echo welcome; exit 0", "exec true"])
def test_a_profile_that_ends_the_shell_is_hinted_at(house, pbs, profile):
    with profile_of_bob(profile):
        name = house.client(create, {}, user="bob")
        reason = house.client(connect_fails, name, user="bob")
    assert "failed to start: the scheduler's job ended: Job " in reason
    assert "exit code 0" in reason
    assert "does a profile (~/.bash_profile" in reason
    until_ended(pbs, name)


def test_workers_that_fail_end_the_cluster_with_the_reason(house, pbs):
    name = house.client(create, {"worker_setup": "echo no worker today; exit 5"})
    house.client(scale_when_running, name, 2, timeout=90)
    wait_until(lambda: house.client(status, name) in ("STOPPING", "FAILED"))
    reason = house.client(connect_fails, name)
    assert "failed to start" in reason
    assert "exit code 5" in reason
    assert "no worker today" in reason
    until_ended(pbs, name)


def test_a_refusal_of_qsub_reaches_the_user_word_for_word(house):
    assert "qsub: Unknown queue" in house.client(connect_fails, house.client(create, {"queue": "nowhere"}))


def test_a_job_that_can_never_run_says_so_while_it_waits(house, pbs):
    name = house.client(create, {"scheduler_cores": 99999})
    wait_until(lambda: any("Can Never Run" in message for message in events(house, name)))
    assert house.client(status, name) == "PENDING"
    house.client(stop, name)
    until_ended(pbs, name)


def test_a_job_that_can_never_run_fails_where_the_site_wants_it(pbs):
    with (
        folder_of_dask() as folder,
        open_house(folder, pbs, "c.PBSBackend.fail_on_can_never_run = True\n") as house,
    ):
        name = house.client(create, {"scheduler_cores": 99999})
        assert "Can Never Run: Insufficient amount of resource: ncpus" in house.client(connect_fails, name)
        until_ended(pbs, name)


def test_users_cannot_read_each_other_s_secrets(house, pbs):
    name = house.client(create, {})
    wait_until(lambda: house.client(status, name) == "RUNNING")
    shown = subprocess.run(
        ["sudo", "-nHu", "bob", "sh", "-c", f"{pbs}/qstat -f; {pbs}/qstat -f -F json; ps -ef"],
        check=False,
        capture_output=True,
        text=True,
    ).stdout
    assert f"dask-gateway-{name}-scheduler" in shown
    assert "API_TOKEN=" not in shown
    assert "BEGIN CERTIFICATE" not in shown
    house.client(stop, name)
    until_ended(pbs, name)


def test_users_that_cannot_have_jobs_are_told_why(house):
    assert "is unknown on the gateway's host" in house.client(
        connect_fails, house.client(create, {}, user="nosuchuser"), user="nosuchuser"
    )
    with pytest.raises(ClientFailed, match="The gateway may not run jobs as root"):
        house.client(compute, house.client(create, {}, user="root"), 0, user="root")
