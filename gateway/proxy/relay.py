"""Bytes both ways between a client and a scheduler, at the speed of the wire.

A relay is two `Side`s, each a socket with the flow that reads from it and
writes to its peer. Sides are watchers of an `EpollLoop`: no task, no buffer
and no timer belongs to a relay that is idle.

Small messages are received into one buffer that all sides share, and sent on
at once. When a read comes out large the flow turns to *bulk*: bytes are moved
by splice(2) through a pipe and never enter this process. Pipes are scarce (the
kernel limits each user's pages in pipes, pipe(7)), so a flow borrows one only
while bytes are in it; without a free one it goes on with the buffer. A flow
that streams may *doze* until a lot has come (SO_RCVLOWAT), when the loop agrees,
which wakes it when that takes too long.

What a peer does not take is kept (the rest of one buffer, or one pipe) and the
flow is *stuck*: it reads nothing more until its peer has room again, so memory
never grows with what a slow reader leaves unread. One stuck in a stream is not
even told of what arrives meanwhile.

Ends: the end of one direction is passed on as such (half-close), after all its
bytes; a reset of either side resets the other, after the bytes that arrived
before it. Edge-triggered events come once: a flow reads until there is nothing
left, or until a read comes out short while no end has been announced, because
whatever arrives after that read is a new event.
"""

import os
import select
import socket
import struct
from collections.abc import Callable
from typing import Any

from gateway.proxy.epoll_loop import EpollLoop
from gateway.proxy.pipes import Pipe, Pipes

#: From this size on a read says that more of the kind is to come, and the next one is a splice.
_BULK = 32768
#: What a flow waits for while it dozes, and carries in one turn while nobody else in this process has work to do.
_LOT = 4 << 20
#: A flow dozes only when it has carried so much without a pause, and the most of a pipe in this turn: messages and
#: their answers, also large ones, shall not wait for more.
_STREAM = 4 << 20
_MUCH = 1 << 19
#: What a flow may carry in one turn before others have theirs.
_BUDGET = 1 << 18
#: How many short reads a flow may do in a row before others have their turn.
_ROUNDS = 16
_END = select.EPOLLRDHUP | select.EPOLLHUP | select.EPOLLERR
_READABLE = select.EPOLLIN | _END
_RESET = struct.pack("ii", 1, 0)
_MOVE = os.SPLICE_F_MOVE | os.SPLICE_F_NONBLOCK if hasattr(os, "SPLICE_F_MOVE") else 0


class Relay:
    """The two sides together. `closed(relay)` is called once, when both sockets are about to be closed.

    `tag` is the owner's, to know the relay by.
    """

    __slots__ = ("buffer", "client", "closed", "loop", "open", "pipes", "tag", "upstream")

    def __init__(
        self,
        loop: EpollLoop,
        pipes: Pipes,
        client: socket.socket,
        upstream: socket.socket,
        closed: Callable[["Relay"], None],
        tag: Any = None,
    ) -> None:
        self.loop = loop
        self.pipes = pipes
        self.buffer = pipes.buffer
        self.client = Side(self, client)
        self.upstream = Side(self, upstream)
        self.client.peer, self.upstream.peer = self.upstream, self.client
        self.closed = closed
        self.tag = tag
        self.open = True

    def start(self) -> None:
        """Carry what the client has said already. Both sockets must be watched by the sides of this relay."""
        self.client.ready(select.EPOLLIN)

    def finish(self) -> None:
        """Both directions have ended: close."""
        if self.open:
            self.open = False
            self.closed(self)
            for side in (self.client, self.upstream):
                side.release()
                self.loop.drop(side.sock)

    def reset(self) -> None:
        """End both connections with a reset: bytes may be missing, and either peer shall know."""
        if self.open:
            for side in (self.client, self.upstream):
                side.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            self.finish()


class Side:
    """One socket of a relay, and the flow from it to its peer."""

    __slots__ = (
        "broken",
        "bulk",
        "carried",
        "deaf",
        "ended",
        "expected",
        "peer",
        "pipe",
        "relay",
        "rest",
        "sock",
        "stuck",
    )

    peer: "Side"

    def __init__(self, relay: Relay, sock: socket.socket) -> None:
        self.relay = relay
        self.sock = sock
        self.bulk = False
        self.carried = 0  # bytes in bulk since the last pause
        self.deaf = False  # the kernel tells of no bytes at all
        self.expected = 1  # bytes; the kernel tells of no fewer
        self.stuck = False  # bytes wait, in `rest` or `pipe`, until the peer has room
        self.rest = b""
        self.pipe: Pipe | None = None
        self.ended = False  # nothing more will come from this socket
        self.broken = False  # this socket has failed; the kernel reports that once, and then only an end

    def ready(self, mask: int) -> None:
        """Carry on, in both directions, what this socket's state allows."""
        peer, relay = self.peer, self.relay
        if mask & select.EPOLLERR:
            self.broken = True
        if peer.stuck:
            peer.push()
            if not relay.open:
                return
        if self.stuck:
            return
        if self.ended:
            if self.broken:
                relay.reset()
            return
        if mask and not mask & _READABLE:
            return
        if self.bulk:
            self.carry_bulk()
            return
        buffer, sock = relay.buffer, self.sock
        for _ in range(_ROUNDS):
            try:
                size = sock.recv_into(buffer)
            except BlockingIOError:
                return
            except OSError:
                relay.reset()
                return
            if not size:
                self.end()
                return
            try:
                sent = peer.sock.send(buffer[:size])
            except BlockingIOError:
                sent = 0
            except OSError:
                self.lose_peer()
                return
            if sent < size:
                self.rest = bytes(buffer[sent:size])
                self.stuck = True
                return
            if size >= _BULK:
                self.bulk = True
                self.carry_bulk()
                return
            relay.loop.brisk = True
            if mask and not mask & _END:
                return
        relay.loop.again(self)

    def carry_bulk(self) -> None:
        """Move bytes through a pipe until nothing is left, the peer has no room, or the budget is spent."""
        pipes = self.relay.pipes
        pipe = pipes.borrow()
        if pipe is None:
            self.leave_bulk()
            self.relay.loop.again(self)
            return
        source, sink = self.sock.fileno(), self.peer.sock.fileno()
        share = budget = _LOT if self.relay.loop.alone else _BUDGET
        held = 0
        try:
            while budget > 0:
                try:
                    held = os.splice(source, pipe.write, min(pipe.size, budget), flags=_MOVE)
                except BlockingIOError:
                    self.emptied(share - budget)
                    return
                except OSError:
                    self.relay.reset()
                    return
                if not held:
                    self.end()
                    return
                budget -= held
                self.carried += held
                if held < _BULK:
                    self.leave_bulk()
                while held:
                    try:
                        held -= os.splice(pipe.read, sink, held, flags=_MOVE)
                    except BlockingIOError:
                        self.pipe, pipe.held, self.stuck = pipe, held, True
                        if share - budget >= _MUCH:
                            self.deaf = True
                            self.relay.loop.doze(self)
                            self.relay.loop.listen(self.sock, news=False)
                        return
                    except OSError:
                        self.lose_peer()
                        return
                if not self.bulk:
                    break
            self.relay.loop.again(self)
        finally:
            if self.pipe is not pipe:
                pipe.held = held
                pipes.take_back(pipe)

    def leave_bulk(self) -> None:
        """What comes next is small, or has no pipe to go through."""
        self.bulk = False
        self.carried = 0
        self.expect(1)

    def emptied(self, moved: int) -> None:
        """Nothing is left after so many bytes. In a stream, what comes next is worth a turn when it is a lot."""
        stream = moved >= _MUCH and self.carried >= _STREAM
        self.expect(_LOT if stream and self.relay.loop.doze(self) else 1)

    def wake(self) -> None:
        """There was a pause: be told of every byte again."""
        self.carried = 0
        self.expect(1)

    def expect(self, size: int) -> None:
        """Be told when so many bytes have come; at once if they have."""
        if size != self.expected:
            self.expected = size
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, size)

    def push(self) -> None:
        """The peer may have room again: first what waits, then whatever has come meanwhile."""
        try:
            if self.pipe:
                while self.pipe.held:
                    self.pipe.held -= os.splice(self.pipe.read, self.peer.sock.fileno(), self.pipe.held, flags=_MOVE)
                if self.deaf:
                    self.deaf = False
                    self.relay.loop.listen(self.sock, news=True)
                self.relay.pipes.take_back(self.pipe)
                self.pipe = None
            while self.rest:
                self.rest = self.rest[self.peer.sock.send(self.rest) :]
        except BlockingIOError:
            return
        except OSError:
            self.lose_peer()
            return
        self.stuck = False
        self.ready(0)

    def end(self) -> None:
        """This socket has said all: so does its peer."""
        self.ended = True
        if self.broken:
            self.relay.reset()
            return
        if self.peer.ended:
            self.relay.finish()
            return
        try:
            self.peer.sock.shutdown(socket.SHUT_WR)
        except OSError:
            self.relay.reset()

    def lose_peer(self) -> None:
        """Writing to the peer failed: it is gone, but what it had said before is still to be read."""
        self.release()
        self.stuck, self.ended = False, True
        peer = self.peer
        peer.broken = True
        if peer.ended:
            self.relay.reset()
        elif not peer.stuck:
            peer.ready(0)

    def release(self) -> None:
        """Let go of what is kept."""
        self.rest = b""
        if self.pipe is not None:
            self.relay.pipes.take_back(self.pipe)
            self.pipe = None

    def abort(self) -> None:
        """Something unforeseen happened."""
        self.relay.reset()
