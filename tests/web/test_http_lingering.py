"""A connection that is ended while it sends: it hears why, whoever closes it and whoever is reading."""

import socket
from typing import Any

import pytest
import trio
import trio.testing

from gateway.proxy.http import NOBODY
from gateway.proxy.memory_budget import MemoryBudget
from gateway.web.asgi import Receive, Scope, Send, refuse
from gateway.web.http_budget import BURST, Budget, SharedBudget
from gateway.web.server import HttpServer, _HeadTimeoutStream


class Sending(trio.abc.HalfCloseableStream):
    """A peer that sends something, goes on for half a second, and then closes."""

    def __init__(self, *first: bytes) -> None:
        self.socket: Any = self
        self.log: list[str] = []
        self._conflicts: Any = trio.Lock()
        self._more = [b"x" * 1000] * 5 + list(first)
        self.heard = b""

    family = socket.AF_INET

    def getpeername(self) -> tuple[str, int]:
        return "192.0.2.1", 1

    def getsockname(self) -> tuple[str, int]:
        return "192.0.2.2", 2

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
        self.heard += data
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


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 6000\r\n\r\n", b"404"),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1388\r\n", b"404"),
        (b"POST / HTTP/9.9\r\nHost: a\r\nContent-Length: 5000\r\n\r\n", b"505"),
        (b"POST /\x01 HTTP/1.1\r\nHost: a\r\nContent-Length: 5000\r\n\r\n", b"400"),
    ],
    ids=["a body", "chunks", "another version", "malformed"],
)
async def test_an_answer_before_the_end_of_the_request_is_not_lost(
    head: bytes, status: bytes, autojump_clock: object
) -> None:
    async def refusing(scope: Scope, receive: Receive, send: Send) -> None:
        await refuse(scope, send, 404, "There is nothing here")

    stream: Any = Sending(head)
    await HttpServer(refusing, head_timeout=20.0, websocket_message_size=1024).serve(stream)
    assert stream.heard.startswith(b"HTTP/1.1 " + status)
    assert set(stream.log) == {"closed with 0 unread"}
