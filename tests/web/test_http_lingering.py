"""A connection that is ended for what it sends: it hears why, whoever closes it and whoever is reading."""

from typing import Any

import pytest
import trio
import trio.testing

from gateway.proxy.http import NOBODY
from gateway.proxy.memory_budget import MemoryBudget
from gateway.web.http_budget import BURST, Budget, SharedBudget
from gateway.web.server import _HeadTimeoutStream


class Sending(trio.abc.HalfCloseableStream):
    """A peer that sends for half a second more, and then closes."""

    def __init__(self) -> None:
        self.socket: Any = self
        self.log: list[str] = []
        self._conflicts: Any = trio.Lock()
        self._more = [b"x" * 1000] * 5

    def getpeername(self) -> tuple[str, int]:
        return "192.0.2.1", 1

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        try:
            self._conflicts.acquire_nowait()
        except trio.WouldBlock:
            raise trio.BusyResourceError from None
        try:
            await trio.sleep(0.1)
            return self._more.pop() if self._more else b""
        finally:
            self._conflicts.release()

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await trio.lowlevel.checkpoint()

    async def wait_send_all_might_not_block(self) -> None:
        await trio.lowlevel.checkpoint()

    async def send_eof(self) -> None:
        await trio.lowlevel.checkpoint()

    async def aclose(self) -> None:
        self.log.append(f"closed with {len(self._more)} unread")
        await trio.lowlevel.checkpoint()


@pytest.mark.parametrize("reading", [True, False])
@pytest.mark.parametrize("closing", [1, 2])
async def test_what_still_comes_is_read_before_it_is_closed(
    reading: bool, closing: int, autojump_clock: object
) -> None:
    budget = Budget(SharedBudget())
    assert not budget.spend(BURST + 1)
    stream: Any = Sending()
    timed = _HeadTimeoutStream(stream, b"", 30.0, MemoryBudget(), budget, NOBODY)

    async def read() -> None:
        with pytest.raises(trio.ClosedResourceError):
            await timed.receive_some()

    async with trio.open_nursery() as nursery:
        if reading:
            nursery.start_soon(read)
            await trio.testing.wait_all_tasks_blocked()
        for _ in range(closing):
            nursery.start_soon(timed.aclose)
    assert stream.log == ["closed with 0 unread"] * closing
