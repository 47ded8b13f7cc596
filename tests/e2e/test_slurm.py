"""What users do, with the published client, on the real Slurm: the gateway runs as dask, jobs as alice and bob."""

import base64
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.e2e.gateway_process import open_gateway
from tests.slurm.real import allow_dask, ensure_slurm, folder_of_dask, installation, needs_slurm
from tests.support import original_guide
from tests.support.users import miniconda

pytestmark = [*needs_slurm, pytest.mark.timeout(300)]

BASE = """
from dask_gateway_server.options import Float, Integer, Options, Select, String

c.DaskGateway.backend_class = "dask_gateway_server.backends.jobqueue.slurm.SlurmBackend"
c.Proxy.address = "127.0.0.1:0"
c.DaskGateway.log_level = "DEBUG"
c.JobQueueBackend.dask_gateway_jobqueue_launcher = "PREFIX/bin/dask-gateway-jobqueue-launcher"
c.JobQueueClusterConfig.scheduler_cmd = "PREFIX/bin/dask-scheduler"
c.JobQueueClusterConfig.worker_cmd = "PREFIX/bin/dask-worker"
c.JobQueueClusterConfig.worker_memory = "512 M"
c.JobQueueClusterConfig.scheduler_memory = "512 M"

def handler(options):
    return {
        "partition": options.partition,
        "worker_partition": options.worker_partition,
        "scheduler_setup": options.scheduler_setup,
        "worker_setup": options.worker_setup,
    }

c.Backend.cluster_options = Options(
    String("partition", default=""),
    String("worker_partition", default=""),
    String("scheduler_setup", default=""),
    String("worker_setup", default=""),
    handler=handler,
)
"""


@pytest.fixture(scope="module", autouse=True)
def slurm():
    ensure_slurm()
    allow_dask()


@contextmanager
def open_house(folder, config="", *, base=BASE, user="dask", keeps_jobs=False):
    """A gateway on Slurm, which leaves no jobs (of its own: others may use this Slurm) unless it is to keep them."""
    text = (base + config).replace("PREFIX", str(installation()))
    python = installation() / "bin" / "python"
    left, passed = [], False
    try:
        with open_gateway(folder, text, base="", user=user, python=python) as house:
            yield house
        passed = True
    finally:  # also when a test fails: others may use this Slurm
        made = re.findall(r'event="cluster created" cluster=(\w+)', (folder / "gateway.log").read_text())
        left = [job for name in made for job in slurm_ids(name)]
        if left and not (keeps_jobs and passed):
            subprocess.run(["scancel", *left], check=False)
    assert keeps_jobs or not left, f"jobs are left: {left}"


@pytest.fixture(scope="module")
def house():
    with folder_of_dask() as folder, open_house(folder) as house:
        yield house


def wait_until(condition, seconds=120):
    """Wait for something outside of the gateway: Slurm, a file."""
    deadline = time.monotonic() + seconds
    while not (result := condition()):
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.1)
    return result


def events(house, name, user="alice"):
    """What the gateway has told of a cluster."""
    credentials = base64.b64encode(f"{user}:".encode()).decode()
    path = f"/api/v1/clusters/{name}/events"
    status, _, body = house.request("GET", path, headers=[("Authorization", f"Basic {credentials}")])
    assert status == 200, body
    return [event["message"] for event in json.loads(body)["events"]]


def told_that_nobody_answers(house, name, user):
    """Does a user know that the batch system is away?"""
    return any("does not answer" in message for message in events(house, name, user))


def slurm_ids(name, *options):
    """The ids in Slurm of a cluster's jobs that have not ended."""
    command = ["squeue", "-h", "-r", "-u", "alice,bob", "-o", "%i %j", *options]
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    return [line.split()[0] for line in lines if f"-{name}-" in f"{line}-"]


# --- scripts of users -------------------------------------------------------------------------------------------------


async def create(gateway, options):
    return await gateway.submit(**options)


async def status(gateway, name):
    return (await gateway.get_cluster(name)).status.name


async def scale(gateway, name, count):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        await gateway.scale_cluster(name, count)
    return [str(warning.message) for warning in caught if warning.category is GatewayWarning]


async def stop(gateway, name):
    await gateway.stop_cluster(name)


async def compute(gateway, name, workers):
    cluster = await gateway.connect(name)
    client = await cluster.get_client(set_as_default=False)
    await client.wait_for_workers(workers, timeout=120)
    result = await client.gather(client.map(inc, range(5)))
    await client.close()
    await cluster.close()
    return result


async def connect_fails(gateway, name):
    try:
        await gateway.connect(name)
    except GatewayClusterError as error:
        return str(error)


def stopped(house, name, user="alice"):
    house.client(stop, name, user=user)
    wait_until(lambda: not slurm_ids(name))


# --- what they see ----------------------------------------------------------------------------------------------------


def test_jobs_run_as_the_user_and_leave_nothing(house):
    async def script(gateway):
        async with await gateway.new_cluster() as cluster:
            await cluster.scale(2)
            async with cluster.get_client(set_as_default=False) as client:
                client = await client
                await client.wait_for_workers(2, timeout=60)
                total = await client.gather(client.map(inc, range(10)))
                user = await client.submit(lambda: __import__("getpass").getuser())
                scheduler = await client.run_on_scheduler(lambda: __import__("getpass").getuser())
        return [cluster.name, total, user, scheduler]

    for user in ("alice", "bob"):
        name, total, worker, scheduler = house.client(script, user=user, timeout=120)
        assert total == list(range(1, 11))
        assert (worker, scheduler) == (user, user)
        wait_until(lambda name=name: not slurm_ids(name))
        wait_until(lambda user=user, name=name: not Path(f"/home/{user}/.dask-gateway/{name}").exists())


# What the original's guide has its readers write, but for ports and the path of the launcher.
GUIDE = f"""
{original_guide.SLURM}
{original_guide.OPTIONS}
c.Proxy.address = '127.0.0.1:0'
c.Proxy.tcp_address = 'localhost:0'
c.JobQueueClusterConfig.worker_memory = '1 G'
c.JobQueueClusterConfig.worker_cores = 2
c.JobQueueClusterBackend.cluster_start_timeout = 600
c.JobQueueClusterBackend.worker_start_timeout = 600
c.JobQueueBackend.dask_gateway_jobqueue_launcher = "PREFIX/bin/dask-gateway-jobqueue-launcher"
"""


@pytest.fixture
def own_environment():
    """The user's own environment, where the guide has it."""
    with miniconda(installation(), ["alice"]):
        yield


def test_the_walkthrough_of_the_original_s_guide(own_environment):
    async def walk(gateway):
        told = [await gateway.list_clusters(), dict(await gateway.cluster_options())]
        cluster = await gateway.new_cluster()
        await cluster.scale(1)
        client = await cluster.get_client(set_as_default=False)
        told.append(await client.submit(lambda: __import__("os").popen("id -un").read()))
        told.append(list((await client.nthreads()).values()))
        await client.close()
        await cluster.shutdown()
        return [*told, cluster.name]

    with folder_of_dask() as folder, open_house(folder, GUIDE, base="") as house:
        house.proxy_port = int(house.scheduler_address.rpartition(":")[2])
        clusters, options, user, threads, name = house.client(walk, timeout=120)
        assert (clusters, options, user, threads) == ([], {"environment": "base"}, "alice\n", [2])
        wait_until(lambda: not slurm_ids(name))
        wait_until(lambda: not Path(f"/home/alice/.dask-gateway/{name}").exists())


def test_twenty_workers_are_one_submission_and_one_cancellation(house):
    name = house.client(create, {})
    wait_until(lambda: house.client(status, name) == "RUNNING")
    house.client(scale, name, 20)
    wait_until(lambda: len(slurm_ids(name)) == 21)
    assert house.client(compute, name, 20, timeout=150) == [1, 2, 3, 4, 5]
    stopped(house, name)
    told = [line for line in house.log.splitlines() if name in line]
    assert len([line for line in told if "event=submitted" in line]) == 2
    assert len([line for line in told if "event=cancelled" in line]) == 1


def test_fewer_workers_end_by_themselves(house):
    name = house.client(create, {})
    house.client(scale_when_running, name, 3, timeout=90)
    assert house.client(compute, name, 3, timeout=120)
    house.client(scale, name, 1)
    wait_until(lambda: len(slurm_ids(name)) == 2)
    assert house.client(compute, name, 1) == [1, 2, 3, 4, 5]
    stopped(house, name)


async def scale_when_running(gateway, name, count):
    cluster = await gateway.connect(name)
    await cluster.scale(count)
    await cluster.close()


def test_a_scheduler_script_that_fails_is_explained(house):
    name = house.client(create, {"scheduler_setup": "echo no luck with the environment; exit 4"})
    reason = house.client(connect_fails, name)
    assert "FAILED (NonZeroExitCode), exit code 4, on node n" in reason
    assert "no luck with the environment" in reason
    log = Path(f"/home/alice/.dask-gateway/{name}/scheduler.log")
    assert "no luck" in log.read_text()  # kept for a while
    assert not slurm_ids(name)


def test_a_scheduler_that_is_killed_is_a_failure_with_a_reason(house):
    name = house.client(create, {})
    house.client(scale_when_running, name, 1, timeout=90)
    (job,) = slurm_ids(f"{name}-scheduler")
    for pid in processes(job):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    wait_until(lambda: house.client(status, name) == "FAILED")
    assert "signal 9" in house.client(connect_fails, name)
    wait_until(lambda: not slurm_ids(name))  # its worker is ended, too


def processes(job):
    """The processes of a running job."""
    node = subprocess.run(["squeue", "-h", "-j", job, "-o", "%N"], check=True, capture_output=True, text=True).stdout
    command = ["scontrol", "listpids", job, node.strip()]
    listed = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[1:]
    return [int(line.split()[0]) for line in listed]


def test_a_refusal_of_sbatch_reaches_the_user_word_for_word(house):
    name = house.client(create, {"partition": "nowhere"})
    assert "invalid partition specified: nowhere" in house.client(connect_fails, name)


def test_users_that_cannot_have_jobs_are_told_why(house):
    assert "is unknown on the gateway's host" in house.client(
        connect_fails, house.client(create, {}, user="nosuchuser"), user="nosuchuser"
    )
    # root is no member of dask_users, and is excluded by the rule, too.
    for user in ("root", "dask"):
        reason = house.client(connect_fails, house.client(create, {}, user=user), user=user)
        assert f"The gateway may not run jobs as {user}" in reason


@contextmanager
def profile_of_bob(text):
    """Bob's login shell reads this before the job's script."""
    profile = Path("~bob/.bash_profile").expanduser()
    assert not profile.exists()
    profile.write_text(text)
    try:
        yield
    finally:
        profile.unlink()


@pytest.mark.parametrize("profile", ["echo welcome; exit 0", "exec true"])
def test_a_profile_that_ends_the_shell_is_hinted_at(house, profile):
    with profile_of_bob(profile):
        name = house.client(create, {}, user="bob")
        reason = house.client(connect_fails, name, user="bob")
    assert reason.startswith(f"Cluster {name} failed to start: the scheduler's job ended: Job ")
    assert "exit code 0" in reason
    assert "does a profile (~/.bash_profile" in reason


def test_workers_that_fail_end_the_cluster_with_the_reason(house):
    name = house.client(create, {"worker_setup": "echo no worker today; exit 5"})
    house.client(scale_when_running, name, 2, timeout=90)
    wait_until(lambda: house.client(status, name) in ("STOPPING", "FAILED"))
    reason = house.client(connect_fails, name)
    assert "failed to start" in reason
    assert "exit code 5" in reason
    assert "no worker today" in reason
    wait_until(lambda: not slurm_ids(name))


def test_a_job_that_waits_is_left_alone_and_says_why():
    with folder_of_dask() as folder, open_house(folder, "c.JobQueueBackend.cluster_start_timeout = 5\n") as house:
        name = house.client(create, {"partition": "parked"})
        wait_until(lambda: any("PartitionDown" in message for message in events(house, name)))
        (job,) = slurm_ids(name)
        wait_until(lambda: age(job) > 10)
        assert house.client(status, name) == "PENDING"
        assert slurm_ids(name) == [job]
        stopped(house, name)


def test_workers_that_wait_say_why_when_more_are_asked_for(house):
    name = house.client(create, {"worker_partition": "parked"})
    house.client(scale_when_running, name, 2, timeout=90)
    wait_until(lambda: any("PartitionDown" in message for message in events(house, name)))
    assert any("PartitionDown" in message for message in house.client(scale, name, 3))
    wait_until(lambda: len(slurm_ids(name)) == 4)
    house.client(scale, name, 0)  # what waits is cancelled at once
    wait_until(lambda: len(slurm_ids(name)) == 1)
    assert house.client(status, name) == "RUNNING"
    stopped(house, name)


def age(job):
    """Seconds since a job was submitted."""
    command = ["squeue", "-h", "-j", job, "-O", "PendingTime"]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def test_ports_time_limits_and_several_workers_in_a_job():
    config = """
c.JobQueueClusterConfig.scheduler_port = "21000:21100"
c.JobQueueClusterConfig.time = "1:00:00"
c.JobQueueClusterConfig.worker_processes = 2
c.JobQueueClusterConfig.worker_memory = "256 M"
c.JobQueueClusterConfig.worker_extra_args = ["--resources", "LICENSES=1"]
c.SlurmClusterConfig.extra_args = ["--comment=from the gateway"]
c.SlurmBackend.worker_job_arrays = False

def extra_directives(user, config, role):
    return [f"--comment=a {role} of {user.name}, who is in {len(user.groups)} group(s)"] if role == "worker" else []

c.JobQueueBackend.extra_directives = extra_directives
"""
    with folder_of_dask() as folder, open_house(folder, config) as house:
        name = house.client(create, {})
        house.client(scale_when_running, name, 2, timeout=90)
        assert house.client(compute, name, 4, timeout=120) == [1, 2, 3, 4, 5]
        jobs = slurm_ids(name)
        assert len(jobs) == 3
        assert not [job for job in jobs if "_" in job]
        shown = subprocess.run(["scontrol", "show", "job", jobs[0]], check=True, capture_output=True, text=True).stdout
        assert "TimeLimit=01:00:00" in shown
        assert "Comment=from the gateway" in shown
        worker = subprocess.run(["scontrol", "show", "job", jobs[1]], check=True, capture_output=True, text=True).stdout
        assert re.search(r"Comment=a worker of alice, who is in [1-9]\d* group\(s\)", worker)
        scheduler, api = addresses(house, name)
        assert scheduler in range(21000, 21101)
        assert api in range(21000, 21101)
        stopped(house, name)


def addresses(house, name):
    """The ports that a scheduler has told of itself."""
    log = Path(f"/home/alice/.dask-gateway/{name}/scheduler.log").read_text()
    ports = [int(port) for port in re.findall(r"(?:Scheduler at|dashboard at): +\w+://[^:]+:(\d+)", log)]
    assert len(ports) == 2, log
    return ports


def test_a_private_gateway_needs_no_sudo():
    base = BASE.replace("c.Proxy.address", 'c.SlurmBackend.impersonation = "none"\nc.Proxy.address')
    with folder_of_dask() as folder:
        shutil.chown(folder, "alice", "alice")
        with open_house(folder, base=base, user="alice") as house:
            name = house.client(create, {})
            house.client(scale_when_running, name, 1, timeout=90)
            assert house.client(compute, name, 1, timeout=120) == [1, 2, 3, 4, 5]
            stopped(house, name)
            other = house.client(create, {}, user="bob")
            assert "runs jobs as alice only" in house.client(connect_fails, other, user="bob")


def test_a_restart_of_the_gateway_loses_nothing():
    with folder_of_dask() as folder:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = f'c.Proxy.address = "127.0.0.1:{free.getsockname()[1]}"'
        with open_house(folder, port, keeps_jobs=True) as house:
            name = house.client(create, {})
            house.client(scale_when_running, name, 2, timeout=90)
            assert house.client(compute, name, 2, timeout=120)
            jobs = slurm_ids(name)
        assert slurm_ids(name) == jobs
        with open_house(folder, f"{port}\nc.UserLimits.max_workers = 1") as house:  # nor does a limit that is new
            assert house.client(compute, name, 2, timeout=120) == [1, 2, 3, 4, 5]
            assert sorted(slurm_ids(name)) == sorted(jobs)
            (warning,) = house.client(scale, name, 3)
            assert "would exceed resource limit of 1 workers (c.UserLimits.max_workers)" in warning
            stopped(house, name)


def test_a_scheduler_that_is_requeued_is_found_again():
    with folder_of_dask() as folder, open_house(folder, "c.JobQueueClusterConfig.requeue = True") as house:
        name = house.client(create, {})
        wait_until(lambda: house.client(status, name) == "RUNNING")
        (job,) = slurm_ids(name)
        subprocess.run(["scontrol", "requeue", job], check=True)
        wait_until(lambda: house.log.count("The scheduler is running") + house.log.count("has moved") > 1, 150)
        house.client(scale, name, 1)
        assert house.client(compute, name, 1, timeout=120) == [1, 2, 3, 4, 5]
        stopped(house, name)
