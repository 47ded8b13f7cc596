"""What users do, with the published client, on the real Slurm: the gateway runs as dask, jobs as alice and bob."""

import json
import os
import shutil
import subprocess
import textwrap
import time
from pathlib import Path

import pytest

from tests.e2e.house import ClientFailed, open_gateway
from tests.slurm.real import allow_dask, ensure_slurm, folder_of_dask, installation, needs_slurm, queue

pytestmark = [*needs_slurm, pytest.mark.timeout(300)]

BASE = """
from dask_gateway_server.options import Float, Integer, Options, Select, String

c.DaskGateway.backend_class = "dask_gateway_server.backends.jobqueue.slurm.SlurmBackend"
c.Proxy.address = "127.0.0.1:0"
c.DaskGateway.log_level = "DEBUG"
c.JobQueueBackend.dask_gateway_jobqueue_launcher = "PREFIX/bin/dask-gateway-jobqueue-launcher"
c.JobQueueBackend.backoff_base_delay = 0.1
c.JobQueueClusterConfig.scheduler_cmd = "PREFIX/bin/dask-scheduler"
c.JobQueueClusterConfig.worker_cmd = "PREFIX/bin/dask-worker"
c.JobQueueClusterConfig.worker_memory = "512 M"
c.JobQueueClusterConfig.scheduler_memory = "512 M"

def handler(options):
    return {
        "partition": options.partition,
        "scheduler_setup": options.scheduler_setup,
        "worker_setup": options.worker_setup,
    }

c.Backend.cluster_options = Options(
    String("partition", default=""),
    String("scheduler_setup", default=""),
    String("worker_setup", default=""),
    handler=handler,
)
"""


@pytest.fixture(scope="module", autouse=True)
def slurm():
    ensure_slurm()
    allow_dask()
    yield
    left = queue("alice", "bob")
    subprocess.run(["scancel", *left], check=False)
    assert not left, f"jobs are left: {left}"


def open_house(folder, config="", **options):
    base = BASE.replace("{prefix}", str(installation())).replace("{{", "{").replace("}}", "}")
    (folder / "home").mkdir(exist_ok=True)
    shutil.chown(folder / "home", "dask", "dask")
    return open_gateway(
        folder, config, base=Braced(base), user="dask", python=installation() / "bin" / "python", **options
    )


class Braced(str):
    """A configuration that is taken as it is."""

    def format(self, **_):
        return str(self)


@pytest.fixture(scope="module")
def house():
    with folder_of_dask() as folder, open_house(folder) as house:
        yield house


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
        wait_until(lambda user=user: not queue(user))
        wait_until(lambda user=user, name=name: not Path(f"/home/{user}/.dask-gateway/{name}").exists())


def wait_until(condition, seconds=30):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.1)
