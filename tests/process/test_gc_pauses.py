"""Survivors of a full collection are set aside, and looked at again after a long while."""

import gc
import weakref

import trio
from trio.testing import wait_all_tasks_blocked

from gateway.process.gc_pauses import EVERYTHING_PERIOD, spare_survivors


class Knot:
    """Part of a cycle with itself."""

    def __init__(self):
        self.me = self


async def test_what_has_survived_is_set_aside(mock_clock):
    knot, young = Knot(), Knot()
    old_dies, young_dies = weakref.ref(knot), weakref.ref(young)
    async with spare_survivors():
        del young
        gc.collect()
        assert young_dies() is None
        assert gc.get_freeze_count() > 0
        del knot
        gc.collect()
        assert old_dies() is not None
        await wait_all_tasks_blocked()
        mock_clock.jump(EVERYTHING_PERIOD)
        await wait_all_tasks_blocked()
        assert old_dies() is None


async def test_growth_is_looked_at_at_once(autojump_clock):
    """Cycles that were set aside, and then died, more of them than there may be."""
    start = trio.current_time()
    async with spare_survivors(growth=10_000, growth_part=0):
        await wait_all_tasks_blocked()
        dies = []
        for _ in range(10):
            knots = [Knot() for _ in range(3000)]
            gc.collect()  # they survive this
            dies.append(weakref.ref(knots[0]))
            del knots
            await wait_all_tasks_blocked()
        assert sum(die() is not None for die in dies) <= 5
        assert trio.current_time() < start + EVERYTHING_PERIOD


async def test_what_dies_by_its_count_is_no_growth(autojump_clock):
    knot = Knot()
    dies = weakref.ref(knot)
    gc.collect()
    there = len(gc.get_objects())
    async with spare_survivors(growth=there + 10_000, growth_part=0):
        gc.collect()
        await wait_all_tasks_blocked()
        del knot
        for _ in range(10):
            lists = [[] for _ in range(3000)]
            gc.collect()
            lists.clear()
            await wait_all_tasks_blocked()
        assert dies() is not None


async def test_nothing_stays_behind():
    before = list(gc.callbacks), gc.get_threshold()
    async with spare_survivors():
        gc.collect(1)
        assert gc.get_freeze_count() == 0
        gc.collect()
    assert (gc.callbacks, gc.get_threshold()) == before
    assert gc.get_freeze_count() == 0
