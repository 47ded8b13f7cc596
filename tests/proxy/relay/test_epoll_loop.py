"""What the loop promises to its watchers, and to the rest of trio."""

import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial

import pytest
import trio

from gateway.proxy.relay.epoll_loop import EpollLoop


class Listener:
    """Does something when it is told something."""

    def __init__(self, do: Callable[[], object] = lambda: None) -> None:
        self.do = do
        self.told: list[int] = []
        self.aborted = False

    def ready(self, mask: int) -> None:
        self.told.append(mask)
        self.do()

    def abort(self) -> None:
        self.aborted = True


@pytest.fixture
def loop() -> Iterator[EpollLoop]:
    loop = EpollLoop()
    yield loop
    loop.close()


@pytest.fixture
def ends() -> Iterator[Callable[[], socket.socket]]:
    """Makes sockets, each of which has something to read."""
    with ExitStack() as stack:

        def end() -> socket.socket:
            ours, theirs = socket.socketpair()
            ours.setblocking(False)
            theirs.send(b"x")
            for sock in (ours, theirs):
                stack.enter_context(sock)
            return ours

        yield end


def test_a_turn_is_for_one_batch(loop: EpollLoop, ends: Callable[[], socket.socket]) -> None:
    watchers = [Listener() for _ in range(5)]
    for watcher in watchers:
        loop.add(ends(), watcher)
    assert loop.turn(3)
    assert sum(len(watcher.told) for watcher in watchers) == 3
    assert loop.turn(3)
    assert [len(watcher.told) for watcher in watchers] == [1] * 5
    assert not loop.turn(3)


def test_who_asks_for_another_turn_has_it_in_the_next(loop: EpollLoop) -> None:
    watcher = Listener()
    loop.again(watcher)
    assert loop.turn()
    assert watcher.told == [0]
    assert not loop.turn()


def test_who_asked_first_has_a_turn_first(loop: EpollLoop) -> None:
    watchers = [Listener() for _ in range(5)]
    for watcher in watchers:
        watcher.do = partial(loop.again, watcher)
        loop.again(watcher)
    for expected in ([1, 1, 0, 0, 0], [1, 1, 1, 1, 0], [2, 1, 1, 1, 1]):
        assert loop.turn(2)
        assert [len(watcher.told) for watcher in watchers] == expected
    loop.yield_soon = True
    assert loop.turn(2)
    assert [len(watcher.told) for watcher in watchers] == [2, 2, 1, 1, 1]


def test_a_long_turn_is_shared_and_nothing_of_it_is_left_for_who_is_in_a_hurry(
    loop: EpollLoop, ends: Callable[[], socket.socket]
) -> None:
    shares: list[float] = []
    watchers = [Listener(lambda: shares.append(loop.slice_fraction())) for _ in range(4)]
    loop.again(watchers[0])
    loop.turn()
    for watcher in watchers[:3]:
        loop.again(watcher)
    loop.turn()
    loop.add(ends(), watchers[3])
    loop.again(watchers[0])
    loop.yield_soon = True
    loop.turn()
    assert shares == [1, 1 / 3, 1 / 3, 1 / 3, 0, 0]


def test_who_asks_and_has_news_as_well_has_one_turn(loop: EpollLoop, ends: Callable[[], socket.socket]) -> None:
    """Else each event of one that is busy would give it one more turn in all that follow."""
    watcher = Listener()
    watcher.do = lambda: loop.again(watcher)
    loop.again(watcher)
    for number in range(1, 5):
        loop.add(ends(), watcher)
        assert loop.turn()
        assert len(watcher.told) == number


def test_news_that_do_not_concern_it_do_not_take_a_turn_away(
    loop: EpollLoop, ends: Callable[[], socket.socket]
) -> None:
    watcher = Listener()
    loop.again(watcher)
    loop.add(ends(), watcher)
    loop.turn()
    assert len(watcher.told) == 2
    assert watcher.told[1] == 0


def test_an_exception_ends_its_watcher_alone(
    loop: EpollLoop, ends: Callable[[], socket.socket], capsys: pytest.CaptureFixture[str]
) -> None:
    broken, sound = Listener(lambda: 1 / 0), Listener()
    loop.add(ends(), broken)
    loop.add(ends(), sound)
    loop.turn()
    assert broken.aborted
    assert sound.told
    assert not sound.aborted
    assert "division by zero" in capsys.readouterr().out


def test_a_socket_is_closed_when_the_turn_has_ended(loop: EpollLoop, ends: Callable[[], socket.socket]) -> None:
    """So that none that is opened in the same turn has its number, by which later events name it."""
    first, second = ends(), ends()
    open_in_turn: list[bool] = []

    def drop_both() -> None:
        loop.drop(first)
        loop.drop(second)
        open_in_turn.append(first.fileno() >= 0 and second.fileno() >= 0)

    loop.add(first, Listener(drop_both))
    loop.add(second, Listener(drop_both))
    loop.turn()
    assert open_in_turn == [True]
    assert first.fileno() == second.fileno() == -1
    assert len(loop) == 0


async def test_it_knows_whether_somebody_else_has_work(loop: EpollLoop) -> None:
    noticed = {idle_otherwise: trio.Event() for idle_otherwise in (True, False)}

    def look() -> None:
        noticed[loop.idle_otherwise].set()
        loop.again(watcher)

    async def work() -> None:
        while True:
            await trio.lowlevel.checkpoint()

    watcher = Listener(look)
    loop.again(watcher)
    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(loop.run)
            async with trio.open_nursery() as others:
                others.start_soon(work)
                await noticed[False].wait()
                others.cancel_scope.cancel()
            noticed[True] = trio.Event()
            await noticed[True].wait()
            nursery.cancel_scope.cancel()
