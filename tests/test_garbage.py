"""Survivors of a full collection are set aside, and looked at again after a long while."""

import gc
import weakref

from trio.testing import wait_all_tasks_blocked

from gateway import garbage
from gateway.garbage import spare_survivors


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
        mock_clock.jump(garbage.EVERYTHING_PERIOD)
        await wait_all_tasks_blocked()
        assert old_dies() is None


async def test_nothing_stays_behind():
    before = list(gc.callbacks), gc.get_threshold()
    async with spare_survivors():
        gc.collect(1)
        assert gc.get_freeze_count() == 0
        gc.collect()
    assert (gc.callbacks, gc.get_threshold()) == before
    assert gc.get_freeze_count() == 0
