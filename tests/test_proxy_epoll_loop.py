"""The loop's promises to watchers that doze."""

import socket
from collections.abc import Iterator

import pytest
import trio

from gateway.proxy.epoll_loop import EpollLoop
from gateway.proxy.routes import Routes
from tests.proxy_peers import HELLO, LOCAL, connect, peer, public_port, receive_exactly


class Sleeper:
    """Dozes whenever it is told something."""

    def __init__(self, loop: EpollLoop) -> None:
        self.loop = loop
        self.woken = 0
        self.aborted = False
        self.told: list[int] = []

    def ready(self, mask: int) -> None:
        self.told.append(mask)
        self.loop.doze(self)

    def wake(self) -> None:
        self.woken += 1

    def abort(self) -> None:
        self.aborted = True


class Chatterbox:
    """Asks for another turn in each."""

    def __init__(self, loop: EpollLoop) -> None:
        self.loop = loop

    def ready(self, mask: int) -> None:
        self.loop.again(self)

    def abort(self) -> None: ...


@pytest.fixture
def loop() -> Iterator[EpollLoop]:
    loop = EpollLoop()
    yield loop
    loop.close()


def test_a_dozer_is_woken_when_nothing_comes(loop: EpollLoop) -> None:
    sleeper = Sleeper(loop)
    assert loop.doze(sleeper)
    assert loop.turn()  # it lingers, and then wakes
    assert sleeper.woken == 1
    assert not loop.turn()


def test_nobody_dozes_while_others_have_work(loop: EpollLoop) -> None:
    loop.alone = False
    assert not loop.doze(Sleeper(loop))
    assert not loop.turn()


def test_a_closed_socket_does_not_doze(loop: EpollLoop) -> None:
    sleeper = Sleeper(loop)
    ours, theirs = socket.socketpair()
    with theirs:
        ours.setblocking(False)
        loop.add(ours, sleeper)
        loop.turn()
        assert sleeper.told
        loop.drop(ours)
        assert not loop.turn()
        assert not sleeper.woken


def test_a_dozer_that_fails_to_wake_is_ended(loop: EpollLoop, capsys: pytest.CaptureFixture[str]) -> None:
    sleeper = Sleeper(loop)
    sleeper.wake = lambda: 1 / 0  # type: ignore[method-assign, assignment, return-value]
    loop.doze(sleeper)
    loop.turn()
    assert sleeper.aborted
    assert "division by zero" in capsys.readouterr().out


async def test_a_dozer_is_woken_although_others_keep_the_loop_busy(loop: EpollLoop) -> None:
    sleeper = Sleeper(loop)
    loop.again(Chatterbox(loop))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(loop.run)
        assert loop.doze(sleeper)
        with trio.fail_after(10):
            while not sleeper.woken:
                await trio.lowlevel.checkpoint()
        nursery.cancel_scope.cancel()
    assert not sleeper.aborted


async def test_the_small_end_of_a_large_message_does_not_wait_for_more() -> None:
    """The scheduler answers with megabytes and a few bytes more, and keeps the connection open."""
    size = 12_000_007

    async def generous(stream: trio.SocketStream) -> None:
        await receive_exactly(stream, len(HELLO))
        for _ in range(3):
            await stream.send_all(bytes(size))
            await stream.receive_some(1)

    routes = Routes()
    async with peer(generous) as port:
        routes.add("abc", f"tls://{LOCAL}:{port}")
        async with public_port(routes) as address, await connect(address) as client:
            await client.send_all(HELLO)
            for _ in range(3):
                with trio.fail_after(20):
                    left = size
                    while left:
                        left -= len(await client.receive_some(1 << 20))
                await client.send_all(b"x")
