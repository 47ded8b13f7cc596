"""One cluster and several people, each with the unchanged client: who may use it computes, until they may no longer."""

import signal

from tests.e2e.gateway_process import open_gateway

#: An authenticator that knows groups, as a JupyterHub or an OpenID provider does.
CONFIG = """
from gateway.auth.simple import SimpleAuthenticator
from gateway.models import User

class WithGroups(SimpleAuthenticator):
    brings_groups = True

    async def authenticate(self, request):
        user = await super().authenticate(request)
        return User(user.name, {"carol": ["physics"], "dave": ["support"]}.get(user.name, []))

c.DaskGateway.authenticator_class = WithGroups
c.Authenticator.admin_users = {"root"}
c.Backend.sharing = "use"
c.ClusterConfig.share_view = "@support"
"""


async def share_and_revoke(gateway):
    import aiohttp

    def of(user):
        return Gateway(gateway.address, auth=BasicAuth(user, ""), asynchronous=True)

    async def share(name, **names):
        url = f"{gateway.address}/api/v1/clusters/{name}/shares"
        return await (await gateway._request("PUT", url, json=names)).json()

    async def page(link):
        async with aiohttp.ClientSession() as browser:
            answer = await browser.get(link)
            return answer.status, "Dask" in await answer.text()

    async def said(attempt):
        try:
            return f"went well: {await asyncio.wait_for(attempt, 20)}"
        except Exception as error:
            return f"{type(error).__name__}: {error}"

    async def compute_at(address, security):
        async with Client(address, security=security, asynchronous=True, set_as_default=False) as client:
            return await client.submit(inc, 4)

    seen = {}
    mine = await gateway.new_cluster(shutdown_on_close=False)
    await mine.scale(1)
    owner = await mine.get_client(set_as_default=False)
    await owner.wait_for_workers(1, timeout=60)
    async with of("bob") as bob, of("carol") as carol, of("dave") as dave:
        seen["before"] = await said(bob.connect(mine.name))
        await share(mine.name, use=["bob", "@physics"], view=["@support"])
        clusters = {"bob": await bob.connect(mine.name), "carol": await carol.connect(mine.name)}
        clients = {who: await cluster.get_client(set_as_default=False) for who, cluster in clusters.items()}
        seen["computed"] = {who: await client.submit(inc, 1) for who, client in clients.items()}
        seen["lists"] = [len(await one.list_clusters()) for one in (gateway, bob, dave)]
        seen["scale"] = await said(clusters["bob"].scale(2))
        await clusters["bob"].close(shutdown=True)  # is logged, and stops nothing
        seen["viewer"] = await said(dave.connect(mine.name))
        report = await dave.get_cluster(mine.name)
        seen["viewers report"] = report.status.name, report.security
        seen["pages"] = [await page(link) for link in (clusters["bob"].dashboard_link, report.dashboard_link)]

        await share(mine.name, use=["@physics"], view=["@support"])
        seen["after"] = await said(clients["bob"].submit(inc, 2))
        seen["bobs client"] = clients["bob"].status
        seen["again"] = await said(bob.connect(mine.name))
        key = clusters["bob"].security
        for name, address in {
            "old name": clusters["bob"].scheduler_address,
            "clusters name": f"{gateway.proxy_address}/{mine.name}",
            "made up": f"{gateway.proxy_address}/{mine.name}-{'a' * 18}",
        }.items():
            seen[name] = await said(compute_at(address, key))
        seen["pages after"] = [await page(link) for link in (clusters["bob"].dashboard_link, report.dashboard_link)]
        seen["still"] = [await clients["carol"].submit(inc, 2), await owner.submit(inc, 3)]
        for client in (*clients.values(), owner):
            await client.close()
        await clusters["carol"].close()
    await mine.close()
    return {"name": mine.name, **seen}


async def after_a_restart(gateway, name):
    def of(user):
        return Gateway(gateway.address, auth=BasicAuth(user, ""), asynchronous=True)

    async def said(attempt):
        try:
            return f"went well: {await asyncio.wait_for(attempt, 20)}"
        except Exception as error:
            return f"{type(error).__name__}: {error}"

    seen = {}
    async with of("carol") as carol, of("bob") as bob, of("root") as root:
        theirs = await carol.connect(name)
        client = await theirs.get_client(set_as_default=False)
        seen["carol"] = await client.submit(inc, 1)
        seen["bob"] = await said(bob.connect(name))
        admin = f"{gateway.address}/api/v1/admin/clusters"
        seen["refused"] = await said(bob._request("GET", admin))
        seen["listed"] = [
            (c["name"], c["user"]) for c in (await (await root._request("GET", admin)).json())["clusters"]
        ]
        await root._request("DELETE", f"{admin}/{name}?reason=the%20node%20goes%20down")
        seen["told"] = await said(gateway.connect(name))
        seen["carols client"] = await said(client.submit(inc, 2))
        await client.close()
        await theirs.close()
    return seen


def test_a_shared_cluster_and_the_end_of_it(tmp_path):
    with open_gateway(tmp_path / "house", CONFIG) as house:
        seen = house.client(share_and_revoke, timeout=120)
        name = seen["name"]
        assert "403" in seen["before"]
        assert seen["computed"] == {"bob": 2, "carol": 2}
        assert seen["lists"] == [1, 0, 0], "nobody connects to somebody else's by accident, or stops it"
        assert seen["scale"].startswith(f"GatewayClusterError: User bob cannot scale cluster {name}: its owner alice")
        assert seen["viewer"].startswith(f"GatewayClusterError: User dave cannot use cluster {name}: its owner alice")
        assert seen["viewers report"] == ["RUNNING", None]
        assert seen["pages"] == [[200, True], [200, True]]

        assert seen["after"].startswith("FutureCancelledError")
        assert seen["bobs client"] == "closed"
        assert "403" in seen["again"]
        for way in ("old name", "clusters name", "made up"):
            assert f"This is no way into cluster {name}, or none any more" in seen[way], "at once, and not after 30 s"
        assert seen["pages after"] == [[404, False], [200, True]]
        assert seen["still"] == [3, 4]
        port = house.address.rsplit(":", 1)[1]
        house.stop(signal.SIGKILL)
    with open_gateway(tmp_path / "house", CONFIG + f'c.Proxy.address = "127.0.0.1:{port}"') as house:
        seen = house.client(after_a_restart, name)
        assert seen["carol"] == 2
        assert "403" in seen["bob"]
        assert "403" in seen["refused"]
        assert seen["listed"] == [[name, "alice"]]
        why = "an administrator (root) has stopped it: the node goes down"
        assert seen["told"] == f"GatewayClusterError: Cluster {name} is already stopped: {why}"
        assert not seen["carols client"].startswith("went well")
        assert "an administrator has stopped a cluster" in house.log
        assert house.stop() == 0
