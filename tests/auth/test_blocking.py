"""Questions to libraries that block: they end, whatever the library does."""

import threading

import pytest
import trio
from structlog.testing import capture_logs
from trio.testing import MockClock

from gateway.auth.blocking import Blocking
from gateway.errors import TryAgainLater


async def test_answers_and_errors_pass() -> None:
    blocking = Blocking("The oracle")
    assert await blocking.ask(divmod, 7, 2) == (3, 1)
    with pytest.raises(ZeroDivisionError):
        await blocking.ask(divmod, 7, 0)


async def test_a_library_that_hangs_holds_nobody(autojump_clock: MockClock) -> None:
    autojump_clock.autojump_threshold = float("inf")  # threads do not count as sleeping
    blocking, end = Blocking("The oracle", threads=2, deadline=10), threading.Event()
    waiting = trio.Event()
    refused = []

    async def ask() -> None:
        waiting.set()
        with pytest.raises(TryAgainLater, match="The oracle does not answer: try again later"):
            await blocking.ask(end.wait)
        refused.append(trio.current_time())

    try:
        with capture_logs() as logs:
            async with trio.open_nursery() as nursery:
                begin = trio.current_time()
                for _ in range(5):  # more than there are threads
                    nursery.start_soon(ask)
                await waiting.wait()
                await trio.testing.wait_all_tasks_blocked()
                autojump_clock.jump(10.5)
        assert [at - begin for at in refused] == [10.5] * 5
        assert {line["whom"] for line in logs} == {"The oracle"}
        assert len(logs) == 1
    finally:
        end.set()
    # The threads that hung have ended, and are free again.
    assert await blocking.ask(str, 42) == "42"
