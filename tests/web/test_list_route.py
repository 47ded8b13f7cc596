"""Lists by cookie: the same answers as the API's, without the API."""

import pytest

from gateway.auth.sessions import Sessions
from gateway.auth.simple import SimpleAuthenticator
from gateway.models import User
from gateway.web.list_route import ListRoute
from tests.support.houses import open_house

CLUSTERS = "/api/v1/clusters/"


@pytest.fixture
def authenticator():
    return SimpleAuthenticator(cookie_name="dask-gateway-x", password="secret")


async def cookie_of(house, user="alice"):
    answer = await house.ask("GET", CLUSTERS, user=user, password="secret")
    return answer.headers["set-cookie"][0].partition(";")[0]


async def by_cookie(house, cookie, path=CLUSTERS, method="GET"):
    return await house.ask(method, path, user=None, headers=[("Cookie", cookie)])


async def test_the_same_list_by_either_way(authenticator):
    async with open_house(authenticator=authenticator) as house:
        cookie = await cookie_of(house)
        headers = {"user": "alice", "password": "secret"}
        created = await house.ask("POST", CLUSTERS, body={}, **headers)
        await house.beat(created.json["name"])
        await house.ask("POST", CLUSTERS, body={}, **headers)
        slow, quick = await house.ask("GET", CLUSTERS, **headers), await by_cookie(house, f"a=b; {cookie};c=d")
        assert len(quick.json) == 2
        assert quick.body == slow.body
        assert (quick.status, quick.headers) == (
            200,
            {
                "content-type": ["application/json"],
                "content-length": slow.headers["content-length"],
                "cache-control": ["no-store"],
                "x-content-type-options": ["nosniff"],
            },
        )
        assert (await by_cookie(house, await cookie_of(house, "bob"))).json == {}


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


async def test_what_is_answered_at_once(authenticator):
    async with open_house(authenticator=authenticator, prefix="/dask", secure=True) as house:
        sessions = Sessions("c", 300)
        lists = ListRoute(house.manager, sessions)
        cookie = sessions.cookie(User("alice"), secure=False).partition(";")[0]
        house.app._lists = lists

        def at_once(method, path, cookie=""):
            headers = [(b"cookie", cookie.encode())]
            return house.app.at_once({"method": method, "path": path, "query_string": b"", "headers": headers})

        assert at_once("GET", f"/dask{CLUSTERS}", cookie)
        assert at_once("POST", f"/dask{CLUSTERS}c/heartbeat")
        for method, path in (
            ("GET", CLUSTERS),
            ("GET", "/dask"),
            ("POST", f"/dask{CLUSTERS}"),
            ("GET", f"/dask{CLUSTERS}c"),
            ("GET", f"/dask{CLUSTERS}c/heartbeat"),
            ("POST", f"/dask{CLUSTERS}c/scale"),
            ("POST", f"{CLUSTERS}c/heartbeat"),
        ):
            assert not at_once(method, path, cookie)
        assert not at_once("GET", f"/dask{CLUSTERS}", "c=x")
        in_the_clear = await by_cookie(house, cookie, f"/dask{CLUSTERS}")
        assert in_the_clear.status == 403 or in_the_clear.headers["location"]
