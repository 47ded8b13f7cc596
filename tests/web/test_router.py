"""The front of HTTP: who answers what, below a prefix, and what may be said in the clear."""

import pytest
import trio

from gateway.web.asgi import answer, cookies
from gateway.web.router import Router, strip_prefix
from tests.support.houses import ask_app, open_house


def an_app(name, seen):
    async def app(scope, receive, send):
        seen.append((name, scope))
        await trio.lowlevel.checkpoint()
        if scope["type"] == "http":
            await answer(send, 200, name.encode())

    return app


def test_all_cookies_count_however_many_headers_they_come_in() -> None:
    headers = [(b"cookie", b"a=1"), (b"x", b"y"), (b"Cookie", b"b=2; c=3")]
    assert cookies({"headers": headers}) == "a=1; b=2; c=3"
    assert cookies({"headers": []}) == ""


def a_front(seen=None, **options):
    seen = [] if seen is None else seen
    parts = {name: an_app(name, seen) for name in ("api", "heartbeats", "dashboards")}
    return Router(**(parts | options))


@pytest.mark.parametrize(
    ("method", "path", "who"),
    [
        ("GET", "/clusters/c/status", "dashboards"),
        ("GET", "/clusters/", "dashboards"),
        ("GET", "/clusters", "api"),
        ("GET", "/api/v1/clusters/", "api"),
        ("POST", "/api/v1/clusters/c/heartbeat", "heartbeats"),
        ("GET", "/api/v1/clusters/c/heartbeat", "heartbeats"),
        ("POST", "/api/v1/clusters/heartbeat", "api"),
        ("POST", "/api/v1/clusters/a/b/heartbeat", "api"),
        ("POST", "/api/v1/clusters//heartbeat", "api"),
        ("POST", "/clusters/c/api/v1/clusters/c/heartbeat", "dashboards"),
        ("GET", "/", "api"),
    ],
)
async def test_each_path_has_its_app(method, path, who):
    for prefix in ("", "/dask", "/a/b"):
        assert (await ask_app(a_front(prefix=prefix), method, prefix + path)).body == who.encode()


async def test_without_dashboards_their_paths_are_the_apis():
    assert (await ask_app(a_front(dashboards=None), "GET", "/clusters/c/status")).body == b"api"


@pytest.mark.parametrize("path", ["/", "/daskette/api/health", "/api/health", "/Dask/api/health", "//dask/api/health"])
async def test_outside_the_prefix_there_is_nothing(path):
    seen = []
    answered = await ask_app(a_front(seen, prefix="/dask"), "GET", path)
    assert (answered.status, "/dask/" in answered.error) == (404, True)
    closed = await ask_app(a_front(seen, prefix="/dask"), "GET", path, kind="websocket", scheme="ws")
    assert [message["type"] for message in closed] == ["websocket.close"]
    assert seen == []


async def test_a_target_without_a_path_is_refused():
    for prefix in ("", "/dask"):
        seen = []
        answered = await ask_app(a_front(seen, prefix=prefix), "GET", "", query="a=b")
        assert (answered.status, "path" in answered.error) == (400, True)
        closed = await ask_app(a_front(seen, prefix=prefix), "GET", "", kind="websocket", scheme="ws")
        assert [message["type"] for message in closed] == ["websocket.close"]
        assert seen == []


@pytest.mark.parametrize(
    ("target", "path", "who"),
    [
        ("http://gateway:8000/clusters/c/a b", "/clusters/c/a b", "dashboards"),
        ("HTTPS://gateway/clusters/c/status", "/clusters/c/status", "dashboards"),
        ("http://gateway", "/", "api"),
        ("http://gateway/", "/", "api"),
        ("http://[::1]:8000/clusters", "/clusters", "api"),
        ("ftp://gateway/clusters/c/status", "ftp://gateway/clusters/c/status", "api"),
        ("*", "*", "api"),
    ],
)
async def test_a_whole_url_means_its_path(target, path, who):
    seen = []
    assert (await ask_app(a_front(seen), "GET", target)).body == who.encode()
    ((_, scope),) = seen
    assert (scope["path"], scope["raw_path"].decode()) == (path, path)


def a_scope(path, raw_path):
    return {"path": path, "raw_path": raw_path, "root_path": ""}


@pytest.mark.parametrize(
    ("path", "raw_path", "below", "raw_below"),
    [
        ("/dask/clusters/c/x y", b"/dask/clusters/c/x%20y", "/clusters/c/x y", b"/clusters/c/x%20y"),
        ("/dask", b"/dask", "/", b"/"),
        ("/dask/a b", b"/d%61sk/a%20b", "/a b", b"/a%20b"),
        ("/dask/a", None, "/a", b"/a"),
    ],
)
def test_what_is_below_the_prefix(path, raw_path, below, raw_below):
    scope = strip_prefix(a_scope(path, raw_path), "/dask")
    assert (scope["path"], scope["raw_path"], scope["root_path"]) == (below, raw_below, "/dask")


async def test_the_whole_gateway_below_a_prefix():
    async with open_house(prefix="/dask") as house:
        assert (await house.ask("GET", "/dask/api/health")).status == 200
        name = (await house.ask("POST", "/dask/api/v1/clusters/", body={})).json["name"]
        full = (await house.ask("GET", f"/dask/api/v1/clusters/{name}")).json
        assert full["dashboard_route"] is None
        token = house.manager.find(name).record.token
        assert (await house.ask("DELETE", f"/dask/api/v1/clusters/{name}", token=token)).status == 204
        assert (await house.ask("GET", "/dask")).status == 404


# ---- with TLS, plain HTTP is for jobs


async def ask_in_clear(method, path, headers=(), *, prefix="", host="gateway.site:8000", **more):
    headers = [*headers, *([("Host", host)] if host is not None else [])]
    return await ask_app(a_front(secure=True, prefix=prefix), method, prefix + path, headers=headers, **more)


async def test_people_are_sent_to_https():
    for method in ("GET", "HEAD"):
        answered = await ask_in_clear(method, "/clusters/c/status", query="a=b")
        assert answered.status == 308
        assert answered.headers["location"] == ["https://gateway.site:8000/clusters/c/status?a=b"]
    answered = await ask_in_clear("GET", "/", prefix="/dask")
    assert answered.headers["location"] == ["https://gateway.site:8000/dask/"]


@pytest.mark.parametrize("host", [None, "", "a b", 'evil"><x', "user@host", "x" * 256])
async def test_a_host_that_is_none_is_no_place_to_be_sent_to(host):
    assert (await ask_in_clear("GET", "/", host=host)).status == 403


TOKEN = ("Authorization", "token t")


@pytest.mark.parametrize(
    ("method", "path", "headers", "status"),
    [
        ("POST", "/api/v1/clusters/c/heartbeat", [TOKEN], 200),
        ("DELETE", "/api/v1/clusters/c", [TOKEN], 200),
        ("POST", "/api/v1/clusters/c/heartbeat", [], 403),
        ("POST", "/api/v1/clusters/c/heartbeat", [("Authorization", "Basic YTpi")], 403),
        ("DELETE", "/api/v1/clusters/c", [("Authorization", "Basic YTpi")], 403),
        ("POST", "/api/v1/clusters/", [TOKEN], 403),
        ("POST", "/api/v1/clusters/c/scale", [TOKEN], 403),
        ("GET", "/api/v1/clusters/c", [TOKEN], 308),
        ("DELETE", "/clusters/c/status", [TOKEN], 403),
        ("POST", "/clusters/c/heartbeat", [TOKEN], 403),
        ("POST", "/clusters/c/api/v1/clusters/c/heartbeat", [TOKEN], 403),
        ("OPTIONS", "/api/v1/clusters/c", [TOKEN], 403),
    ],
)
async def test_what_may_be_said_in_the_clear(method, path, headers, status):
    for prefix in ("", "/dask"):
        assert (await ask_in_clear(method, path, headers, prefix=prefix)).status == status


async def test_websockets_in_the_clear_are_refused():
    sent = await ask_in_clear("GET", "/clusters/c/ws", kind="websocket", scheme="ws")
    assert [message["type"] for message in sent] == ["websocket.close"]
    assert "https://" in sent[0]["reason"]


async def test_over_tls_everything_may_be_said():
    for scheme, kind in (("https", "http"), ("wss", "websocket")):
        seen = []
        await ask_app(a_front(seen, secure=True), "GET", "/clusters/c/ws", scheme=scheme, kind=kind)
        assert [name for name, _ in seen] == ["dashboards"]


async def test_the_api_has_no_websockets():
    async with open_house() as house:
        for path in ("/api/v1/clusters/", "/api/v1/clusters/c/heartbeat", "/"):
            sent = await ask_app(house.app, "GET", path, kind="websocket", scheme="ws")
            assert [message["type"] for message in sent] == ["websocket.close"]
