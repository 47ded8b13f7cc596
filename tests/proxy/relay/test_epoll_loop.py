"""What the loop promises to its watchers, and to the rest of trio."""

import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial

import pytest
import trio

from gateway.proxy.relay.epoll_loop import EpollLoop
from gateway.proxy.relay.turn_policy import Turn, TurnPolicy


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
        loop.register(ends(), watcher)
    turn = Turn(max_events=3, max_resumed=3, yield_soon=False)
    assert loop.turn(turn)
    assert sum(len(watcher.told) for watcher in watchers) == 3
    assert loop.turn(turn)
    assert [len(watcher.told) for watcher in watchers] == [1] * 5
    assert not loop.turn(turn)


def test_who_asks_for_another_turn_has_it_in_the_next(loop: EpollLoop) -> None:
    watcher = Listener()
    loop.call_soon(watcher)
    assert loop.turn()
    assert watcher.told == [0]
    assert not loop.turn()


def test_who_asked_first_has_a_turn_first(loop: EpollLoop) -> None:
    watchers = [Listener() for _ in range(5)]
    for watcher in watchers:
        watcher.do = partial(loop.call_soon, watcher)
        loop.call_soon(watcher)
    for expected in ([1, 1, 0, 0, 0], [1, 1, 1, 1, 0], [2, 1, 1, 1, 1]):
        assert loop.turn(Turn(max_events=2, max_resumed=2, yield_soon=False))
        assert [len(watcher.told) for watcher in watchers] == expected
    assert loop.turn(Turn(max_events=2, max_resumed=1, yield_soon=False))
    assert [len(watcher.told) for watcher in watchers] == [2, 2, 1, 1, 1]


def test_a_long_turn_is_shared_and_another_one_gives_as_little_as_there_can_be(
    loop: EpollLoop, ends: Callable[[], socket.socket]
) -> None:
    shares: list[float] = []
    watchers = [Listener(lambda: shares.append(loop.slice_fraction())) for _ in range(4)]
    loop.call_soon(watchers[0])
    loop.turn()
    for watcher in watchers[:3]:
        loop.call_soon(watcher)
    loop.turn()
    loop.register(ends(), watchers[3])
    loop.call_soon(watchers[0])
    loop.turn(Turn(max_events=2, max_resumed=2, yield_soon=True))
    assert shares == [1, 1 / 3, 1 / 3, 1 / 3, 0, 0]


def test_who_asks_and_has_news_as_well_has_one_turn(loop: EpollLoop, ends: Callable[[], socket.socket]) -> None:
    """Else each event of one that is busy would give it one more turn in all that follow."""
    watcher = Listener()
    watcher.do = lambda: loop.call_soon(watcher)
    loop.call_soon(watcher)
    for number in range(1, 5):
        loop.register(ends(), watcher)
        assert loop.turn()
        assert len(watcher.told) == number


def test_news_that_do_not_concern_it_do_not_take_a_turn_away(
    loop: EpollLoop, ends: Callable[[], socket.socket]
) -> None:
    watcher = Listener()
    loop.call_soon(watcher)
    loop.register(ends(), watcher)
    loop.turn()
    assert len(watcher.told) == 2
    assert watcher.told[1] == 0


def test_an_exception_ends_its_watcher_alone(
    loop: EpollLoop, ends: Callable[[], socket.socket], capsys: pytest.CaptureFixture[str]
) -> None:
    broken, sound = Listener(lambda: 1 / 0), Listener()
    loop.register(ends(), broken)
    loop.register(ends(), sound)
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
        loop.close_socket(first)
        loop.close_socket(second)
        open_in_turn.append(first.fileno() >= 0 and second.fileno() >= 0)

    loop.register(first, Listener(drop_both))
    loop.register(second, Listener(drop_both))
    loop.turn()
    assert open_in_turn == [True]
    assert first.fileno() == second.fileno() == -1
    assert len(loop) == 0


async def test_the_policy_learns_whether_somebody_else_has_work() -> None:
    policy = TurnPolicy()
    loop = EpollLoop(policy)
    noticed = {alone: trio.Event() for alone in (True, False)}

    def look() -> None:
        noticed[policy.idle_otherwise].set()
        loop.call_soon(watcher)

    async def work() -> None:
        while True:
            await trio.lowlevel.checkpoint()

    watcher = Listener(look)
    loop.call_soon(watcher)
    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(loop.run)
            async with trio.open_nursery() as others:
                others.start_soon(work)
                await noticed[False].wait()
                others.cancel_scope.cancel()
            noticed[True] = trio.Event()
            await noticed[True].wait()
            nursery.cancel_scope.cancel()
    loop.close()
