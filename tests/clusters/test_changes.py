"""Nothing is missed between looking and waiting."""

import trio
import trio.testing

from gateway.clusters.changes import ChangeNotifier


async def test_who_has_seen_less_does_not_wait():
    changes = ChangeNotifier()
    changes.notify()
    changes.notify()
    assert await changes.wait(0) == await changes.wait(1) == 2


async def test_everybody_who_waits_is_woken_once():
    changes = ChangeNotifier()
    woken = []

    async def wait(name):
        woken.append((name, await changes.wait(0)))
        await changes.wait(1)
        woken.append((name, changes.count))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait, "a")
        nursery.start_soon(wait, "b")
        await trio.testing.wait_all_tasks_blocked()
        assert woken == []
        changes.notify()
        await trio.testing.wait_all_tasks_blocked()
        assert sorted(woken) == [("a", 1), ("b", 1)]
        changes.notify()
    assert sorted(woken)[1::2] == [("a", 2), ("b", 2)]


async def test_a_cancelled_wait_leaves_nothing():
    changes = ChangeNotifier()
    with trio.move_on_after(0):
        await changes.wait(0)
    assert changes._next.statistics().tasks_waiting == 0
    changes.notify()
    assert await changes.wait(0) == 1
