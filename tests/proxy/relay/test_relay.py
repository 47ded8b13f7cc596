"""The relay's invariant, on real sockets and without a clock.

Whatever either side does, in whatever order: the bytes it sent arrive, in
order, and after them the right end.
"""

import os
import select
import socket
import struct
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from typing import cast

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gateway.proxy.relay.epoll_loop import EpollLoop
from gateway.proxy.relay.pipes import PIPE_SIZE, Pipes
from gateway.proxy.relay.relay import Relay, Side
from gateway.proxy.relay.turn_policy import SHORT_TURN, SMALL_TURN, Turn

PATTERN = bytes(range(251)) * 20_000  # 251 is prime to every buffer size
END, RESET = "end", "reset"
PATIENCE = 0.01


def _pattern(start: int, size: int) -> bytes:
    return PATTERN[start % 251 :][:size]


class Peer:
    """One of the two outer ends; remembers what it said, what it heard, and how that ended."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        sock.setblocking(False)
        self.sent = 0
        self.heard = 0
        self.over = ""
        self.finished = False
        self.gone = False
        self.broken = False

    def send(self, size: int) -> None:
        if self.finished or self.gone:
            return
        try:
            self.sent += self.sock.send(_pattern(self.sent, size))
        except BlockingIOError:
            return
        except OSError:
            self.broken = True  # the kernel says it once; what follows reads as an end

    def receive(self, size: int) -> bool:
        """True when something new was learnt."""
        if self.over or self.gone:
            return False
        try:
            data = self.sock.recv(size)
        except BlockingIOError:
            return False
        except ConnectionResetError:
            self.over = RESET
            return True
        if data:
            assert data == _pattern(self.heard, len(data))
            self.heard += len(data)
        else:
            self.over = RESET if self.broken else END
        return True

    def finish(self) -> None:
        if not self.finished and not self.gone:
            self.finished = True
            with suppress(OSError):
                self.sock.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        self.gone = True
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()


def pair(buffer: int) -> tuple[socket.socket, socket.socket]:
    """A TCP connection over loopback, with buffers about as large as wanted (0: the kernel's choice)."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        if buffer:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        outer = socket.socket()
        if buffer:
            outer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
            outer.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, buffer)
        outer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        outer.connect(listener.getsockname())
        inner, _ = listener.accept()
    if buffer:
        inner.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, buffer)
    inner.setblocking(False)
    inner.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return outer, inner


class Scene:
    """A client, a relay, a scheduler."""

    def __init__(self, buffer: int, pipes: Pipes) -> None:
        self.loop = EpollLoop()
        self.pipes = pipes
        client, inner_client = pair(buffer)
        scheduler, inner_scheduler = pair(buffer)
        self.client, self.scheduler = Peer(client), Peer(scheduler)
        self.closed: list[Relay] = []
        self.relay = Relay(self.loop, pipes, inner_client, inner_scheduler, self.closed.append)
        self.loop.register(inner_client, self.relay.client)
        self.loop.register(inner_scheduler, self.relay.upstream)
        self.relay.start()

    def settle(self) -> None:
        """Until the relay has nothing more to do."""
        while self.loop.turn():
            pass

    def drain(self) -> None:
        """Both peers read until neither learns anything new, nor will: a busy kernel may deliver a little later."""
        while True:
            self.settle()
            peers = [peer for peer in (self.client, self.scheduler) if not peer.over and not peer.gone]
            learnt = [peer.receive(1 << 20) for peer in peers]
            if any(learnt):
                continue
            if not select.select([self.loop, *(peer.sock for peer in peers)], [], [], PATIENCE)[0]:
                return

    def close(self) -> None:
        self.loop.close()
        self.pipes.close()
        for peer in (self.client, self.scheduler):
            peer.sock.close()
        assert len(self.closed) == 1


@contextmanager
def scene(buffer: int = 0, pipes: Pipes | None = None) -> Iterator[Scene]:
    made = Scene(buffer, pipes or Pipes())
    try:
        yield made
    finally:
        made.close()


sizes = st.one_of(st.integers(1, 300), st.sampled_from([32768, 65536, 65537, 200_000, 1_000_000]))
steps = st.one_of(
    st.tuples(st.just("send"), st.booleans(), sizes),
    st.tuples(st.just("receive"), st.booleans(), sizes),
    st.tuples(st.just("finish"), st.booleans(), st.just(0)),
    st.tuples(st.just("settle"), st.booleans(), st.just(0)),
)


#: How many pipes there are.
limits = st.sampled_from([0, 1, 4])


def play(stage: Scene, script: list[tuple[str, bool, int]]) -> None:
    for verb, by_client, size in script:
        actor = stage.client if by_client else stage.scheduler
        if verb == "settle":
            stage.settle()
        elif verb == "finish":
            actor.finish()
        else:
            getattr(actor, verb)(size)


@settings(max_examples=100)
@given(st.lists(steps, max_size=30), st.sampled_from([0, 4096, 60_000]), limits)
def test_every_byte_arrives_and_then_the_end(script: list[tuple[str, bool, int]], buffer: int, limit: int) -> None:
    with scene(buffer, Pipes(limit)) as stage:
        play(stage, script)
        stage.drain()
        for speaker, hearer in ((stage.client, stage.scheduler), (stage.scheduler, stage.client)):
            assert hearer.heard == speaker.sent
            assert hearer.over == (END if speaker.finished else "")
        assert stage.relay.open != (stage.client.finished and stage.scheduler.finished)
        assert not stage.relay.client.blocked
        assert not stage.relay.upstream.blocked


@settings(max_examples=100)
@given(
    st.lists(steps, max_size=20),
    st.booleans(),
    st.lists(steps, max_size=10),
    st.sampled_from([0, 4096]),
    limits,
)
@example([("finish", True, 0), ("settle", True, 0)], True, [], 0, 4)
@example([("send", False, 1_000_000), ("settle", True, 0)], True, [], 4096, 4)
@example([("send", True, 1_000_000), ("settle", True, 0)], True, [], 4096, 0)
def test_a_reset_ends_both(
    script: list[tuple[str, bool, int]],
    by_client: bool,
    after: list[tuple[str, bool, int]],
    buffer: int,
    limit: int,
) -> None:
    with scene(buffer, Pipes(limit)) as stage:
        play(stage, script)
        was_open = stage.relay.open
        one, other = (stage.client, stage.scheduler) if by_client else (stage.scheduler, stage.client)
        one.reset()
        play(stage, after)
        stage.drain()
        assert other.heard <= one.sent
        if was_open:
            assert not stage.relay.open
            if not (one.finished and other.finished):
                assert other.over == RESET or (one.finished and other.over == END)
            assert other.over


def test_bytes_that_came_before_a_reset_are_delivered() -> None:
    with scene() as stage:
        stage.scheduler.send(500)
        stage.scheduler.reset()
        stage.drain()
        assert (stage.client.heard, stage.client.over) == (500, RESET)


def test_an_answer_is_read_although_the_question_was_not_taken() -> None:
    """The scheduler answers, and closes over unread bytes: its kernel sends a reset, after the answer."""
    with scene() as stage:
        stage.client.send(1000)
        stage.settle()
        stage.scheduler.send(300)
        stage.scheduler.sock.close()
        stage.scheduler.gone = True
        stage.client.send(1000)
        stage.drain()
        assert (stage.client.heard, stage.client.over) == (300, RESET)


def kept(side: Side) -> int:
    """Bytes of a flow that wait in this process."""
    return len(side.pending) + (side.pipe.held if side.pipe else 0)


def test_a_slow_reader_costs_no_memory_and_delays_nobody() -> None:
    with scene() as stage:
        for _ in range(400):
            stage.scheduler.send(1_000_000)
            stage.settle()
        side = stage.relay.upstream
        assert kept(side) <= PIPE_SIZE
        assert side.blocked
        stage.client.send(100)
        stage.settle()
        assert stage.scheduler.receive(1000)
        assert stage.scheduler.heard == 100
        stage.drain()
        assert stage.client.heard == stage.scheduler.sent


def test_who_can_take_nothing_more_is_not_woken() -> None:
    with scene() as stage:
        while not stage.relay.upstream.blocked:
            stage.scheduler.send(1_000_000)
            stage.settle()
        before = stage.scheduler.sent
        stage.scheduler.send(1000)
        assert stage.scheduler.sent > before
        assert not select.select([stage.loop], [], [], PATIENCE)[0]
        stage.client.send(100)  # the other direction is told as ever
        stage.settle()
        assert stage.scheduler.receive(1000)
        stage.drain()
        assert stage.client.heard == stage.scheduler.sent


def test_what_waits_for_many_slow_readers_is_bounded() -> None:
    """The first takes the pipe, and the others get by with a small piece each."""
    pipes = Pipes(1)
    with ExitStack() as stack:
        stages = [stack.enter_context(scene(200_000, pipes)) for _ in range(5)]
        for _ in range(20):
            for stage in stages:
                stage.scheduler.send(1_000_000)
                stage.settle()
        flows = [stage.relay.upstream for stage in stages]
        assert all(flow.blocked for flow in flows)
        assert [flow.pipe is not None for flow in flows].count(True) == 1
        assert sum(map(kept, flows)) <= PIPE_SIZE + 4 * 65536
        for stage in stages:
            stage.drain()
            assert stage.client.heard == stage.scheduler.sent
        pipe = pipes.borrow()
        assert pipe is not None
        pipe.close()


@pytest.mark.parametrize("turn", [SHORT_TURN, SMALL_TURN])
def test_of_a_stream_so_much_passes_in_a_turn_that_others_wait_for(turn: Turn) -> None:
    with scene() as stage:
        stage.settle()
        stage.client.send(1_000_000)
        stage.relay.client.bulk = True
        turns = 0
        while stage.scheduler.heard < stage.client.sent:
            turns += stage.loop.turn(turn)
            stage.scheduler.receive(1 << 20)
            assert stage.scheduler.heard <= turns * (1 << 18)


class Chatterer:
    """A socket to which something small comes again and again, faster than it can be read."""

    def __init__(self) -> None:
        self.reads = 0

    def recv_into(self, buffer: memoryview) -> int:
        self.reads += 1
        return 10


class Sink:
    """A socket that takes everything."""

    def send(self, data: bytes) -> int:
        return len(data)


def test_who_chats_without_a_pause_leaves_others_their_turn() -> None:
    chatterer = Chatterer()
    with closing(EpollLoop()) as loop:
        relay = Relay(
            loop, Pipes(), cast("socket.socket", chatterer), cast("socket.socket", Sink()), lambda relay: None
        )
        loop.call(relay.client, select.EPOLLIN | select.EPOLLRDHUP)
        in_a_turn = chatterer.reads
        assert loop.turn()
        assert chatterer.reads == 2 * in_a_turn


def test_without_pipes_the_small_buffer_carries_on() -> None:
    with scene(pipes=Pipes(0)) as stage:
        stage.client.send(1_000_000)
        stage.client.finish()
        stage.drain()
        assert stage.scheduler.heard == stage.client.sent
        assert stage.relay.pipes.borrow() is None


def test_a_pipe_with_bytes_inside_is_not_lent_again() -> None:
    pipes = Pipes(1)
    pipe = pipes.borrow()
    assert pipe is not None
    assert pipes.borrow() is None
    os.write(pipe.write, b"x")
    pipe.held = 1
    pipes.take_back(pipe)
    fresh = pipes.borrow()
    assert fresh is not None
    assert fresh is not pipe
    pipes.take_back(fresh)
    assert pipes.borrow() is fresh
    pipes.take_back(fresh)
    pipes.close()


def test_what_is_unforeseen_ends_the_relay_and_nothing_else(capsys: pytest.CaptureFixture[str]) -> None:
    with scene() as stage:
        stage.relay.client.peer = None  # type: ignore[assignment]
        stage.client.send(10)
        stage.settle()
        assert not stage.relay.open
        stage.relay.finish()
        stage.relay.reset()
        assert stage.scheduler.receive(10)
        assert stage.scheduler.over == RESET
    assert "connection failed" in capsys.readouterr().out
