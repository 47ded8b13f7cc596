"""One sum of memory over all peers, a share for each, and turns for those who wait."""

import pytest
import trio
import trio.testing

from gateway.proxy.memory_budget import COPIES, LARGE, SMALL, MemoryBudget, Pool, ReadSize


def test_an_owner_has_a_quarter() -> None:
    pool = Pool(400)
    assert pool.take("mallory", 60)
    assert not pool.take("mallory", 60)
    assert pool.take("mallory", 40)
    assert pool.take("alice", 100)
    assert pool.free == 200
    pool.give_back("mallory", 60)
    assert pool.take("mallory", 50)


def test_the_sum_holds() -> None:
    pool = Pool(400)
    assert [pool.take(owner, 100) for owner in "abcde"] == [True] * 4 + [False]
    for owner in "abcd":
        pool.give_back(owner, 100)
    assert (pool.free, pool._taken) == (400, {})


def test_nobody_can_ask_for_more_than_a_share() -> None:
    pool = Pool(400)
    assert pool.take("alice", 1000)
    assert pool.free == 300
    pool.give_back("alice", 1000)
    assert pool.free == 400


async def test_who_waits_is_served_in_turns_owner_by_owner() -> None:
    pool = Pool(400)
    for owner in "abcd":
        await pool.reserve(owner, 100)
    served: list[str] = []

    async def wait(owner: str) -> None:
        await pool.reserve(owner, 100)
        served.append(owner)

    async with trio.open_nursery() as nursery:
        for owner in ("mallory", "mallory", "mallory", "alice", "bob"):
            nursery.start_soon(wait, owner)
            await trio.testing.wait_all_tasks_blocked()
        for number, owner in enumerate("abc", start=1):
            pool.give_back(owner, 100)
            await trio.testing.wait_all_tasks_blocked()
            assert len(served) == number
        assert served == ["mallory", "alice", "bob"]
        pool.give_back("mallory", 100)
        await trio.testing.wait_all_tasks_blocked()
        assert served[3:] == ["mallory"]
        nursery.cancel_scope.cancel()
    for owner in ("alice", "bob", "mallory", "d"):
        pool.give_back(owner, 100)
    assert (pool.free, pool._waiting, pool._taken) == (400, {}, {})


async def test_nobody_overtakes_within_a_line() -> None:
    pool = Pool(400)
    assert pool.take("alice", 60)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(pool.reserve, "alice", 80)
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(pool.reserve, "alice", 20)
        await trio.testing.wait_all_tasks_blocked()
        assert pool.free == 340
        pool.give_back("alice", 60)
    assert pool.free == 300


async def test_a_cancelled_wait_takes_nothing() -> None:
    pool = Pool(400)
    assert pool.take("alice", 60)
    async with trio.open_nursery() as nursery:
        scope = trio.CancelScope()
        nursery.start_soon(_cancelled, pool, scope)
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(pool.reserve, "alice", 20)  # behind it
        await trio.testing.wait_all_tasks_blocked()
        assert pool.free == 340
        scope.cancel()
    assert pool.free == 320
    async with trio.open_nursery() as nursery:  # cancelled, and granted before it has heard of that
        scope = trio.CancelScope()
        nursery.start_soon(_cancelled, pool, scope)
        await trio.testing.wait_all_tasks_blocked()
        scope.cancel()
        pool.give_back("alice", 60)
    assert pool.free == 380


async def _cancelled(pool: Pool, scope: trio.CancelScope) -> None:
    with scope:
        async with pool.reserved("alice", 90):
            raise AssertionError("not granted")


async def test_what_is_reserved_is_given_back() -> None:
    pool = Pool(400)
    with pytest.raises(ValueError, match="no"):
        async with pool.reserved("alice", 90):
            assert pool.free == 310
            raise ValueError("no")
    assert pool.free == 400


def test_readers_read_much_when_there_is_much_and_a_buffer() -> None:
    budget = MemoryBudget(8 * COPIES * LARGE)  # a buffer for each of four owners
    readers = [ReadSize(budget, owner) for owner in ("a", "a", "b")]
    assert [reader.now for reader in readers] == [SMALL] * 3
    for reader in readers:
        reader.was(SMALL)
        reader.was(LARGE)
    assert [reader.now for reader in readers] == [LARGE, SMALL, LARGE]
    readers[0].was(1)
    readers[1].was(SMALL)
    assert [reader.now for reader in readers] == [SMALL, LARGE, LARGE]
    for reader in readers:
        reader.close()
        reader.close()
    assert budget.buffers.free == 4 * COPIES * LARGE


def test_without_a_budget_readers_read_little() -> None:
    reader = ReadSize(None, "")
    reader.was(SMALL)
    assert reader.now == SMALL
