"""What pages of others make a browser send, and what they and dashboards' servers are told."""

from pathlib import Path

import pytest
import trio

from tests.attacks.attacked import CLUSTERS, JSON, Attacked, open_attacked, probe
from tests.support.proxy_peers import peer

#: How a browser shows that a request comes from elsewhere. A page on another port is of the same site.
FROM_ELSEWHERE = [
    [("Origin", "null")],
    [("Origin", "http://127.0.0.1:1")],
    [("Origin", "http://evil.example")],
    [("Origin", "https://HOST")],
    [("Origin", "http://HOST.evil.example")],
    [("Origin", "http://HOST"), ("Origin", "http://evil.example")],
    [("Origin", "http://evil.example"), ("Sec-Fetch-Site", "same-origin")],
    [("Origin", "http://HOST"), ("Sec-Fetch-Site", "same-site")],
    [("Sec-Fetch-Site", "same-site")],
    [("Sec-Fetch-Site", "cross-site")],
    [("Sec-Fetch-Site", "none"), ("sec-fetch-site", "cross-site")],
    [("Sec-Fetch-Site", "as-yet-unheard-of")],
    [("Sec-Fetch-Site", "")],
]
FROM_US = [
    [],
    [("Origin", "http://HOST")],
    [("Origin", "http://HOST"), ("Sec-Fetch-Site", "same-origin")],
    [("Origin", "https://HOST"), ("Sec-Fetch-Site", "same-origin")],  # a server in front of us ends its TLS
    [("Sec-Fetch-Site", "none")],
]


def at(gateway: Attacked, headers: list[tuple[str, str]]) -> list[tuple[str, str]]:
    return [(name, value.replace("HOST", gateway.name)) for name, value in headers]


async def cookie_of(gateway: Attacked) -> str:
    (cookie,) = (await gateway.ask("GET", CLUSTERS)).all("set-cookie")
    return cookie


@pytest.mark.parametrize("headers", FROM_ELSEWHERE)
async def test_what_another_page_has_made_a_browser_send_is_refused(
    headers: list[tuple[str, str]], tmp_path: Path
) -> None:
    async with open_attacked(tmp_path) as gateway:
        cluster = await gateway.create()
        cookie = ("Cookie", (await cookie_of(gateway)).partition(";")[0])
        headers = [*at(gateway, headers), cookie]
        for method, path in (
            ("POST", CLUSTERS),
            ("GET", CLUSTERS),
            ("GET", f"{CLUSTERS}?status=PENDING"),
            ("GET", f"{CLUSTERS}{cluster.name}"),
            ("DELETE", f"{CLUSTERS}{cluster.name}"),
            ("POST", f"{CLUSTERS}{cluster.name}/scale"),
            ("OPTIONS", CLUSTERS),
            ("GET", "/api/health"),
        ):
            answer = await gateway.ask(method, path, user=None, headers=[*headers, JSON], body=b"{}")
            assert (answer.status, answer.all("access-control-allow-origin")) == (403, []), (method, path)
            assert "not the gateway's own" in answer.json["error"]
        assert await gateway.clusters() == [cluster.name]  # the probe beside it


async def test_a_link_that_stands_anywhere_opens_a_page_and_nothing_else(tmp_path: Path) -> None:
    async with open_attacked(tmp_path, computing=False) as gateway:
        link = [("Sec-Fetch-Site", "cross-site"), ("Sec-Fetch-Mode", "navigate"), ("Accept", "text/html")]
        in_tab, in_frame = ("Sec-Fetch-Dest", "document"), ("Sec-Fetch-Dest", "iframe")
        assert (await gateway.ask("GET", "/login", user=None, headers=[*link, in_tab])).status == 200
        for method, path, place in (
            ("GET", "/login", in_frame),
            ("POST", "/login", in_tab),
            ("GET", CLUSTERS, in_tab),
            ("GET", "/api/version", in_tab),
        ):
            answer = await gateway.ask(method, path, user=None, headers=[*link, place])
            assert answer.status == 403, (method, path)


@pytest.mark.parametrize("headers", FROM_US)
async def test_programs_and_pages_of_ours_are_answered(headers: list[tuple[str, str]], tmp_path: Path) -> None:
    async with open_attacked(tmp_path) as gateway:
        cookie = ("Cookie", (await cookie_of(gateway)).partition(";")[0])
        for path in (CLUSTERS, f"{CLUSTERS}?status=FAILED"):
            assert (await gateway.ask("GET", path, user=None, headers=[*at(gateway, headers), cookie])).status == 200
        created = await gateway.ask(
            "POST", CLUSTERS, user=None, headers=[*at(gateway, headers), cookie, JSON], body=b"{}"
        )
        assert created.status == 201


@pytest.mark.parametrize(
    "types",
    [
        [],  # as from a Blob without a type
        ["text/plain"],
        ["text/plain; charset=application/json"],
        ["application/x-www-form-urlencoded"],
        ["multipart/form-data; boundary=application/json"],
        ["text/plain", "application/json"],
        ["application/json, text/plain"],
        ["application/jsonp"],
        [""],
    ],
)
async def test_a_change_that_any_page_could_send_is_not_taken(types: list[str], tmp_path: Path) -> None:
    """Old browsers send no Origin with forms: what they cannot do is to call the body JSON."""
    async with open_attacked(tmp_path) as gateway:
        cluster = await gateway.create()
        headers = [("Content-Type", each) for each in types]
        for path in (CLUSTERS, f"{CLUSTERS}{cluster.name}/scale", f"{CLUSTERS}{cluster.name}/adapt"):
            answer = await gateway.ask("POST", path, headers=headers, body=b'{"count": 1}')
            assert (answer.status, "application/json" in answer.json["error"]) == (415, True)
        assert await gateway.clusters() == [cluster.name]
        headers = [("Content-Type", "Application/JSON ; charset=utf-8")]
        assert (await gateway.ask("POST", CLUSTERS, headers=headers, body=b"{}")).status == 201


@pytest.mark.parametrize("prefix", ["", "/dask"])
async def test_the_session_cookie_is_for_what_is_below_the_prefix_and_keys_are_kept_by_nobody(
    prefix: str, tmp_path: Path
) -> None:
    async with open_attacked(tmp_path, f"c.Proxy.prefix = {prefix!r}", computing=False) as gateway:
        answer = await gateway.ask("GET", prefix + CLUSTERS)
        (cookie,) = answer.all("set-cookie")
        assert f"Path={prefix}/" in cookie.split("; ")
        created = await gateway.ask("POST", prefix + CLUSTERS, headers=[JSON], body=b"{}")
        for path in (CLUSTERS, f"{CLUSTERS}?status=PENDING", f"{CLUSTERS}{created.json['name']}", "/nowhere"):
            for headers in ([], [("Cookie", cookie.partition(";")[0])]):
                answer = await gateway.ask("GET", prefix + path, headers=headers)
                assert answer.all("cache-control") == ["no-store"]
                assert answer.all("x-content-type-options") == ["nosniff"]


async def test_a_dashboard_is_told_its_own_cookies_only_and_runs_in_a_sandbox(tmp_path: Path) -> None:
    asked: list[bytes] = []

    async def hostile(stream: trio.SocketStream) -> None:
        asked.append(await stream.receive_some())
        answer = (
            b"HTTP/1.1 401 No\r\nContent-Length: 0\r\nSet-Cookie: mine=1; Path=/\r\n"
            b"Set-Cookie: dask-gateway-x=evil; Path=/api\r\n"
            b"Set-Cookie: dask-gateway-y; Path=/api\r\nContent-Security-Policy: default-src *\r\n"
            b'Referrer-Policy: unsafe-url\r\nWWW-Authenticate: Basic realm="the gateway"\r\n\r\n'
        )
        await stream.send_all(answer)

    async with open_attacked(tmp_path) as gateway, peer(hostile) as port:
        cluster, other = await gateway.create("mallory"), await gateway.create("eve")
        for one in (cluster, other):
            assert (await one.beat(dashboard=f"127.0.0.1:{port}")).status == 200
        foreign = f"{(await cookie_of(gateway)).partition(';')[0]}; jupyterhub-session-id=secret; grafana=secret"
        answer = await gateway.ask("GET", cluster.dashboard, headers=[("Cookie", foreign)])
        assert b"secret" not in asked[-1]
        assert b"cookie" not in asked[-1].lower()
        assert b"authorization" not in asked[-1].lower()
        for headers in (answer.all, (await gateway.ask("GET", "/clusters/nosuch/")).all):
            assert "sandbox allow-scripts allow-forms allow-popups allow-downloads" in headers(
                "content-security-policy"
            )
            assert headers("x-content-type-options") == ["nosniff"]
            assert headers("referrer-policy") == ["no-referrer"]
            assert headers("www-authenticate") == []
        kept = answer.all("set-cookie")
        assert len(kept) == 3
        assert all(f"Path={cluster.dashboard}" in one for one in kept)
        names = {one.partition("=")[0] for one in kept}
        assert not any(name.startswith("dask-gateway-") for name in names)
        # What it has set comes back to it, by its own name, and to no other dashboard, whatever path the browser has.
        sent = "; ".join(one.partition(";")[0] for one in kept)
        await gateway.ask("GET", cluster.dashboard, headers=[("Cookie", f"{foreign}; {sent}")])
        assert b"cookie: mine=1; dask-gateway-x=evil; =dask-gateway-y\r\n" in asked[-1]
        await gateway.ask("GET", other.dashboard, headers=[("Cookie", f"{foreign}; {sent}")])
        assert b"cookie" not in asked[-1].lower()
        await probe(gateway)


# ---- a name of somebody else that has our address (DNS rebinding)

EVIL_HOSTS = [
    "evil.example",
    "evil.example:8000",
    "127.0.0.1.evil.example",
    "localhost.evil.example",
    "local",
    "gateway.site.evil",
]


@pytest.mark.parametrize("host", EVIL_HOSTS)
async def test_without_a_password_nobody_else_s_name_is_answered(host: str, tmp_path: Path) -> None:
    async with open_attacked(tmp_path, "c.Proxy.host_names = ['gateway.site']") as gateway:
        cluster = await gateway.create()
        headers = [JSON, ("Origin", f"http://{host}"), ("Sec-Fetch-Site", "same-origin")]
        for method, path in (("POST", CLUSTERS), ("GET", f"{CLUSTERS}{cluster.name}"), ("GET", cluster.dashboard)):
            assert (await gateway.ask(method, path, headers=headers, body=b"{}", host=host)).status == 421
        assert await gateway.clusters() == [cluster.name]


async def test_every_address_and_our_own_names_are_answered(tmp_path: Path) -> None:
    lines = ("c.Proxy.host_names = ['Gateway.site']", "c.Backend.api_url = 'http://jobs.site:1/api'")
    async with open_attacked(tmp_path, *lines) as gateway:
        for name in ("127.0.0.1", "192.0.2.7", "[::1]", "localhost", "LOCALHOST.", "gateway.site", "jobs.site"):
            for host in (name, f"{name}:{gateway.port}"):
                assert (await gateway.ask("GET", CLUSTERS, host=host)).status == 200


@pytest.mark.parametrize("host", EVIL_HOSTS)
async def test_with_a_password_any_name_goes_on_working(host: str, tmp_path: Path) -> None:
    """A page that is on our origin by such a name has no password, and no cookie of ours either."""
    async with open_attacked(tmp_path, "c.SimpleAuthenticator.password = 'p'", computing=False) as gateway:
        assert (await gateway.ask("GET", CLUSTERS, host=host)).status == 401
        assert (await gateway.ask("GET", "/api/health", host=host)).status == 200


async def test_jobs_are_heard_by_any_name(tmp_path: Path) -> None:
    """They prove with their token who they are, which no page has."""
    async with open_attacked(tmp_path) as gateway:
        cluster = await gateway.create()
        headers = [("Authorization", f"token {cluster.token}")]
        path = f"{CLUSTERS}{cluster.name}"
        assert (await gateway.ask("DELETE", path, user=None, headers=headers, host="alias.site")).status == 204
        assert (await gateway.ask("DELETE", path, user=None, headers=[], host="alias.site")).status == 421
