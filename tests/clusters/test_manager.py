"""All clusters together: created, taken back, stopped, forgotten; and none harms another."""

import math
from functools import partial

import pytest
import trio
import trio.testing
from structlog.testing import capture_logs

from gateway.clusters import manager as manager_module
from gateway.clusters.cluster import Cluster
from gateway.clusters.lifecycle import is_ended
from gateway.clusters.reasons import BY_GATEWAY
from gateway.config.cluster import ClusterConfig
from gateway.config.fields import dump
from gateway.errors import InvalidRequest, NotFound, TryAgainLater, Unauthorized
from gateway.models import ClusterStatus, JobId, Role, SubmissionRecord, User
from gateway.store.writer import StoreError
from tests.support.fake_store import FakeStore
from tests.support.fakes import FakeDriver
from tests.support.houses import open_house, record

ALICE = User("alice")


@pytest.fixture
def certificates(monkeypatch):
    """No real ones: a virtual clock does not wait for threads."""

    async def run_sync(function, *arguments):
        await trio.lowlevel.checkpoint()
        return "cert", "key"

    monkeypatch.setattr(manager_module.trio.to_thread, "run_sync", run_sync)


# ---- create


async def test_a_cluster_is_durable_before_anything_is_submitted():
    async with open_house() as house, trio.open_nursery() as nursery:
        house.store.held = trio.Event()
        nursery.start_soon(house.manager.create, ALICE, {})
        await trio.testing.wait_all_tasks_blocked(0.05)
        assert house.driver.submissions == []
        assert house.manager.list(ALICE, None) == []
        house.store.held.set()
        await house.driver.wait_submissions(1)
        (cluster,) = house.manager.list(ALICE, None)
        assert house.store.history[0] == house.store.clusters[cluster.name] == cluster.record
        assert cluster.record.token not in repr(cluster.record)


async def cancelled_after(checkpoints, function):
    """Run the function and cancel it at its n-th checkpoint; True when it came to its end before."""
    ended = False

    async def run():
        nonlocal ended
        with scope:
            await function()
            ended = True
        finished.set()

    finished = trio.Event()
    scope = trio.CancelScope()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(run)
        for _ in range(checkpoints):
            if not finished.is_set():
                await trio.lowlevel.checkpoint()
        scope.cancel()
    return ended


async def test_a_creation_whose_client_hangs_up_leaves_a_living_cluster_or_none(certificates):
    left = set()
    for checkpoints in range(12):
        async with open_house() as house:
            done = await cancelled_after(checkpoints, partial(house.manager.create, ALICE, {}))
            await trio.testing.wait_all_tasks_blocked()
            clusters = house.manager.list(ALICE, None)
            assert {cluster.name for cluster in clusters} == set(house.store.clusters)
            assert len(house.driver.submissions) == len(clusters) >= done
            left.add(len(clusters))
            for cluster in clusters:
                with trio.fail_after(30):
                    await cluster.stop()
                    await cluster.wait_ended()
    assert left == {0, 1}


async def test_a_record_that_takes_too_long_is_taken_back(certificates, autojump_clock):
    async with open_house() as house:
        house.store.held = trio.Event()
        with pytest.raises(TryAgainLater, match="does not answer"):
            await house.manager.create(ALICE, {})
        house.store.broken = StoreError("still not")
        house.store.held.set()
        await trio.sleep(1)
        house.store.broken = None
        await trio.sleep(60)
        assert house.store.clusters == {}
        assert house.manager.list(ALICE, None) == []
        assert house.driver.submissions == []


async def test_a_shutdown_that_comes_during_a_creation(certificates):
    for checkpoints in range(40):
        async with open_house() as house:
            outcome = []

            async def create(house=house, outcome=outcome):
                try:
                    outcome.append(await house.manager.create(ALICE, {}))
                except TryAgainLater:
                    outcome.append(None)

            async with trio.open_nursery() as nursery:
                nursery.start_soon(create)
                for _ in range(checkpoints):
                    await trio.lowlevel.checkpoint()
                early = bool(outcome)
                house.manager.close()
                await house.manager.stop_all()
            assert all(is_ended(record.status) for record in house.store.clusters.values())
            assert house.driver.living == []
            assert outcome[0] is not None or house.store.clusters == {}
        if early:
            break
    assert early


async def test_closed_for_new_clusters():
    async with open_house() as house:
        house.manager.close()
        with pytest.raises(TryAgainLater, match="shutting down"):
            await house.manager.create(ALICE, {})


# ---- find


async def test_clusters_are_found_by_name_owner_and_token():
    async with open_house() as house:
        name = await house.create()
        manager = house.manager
        cluster = manager.find(name)
        assert manager.authenticated(name, f"token {cluster.record.token}") is cluster
        assert manager.list(ALICE, None) == [cluster]
        assert manager.list(User("bob"), None) == []
        with pytest.raises(NotFound, match="nosuch"):
            manager.find("nosuch")
        for authorization in ("", "token", f"Token {cluster.record.token}", cluster.record.token, "token \udcff"):
            with pytest.raises(Unauthorized):
                manager.authenticated(name, authorization)


async def test_somebody_could_not_reach_a_cluster():
    async with open_house() as house:
        name = await house.running()
        await trio.testing.wait_all_tasks_blocked()
        house.driver.board._poll_requested = trio.Event()
        house.manager.ask_about("nosuch")
        assert not house.driver.board._poll_requested.is_set()
        house.manager.ask_about(name)
        assert house.driver.board._poll_requested.is_set()


# ---- after a restart


def a_store(*records, submissions=()):
    store = FakeStore()
    store.clusters = {known.name: known for known in records}
    store.submissions = {(known.cluster, known.group): known for known in submissions}
    return store


RUNNING = {
    "status": ClusterStatus.RUNNING,
    "scheduler_address": "tls://10.0.0.1:8786",
    "api_address": "http://10.0.0.1:9000",
}


async def test_clusters_are_taken_back():
    driver = FakeDriver(runs_at_once=True)
    async with open_house(driver=driver) as house:
        name = await house.running()
    assert len(driver.living) == 1
    async with open_house(driver=driver, store=house.store) as again:
        await trio.testing.wait_all_tasks_blocked()
        assert len(driver.submissions) == 1
        assert again.manager.find(name).record.status is ClusterStatus.RUNNING
        assert set(again.routes.routes) == {name}
        assert (await again.beat(name)).status == 200
        assert (await again.ask("DELETE", f"/api/v1/clusters/{name}")).status == 204
        await again.manager.find(name).wait_ended()
        assert driver.living == []


async def test_a_cluster_recorded_but_not_submitted_is_started():
    async with open_house(store=a_store(record())) as house:
        await house.driver.wait_submissions(1)


class Strays(FakeDriver):
    """A driver that knows its own jobs."""

    async def orphans(self, known):
        await trio.lowlevel.checkpoint()
        self.known = set(known)
        return frozenset({"stray"})


async def test_strays_are_told_apart_from_clusters_on_record():
    ended = record("ended", status=ClusterStatus.STOPPED, stop_time=2**60)
    driver = Strays()
    with capture_logs() as logs:
        async with open_house(driver=driver, store=a_store(record("living"), ended)):
            assert driver.known == {"living"}
    assert [line["clusters"] for line in logs if "not on record" in line["event"]] == [["stray"]]


async def test_a_cluster_that_was_ending_is_ended():
    jobs = SubmissionRecord(cluster="c0ffee", group="scheduler", role=Role.SCHEDULER, count=1, jobs=(JobId("7"),))
    async with open_house(store=a_store(record(status=ClusterStatus.STOPPING), submissions=[jobs])) as house:
        await house.manager.find("c0ffee").wait_ended()
        assert house.store.clusters["c0ffee"].status is ClusterStatus.STOPPED
        assert house.store.submissions == {}


async def test_ended_clusters_are_only_remembered():
    ended = record(status=ClusterStatus.FAILED, reason="out of memory", stop_time=2**60, config={"worker_cores": "?"})
    async with open_house(store=a_store(ended)) as house:
        await trio.testing.wait_all_tasks_blocked()
        assert house.store.history == house.driver.submissions == []
        (cluster,) = house.manager.list(ALICE, [ClusterStatus.FAILED])
        assert cluster.record.reason == "out of memory"


@pytest.mark.parametrize(
    ("stored", "site", "expected"),
    [
        ({"worker_cores": 3}, {}, {"worker_cores": 3}),
        ({}, {"worker_cores": 7}, {"worker_cores": 7}),  # an option that the older version did not have
        ({"gone_since": 1, "worker_cores": 3}, {}, {"worker_cores": 3}),
        ({"worker_cores": 0, "worker_memory": 5}, {"worker_cores": 2}, {"worker_cores": 2, "worker_memory": 5}),
        (
            {"scheduler_cores": 4, "worker_cores": 3},
            {"cluster_max_cores": 2},
            {"scheduler_cores": 1, "worker_cores": 3},
        ),
        (
            {"cluster_max_cores": 2, "worker_cores": 3},
            {"scheduler_cores": 4},
            {"scheduler_cores": 4, "worker_cores": 1},
        ),
    ],
)
async def test_options_that_do_not_fit_any_more_have_the_sites_values(stored, site, expected):
    jobs = SubmissionRecord(cluster="c0ffee", group="scheduler", role=Role.SCHEDULER, count=1, jobs=(JobId("7"),))
    store = a_store(record("c0ffee", config=stored, **RUNNING), record("other"), submissions=[jobs])
    with capture_logs() as logs:
        async with open_house(store=store, cluster_config=ClusterConfig(**site)) as house:
            cluster = house.manager.find("c0ffee")
            assert {name: getattr(cluster.ref.config, name) for name in expected} == expected
            kept = {name: value for name, value in stored.items() if getattr(cluster.ref.config, name, None) == value}
            told = [event.message for event in cluster.events if "reconfigured" in event.message]
            warned = [line for line in logs if "do not fit" in line["event"]]
            assert len(told) == len(warned) == (len(kept) < len(stored.keys() - {"gone_since"}))
            await house.driver.wait_submissions(1)  # the other one


async def test_what_is_dumped_comes_back():
    config = ClusterConfig(worker_cores=3, environment={"A": "b"}, cluster_max_memory="9 G", idle_timeout=1.5)
    async with open_house(store=a_store(record(config=dump(config)))) as house:
        assert house.manager.find("c0ffee").ref.config == config


# ---- one cluster's trouble


async def test_a_broken_cluster_does_not_harm_the_others(monkeypatch, autojump_clock):
    async with open_house() as house:
        good = await house.create()
        monkeypatch.setattr(Cluster, "_act", property(lambda self: 1 / 0))
        with capture_logs() as logs:
            bad = await house.create()
            await house.ask("DELETE", f"/api/v1/clusters/{bad}")
            await trio.testing.wait_all_tasks_blocked()
        assert any("broke" in line["event"] for line in logs)
        assert (await house.beat(good)).status == 200
        assert await house.create()


# ---- the end


async def test_stop_all_waits_for_the_ends():
    async with open_house() as house:
        names = [await house.running(), await house.create(user="bob")]
        await house.manager.stop_all()
        assert [house.manager.find(name).record.status for name in names] == [ClusterStatus.STOPPED] * 2
        assert {house.store.clusters[name].stopped for name in names} == {BY_GATEWAY}
        assert house.driver.living == []
        await house.manager.stop_all()


async def test_stop_all_has_a_deadline(certificates, autojump_clock):
    async with open_house(driver=FakeDriver(ends_at_once=False)) as house:
        name = await house.create()
        await house.driver.wait_submissions(1)
        with capture_logs() as logs:
            await house.manager.stop_all()
        assert house.manager.find(name).record.status is ClusterStatus.STOPPING
        assert [line["clusters"] for line in logs if "not all clusters" in line["event"]] == [1]


async def test_stop_all_without_a_database(certificates, autojump_clock):
    async with open_house() as house:
        await house.create()
        house.store.held = trio.Event()
        with capture_logs() as logs:
            await house.manager.stop_all()
        assert any("cannot stop a cluster" in line["event"] for line in logs)


async def test_old_clusters_are_forgotten():
    async with open_house() as house:
        names = [await house.create(), await house.create(), await house.create(user="bob")]
        for name in names[1:]:
            await house.manager.find(name).stop()
            await house.manager.find(name).wait_ended()
        await house.manager.forget_old(1000)
        assert set(house.store.clusters) == set(names)
        await house.manager.forget_old(-math.inf)
        assert set(house.store.clusters) == set(names[:1])
        assert house.manager._by_user.keys() == {"alice"}
        with pytest.raises(NotFound):
            house.manager.find(names[1])


async def test_forgetting_outlives_all_trouble(certificates, autojump_clock):
    old = record("old", status=ClusterStatus.STOPPED, stop_time=2)
    store = a_store(old)
    store.broken = StoreError("the disk is full")
    with capture_logs() as logs:
        async with open_house(store=store, db_cleanup_period=100) as house:
            await trio.sleep(50)
            assert set(house.store.clusters) == {"old"}
            store.broken = ValueError("a mistake of ours")
            await trio.sleep(100)
            store.broken = None
            await trio.sleep(1000)
            assert house.store.clusters == {}
    assert any("cannot forget" in line["event"] for line in logs)


async def test_options_have_to_be_options():
    async with open_house(cluster_options=lambda user: None) as house:
        with pytest.raises(InvalidRequest, match="expected Options"):
            await house.manager.create(ALICE, {})
