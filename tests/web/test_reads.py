"""Reads: the same answers by the fast way as by the API's, to whoever is known by the headers alone."""

import pytest

from gateway.auth.authenticator import Authenticator
from gateway.auth.chain import method_of
from gateway.auth.sessions import Sessions
from gateway.auth.simple import SimpleAuthenticator
from gateway.config.user_options import Options, String
from gateway.models import User
from gateway.web.reads import FastReads, Reads
from gateway.web.router import Router
from tests.support.houses import ask_app, basic, chain_of, open_house

CLUSTERS = "/api/v1/clusters/"


@pytest.fixture
def authenticator():
    return SimpleAuthenticator(cookie_name="dask-gateway-x", password="secret")


async def cookie_of(house, user="alice"):
    answer = await house.ask("GET", CLUSTERS, user=user, password="secret")
    return answer.headers["set-cookie"][0].partition(";")[0]


async def by_cookie(house, cookie, path=CLUSTERS, method="GET"):
    return await house.ask(method, path, user=None, headers=[("Cookie", cookie)])


def seen(answer):
    headers = {name: values for name, values in answer.headers.items() if name != "set-cookie"}
    return answer.status, headers, answer.body


@pytest.mark.parametrize(
    "path",
    [
        "/api/health",
        "/api/version",
        "/api/v1/options",
        CLUSTERS,
        f"{CLUSTERS}NAME",
        f"{CLUSTERS}NAME/events",
        f"{CLUSTERS}NAME/traffic",
        f"{CLUSTERS}unknown",
        f"{CLUSTERS}OTHER",
        f"{CLUSTERS}OTHER/events",
        f"{CLUSTERS}OTHER/traffic",
        f"{CLUSTERS}NAME/heartbeat",
        f"{CLUSTERS}NAME/nothing",
        "/api/v1/clusters",
        "/api/v1/",
    ],
)
async def test_either_way_says_the_same(authenticator, path):
    async with open_house(authenticator=authenticator) as house:
        for user in ("alice", "bob"):
            await house.ask("POST", CLUSTERS, body={}, user=user, password="secret")
        name, other = (next(iter(house.manager.list(User(user), None))).name for user in ("alice", "bob"))
        await house.beat(name)
        path = path.replace("NAME", name).replace("OTHER", other)
        cookie = await cookie_of(house)
        for headers in ([("Cookie", f"a=b; {cookie};c=d")], [("Authorization", basic("alice", "secret"))]):
            fast = await house.ask("GET", path, user=None, headers=headers)
            slow = await ask_app(house.without_reads, "GET", path, headers=headers)
            assert seen(fast) == seen(slow)
            assert fast.headers["cache-control"] == ["no-store"]
            new = [answer.headers.get("set-cookie", [""])[0].partition("; ")[2] for answer in (fast, slow)]
            assert new[0] == new[1]  # a new cookie, with the same attributes, or none


async def test_a_cookie_that_was_given_is_good(authenticator):
    async with open_house(authenticator=authenticator) as house:
        assert (await by_cookie(house, await cookie_of(house))).json == {}


@pytest.mark.parametrize("cookie", ["", "dask-gateway-x", "dask-gateway-x=", "dask-gateway-x=forged", "x=y", ";", "="])
async def test_without_a_cookie_that_opens_the_api_decides(authenticator, cookie):
    async with open_house(authenticator=authenticator) as house:
        answer = await by_cookie(house, cookie)
        assert (answer.status, answer.headers["www-authenticate"]) == (401, ["Basic"])


async def test_other_methods_and_queries_are_the_apis(authenticator):
    async with open_house(authenticator=authenticator) as house:
        cookie = await cookie_of(house)
        await house.ask("POST", CLUSTERS, password="secret", body={})
        assert (await by_cookie(house, cookie, f"{CLUSTERS}?status=FAILED")).json == {}
        assert (await by_cookie(house, cookie, f"{CLUSTERS}?status=NONE")).status == 422
        assert (await by_cookie(house, cookie, CLUSTERS[:-1])).status == 404
        assert (await by_cookie(house, cookie, method="DELETE")).status == 405
        assert (await by_cookie(house, cookie, method="HEAD")).status == 200


class Asks(SimpleAuthenticator):
    """Asks somebody."""

    async def authenticate(self, request):
        return User("alice")


class Adds(SimpleAuthenticator):
    """Adds a header to answers."""

    async def pre_response(self, request, response, context=None):
        response.headers["X-Site"] = "1"


class Other(Authenticator):
    """Not by a password."""

    async def authenticate(self, request):
        return User("alice")


SESSIONS = Sessions("c", 300, keys=[bytes(32)])


async def is_fast(house, authenticator, method, path, *, cookie="", user="", password="", scheme="https"):
    reads = FastReads(Reads(house.manager, house.store), chain_of(authenticator, sessions=SESSIONS))
    router = Router(
        api=house.app, heartbeats=house.app, find_read=reads.find, dashboards=None, prefix="/dask", secure=True
    )
    headers = [(b"cookie", cookie.encode())]
    if user:
        headers.append((b"authorization", basic(user, password).encode()))
    scope = {"type": "http", "method": method, "path": path, "query_string": b"", "scheme": scheme, "headers": headers}
    return router.route(scope).is_fast


@pytest.mark.parametrize(
    ("method", "path", "fast"),
    [
        ("GET", f"/dask{CLUSTERS}", True),
        ("GET", "/dask/api/health", True),
        ("GET", "/dask/api/version", True),
        ("GET", "/dask/api/v1/options", True),
        ("GET", f"/dask{CLUSTERS}c", True),
        ("GET", f"/dask{CLUSTERS}c/events", True),
        ("POST", f"/dask{CLUSTERS}c/heartbeat", True),
        ("GET", CLUSTERS, False),
        ("GET", "/api/health", False),
        ("GET", "/dask", False),
        ("HEAD", "/dask/api/health", False),
        ("POST", f"/dask{CLUSTERS}", False),
        ("DELETE", f"/dask{CLUSTERS}c", False),
        ("GET", f"/dask{CLUSTERS}c/heartbeat", False),
        ("POST", f"/dask{CLUSTERS}c/scale", False),
        ("POST", f"{CLUSTERS}c/heartbeat", False),
        ("GET", f"/dask{CLUSTERS}a/b/c", False),
    ],
)
async def test_what_is_fast(authenticator, method, path, fast):
    async with open_house(authenticator=authenticator) as house:
        cookie = SESSIONS.cookie(User("alice"), secure=False, method=method_of(authenticator)).partition(";")[0]
        assert await is_fast(house, authenticator, method, path, cookie=cookie) is fast
        assert not await is_fast(house, authenticator, method, path, scheme="http", cookie=cookie)


@pytest.mark.parametrize(
    ("kind", "user", "password", "fast", "status"),
    [
        (SimpleAuthenticator, "alice", "secret", True, 200),
        (SimpleAuthenticator, "alice", "wrong", False, 401),
        (SimpleAuthenticator, "", "", False, 401),
        (SimpleAuthenticator, "no account", "secret", False, 422),
        (Asks, "alice", "secret", False, 200),
        (Adds, "alice", "secret", False, 200),
        (Other, "alice", "secret", False, 200),
    ],
)
async def test_who_is_known_by_the_headers_alone(kind, user, password, fast, status):
    authenticator = Other() if kind is Other else kind(password="secret")
    async with open_house(authenticator=authenticator) as house:
        assert await is_fast(house, authenticator, "GET", f"/dask{CLUSTERS}", user=user, password=password) is fast
        # Otherwise the API is asked, and the authenticator with it.
        answer = await house.ask("GET", CLUSTERS, user=user or None, password=password)
        assert answer.status == status
        assert ("x-site" in answer.headers) is (kind is Adds)


async def test_options_that_depend_on_the_user_are_the_apis(authenticator):
    def options(user):
        return Options(String(f"of_{user.name}"))

    async with open_house(authenticator=authenticator, cluster_options=options) as house:
        path = "/dask/api/v1/options"
        assert not await is_fast(house, authenticator, "GET", path, user="alice", password="secret")
        answer = await house.ask("GET", "/api/v1/options", password="secret")
        assert [option["field"] for option in answer.json["cluster_options"]] == ["of_alice"]


async def test_guesses_are_refused_at_once_however_they_come(authenticator):
    async with open_house(authenticator=authenticator) as house:
        for _ in range(10):
            assert (await house.ask("GET", CLUSTERS, user="alice", password="guess")).status == 401
        for method, path in (
            ("GET", CLUSTERS),
            ("POST", CLUSTERS),
            ("GET", f"{CLUSTERS}?status=running"),
            ("DELETE", f"{CLUSTERS}x"),
        ):
            for password in ("guess", "secret"):
                answer = await house.ask(method, path, user="alice", password=password)
                assert (answer.status, "retry-after" in answer.headers) == (429, True)
        assert (await house.ask("GET", CLUSTERS, user="bob", password="secret")).status == 200
        assert (await house.ask("DELETE", f"{CLUSTERS}x", user=None, token="of-a-job")).status == 204
