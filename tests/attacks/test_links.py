"""Who gets to a dashboard, and what everybody else gets: a whole gateway, asked as browsers and programs ask."""

from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import trio

from gateway.auth.authenticator import Authenticator
from gateway.config.fields import configurable
from gateway.models import User
from tests.attacks.attacked import CLUSTERS, JSON, Answer, Attacked, open_attacked
from tests.support.proxy_peers import peer

PAGE = [("Sec-Fetch-Mode", "navigate"), ("Sec-Fetch-Dest", "document"), ("Accept", "text/html")]
FRAME = [("Sec-Fetch-Mode", "navigate"), ("Sec-Fetch-Dest", "iframe"), ("Accept", "text/html")]
FETCH = [("Sec-Fetch-Mode", "cors"), ("Accept", "*/*")]


class Dashboard:
    """Remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[bytes] = []

    async def __call__(self, stream: trio.SocketStream) -> None:
        self.asked.append(await stream.receive_some())
        await stream.send_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok")


async def session_of(gateway: Attacked, user: str) -> tuple[str, str]:
    (cookie,) = (await gateway.ask("GET", CLUSTERS, user=user)).all("set-cookie")
    return "Cookie", cookie.partition(";")[0]


def said_by(answer: Answer) -> str:
    assert answer.status == 403
    assert answer.all("content-type") == ["text/html; charset=utf-8"]
    assert answer.all("cache-control") == ["no-store"]
    return answer.body.decode()


async def test_each_gets_what_they_should(tmp_path: Path) -> None:
    dashboard = Dashboard()
    async with open_attacked(tmp_path) as gateway, peer(dashboard) as port:
        cluster = await gateway.create()
        assert (await cluster.beat(dashboard=f"127.0.0.1:{port}")).status == 200
        bare = f"/clusters/{cluster.name}/"
        alice, mallory = [await session_of(gateway, user) for user in ("alice", "mallory")]

        async def ask(path: str, *headers: tuple[str, str]) -> Answer:
            return await gateway.ask("GET", path, user=None, headers=headers)

        # Whoever has the link.
        assert cluster.dashboard.startswith(f"{bare}~")
        for headers in (PAGE, FRAME, FETCH, [], [*PAGE, mallory]):
            assert (await ask(f"{cluster.dashboard}status", *headers)).body == b"ok"
        asked = len(dashboard.asked)

        # The owner's browser.
        other = ("Cookie", "theme=dark")  # HTTP/2 may have a header for each
        for headers in ([*PAGE, alice], [*FRAME, other, alice], [("Accept", "text/html"), alice]):
            answer = await ask(f"{bare}status?a=b", *headers)
            assert (answer.status, answer.all("location")) == (303, [f"{cluster.dashboard}status?a=b"])
        for path in (CLUSTERS, f"{CLUSTERS}?status=RUNNING"):
            assert list((await ask(path, other, alice)).json) == [cluster.name]

        # Everybody else.
        assert "You are logged in as “mallory”" in said_by(await ask(f"{bare}status", *PAGE, mallory))
        (location,) = (await ask(f"{bare}status?a=b", *PAGE)).all("location")
        assert urlsplit(location).path == "/login"
        assert parse_qs(urlsplit(location).query) == {"next": [f"{bare}status?a=b"]}
        for headers in ([], FETCH, FRAME, [*FETCH, alice]):
            assert "A link is needed" in said_by(await ask(f"{bare}status", *headers))
        for false in (f"{cluster.dashboard[:-2]}/", cluster.dashboard.replace(cluster.name, "0" * 32), f"{bare}~/"):
            assert (await ask(false)).status in (403, 404)
        for method in ("POST", "PUT", "DELETE", "OPTIONS"):
            assert (await gateway.ask(method, f"{bare}x", user=None, headers=[*PAGE, alice])).status == 403
        assert len(dashboard.asked) == asked  # nothing of all that has got there
        assert b"dask-gateway-" not in b"".join(dashboard.asked)


async def test_another_clusters_link_and_another_gateways_open_nothing(tmp_path: Path) -> None:
    dashboard = Dashboard()
    async with open_attacked(tmp_path) as gateway, peer(dashboard) as port:
        mine, theirs = await gateway.create(), await gateway.create("mallory")
        for cluster in (mine, theirs):
            assert (await cluster.beat(dashboard=f"127.0.0.1:{port}")).status == 200
        link = theirs.dashboard.split("/")[3]
        answer = await gateway.ask("GET", f"/clusters/{mine.name}/{link}/status", user=None)
        assert "does not open anything" in said_by(answer)
        assert dashboard.asked == []


async def test_the_client_is_told_the_same_link_again_and_again(tmp_path: Path) -> None:
    async with open_attacked(tmp_path) as gateway, peer(Dashboard()) as port:
        cluster = await gateway.create()
        assert (await cluster.beat(dashboard=f"127.0.0.1:{port}")).status == 200
        route = f"{cluster.dashboard}status"
        for path in (CLUSTERS, f"{CLUSTERS}?status=RUNNING"):
            assert (await gateway.ask("GET", path)).json[cluster.name]["dashboard_route"] == route
        for path in (f"{CLUSTERS}{cluster.name}", f"{CLUSTERS}{cluster.name}?wait"):
            assert (await gateway.ask("GET", path)).json["dashboard_route"] == route


@configurable
class Strangers(Authenticator):
    """Without any way to log in with a browser."""

    async def authenticate(self, request: object) -> User:
        """Everybody is alice."""
        return User("alice")


async def test_where_nobody_can_log_in_people_are_told_what_opens_it(tmp_path: Path) -> None:
    lines = (f"c.DaskGateway.authenticator_class = '{__name__}.Strangers'",)
    async with open_attacked(tmp_path, *lines, computing=False) as gateway, peer(Dashboard()) as port:
        cluster = await gateway.create()
        assert (await cluster.beat(dashboard=f"127.0.0.1:{port}")).status == 200
        answer = await gateway.ask("GET", f"/clusters/{cluster.name}/status", user=None, headers=PAGE)
        assert "A link is needed" in said_by(answer)
        assert (await gateway.ask("GET", f"{cluster.dashboard}status", user=None)).body == b"ok"


async def test_open_is_as_in_the_original(tmp_path: Path) -> None:
    async with open_attacked(tmp_path, "c.Proxy.dashboard_access = 'open'") as gateway, peer(Dashboard()) as port:
        cluster = await gateway.create()
        assert (await cluster.beat(dashboard=f"127.0.0.1:{port}")).status == 200
        assert cluster.dashboard == f"/clusters/{cluster.name}/"
        assert (await gateway.ask("GET", f"{cluster.dashboard}status", user=None)).body == b"ok"


async def test_nothing_of_the_gateway_is_at_a_dashboards_own_host(tmp_path: Path) -> None:
    lines = ("c.Proxy.host_names = ['gateway.example']", "c.Proxy.dashboard_host = '*.dash.example'")
    dashboard = Dashboard()
    async with open_attacked(tmp_path, *lines) as gateway, peer(dashboard) as port:
        cluster = await gateway.create()
        alice, own = await session_of(gateway, "alice"), f"{cluster.name}.dash.example"
        for status in (404, 403):  # before it has a dashboard, and then
            for method, path in (("GET", CLUSTERS), ("POST", CLUSTERS), ("GET", "/login"), ("GET", "/api/health")):
                answer = await gateway.ask(method, path, headers=[JSON, alice], body=b"{}", host=own)
                assert answer.status == status
            assert (await cluster.beat(dashboard=f"127.0.0.1:{port}")).status == 200
        back = await gateway.ask("GET", "/system", user=None, headers=[*PAGE, alice], host=f"{own}:8443")
        address = f"/clusters/{cluster.name}/system"
        assert back.all("location") == [f"//gateway.example:8443{address}"]
        there = await gateway.ask("GET", address, user=None, headers=[*PAGE, alice], host="gateway.example:8443")
        (location,) = there.all("location")
        assert location.startswith(f"//{own}:8443/~")
        assert dashboard.asked == []
        shown = await gateway.ask("GET", location.removeprefix(f"//{own}:8443"), user=None, headers=PAGE, host=own)
        assert (shown.body, shown.all("content-security-policy")) == (b"ok", [])
        assert shown.all("referrer-policy") == ["no-referrer"]
        assert (await gateway.ask("GET", CLUSTERS, host="dash.example")).status == 421  # that one is nobody's
