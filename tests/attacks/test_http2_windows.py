"""HTTP/2 clients that take nothing of their answers, or hardly anything: each stream would be kept for ever."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from gateway.web.asgi import answer
from gateway.web.http2_connection import FREE_STREAMS, PROGRESS_DEADLINE, AnswerBuffer
from tests.attacks.attacked import CLUSTERS, probe
from tests.attacks.http2_peer import (
    DATA,
    END_HEADERS,
    END_STREAM,
    ENHANCE_YOUR_CALM,
    HEADERS,
    PREFACE,
    REFUSED_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    Peer,
    frame,
    headers,
    number,
    open_secure,
    setting,
)
from tests.attacks.http2_peer import connected as secure
from tests.support.proxy_peers import NegotiatedStream, client_of, server_of

STREAMS = 50
NO_WINDOW = PREFACE + frame(SETTINGS, 0, 0, setting(4, 0))


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Answers of two kinds: at once, or in pieces of which the last one never comes."""
    if scope["path"] == "/small":
        await answer(send, 200, b"here")
    elif scope["path"] == "/large":
        await answer(send, 200, b"x" * 200_000)
    else:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"x" * 1000, "more_body": True})
        while (await receive())["type"] != "http.disconnect":
            pass


class Server:
    """A server to which clients speak HTTP/2."""

    def __init__(self) -> None:
        self._server = server_of(app)

    async def serve(self, stream: trio.SocketStream) -> None:
        await self._server.serve(NegotiatedStream(stream))  # type: ignore[arg-type]


@asynccontextmanager
async def connected(server: Server) -> AsyncIterator[Peer]:
    async with client_of(server) as stream:
        await stream.send_all(NO_WINDOW)
        yield Peer(stream)


def ask(stream: int, path: str) -> bytes:
    return frame(HEADERS, END_HEADERS | END_STREAM, stream, headers("GET", path))


@pytest.fixture
def buffers(monkeypatch: pytest.MonkeyPatch) -> list[AnswerBuffer]:
    """Those of this test alone."""
    made: list[AnswerBuffer] = []
    begin = AnswerBuffer.__init__

    def noted(self: AnswerBuffer, event_class: Any) -> None:
        begin(self, event_class)
        made.append(self)

    monkeypatch.setattr(AnswerBuffer, "__init__", noted)
    return made


def kept(buffers: list[AnswerBuffer]) -> int:
    """How many answers are kept."""
    return sum(len(buffer.buffer) > 0 for buffer in buffers)


@pytest.mark.parametrize("path", ["/large", "/pieces", "/small"])
async def test_an_answer_that_nobody_takes_is_given_up(
    path: str, buffers: list[AnswerBuffer], autojump_clock: Any
) -> None:
    server = Server()
    async with connected(server) as peer:
        numbers = range(1, 2 * STREAMS, 2)
        await peer.send(b"".join(ask(number, path) for number in numbers))
        await wait_all_tasks_blocked(0.01)
        assert kept(buffers) == STREAMS
        started = trio.current_time()
        while await peer.next():
            if set(peer.resets) == set(numbers):
                break
        assert set(peer.resets.values()) == {ENHANCE_YOUR_CALM}
        assert trio.current_time() - started <= 2 * PROGRESS_DEADLINE
        await wait_all_tasks_blocked(0.01)
        assert kept(buffers) == 0
        # The connection goes on, and so does everybody else's.
        await peer.send(ask(2 * STREAMS + 1, "/small") + frame(WINDOW_UPDATE, 0, 2 * STREAMS + 1, number(100)))
        while got := await peer.next():
            kind, _, _, payload = got
            if kind == DATA and payload == b"here":
                break
        assert peer.goodbye is None


async def test_nor_does_a_byte_now_and_then_keep_it(autojump_clock: Any) -> None:
    server = Server()
    async with connected(server) as peer, trio.open_nursery() as nursery:
        await peer.send(ask(1, "/large"))

        async def dribble() -> None:
            while True:
                await peer.send(frame(WINDOW_UPDATE, 0, 1, number(1)))
                await trio.sleep(1)

        nursery.start_soon(dribble)
        while await peer.next():
            if peer.resets:
                break
        assert peer.resets == {1: ENHANCE_YOUR_CALM}
        assert trio.current_time() <= 2 * PROGRESS_DEADLINE
        nursery.cancel_scope.cancel()


async def test_who_is_slow_gets_all_of_it(autojump_clock: Any) -> None:
    """Half a kilobyte per second is enough."""
    server = Server()
    async with connected(server) as peer, trio.open_nursery() as nursery:
        await peer.send(ask(1, "/large") + frame(WINDOW_UPDATE, 0, 0, number(1 << 20)))

        async def take() -> None:
            while True:
                await peer.send(frame(WINDOW_UPDATE, 0, 1, number(5000)))
                await trio.sleep(10)

        nursery.start_soon(take)
        size = 0
        while got := await peer.next():
            kind, flags, _, payload = got
            size += len(payload) if kind == DATA else 0
            if kind == DATA and flags & END_STREAM:
                break
        assert (size, peer.resets) == (200_000, {})
        nursery.cancel_scope.cancel()


async def test_nor_is_much_kept_until_then(tmp_path: Path) -> None:
    """Twenty connections of a hundred streams each, and of the largest answer there is for a user: the list."""
    async with open_secure(tmp_path) as gateway:
        for _ in range(20):
            await gateway.create("mallory")
        cookie = next(iter((await gateway.ask("GET", CLUSTERS, user="mallory")).all("set-cookie"))).partition(";")[0]
        asked = headers("GET", CLUSTERS, ("cookie", cookie))
        streams = b"".join(frame(HEADERS, END_HEADERS | END_STREAM, 2 * n + 1, asked) for n in range(100))
        async with AsyncExitStack() as stack:
            for _ in range(20):
                peer = await stack.enter_async_context(secure(gateway, first=NO_WINDOW + streams))
                begun = 0
                while begun + len(peer.resets) < 100 and (got := await peer.next()):
                    begun += got[0] == HEADERS
                assert begun >= FREE_STREAMS
                assert set(peer.resets.values()) <= {REFUSED_STREAM}
                assert peer.goodbye is None
            assert peer.resets  # by then the share of one address was used up
            await probe(gateway)
