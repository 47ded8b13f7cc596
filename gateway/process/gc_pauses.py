"""Collecting garbage without stopping the server.

Python's full collections look at every object there is. With ten thousand
clusters that is a million objects and a second in which nothing is served,
every ten seconds under heartbeats. But what has survived one full collection
is nearly always a cluster's and stays: so it is set aside (`gc.freeze`), and
the next one looks only at what is new. Each object is looked at once, so full
collections may as well be frequent: then each takes only milliseconds.

Most objects die by their reference count, set aside or not. Only cycles among
those set aside wait, for a look at everything once in `EVERYTHING_PERIOD`, or
as soon as there are many more of them than after the last one. What peers can
make many of is untied where it ends (web/server.py), so that nearly all of
that growth is clusters.
"""

import gc
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from math import inf
from typing import Any

import trio

#: Seconds between two looks at everything, which stop the server for about 0.1 s per thousand clusters.
EVERYTHING_PERIOD = 3600.0

#: Objects set aside since the last look at everything that make for another one: so many, and so large a part of what
#: was there. Objects have a hundred bytes on average. The work is so never more than a few times that of making them.
GROWTH, GROWTH_PART = 200_000, 0.5

#: Collections of one generation to one of the next. Python's own 10 and 10 save looks at what is long-lived, which here
#: is not looked at anyway, and let single collections grow to a quarter of a second under load.
_YOUNG_TO_MIDDLE, _MIDDLE_TO_FULL = 2, 1


@asynccontextmanager
async def spare_survivors(growth: int = GROWTH, growth_part: float = GROWTH_PART) -> AsyncIterator[None]:
    """Let full collections pass over what has survived one, as long as the body runs."""
    thresholds = gc.get_threshold()
    gc.set_threshold(thresholds[0], _YOUNG_TO_MIDDLE, _MIDDLE_TO_FULL)
    survivors = _Survivors(trio.lowlevel.current_trio_token(), growth, growth_part)
    gc.callbacks.append(survivors.set_aside)
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(survivors.look_at_everything)
            yield
            nursery.cancel_scope.cancel()
    finally:
        gc.callbacks.remove(survivors.set_aside)
        gc.set_threshold(*thresholds)
        gc.unfreeze()


class _Survivors:
    """How many objects are set aside."""

    def __init__(self, token: trio.lowlevel.TrioToken, growth: int, growth_part: float) -> None:
        self._token = token
        self._growth = growth
        self._growth_part = growth_part
        self._many = trio.Event()
        self._added = 0  # since they were last counted; some of them have died by now
        self._enough: float = growth
        self._after_last_look = 0

    def set_aside(self, phase: str, details: Mapping[str, Any]) -> None:
        """Called by the collector, in whatever thread it runs."""
        if phase != "stop" or details["generation"] != 2:
            return
        self._added += len(gc.get_objects(generation=2))  # those that are not set aside yet
        gc.freeze()
        if self._added >= self._enough:
            self._enough = inf  # until it has been counted
            self._token.run_sync_soon(self._tell, idempotent=True)

    def _tell(self) -> None:
        self._many.set()

    async def look_at_everything(self) -> None:
        """Do so now and then, and when there are many more."""
        while True:
            with trio.move_on_after(EVERYTHING_PERIOD):
                await self._wait_grown()
            gc.unfreeze()
            gc.collect()
            self._after_last_look = gc.get_freeze_count()
            self._count_anew()

    async def _wait_grown(self) -> None:
        while True:
            await self._many.wait()
            self._count_anew()
            # This looks at each object as well, though only at its neighbour's address: 5 ms for a million.
            if gc.get_freeze_count() - self._after_last_look >= self._allowed:
                return

    @property
    def _allowed(self) -> float:
        return max(self._growth, self._growth_part * self._after_last_look)

    def _count_anew(self) -> None:
        self._many = trio.Event()
        self._added = 0
        self._enough = self._allowed
