"""LocalBackend as root: each cluster runs as its own user."""

import shutil
import tempfile
from pathlib import Path

import pytest

from tests.e2e.gateway_process import ClientFailed, open_gateway
from tests.e2e.test_edges import processes_below
from tests.support.users import ensure_users, is_root

pytestmark = [pytest.mark.root, pytest.mark.skipif(not is_root(), reason="jobs of other users need root")]

CONFIG = """
c.Proxy.address = "127.0.0.1:0"
c.DaskGateway.backend_class = "dask_gateway_server.backends.local.LocalBackend"
c.LocalBackend.clusters_directory = {directory!r} + "/clusters"
c.LocalClusterConfig.worker_memory = "512 M"
"""


@pytest.fixture(scope="module")
def house():
    ensure_users()
    folder = Path(tempfile.mkdtemp(prefix="dask-gateway-", dir="/var/tmp"))
    folder.chmod(0o755)  # users must be able to reach their own cluster's folder
    try:
        with open_gateway(folder, base=CONFIG) as house:
            yield house
    finally:
        shutil.rmtree(folder)


@pytest.mark.parametrize("user", ["alice", "bob"])
def test_jobs_run_as_their_user(house, user):
    async def script(gateway):
        async with await gateway.new_cluster() as cluster:
            await cluster.scale(1)
            async with cluster.get_client(set_as_default=False) as client:
                who = await client.submit(lambda: __import__("getpass").getuser())
                uid = await client.submit(lambda: __import__("os").getuid())
                home = await client.submit(lambda: __import__("os").environ["HOME"])
                return [who, uid, home]

    who, uid, home = house.client(script, user=user)
    assert (who, home) == (user, f"/home/{user}")
    assert uid > 0


@pytest.mark.parametrize(("user", "reason"), [("root", "root"), ("nobody-like-this", "nobody-like-this")])
def test_whom_it_does_not_serve(house, user, reason):
    async def script(gateway):
        await gateway.new_cluster()

    with pytest.raises(ClientFailed) as failure:
        house.client(script, user=user)
    text = str(failure.value).split("--- gateway ---")[0]
    assert "GatewayClusterError" in text
    assert reason in text


def test_nothing_is_left(house):
    assert house.stop() == 0
    assert processes_below(house.directory / "clusters") == []
