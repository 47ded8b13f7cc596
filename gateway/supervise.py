"""Restart a child that fails; give up when it fails too often.

A child is an async function that normally runs until it is cancelled. When it
raises an `Exception` (alone or in a group), the failure is logged and the
child runs again after a delay that doubles with each recent failure and is
jittered, so that many children that fail for one reason do not return in
step. `limit` failures within `window` seconds are too many: the supervisor
raises `TooManyRestarts`, and its owner (one cluster, as a rule) fails with
that reason. Failures older than the window are forgotten, which also resets
the delay.

Everything that is no `Exception` passes through untouched, cancellation
first of all: a supervisor holds no state that a cancellation could break.
"""

import random
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final, TypedDict

import structlog
import trio

from gateway import metrics
from gateway.backoff import backoff
from gateway.errors import GatewayError

_log = structlog.get_logger()


class Persistence(TypedDict):
    """Arguments of `supervise`."""

    limit: int
    max_delay: float


#: `supervise(..., **FOR_EVER)`: for children that are never given up.
FOR_EVER: Final[Persistence] = {"limit": 1_000_000, "max_delay": 3.0}


class TooManyRestarts(GatewayError):
    """A child failed too often within a short time; the text names it and its last error."""


async def supervise(
    name: str,
    run: Callable[[], Awaitable[None]],
    *,
    kind: str = "",
    limit: int = 5,
    window: float = 60.0,
    base_delay: float = 0.1,
    max_delay: float = 300.0,
    uniform: Callable[[], float] = random.random,
) -> None:
    """Call `run` until it returns; again after a delay when it fails.

    `name` says in logs and errors what runs, `kind` what to count it as where
    there are many names. `window`, `base_delay` and `max_delay` are seconds;
    `uniform` draws a number in [0, 1) for the jitter.
    Raises `TooManyRestarts` at the `limit`-th failure (at least 1) within `window`.
    """
    failures: deque[float] = deque()
    restarts = metrics.RESTARTS.labels(kind or name)  # 0 from now on, so that the first one can be seen
    while True:
        failure: ExceptionGroup[Exception] | None = None
        try:
            await run()
        except* Exception as group:  # noqa: BLE001 - this is a boundary
            failure = group
        if failure is None:
            return
        failures.append(trio.current_time())
        while failures[0] < failures[-1] - window:
            failures.popleft()
        if len(failures) >= limit:
            raise TooManyRestarts(f"{name} failed {_times(len(failures), window)}: {describe(failure)}") from failure
        # Half of it is always waited, which keeps the pressure off whatever failed.
        delay = backoff(len(failures), base=base_delay, longest=max_delay) * (1 + uniform()) / 2
        restarts.inc()
        _log.warning("restarting after a failure", child=name, delay=round(delay, 3), exc_info=failure)
        await trio.sleep(delay)


def describe(error: BaseException) -> str:
    """One line about an error, or about all errors of a group, for logs and reasons."""
    if isinstance(error, BaseExceptionGroup):
        return "; ".join(dict.fromkeys(describe(part) for part in error.exceptions))
    if isinstance(error, GatewayError):
        return str(error)
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def _times(count: int, window: float) -> str:
    return "at its only attempt" if count == 1 else f"{count} times within {window:g} seconds, at last with"
