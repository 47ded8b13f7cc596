"""Limits, and a site's own say, as users of the published client meet them."""

import base64
import json

import pytest

from tests.e2e.gateway_process import open_gateway

CONFIG = """
from dask_gateway_server.options import Float, Options
from gateway.errors import PublicException

c.Backend.cluster_options = Options(Float("max_lifetime", default=0), Float("client_disconnect_timeout", default=0))
c.UserLimits.max_clusters = 2
c.UserLimits.max_workers = 3
c.MemberLimits.max_clusters = {"nosuch": 9}
c.TotalLimits.max_workers = 4
c.DBBackendBase.cluster_heartbeat_period = 1

async def before_create(user, config):
    if user.name == "mallory":
        raise PublicException("Mallory has no clusters here: ask hpc@site.example")
    return config

c.Backend.before_create = before_create
"""


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    with open_gateway(tmp_path_factory.mktemp("limits"), CONFIG) as house:
        yield house


def told(house, name, user="alice"):
    """The events of a cluster."""
    authorization = "Basic " + base64.b64encode(f"{user}:".encode()).decode()
    path = f"/api/v1/clusters/{name}/events"
    _, _, body = house.request("GET", path, headers=[("Authorization", authorization)])
    return [event["message"] for event in json.loads(body)["events"]]


def test_a_cluster_too_many_is_refused_and_one_that_ends_makes_room(house):
    async def script(gateway):
        refused = []
        where = {"address": gateway.address, "proxy_address": gateway.proxy_address}
        async with Gateway(**where, auth=BasicAuth("mallory"), asynchronous=True) as other:
            try:
                await other.new_cluster()
            except ValueError as error:
                refused.append(str(error))
        first, second = await asyncio.gather(gateway.new_cluster(), gateway.new_cluster())
        try:
            await gateway.new_cluster()
        except ValueError as error:
            refused.append(str(error))
        await first.shutdown()
        third = await gateway.new_cluster()  # at once: the end of the first is waited for
        await third.shutdown()
        await second.shutdown()
        return refused

    assert house.client(script) == [
        "Mallory has no clusters here: ask hpc@site.example",
        "There is no room for another cluster: user alice may have 2 clusters (c.UserLimits.max_clusters) and has 2."
        " Stop one, and try again",
    ]


def test_what_there_is_no_room_for_is_a_warning_and_comes_when_there_is(house):
    async def script(gateway):
        one, other = await asyncio.gather(gateway.new_cluster(), gateway.new_cluster())
        async with one, other:
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                await one.scale(2)
                await other.scale(3)
                await other.adapt(minimum=1, maximum=9)
                await other.scale(3)
            told = [str(w.message) for w in caught if w.category is GatewayWarning]
            async with other.get_client(set_as_default=False) as client:
                client = await client
                await client.wait_for_workers(1, timeout=60)
                before = len(await client.nthreads())
                await one.scale(0)
                await client.wait_for_workers(3, timeout=60)
                return [told, before, await client.submit(inc, 1)]

    told, before, result = house.client(script)
    in_use = "user alice may have 3 workers (c.UserLimits.max_workers) and has 3"
    assert told[0] == f"2 workers wait until there is room: {in_use}"
    assert told[1].startswith("Adapt with `maximum=9, minimum=1` workers would exceed resource limit of 3 workers")
    assert told[1].endswith(f"At the moment there is no room for 2 of these 3 workers: {in_use}")
    assert told[2] == told[0]
    assert (before, result) == (1, 2)


def test_an_adaptive_cluster_gets_what_another_user_gives_back(house):
    async def script(gateway):
        bob = Gateway(gateway.address, proxy_address=gateway.proxy_address, auth=BasicAuth("bob"), asynchronous=True)
        async with bob:
            one, other = await asyncio.gather(gateway.new_cluster(), bob.new_cluster())
            await one.scale(3)
            await other.adapt(minimum=2, maximum=3)
            async with other.get_client(set_as_default=False) as client:
                client = await client
                await client.wait_for_workers(1, timeout=60)
                before = len(await client.nthreads())
                await one.shutdown()
                await client.wait_for_workers(2, timeout=60)
                result = await client.submit(inc, 1)
            await other.shutdown()
            return [other.name, before, result]

    name, before, result = house.client(script)
    assert (before, result) == (1, 2)
    waits = "1 worker waits until there is room: all users may have 4 workers together (c.TotalLimits.max_workers)"
    assert f"{waits} and have 4" in told(house, name, "bob")


def test_clusters_that_are_forgotten_stop_after_an_announcement(house):
    async def script(gateway):
        alone, old = await gateway.submit(client_disconnect_timeout=3), await gateway.submit(max_lifetime=3)
        async with await gateway.connect(alone) as cluster, cluster.get_client(set_as_default=False):
            while (await gateway.get_cluster(old)).status.name != "STOPPED":
                await asyncio.sleep(0.2)
            await asyncio.sleep(1)
            assert (await gateway.get_cluster(alone)).status.name == "RUNNING"
        while (await gateway.get_cluster(alone)).status.name != "STOPPED":
            await asyncio.sleep(0.2)
        reasons = []
        for name in (alone, old):
            try:
                await gateway.connect(name)
            except GatewayClusterError as error:
                reasons.append(str(error))
        return [alone, old, *reasons]

    alone, old, *reasons = house.client(script)
    assert reasons == [
        f"Cluster {alone} is already stopped: no client was connected to it for 3 s (client_disconnect_timeout)",
        f"Cluster {old} is already stopped: it has run for 3 s, as long as it may (max_lifetime)",
    ]
    assert "The cluster is stopped in 0.3 s: it may run for 3 s (max_lifetime)" in told(house, old)
    events = told(house, alone)
    announced = next(event for event in events if "unless a client connects" in event)
    assert announced.startswith("The cluster is stopped in 0.3 s")
    assert events[events.index(announced) + 1].startswith("Stopping: no client was connected")
