"""What administrators see and do, and that nobody else does."""

import pytest
from attrs import evolve
from structlog.testing import capture_logs

from gateway.auth.simple import SimpleAuthenticator
from gateway.models import ClusterStatus, Guest
from gateway.store.errors import StoreError
from tests.support.fake_store import FakeStore
from tests.support.houses import open_house, record

ADMIN = "/api/v1/admin/"
CLUSTERS = "/api/v1/clusters/"


def administered(**options):
    authenticator = SimpleAuthenticator(admin_users={"root"}, password="p", cookie_name="dask-gateway-x")
    return open_house(authenticator=authenticator, **options)


async def ask(house, method, path, *, user="root", **more):
    return await house.ask(method, path, user=user, password="p", **more)


async def running(house, user="alice"):
    answer = await ask(house, "POST", CLUSTERS, user=user, body={})
    assert (await house.beat(answer.json["name"], 3)).status == 200
    return answer.json["name"]


def acts(logs):
    return [line for line in logs if line["event"].startswith("an administrator has")]


# ---- seeing


async def test_administrators_see_all_clusters_without_keys_and_options():
    async with administered(sharing="use") as house:
        first, second = await running(house), await running(house, "bob")
        shares = {"use": ["bob"], "view": []}
        await ask(house, "PUT", f"{CLUSTERS}{first}/shares", user="alice", body=shares)
        answer = await ask(house, "GET", f"{ADMIN}clusters")
        assert answer.json["after"] is None
        by_name = {cluster.pop("name"): cluster for cluster in answer.json["clusters"]}
        assert by_name.keys() == {first, second}
        start = house.store.clusters[first].start_time
        assert by_name[first] == {
            "user": "alice",
            "status": "RUNNING",
            "start_time": start,
            "stop_time": None,
            "workers": 3,
            "reason": "",
            "shared": {"use": ["bob"]},
        }
        kept = house.store.clusters[first]
        secrets = (*kept.secrets, kept.route)
        assert not any(secret in answer.body.decode() for secret in secrets)


def many(count, **values):
    store = FakeStore()
    for number in range(count):
        name, user = f"c{number:04}", "alice" if number % 2 else "bob"
        kept = evolve(record(name, user, status=ClusterStatus.STOPPED, **values), start_time=1000 + number // 3)
        store.clusters[name] = evolve(kept, stop_time=2**62)
    return store


async def pages(house, query):
    names, after = [], ""
    while after is not None:
        answer = (await ask(house, "GET", f"{ADMIN}clusters?{query}{after}")).json
        names.append([cluster["name"] for cluster in answer["clusters"]])
        after = answer["after"] and f"&after={answer['after']}"
    return names


async def test_pages_follow_each_other_from_the_newest_on():
    async with administered(store=many(25)) as house:
        everything = await pages(house, "status=stopped&limit=10")
        assert [len(page) for page in everything] == [10, 10, 5]
        assert [name for page in everything for name in page] == [f"c{number:04}" for number in reversed(range(25))]
        assert await pages(house, "status=STOPPED&user=alice&limit=12") == [
            [f"c{number:04}" for number in range(23, -1, -2)]
        ]
        assert await pages(house, "user=alice") == [[]], "as in users' lists, those that have not ended"
        assert await pages(house, "status=STOPPED&user=carol") == [[]]


async def test_a_page_is_bounded():
    async with administered(store=many(1001)) as house:
        assert [len(page) for page in await pages(house, "status=STOPPED&limit=1000")] == [1000, 1]
        assert len((await pages(house, "status=STOPPED"))[0]) == 100


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ("limit=0", "Query 'limit' is '0', expected a number from 1 to 1000"),
        ("limit=1001", "Query 'limit' is '1001', expected"),
        ("limit=-1", "Query 'limit' is '-1', expected"),
        ("limit=x", "Query 'limit' is 'x', expected"),
        ("limit=", "Query 'limit' is '', expected"),
        ("limit=%C2%B2", "Query 'limit' is '²', expected"),
        (f"limit={'9' * 5000}", "Query 'limit' is '999"),
        ("after=x", "Query 'after' is 'x', expected what the page before said"),
        ("after=", "Query 'after' is '', expected what the page before said"),
        (f"after={'9' * 5000}-x", "expected what the page before said"),
        ("after=%C2%B2-x", "expected what the page before said"),
        ("status=GONE", "Query 'status' is 'GONE', expected some of PENDING"),
    ],
)
async def test_queries_that_mean_nothing(query, text):
    async with administered() as house:
        answer = await ask(house, "GET", f"{ADMIN}clusters?{query}")
        assert (answer.status, text in answer.error) == (422, True), answer.error


# ---- stopping


async def test_the_owner_is_told_who_has_stopped_it_and_why():
    async with administered() as house:
        name = await running(house)
        with capture_logs() as logs:
            answer = await ask(house, "DELETE", f"{ADMIN}clusters/{name}?reason=the%20node%0Ais%1b[31m+down")
        assert answer.status == 204
        why = "an administrator (root) has stopped it: the node is down"
        assert house.store.clusters[name].stopped == why
        (line,) = acts(logs)
        assert {key: line[key] for key in ("event", "administrator", "cluster", "owner", "reason", "log_level")} == {
            "event": "an administrator has stopped a cluster",
            "administrator": "root",
            "cluster": name,
            "owner": "alice",
            "reason": "the node is down",
            "log_level": "warning",
        }
        events = (await ask(house, "GET", f"{CLUSTERS}{name}/events", user="alice")).json["events"]
        assert f"Stopping: {why}" in [event["message"] for event in events]
        answer = await ask(house, "GET", f"{CLUSTERS}{name}?wait", user="alice")
        assert (answer.status, answer.error) == (409, f"Cluster {name} is already stopped: {why}")
        answer = await ask(house, "POST", f"{CLUSTERS}{name}/scale", user="alice", body={"count": 1})
        assert answer.error == f"Cluster {name} is not running: it has stopped: {why}"


async def test_what_has_ended_is_not_stopped_again():
    async with administered(store=many(1)) as house:
        with capture_logs() as logs:
            assert (await ask(house, "DELETE", f"{ADMIN}clusters/c0000?reason=x")).status == 204
        assert acts(logs) == []
        answer = await ask(house, "DELETE", f"{ADMIN}clusters/other?reason=x")
        assert (answer.status, answer.error) == (404, "Cluster other not found")


@pytest.mark.parametrize("path", ["clusters/c0000", "clusters/c0000/shares", "sessions/alice"])
@pytest.mark.parametrize("reason", ["", "?reason=", "?reason=%20%0A%1b", "?why=x"])
async def test_nothing_is_done_without_a_reason(path, reason):
    async with administered(store=many(1)) as house:
        with capture_logs() as logs:
            answer = await ask(house, "DELETE", f"{ADMIN}{path}{reason}")
        assert (answer.status, answer.error.startswith("Say why: add ?reason=")) == (422, True)
        assert acts(logs) == []


async def test_a_long_reason_is_cut():
    async with administered() as house:
        name = await running(house)
        assert (await ask(house, "DELETE", f"{ADMIN}clusters/{name}?reason={'x' * 5000}")).status == 204
        assert len(house.store.clusters[name].stopped) < 600


# ---- shares


async def test_administrators_end_the_sharing_of_a_cluster():
    store = FakeStore()
    guests = (Guest("bob", "bob", "c0ffee-bob", "c0ffee-page"),)
    store.clusters["c0ffee"] = record(
        share_use=("bob",), guests=guests, route="c0ffee-own", status=ClusterStatus.PENDING
    )
    async with administered(store=store, sharing="use") as house:
        with capture_logs() as logs:
            assert (await ask(house, "DELETE", f"{ADMIN}clusters/c0ffee/shares?reason=left")).status == 204
        kept = store.clusters["c0ffee"]
        assert (kept.share_use, kept.guests, kept.route) == ((), (), "c0ffee-own")
        (line,) = acts(logs)
        assert (line["administrator"], line["owner"], line["reason"]) == ("root", "alice", "left")
        assert line["event"] == "an administrator has ended the sharing of a cluster"
        assert (await ask(house, "GET", f"{CLUSTERS}c0ffee", user="bob")).status == 403
        events = (await ask(house, "GET", f"{CLUSTERS}c0ffee/events", user="alice")).json["events"]
        told = [event["message"] for event in events]
        assert "Shared with nobody: an administrator (root) has ended that: left" in told


# ---- sessions


async def test_all_sessions_of_a_user_are_ended():
    async with administered() as house:

        async def cookie(user):
            answer = await ask(house, "GET", CLUSTERS, user=user)
            return [("Cookie", answer.headers["set-cookie"][0].partition(";")[0])]

        async def is_known(headers):
            return (await house.ask("GET", CLUSTERS, user=None, headers=headers)).status == 200

        alices, bobs = [await cookie("alice"), await cookie("alice")], await cookie("bob")
        assert [await is_known(headers) for headers in (*alices, bobs)] == [True, True, True]
        with capture_logs() as logs:
            assert (await ask(house, "DELETE", f"{ADMIN}sessions/alice?reason=lost+laptop")).status == 204
        assert [await is_known(headers) for headers in (*alices, bobs)] == [False, False, True]
        (line,) = acts(logs)
        assert (line["event"], line["administrator"], line["user"], line["reason"]) == (
            "an administrator has ended all sessions of a user",
            "root",
            "alice",
            "lost laptop",
        )
        answer = await ask(house, "DELETE", f"{ADMIN}sessions/-alice?reason=x")
        assert (answer.status, answer.error) == (422, "'-alice' is no name of a user")
        house.store.broken = StoreError("the disk is full")
        with capture_logs() as logs:
            answer = await ask(house, "DELETE", f"{ADMIN}sessions/bob?reason=x")
        assert (answer.status >= 500, acts(logs)) == (True, [])


# ---- nobody else

ROUTES = [
    ("GET", "clusters"),
    ("DELETE", "clusters/c0000?reason=x"),
    ("DELETE", "clusters/nothing?reason=x"),
    ("DELETE", "clusters/c0000/shares?reason=x"),
    ("DELETE", "sessions/alice?reason=x"),
]


@pytest.mark.parametrize(("method", "path"), ROUTES)
async def test_others_are_refused(method, path):
    async with administered(store=many(1)) as house:
        before = dict(house.store.clusters)
        answer = await ask(house, method, ADMIN + path, user="bob")
        assert (answer.status, answer.error) == (403, "User bob is no administrator of this gateway")
        assert (await house.ask(method, ADMIN + path, user=None)).status == 401
        assert (await house.ask(method, ADMIN + path, user="root", password="guess")).status == 401
        token = house.manager.find("c0000").record.token
        assert (await house.ask(method, ADMIN + path, user=None, token=token)).status == 401
        page = [("Sec-Fetch-Site", "same-site")]
        assert (await ask(house, method, ADMIN + path, headers=page)).status == 403, "a page elsewhere, with the cookie"
        assert house.store.clusters == before


@pytest.mark.parametrize(("method", "path"), ROUTES)
async def test_a_token_makes_nobody_an_administrator(method, path):
    async with administered(store=many(1)) as house:
        made = await ask(house, "POST", "/api/v1/tokens", body={})
        headers = [("Authorization", f"Bearer {made.json['token']}")]
        answer = await house.ask(method, ADMIN + path, user=None, headers=headers)
        assert (answer.status, answer.error) == (
            403,
            "User root is no administrator of this gateway with a personal token",
        )


async def test_a_session_makes_nobody_an_administrator_who_is_none_any_more():
    async with administered() as house:
        answer = await ask(house, "GET", f"{ADMIN}clusters")
        cookie = [("Cookie", answer.headers["set-cookie"][0].partition(";")[0])]
        assert (await house.ask("GET", f"{ADMIN}clusters", user=None, headers=cookie)).status == 200
        store = house.store
    without = SimpleAuthenticator(password="p", cookie_name="dask-gateway-x")
    async with open_house(authenticator=without, store=store) as house:
        assert (await house.ask("GET", f"{ADMIN}clusters", user=None, headers=cookie)).status == 403
