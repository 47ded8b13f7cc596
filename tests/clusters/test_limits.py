"""Limits on what users, groups and all may have, in a whole gateway: never exceeded, and nobody waits in vain."""

import os
import random

import pytest
import trio
import trio.testing
from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from gateway.clusters.admission import PATIENCE
from gateway.config.cluster import ClusterConfig
from gateway.config.limits import GroupLimits, Limits, MemberLimits, TotalLimits, UserLimits
from gateway.config.user_options import Integer, Options
from gateway.errors import Conflict, GatewayError, JobRefused
from gateway.models import ClusterStatus, User
from gateway.store.writer import StoreError
from tests.support.crowd import open_crowd
from tests.support.fake_store import FakeStore
from tests.support.houses import FixedGroups, open_house

CLUSTERS = "/api/v1/clusters/"


async def settle():
    await trio.testing.wait_all_tasks_blocked()


def of_users(**limits):
    return Limits(users=UserLimits(**limits))


# ---- refusals at the creation


async def test_a_cluster_too_many_is_refused_with_a_sentence():
    async with open_house(limits=of_users(max_clusters=1)) as house:
        await house.create()
        with capture_logs() as logs:
            answer = await house.ask("POST", CLUSTERS, body={})
        assert answer.status == 422
        assert answer.error == (
            "There is no room for another cluster: user alice may have 1 cluster (c.UserLimits.max_clusters) and has 1."
            " Stop one, and try again"
        )
        (line,) = [line for line in logs if line["event"] == "a cluster was refused"]
        assert (line["user"], line["reason"]) == ("alice", answer.error)
        await house.create(user="bob")


async def test_groups_are_those_of_the_authenticator():
    limits = Limits(groups=GroupLimits(max_clusters={"students": 1}))
    async with open_house(limits=limits, groups=FixedGroups(alice=["students"], bob=["students", "a"])) as house:
        name = await house.create()
        assert house.store.clusters[name].owner_groups == ("students",)
        answer = await house.ask("POST", CLUSTERS, body={}, user="bob")
        assert (answer.status, "the members of group students may have 1 cluster together" in answer.error) == (
            422,
            True,
        )
        await house.create(user="carol")


async def test_a_creation_that_fails_gives_back_what_it_took(autojump_clock):
    async with open_crowd(of_users(max_clusters=1)) as crowd:
        crowd.store.broken = StoreError("disk full")
        for _ in range(3):
            with pytest.raises(GatewayError, match="disk full"):
                await crowd.create("alice")
        crowd.store.broken = None
        assert await crowd.create("alice")


async def test_what_a_cluster_held_is_given_back_when_its_jobs_are_gone(autojump_clock):
    async with open_crowd(of_users(max_clusters=1, max_cores=3)) as crowd:
        name = await crowd.create("alice")
        await crowd.scale(name, 2)
        await settle()
        await crowd.stop(name)
        await crowd.manager.find(name).wait_ended()
        crowd.check_books()
        assert await crowd.create("alice")


# ---- the end of others is waited for


async def test_a_cluster_that_is_about_to_end_makes_room(autojump_clock):
    async with open_crowd(of_users(max_clusters=1)) as crowd, trio.open_nursery() as nursery:
        first = await crowd.create("alice")
        crowd.driver.ends_at_once = False
        await crowd.stop(first)
        nursery.start_soon(crowd.create, "alice")
        await trio.sleep(5)
        assert crowd.refused == []
        assert len(crowd.driver.submissions) == 1
        crowd.driver.end("scheduler")
        await crowd.driver.wait_submissions(2)
        assert trio.current_time() < PATIENCE


async def test_its_end_is_not_waited_for_for_ever(autojump_clock):
    async with open_crowd(of_users(max_clusters=1)) as crowd:
        first = await crowd.create("alice")
        crowd.driver.ends_at_once = False
        await crowd.stop(first)
        begin = trio.current_time()
        assert await crowd.create("alice") is None
        assert trio.current_time() - begin == PATIENCE
        assert "has 1 (1 of these clusters is being stopped)" in crowd.refused[0]
        crowd.driver.end("scheduler")
        await crowd.manager.find(first).wait_ended()
        assert await crowd.create("alice")


async def test_a_client_that_hangs_up_while_it_waits_leaves_nothing(autojump_clock):
    async with open_crowd(of_users(max_clusters=1)) as crowd:
        first = await crowd.create("alice")
        crowd.driver.ends_at_once = False
        await crowd.stop(first)
        with trio.move_on_after(1):
            await crowd.create("alice")
        crowd.driver.end("scheduler")
        await crowd.manager.find(first).wait_ended()
        crowd.check_books()
        assert await crowd.create("alice")


# ---- scale and adapt


async def test_what_there_is_room_for_is_started_and_the_rest_waits(autojump_clock):
    async with open_crowd(of_users(max_cores=8)) as crowd:
        one, other = await crowd.create("alice"), await crowd.create("alice")
        await crowd.scale(one, 4)
        assert crowd.warned == []
        await crowd.scale(other, 4)
        assert crowd.warned == [
            "2 workers wait until there is room: user alice may have 8 cores (c.UserLimits.max_cores) and has 8"
        ]
        await settle()
        assert len(crowd.manager.find(other).rows.workers) == 2
        assert crowd.warned[0] in [event.message for event in crowd.manager.find(other).events]
        await crowd.scale(one, 3)
        await settle()
        assert len(crowd.manager.find(other).rows.workers) == 3  # woken by what the other has given back
        await crowd.stop(one)
        await settle()
        assert len(crowd.manager.find(other).rows.workers) == 4


async def test_more_than_could_ever_be_had_is_not_even_asked_for(autojump_clock):
    async with open_crowd(of_users(max_cores=8)) as crowd:
        name = await crowd.create("alice")
        await crowd.scale(name, 50)
        assert crowd.warned == [
            "Scale request of 50 workers would exceed resource limit of 7 workers (c.UserLimits.max_cores)."
            " Scaling to 7 instead."
        ]
        assert crowd.manager.find(name).record.count == 7


async def test_adapt_tells_what_there_is_no_room_for(autojump_clock):
    async with open_crowd(of_users(max_workers=4)) as crowd:
        one, other = await crowd.create("alice"), await crowd.create("alice")
        adapt = crowd.manager.find(one).adapt
        await crowd.scale(other, 3)
        assert await adapt(1, None, True) == await adapt(0, 1, True) == await adapt(0, 4, False) == ""
        told = await adapt(0, 4, True)
        assert told == (
            "At the moment there is no room for 3 of these 4 workers:"
            " user alice may have 4 workers (c.UserLimits.max_workers) and has 3"
        )
        assert (await adapt(None, 9, True)).startswith(
            "Adapt with `maximum=9, minimum=None` workers would exceed resource limit of 4 workers"
            " (c.UserLimits.max_workers). Using `maximum=4, minimum=0` instead. At the moment"
        )
        await crowd.beat(one, 4)  # and its scheduler wants all of them
        await settle()
        assert len(crowd.manager.find(one).rows.workers) == 1
        await crowd.scale(other, 0)
        await settle()
        assert len(crowd.manager.find(one).rows.workers) == 4


async def test_nobody_is_woken_for_nothing(autojump_clock):
    async with open_crowd(of_users(max_workers=1)) as crowd:
        one, other = await crowd.create("alice"), await crowd.create("alice")
        await crowd.scale(one, 1)
        await crowd.scale(other, 1)
        await settle()
        changes = crowd.manager.find(other).changes
        seen = changes.count
        await trio.sleep(1)
        assert changes.count == seen
        await crowd.stop(one)
        await settle()
        assert changes.count > seen


# ---- restarts


async def test_clusters_of_before_keep_what_they_have_and_get_no_more(autojump_clock):
    store = FakeStore()
    async with open_crowd(Limits(), store=store) as crowd:
        for _ in range(2):
            await crowd.scale(await crowd.create("alice", ["students"]), 3)
        await settle()
        driver = crowd.driver
    limits = Limits(users=UserLimits(max_clusters=1), groups=GroupLimits(max_workers={"students": 4}))
    async with open_crowd(limits, store=store) as again:
        again.driver.jobs, again.driver.held = driver.jobs, driver.held
        again.users["alice"] = frozenset(["students"])
        one, other = (cluster.name for cluster in again.manager.list(User("alice"), None))
        assert await again.create("alice", ["students"]) is None
        assert "may have 1 cluster (c.UserLimits.max_clusters) and has 2" in again.refused[0]
        again.wanted = {one: 3, other: 3}
        await again.beat(one)
        await again.beat(other)
        await settle()
        again.check_books()
        assert again.driver.submissions == []
        assert len(again.driver.living) == 8
        assert again.manager._services.ledger._groups["students"].held["workers"] == 6


async def test_clusters_that_have_ended_are_not_counted_after_a_restart(autojump_clock):
    store = FakeStore()
    limits = of_users(max_clusters=1)
    async with open_crowd(limits, store=store) as crowd:
        name = await crowd.create("alice")
        await crowd.stop(name)
        await crowd.manager.find(name).wait_ended()
    async with open_crowd(limits, store=store) as again:
        assert again.manager.knows(name)
        assert await again.create("alice")


# ---- whatever happens at once

LIMITS = Limits(
    users=UserLimits(max_clusters=3, max_cores=9),
    members=MemberLimits(max_cores={"students": 6}),
    groups=GroupLimits(max_workers={"students": 6}, max_memory={"staff": "24 G"}),
    total=TotalLimits(max_clusters=6, max_cores=24, max_workers=15),
)
GROUPS = {"u0": ["students"], "u1": ["students", "staff"], "u2": ["staff"], "u3": []}
SIZES = Options(Integer("worker_cores", default=1, min=1, max=3))
picks = st.integers(0, 20)
happenings = st.one_of(
    st.tuples(st.just("create"), picks, st.integers(1, 3)),
    st.tuples(st.just("scale"), picks, st.integers(0, 12)),
    st.tuples(st.just("beat"), picks, st.integers(0, 12)),
    st.tuples(st.just("adapt"), picks, st.integers(0, 12)),
    st.tuples(st.just("stop"), picks, st.just(0)),
    st.tuples(st.just("end a job"), picks, st.just(0)),
    st.tuples(st.just("next submission"), picks, st.just(0)),
    st.tuples(st.just("wait"), st.sampled_from([0, 0, 1, 20]), st.just(0)),
)


async def happen(crowd, what, pick, number):
    """One thing that happens."""
    names = list(crowd.wanted)
    name = names[pick % len(names)] if names else ""
    if what == "create":
        user = f"u{pick % len(GROUPS)}"
        await crowd.create(user, GROUPS[user], worker_cores=number)
    elif what == "scale" and name:
        await crowd.scale(name, number)
    elif what == "beat" and name:
        await crowd.beat(name, number)
    elif what == "adapt" and name:
        try:
            await crowd.manager.find(name).adapt(0, number, True)
        except GatewayError:
            return
        await crowd.beat(name, number)
    elif what == "stop" and name:
        await crowd.stop(name)
    elif what == "end a job" and (living := crowd.driver.living):
        crowd.driver.end(living[pick % len(living)], "NODE_FAIL")
    elif what == "next submission":
        fate = pick % 4
        if fate == 0:
            crowd.driver.fail_next(JobRefused("no"))
        else:
            crowd.driver.lose_next(exists=fate > 1)


@settings(max_examples=60)
@given(st.lists(st.lists(happenings, min_size=1, max_size=5), max_size=25))
def test_whatever_happens_at_once_no_limit_is_exceeded(rounds):
    async def story():
        async with open_crowd(LIMITS, cluster_options=SIZES) as crowd, trio.open_nursery() as nursery:
            for at_once in rounds:
                for what, pick, number in at_once:
                    if what == "wait":
                        await trio.sleep(pick)
                    else:
                        nursery.start_soon(happen, crowd, what, pick, number)
                await trio.lowlevel.checkpoint()
            crowd.driver.forget_next()
            await trio.sleep(400)  # past all delays
            await settle()
            crowd.check_books()
            assert crowd.hungry() == []
            await crowd.stop_all()

    trio.run(story, clock=trio.testing.MockClock(autojump_threshold=0))


# ---- two hundred users

#: Minutes on the virtual clock; `make soak` sets more.
MINUTES = int(os.environ.get("SOAK_MINUTES", "3"))
MANY = Limits(
    users=UserLimits(max_clusters=2, max_cores=30, max_memory="64 G"),
    members=MemberLimits(max_cores={"staff": 60}),
    groups=GroupLimits(max_workers={"students": 300, "staff": 200}),
    total=TotalLimits(max_clusters=250, max_cores=900, max_workers=700),
)


async def a_user(crowd, number, chance):
    """Creates clusters, scales them, lets them adapt, stops them; for ever."""
    user, groups = f"u{number}", (["students"], ["staff"], [])[number % 3]
    mine = []
    while True:
        await trio.sleep(chance.uniform(0, 60))
        mine = [name for name in mine if crowd.manager.find(name)._machine.active]
        if not mine or chance.random() < 0.2:
            name = await crowd.create(user, groups, worker_cores=chance.choice([1, 1, 2, 3]))
            mine += [name] if name else []
        elif (what := chance.random()) < 0.5:
            await crowd.scale(chance.choice(mine), chance.randrange(40))
        elif what < 0.85:
            await crowd.beat(chance.choice(mine), chance.randrange(40))
        else:
            await crowd.stop(chance.choice(mine))


async def test_two_hundred_users(autojump_clock):
    chance = random.Random(1)
    async with open_crowd(MANY, cluster_options=SIZES) as crowd:
        with trio.move_on_after(60 * MINUTES):
            async with trio.open_nursery() as nursery:
                for number in range(200):
                    nursery.start_soon(a_user, crowd, number, random.Random(chance.random()))
        await trio.sleep(400)
        await settle()
        crowd.check_books()
        assert crowd.hungry() == []
        # It was tight: all limits were met, for clusters and for workers.
        assert crowd.most_held["cores"] == 900
        refusals = " ".join(crowd.refused)
        warnings = " ".join(crowd.warned)
        assert "c.UserLimits.max_clusters" in refusals
        assert "c.UserLimits.max_cores" in warnings
        assert "c.MemberLimits.max_cores" in warnings
        assert "c.TotalLimits.max_cores" in warnings
        await crowd.stop_all()


# ---- ended by the clock


async def test_a_cluster_is_stopped_when_no_client_was_connected_for_long(autojump_clock):
    config = ClusterConfig(client_disconnect_timeout=600, max_lifetime=10_000)
    async with open_crowd(Limits(), cluster_config=config) as crowd:
        name = await crowd.create("alice")
        cluster = crowd.manager.find(name)
        crowd.manager.client(name, True)
        crowd.manager.client("nosuch", True)
        await trio.sleep(3000)
        assert cluster.record.status is ClusterStatus.RUNNING
        crowd.manager.client(name, False)
        await trio.sleep(599)
        assert cluster.record.status is ClusterStatus.RUNNING
        announced = "The cluster is stopped in 1 min unless a client connects: it may be without one for 10 min"
        assert [event.message for event in cluster.events][-1].startswith(announced)
        await trio.sleep(2)
        assert cluster.ended
        with pytest.raises(Conflict, match="it has stopped: no client was connected to it for 10 min"):
            await cluster.scale(1)


async def test_a_lifetime_is_counted_over_restarts(autojump_clock):
    store, config = FakeStore(), ClusterConfig(max_lifetime=10_000)
    async with open_crowd(Limits(), store=store, cluster_config=config) as crowd:
        name = await crowd.create("alice")
        driver = crowd.driver
    # The wall clock is not the test's: what has passed meanwhile is said by the record.
    store.clusters[name] = evolve(store.clusters[name], running_since=store.clusters[name].running_since - 9_500_000)
    async with open_crowd(Limits(), store=store, cluster_config=config) as again:
        again.driver.jobs, again.driver.held = driver.jobs, driver.held
        again.users["alice"] = frozenset()
        again.wanted[name] = 0
        cluster = again.manager.find(name)
        await trio.sleep(300)
        assert cluster.record.status is ClusterStatus.RUNNING
        assert cluster.record.running_since == store.clusters[name].running_since
        await trio.sleep(400)
        assert cluster.record.stopped == "it has run for 2 h 47 min, as long as it may (max_lifetime)"
        assert cluster.ended
