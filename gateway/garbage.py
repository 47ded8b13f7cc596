"""Collecting garbage without stopping the server.

Python's full collections look at every object there is. With ten thousand
clusters that is a million objects and a second in which nothing is served,
every ten seconds under heartbeats. But what has survived one full collection
is nearly always a cluster's and stays: so it is set aside (`gc.freeze`), and
the next one looks only at what is new. Each object is looked at once, so full
collections may as well be frequent: then each takes only milliseconds.

Most objects die by their reference count, set aside or not. Only cycles among
those set aside wait, for a look at everything once in `EVERYTHING_PERIOD`.
"""

import gc
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import trio

#: Seconds between two looks at everything, which stop the server for about 0.1 s per thousand clusters.
EVERYTHING_PERIOD = 3600.0

#: Collections of one generation to one of the next. Python's own 10 and 10 save looks at what is long-lived, which here
#: is not looked at anyway, and let single collections grow to a quarter of a second under load.
_YOUNG_TO_MIDDLE, _MIDDLE_TO_FULL = 2, 1


@asynccontextmanager
async def spare_survivors() -> AsyncIterator[None]:
    """Let full collections pass over what has survived one, as long as the body runs."""
    thresholds = gc.get_threshold()
    gc.set_threshold(thresholds[0], _YOUNG_TO_MIDDLE, _MIDDLE_TO_FULL)
    gc.callbacks.append(_set_aside)
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_look_at_everything)
            yield
            nursery.cancel_scope.cancel()
    finally:
        gc.callbacks.remove(_set_aside)
        gc.set_threshold(*thresholds)
        gc.unfreeze()


def _set_aside(phase: str, details: Mapping[str, Any]) -> None:
    if phase == "stop" and details["generation"] == 2:
        gc.freeze()


async def _look_at_everything() -> None:
    while True:
        await trio.sleep(EVERYTHING_PERIOD)
        gc.unfreeze()
        gc.collect()
