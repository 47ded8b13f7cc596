"""What systemd is told while the gateway serves: a line of status, and that it has not stopped.

With `WatchdogSec=` systemd ends and restarts a service from which it has heard
nothing for that long. It hears from us only after each part of the server has
answered: a part that hangs for good is found that way, and so is a loop that
stands still, since then nobody asks. What fails but answers (a database that
cannot be written, a batch system that is away) is no reason: it is in the
status and in `/api/health`, and no restart would mend it.
"""

import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial

import structlog
import trio

from gateway.process.systemd import notify

_log = structlog.get_logger()

#: A part of the server. Its answer is why it has stopped, or nothing; one that does not come says the same.
Part = Callable[[], Awaitable[str]]

#: Seconds between two looks without a watchdog, and at most with one.
PERIOD = 15.0


def watchdog_seconds(environment: Mapping[str, str], pid: int) -> float | None:
    """How long systemd waits before it ends this process; None when it does not. See sd_watchdog_enabled(3)."""
    try:
        seconds = int(environment.get("WATCHDOG_USEC", "")) / 1e6
    except ValueError:
        return None
    return seconds if seconds > 0 and environment.get("WATCHDOG_PID", str(pid)) == str(pid) else None


@asynccontextmanager
async def reporting(status: Callable[[], str], parts: Mapping[str, Part]) -> AsyncIterator[None]:
    """Tell systemd, as long as the body runs; without systemd nothing happens."""
    if not os.environ.get("NOTIFY_SOCKET"):
        yield
        return
    limit = watchdog_seconds(os.environ, os.getpid())
    async with trio.open_nursery() as nursery:
        nursery.start_soon(partial(report, status, parts, feeds=limit is not None, period=_period(limit)))
        yield
        nursery.cancel_scope.cancel()


def _period(limit: float | None) -> float:
    """Three looks, each of which may take as long as the time to the next, fit into systemd's patience."""
    return PERIOD if limit is None else min(PERIOD, limit / 6)


async def report(status: Callable[[], str], parts: Mapping[str, Part], *, feeds: bool, period: float) -> None:
    """Look at all parts each `period` seconds, for as long at most, and tell systemd what has changed."""
    told = status()
    stopped: Mapping[str, str] = {}
    while True:
        before = stopped
        stopped = await _look(parts, period) if feeds else {}
        for name, reason in stopped.items() - before.items():
            _log.error("a part of the gateway has stopped; systemd will restart it", part=name, reason=reason)
        if before and not stopped:
            _log.info("all parts of the gateway go on")
        if feeds and not stopped:
            notify(WATCHDOG="1")
        if (line := "; ".join((status(), *stopped.values()))) != told:
            told = line
            notify(STATUS=line)
        await trio.sleep(period)


async def _look(parts: Mapping[str, Part], seconds: float) -> dict[str, str]:
    """The parts that have stopped, each with the reason."""
    stopped = {name: f"the {name} has not answered for {seconds:g} seconds" for name in parts}

    async def ask(name: str, part: Part) -> None:
        if reason := await part():
            stopped[name] = reason
        else:
            del stopped[name]

    with trio.move_on_after(seconds):
        async with trio.open_nursery() as nursery:
            for name, part in parts.items():
                nursery.start_soon(ask, name, part)
    return stopped
