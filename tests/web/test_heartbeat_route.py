"""Heartbeats, from HTTP to the cluster and back."""

import orjson
import pytest
import trio
import trio.testing
from structlog.testing import capture_logs

from gateway.clusters.heartbeat import parse_heartbeat
from gateway.clusters.lifecycle import RowState
from gateway.errors import TryAgainLater
from gateway.models import MOST_WORKERS, ClusterStatus
from gateway.web import heartbeat_route
from gateway.web.heartbeat_route import BODY_DEADLINE, BODY_LIMIT, BURST, KEPT, PACE
from tests.support.fakes import FakeDriver
from tests.support.houses import ask_app, heartbeat, open_house


def path_of(name):
    return f"/api/v1/clusters/{name}/heartbeat"


async def test_a_heartbeat_is_acknowledged_when_it_is_durable():
    async with open_house() as house:
        name = await house.create()
        answer = await house.beat(name, 2)
        assert (answer.status, answer.body, answer.headers["content-length"]) == (200, b"", ["0"])
        record = house.store.clusters[name]
        assert (record.status, record.count) == (ClusterStatus.RUNNING, 2)
        assert house.routes.routes == {name: ("tls://10.0.0.1:8786", "http://10.0.0.1:8787")}


async def test_only_the_clusters_own_token_opens():
    async with open_house() as house:
        mine, other = await house.create(), await house.create()
        token = house.manager.find(mine).record.token
        for name, guess in ((other, token), ("nosuch", token), (mine, ""), (mine, token + "x"), (mine, "tök")):
            answer = await house.ask("POST", path_of(name), token=guess, body=heartbeat())
            assert (answer.status, answer.headers["www-authenticate"]) == (401, ["token"])
            assert set(answer.json) == {"error"}
        for user in (None, "alice"):
            assert (await house.ask("POST", path_of(mine), user=user, body=heartbeat())).status == 401
        assert house.routes.routes == {}


async def test_a_body_is_not_even_read_without_the_token():
    async with open_house() as house:
        await house.create()

        async def receive():
            raise AssertionError("not to be read")

        sent = []

        async def send(message):
            await trio.lowlevel.checkpoint()
            sent.append(message)

        scope = {"type": "http", "method": "POST", "path": path_of("x"), "scheme": "http", "headers": []}
        await heartbeat_route.heartbeat_app(house.manager)(scope, receive, send)
        assert sent[0]["status"] == 401


async def test_other_methods():
    async with open_house() as house:
        for method in ("GET", "PUT", "HEAD"):
            answer = await house.ask(method, path_of("x"), token="t")
            assert (answer.status, answer.headers["allow"]) == (405, ["POST"])


@pytest.mark.parametrize(
    ("body", "status", "field"),
    [
        ([], 400, "object"),
        ({"count": 1}, 422, "scheduler_address"),
        (heartbeat(-1), 422, "count"),
        (heartbeat(True), 422, "count"),
        (heartbeat(active_workers="w1-0"), 422, "active_workers"),
        (heartbeat(api_address="http://10.0.0.2:9000"), 422, "10.0.0.2"),
        (heartbeat(scheduler_address="tls://10.0.0.1:8786/x"), 422, "scheduler_address"),
    ],
)
async def test_what_is_no_heartbeat(body, status, field):
    async with open_house() as house:
        name = await house.create()
        token = house.manager.find(name).record.token
        answer = await house.ask("POST", path_of(name), token=token, body=body)
        assert (answer.status, field in answer.error) == (status, True)
        assert house.manager.find(name).record.status is ClusterStatus.PENDING


async def test_a_body_that_is_no_json_or_too_large():
    async with open_house() as house:
        name = await house.create()
        token = house.manager.find(name).record.token
        assert (await house.ask("POST", path_of(name), token=token, data=b"{")).status == 400
        assert (await house.ask("POST", path_of(name), token=token, data=b" " * (BODY_LIMIT + 1))).status == 413


async def test_a_body_that_never_ends(autojump_clock):
    async with open_house() as house:
        name = await house.create()
        begun = trio.current_time()
        answer = await house.ask(
            "POST", path_of(name), token=house.manager.find(name).record.token, data=b"{", whole=False
        )
        assert answer.status == 408
        assert trio.current_time() - begun == pytest.approx(BODY_DEADLINE)


async def test_a_cluster_that_sends_them_without_a_pause_waits_and_no_other(autojump_clock):
    body = orjson.dumps(heartbeat(closed_workers=["w" * 20] * 300_000))
    async with open_house() as house:
        greedy, other = await house.create(), await house.create(user="bob")
        begun = trio.current_time()
        answered = []

        async def beat(name):
            token = house.manager.find(name).record.token
            assert (await house.ask("POST", path_of(name), token=token, data=body)).status == 200
            answered.append((name, trio.current_time() - begun))

        async def attack():
            for _ in range(3):
                await beat(greedy)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(attack)
            for _ in range(2):
                await beat(other)
        assert 2 * len(body) < BURST < 3 * len(body)
        *at_once, late = answered
        assert sorted(at_once) == sorted([(greedy, 0), (other, 0)] * 2)
        assert late == (greedy, pytest.approx((3 * len(body) - BURST) / PACE))


async def test_after_the_end_and_without_a_database(autojump_clock):
    async with open_house() as house:
        name = await house.running()
        house.store.broken = TryAgainLater("no")
        house.store.held = trio.Event()
        with capture_logs():
            assert (await house.beat(name, 5)).status == 503
        house.store.broken = None
        house.store.held.set()
        await house.ask("DELETE", f"/api/v1/clusters/{name}")
        answer = await house.beat(name)
        assert (answer.status, name in answer.error) == (409, True)


async def test_an_error_of_ours_is_nobody_elses(monkeypatch):
    """The boundary around it is the HTTP server's; nothing is sent here."""
    async with open_house() as house:
        name = await house.create()
        monkeypatch.setattr(heartbeat_route, "parse_heartbeat", lambda body: 1 / 0)
        token = house.manager.find(name).record.token
        with pytest.raises(ZeroDivisionError):
            await ask_app(house.app, "POST", path_of(name), headers=[("Authorization", f"token {token}")])


def test_no_heartbeat_asks_for_more_workers_than_there_are():
    assert parse_heartbeat(orjson.dumps(heartbeat(2**63))).count == MOST_WORKERS


@pytest.mark.parametrize(
    "host", ["a..b", "x" * 64, ".", "-x", "*", "%", "a" * 260, "x" * 64 + ".org", "[fe80::1%25../x]"]
)
async def test_hosts_that_no_resolver_takes(host):
    async with open_house() as house:
        name = await house.create()
        answer = await house.beat(name, host=host)
        assert (answer.status, "scheduler_address" in answer.error) == (422, True)
        assert house.routes.routes == {}


@pytest.mark.parametrize("host", ["node1", "node_1.hpc.site", "10.0.0.1", "[::1]", "[2001:db8::7]", "NODE-1."])
async def test_hosts_that_may_be(host):
    async with open_house() as house:
        assert (await house.beat(await house.create(), host=host)).status == 200


async def test_addresses_that_are_not_connected_to_are_refused_when_they_are_news():
    asked = []

    def refusal(host, port):
        asked.append((host, port))
        return "it is ours" if host == "10.0.0.9" else ""

    async with open_house() as house:
        house.app._heartbeats = heartbeat_route.heartbeat_app(house.manager, refusal)
        name = await house.create()
        for _ in range(3):
            assert (await house.beat(name)).status == 200
        assert asked == [("10.0.0.1", 8786), ("10.0.0.1", 8787), ("10.0.0.1", 9000)]
        for _ in range(2):
            answer = await house.beat(name, host="10.0.0.9")
            assert answer.status == 422
            assert "tls://10.0.0.9:8786 is not connected to: it is ours" in answer.error
        messages = [event.message for event in house.manager.find(name).events]
        assert messages.count(answer.error) == 1
        assert house.routes.routes == {name: ("tls://10.0.0.1:8786", "http://10.0.0.1:8787")}
        assert (await house.beat(name, dashboard_address="")).status == 200


async def test_a_heartbeat_that_is_too_large_is_told_to_who_looks_for_the_reason():
    async with open_house() as house:
        name = await house.create()
        await trio.testing.wait_all_tasks_blocked()
        for _ in range(3):
            answer = await house.beat(name, active_workers=["else"] * (KEPT // 5))
            assert (answer.status, f"{KEPT} bytes" in answer.error) == (413, True)
        messages = [event.message for event in house.manager.find(name).events]
        assert messages.count(answer.error) == 1


async def test_a_long_list_of_closed_workers_means_what_a_short_one_does():
    async with open_house(worker_start_failure_limit=3, driver=FakeDriver(ends_at_once=False)) as house:
        name = await house.running()
        await house.beat(name, 2)
        await house.driver.wait_submissions(2)
        cluster = house.manager.find(name)
        await trio.testing.wait_all_tasks_blocked()
        names = list(cluster.rows.states)
        assert len(names) == 2
        closed = [f"w9{number}-0" for number in range(5000)] + names[:1]
        assert (await house.beat(name, 2, closed_workers=closed)).status == 200
        await trio.testing.wait_all_tasks_blocked()
        assert [cluster.rows.states[name] for name in names] == [RowState.ENDING, RowState.QUEUED]
