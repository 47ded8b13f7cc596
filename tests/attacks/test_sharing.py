"""Users who try to come into clusters that are not shared with them, or not any more, or not for that."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import orjson
import pytest
import trio

from gateway.clusters.manager import new_secret
from gateway.clusters.sharing import route_name
from tests.attacks.attacked import CLUSTERS, JSON, Answer, Attacked, ClusterOfUser, open_attacked, probe, scheduler
from tests.support.hellos import openssl_hello
from tests.support.proxy_peers import connect, is_ended, peer, receive_exactly

SHARING = (
    "from gateway.options import Options, String",
    "c.Backend.sharing = 'use'",
    "c.SimpleAuthenticator.admin_users = {'root'}",
    "c.Backend.cluster_options = Options(String('text'), handler=lambda options: {})",
)


@asynccontextmanager
async def shared_cluster(gateway: Attacked) -> AsyncIterator[ClusterOfUser]:
    """Alice's, that runs: bob may use it, dave may see it. Its scheduler repeats what it hears."""
    async with peer(scheduler) as port:
        cluster, address = await gateway.create("alice"), f"127.0.0.1:{port}"
        for job in gateway.driver.jobs.values():
            if job.spec.cluster.name == cluster.name:
                gateway.driver.run(job.id)
        assert (await cluster.beat(scheduler=address, api=address, dashboard=address)).status == 200
        await cluster.share(use=["bob"], view=["dave"])
        yield cluster


@asynccontextmanager
async def asking_for(gateway: Attacked, name: str) -> AsyncIterator[tuple[trio.SocketStream, bool]]:
    """A connection that asks for a scheduler by this name, and whether one has heard it."""
    hello = openssl_hello(f"daskgateway-{name}")
    async with await connect(("127.0.0.1", gateway.port)) as stream:
        await stream.send_all(hello)
        heard = bytes(await stream.receive_some(len(hello)))
        yield stream, len(heard) > 16 and hello.startswith(heard)


async def leads_in(gateway: Attacked, name: str) -> bool:
    """Whether a scheduler is reached by this name."""
    async with asking_for(gateway, name) as (_, reached):
        return reached


async def dashboard(gateway: Attacked, route: str) -> int:
    return (await gateway.ask("GET", route, user=None)).status


async def try_everything(gateway: Attacked, user: str, name: str) -> list[Answer]:
    """Whatever can be asked about a cluster."""
    about = CLUSTERS + name
    attempts = [
        ("GET", about, {}),
        ("GET", f"{about}?wait=0", {}),
        ("GET", f"{about}?wait", {}),
        ("GET", f"{about}/events", {}),
        ("GET", f"{about}/traffic", {}),
        ("GET", f"{about}/shares", {}),
        ("PUT", f"{about}/shares", {"use": [user]}),
        ("DELETE", f"{about}/guests/bob", {}),
        ("POST", f"{about}/scale", {"count": 5}),
        ("POST", f"{about}/adapt", {"maximum": 5}),
        ("DELETE", about, {}),
        ("DELETE", f"/api/v1/admin/clusters/{name}?reason=mine", {}),
        ("DELETE", f"/api/v1/admin/clusters/{name}/shares?reason=mine", {}),
        ("GET", "/api/v1/admin/clusters", {}),
        ("DELETE", "/api/v1/admin/sessions/alice?reason=mine", {}),
    ]
    return [
        await gateway.ask(method, path, user=user, headers=[JSON], body=orjson.dumps(body) if method != "GET" else b"")
        for method, path, body in attempts
    ]


def spellings(name: str, bobs: str) -> list[str]:
    """A cluster's name, that of somebody's own route, and what resembles them."""
    made_up = f"{name}-{'a' * 18}"
    return [
        name,
        bobs,
        made_up,
        name.upper(),
        f"{name}-",
        f"{bobs}a",
        f"{name}%2Dx",
        f"{name}%00",
        f"./{name}",
        f"{bobs};x",
    ]


async def test_strangers_get_nowhere(tmp_path: Path) -> None:
    async with open_attacked(tmp_path, *SHARING) as gateway, shared_cluster(gateway) as cluster:
        bobs, before = await cluster.name_for("bob"), await gateway.ask("GET", f"{CLUSTERS}{cluster.name}/shares")
        for name in spellings(cluster.name, bobs):
            for answer in await try_everything(gateway, "mallory", name):
                assert answer.status in (403, 404) or (answer.status, answer.body) == (204, b""), answer
                assert b"BEGIN" not in answer.body
        assert (await gateway.ask("GET", f"{CLUSTERS}?shared=1", user="mallory")).json == {}
        assert {(await gateway.ask("GET", CLUSTERS + bobs, user=user)).status for user in ("Bob", "bob2")} == {403}
        assert (await gateway.ask("GET", f"{CLUSTERS}{cluster.name}/shares")).json == before.json
        assert await cluster.name_for("bob") == bobs
        await probe(gateway)


@pytest.mark.parametrize("name", ["@physics", "alice,bob", "bob ", "../bob", "bob\n"])
async def test_no_user_is_a_group(name: str, tmp_path: Path) -> None:
    async with open_attacked(tmp_path, *SHARING, computing=False) as gateway, shared_cluster(gateway) as cluster:
        await cluster.share(use=["bob", "@physics"])
        assert (await gateway.ask("GET", CLUSTERS + cluster.name, user=name)).status == 422, "no name of an account"
        assert (await gateway.ask("GET", CLUSTERS + cluster.name, user="physics")).status == 403


async def test_who_may_see_it_gets_no_way_to_the_scheduler(tmp_path: Path) -> None:
    async with open_attacked(tmp_path, *SHARING) as gateway, shared_cluster(gateway) as cluster:
        report = (await gateway.ask("GET", CLUSTERS + cluster.name, user="dave")).json
        own = report["dashboard_route"].split("/")[2]
        assert own != cluster.name
        assert (report["tls_key"], report["tls_cert"], report["name"]) == (None, None, cluster.name)
        assert await dashboard(gateway, report["dashboard_route"]) == 200
        for name in (own, cluster.name, own.upper(), f"{cluster.name}-{'b' * 18}"):
            assert not await leads_in(gateway, name)
        answers = await try_everything(gateway, "dave", cluster.name)
        assert all(b"BEGIN" not in answer.body for answer in answers)
        assert {answer.status for answer in answers[6:]} == {403, 409}
        assert (await gateway.ask("GET", CLUSTERS + cluster.name)).json["status"] == "RUNNING"
        await probe(gateway)


async def test_who_may_use_it_may_do_nothing_else(tmp_path: Path) -> None:
    async with open_attacked(tmp_path, *SHARING) as gateway, shared_cluster(gateway) as cluster:
        await cluster.name_for("bob")
        for name in (cluster.name, await cluster.name_for("bob")):
            answers = await try_everything(gateway, "bob", name)
            assert {answer.status for answer in answers[6:]} == {403, 409}
        assert (await gateway.ask("GET", CLUSTERS + cluster.name)).json["status"] == "RUNNING"
        shares = (await gateway.ask("GET", f"{CLUSTERS}{cluster.name}/shares")).json
        assert (shares["use"], shares["view"]) == (["bob"], ["dave"])


async def test_whoever_may_no_longer_come_in_is_out_and_stays_out(tmp_path: Path) -> None:
    async with open_attacked(tmp_path, *SHARING) as gateway, shared_cluster(gateway) as cluster:
        await cluster.share(use=["bob", "eve"])
        names = {user: await cluster.name_for(user) for user in ("alice", "bob", "eve")}
        async with AsyncExitStack() as stack:
            streams = {}
            for user, name in names.items():
                streams[user], reached = await stack.enter_async_context(asking_for(gateway, name))
                assert reached
            await cluster.share(use=["eve"])
            assert await is_ended(streams.pop("bob"))
            for stream in streams.values():
                await stream.send_all(b"x" * 1000)
                assert await receive_exactly(stream, 1000)
        eves = (await gateway.ask("GET", CLUSTERS + cluster.name, user="eve")).json["dashboard_route"].split("/")[2]
        for name in (names["bob"], names["bob"].upper(), cluster.name, f"{cluster.name}-{'a' * 18}", eves):
            assert not await leads_in(gateway, name), "with the key that bob has, it would be a way in"
            assert {answer.status for answer in await try_everything(gateway, "bob", name)} <= {403, 404, 204}
        assert await dashboard(gateway, f"/clusters/{names['bob']}/status") == 404
        await cluster.share(use=["bob", "eve"])
        assert not await leads_in(gateway, names["bob"]), "nor does it become one when the cluster is shared again"
        assert await cluster.name_for("eve") == names["eve"]


async def test_links_of_those_who_came_end_with_their_share(tmp_path: Path) -> None:
    async with open_attacked(tmp_path, *SHARING) as gateway, shared_cluster(gateway) as cluster:
        (cookie,) = (await gateway.ask("GET", CLUSTERS, user="dave")).all("set-cookie")
        browser = [("Cookie", cookie.partition(";")[0]), ("Sec-Fetch-Mode", "navigate"), ("Sec-Fetch-Dest", "document")]

        async def visit(path: str) -> Answer:
            return await gateway.ask("GET", path, user=None, headers=[*browser, ("Accept", "text/html")])

        async def follow(path: str) -> Answer:
            answer = await visit(path)
            while answer.status in (303, 307):
                path = answer.all("location")[0]
                answer = await visit(path)
            links.append(path)
            return answer

        links: list[str] = []
        await follow(f"/clusters/{cluster.name}/status")  # who is let in by that
        report = (await gateway.ask("GET", CLUSTERS + cluster.name, user="dave")).json
        links.append(report["dashboard_route"])
        assert all(f"/clusters/{cluster.name}-" in link and "/~" in link for link in links), links
        assert [await dashboard(gateway, link) for link in links] == [200, 200]
        others = links[0].replace(links[0].split("/")[2], cluster.name)
        assert await dashboard(gateway, others) == 403, "a link is good for one name"
        await cluster.share(use=["bob"])
        assert [await dashboard(gateway, link) for link in links] == [404, 404]
        assert (await follow(f"/clusters/{cluster.name}/status")).status == 403
        assert (await visit(f"/open/{cluster.name}")).status == 403
        await cluster.share(view=["dave"])
        assert [await dashboard(gateway, link) for link in links[:2]] == [404, 404]


async def test_connections_that_are_about_to_be_made_end_too(tmp_path: Path) -> None:
    async with open_attacked(tmp_path, *SHARING) as gateway, shared_cluster(gateway) as cluster:
        bobs = await cluster.name_for("bob")
        hello = openssl_hello(f"daskgateway-{bobs}")
        async with await connect(("127.0.0.1", gateway.port)) as half:
            await half.send_all(hello[:100])
            await cluster.share()
            await half.send_all(hello[100:])
            heard = bytes(await half.receive_some(len(hello)))
            assert heard
            assert not hello.startswith(heard)


async def test_many_guesses_delay_nobody(tmp_path: Path) -> None:
    async with open_attacked(tmp_path, *SHARING) as gateway, shared_cluster(gateway) as cluster:
        for _ in range(200):
            assert not await leads_in(gateway, route_name(cluster.name, new_secret()))
        await probe(gateway)
        assert await leads_in(gateway, await cluster.name_for("bob"))


async def test_nobody_is_given_long_lists_or_clusters_unasked(tmp_path: Path) -> None:
    async with open_attacked(tmp_path, *SHARING) as gateway:
        body = orjson.dumps({"cluster_options": {"text": "x" * 60_000}})
        for _ in range(20):
            answer = await gateway.ask("POST", CLUSTERS, user="mallory", headers=[JSON], body=body)
            cluster = ClusterOfUser(gateway, answer.json["name"], "", "mallory")
            await cluster.share(view=["dave"], use=["dave"])
        assert await gateway.clusters("dave") == [], (
            "scripts connect to what is listed, and a scheduler can harm clients"
        )
        shared = await gateway.ask("GET", f"{CLUSTERS}?shared=1", user="dave")
        assert (len(shared.json), len(shared.body) < 20_000) == (20, True)
