"""Who may hold a slot, and who is next."""

from contextlib import AsyncExitStack

import pytest
import trio
import trio.testing

from gateway.backends.user_slots import UserSlots
from gateway.errors import AnswerLost, JobRefused


class Calls:
    """Calls under way in users' names, each until the test ends it."""

    def __init__(self, slots, nursery):
        self._slots, self._nursery = slots, nursery
        self.running = []  # users, in the order in which they got a slot
        self._ends = []

    async def start(self, *users):
        for user in users:
            self._nursery.start_soon(self._run, user)
            await trio.testing.wait_all_tasks_blocked()
        return self.running

    async def _run(self, user):
        end = trio.Event()
        async with self._slots.held(user):
            self.running.append(user)
            self._ends.append((user, end))
            await end.wait()
            self.running.remove(user)

    async def end(self, user):
        found = next(item for item in self._ends if item[0] == user)
        self._ends.remove(found)
        found[1].set()
        await trio.testing.wait_all_tasks_blocked()
        return self.running


async def test_one_user_holds_a_quarter(nursery):
    calls = Calls(UserSlots(8), nursery)
    assert await calls.start("alice", "alice", "alice") == ["alice", "alice"]
    assert await calls.start("bob") == ["alice", "alice", "bob"]
    assert await calls.end("alice") == ["alice", "bob", "alice"]
    nursery.cancel_scope.cancel()


async def test_all_users_together_hold_the_total_and_no_more(nursery):
    calls = Calls(UserSlots(3), nursery)
    assert await calls.start(*"abcde") == ["a", "b", "c"]
    assert await calls.end("b") == ["a", "c", "d"]
    nursery.cancel_scope.cancel()


async def test_the_only_user_may_hold_all(nursery):
    calls = Calls(UserSlots(3, one_user=True), nursery)
    assert await calls.start("a", "a", "a", "a") == ["a", "a", "a"]
    nursery.cancel_scope.cancel()


async def test_who_holds_least_is_next_and_then_who_has_waited_longest(nursery):
    calls = Calls(UserSlots(8), nursery)
    assert len(await calls.start("a", "a", "b", "c", "c", "d", "d", "e")) == 8
    await calls.start("b", "a", "f", "g", "f", "e")
    assert (await calls.end("a"))[-1] == "f"  # before b, who holds one
    assert (await calls.end("a"))[-1] == "a"  # who holds none now
    assert (await calls.end("c"))[-1] == "g"
    assert (await calls.end("c"))[-1] == "b"
    nursery.cancel_scope.cancel()


async def lose(slots, user):
    with pytest.raises(AnswerLost):
        async with slots.held(user):
            raise AnswerLost("no answer")


async def test_users_without_answers_hold_one_each_and_half_together(nursery):
    slots = UserSlots(8)
    for user in "abcdefgh":
        await lose(slots, user)
    calls = Calls(slots, nursery)
    assert await calls.start(*"aabcdefgh") == ["a", "b", "c", "d"]
    assert await calls.start("x", "x", "y", "y") == [*"abcd", *"xxyy"]
    assert await calls.end("b") == [*"acd", *"xxyy", "e"]
    nursery.cancel_scope.cancel()


@pytest.mark.parametrize("error", [None, JobRefused("no")])
async def test_an_answer_makes_good(nursery, error):
    slots = UserSlots(8)
    await lose(slots, "a")
    async with AsyncExitStack() as stack:
        if error:
            stack.enter_context(pytest.raises(JobRefused))
        async with slots.held("a"):
            if error:
                raise error
    assert await Calls(slots, nursery).start("a", "a") == ["a", "a"]
    nursery.cancel_scope.cancel()


async def test_a_single_slot_is_for_users_without_answers_as_well():
    slots = UserSlots(1)
    for _ in range(3):
        await lose(slots, "a")


async def test_a_cancelled_wait_leaves_no_trace(nursery):
    slots = UserSlots(1)
    calls = Calls(slots, nursery)
    await calls.start("a")
    with trio.CancelScope() as scope:
        nursery.start_soon(calls.start, "b")
        async with trio.open_nursery() as inner:
            inner.start_soon(Calls(slots, inner).start, "c")
            inner.start_soon(Calls(slots, inner).start, "c")
            await trio.testing.wait_all_tasks_blocked()
            inner.cancel_scope.cancel()
    assert not scope.cancelled_caught
    assert await calls.end("a") == ["b"]
    nursery.cancel_scope.cancel()


async def test_a_turn_that_comes_with_the_cancellation_goes_to_the_next(nursery):
    slots = UserSlots(1)
    calls = Calls(slots, nursery)
    async with trio.open_nursery() as inner, slots.held("a"):
        inner.start_soon(Calls(slots, inner).start, "b")
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(calls.start, "c")
        await trio.testing.wait_all_tasks_blocked()
        inner.cancel_scope.cancel()
        # b is told of the cancellation and is granted the slot, both before it runs
    await trio.testing.wait_all_tasks_blocked()
    assert calls.running == ["c"]
    nursery.cancel_scope.cancel()
