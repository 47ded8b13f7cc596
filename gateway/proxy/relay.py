"""Bytes both ways between a client and a scheduler, at the speed of the wire.

A relay is two `Side`s, each a socket with the flow that reads from it and
writes to its peer. Sides are watchers of an `EpollLoop`: no task, no buffer
and no timer belongs to a relay that is idle.

Bytes go one of three ways, by what costs least for their kind:

- Small messages are received into one buffer that all sides share, and sent on
  at once.
- After a large read the flow is in *bulk*: bytes are moved by splice(2) through
  a pipe and never enter this process.
- A flow that has carried a lot without a pause is a *stream*, and goes through a
  large buffer: to copy millions of bytes at once costs no more than to move the
  pages of strangers, and whoever reads them finds them in the cache, which makes
  streams faster by a third (docs/architecture.md has the figures).

Pipes and large buffers are few (stores.py), so a flow borrows one only while bytes
are in it; without a free one it goes the way before.

What a peer does not take is kept where it is (in the buffer or the pipe) and the
flow is *stuck*: it reads nothing more until its peer has room again, so memory
never grows with what a slow reader leaves unread.

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

from gateway.proxy.epoll_loop import DEAF, EDGES, EpollLoop
from gateway.proxy.stores import Pipe, Stores

#: From this size on a read says that more of the kind is to come, and the next one is a splice.
_BULK = 32768
#: A flow is a stream when it has carried so many bytes without a pause, which is a turn that moves fewer than `_MUCH`:
#: messages and their answers, also large ones, are better spliced.
_STREAM = 1 << 20
_MUCH = 1 << 19
#: What a flow in bulk may carry in one turn before others have theirs, and in a turn that is long because it is alone.
_BUDGET = 1 << 18
_LONG_BUDGET = 4 << 20
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

    __slots__ = ("client", "closed", "loop", "open", "small", "stores", "tag", "upstream")

    def __init__(
        self,
        loop: EpollLoop,
        stores: Stores,
        client: socket.socket,
        upstream: socket.socket,
        closed: Callable[["Relay"], None],
        tag: Any = None,
    ) -> None:
        self.loop = loop
        self.stores = stores
        self.small = stores.small
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
        "ended",
        "lent",
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
        self.carried = 0  # bytes in large pieces since the last pause
        self.stuck = False  # bytes wait, in `rest` or `pipe`, until the peer has room
        self.rest: bytes | memoryview = b""
        self.lent: memoryview | None = None  # where `rest` is, when it is borrowed
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
        small, sock = relay.small, self.sock
        for _ in range(_ROUNDS):
            try:
                size = sock.recv_into(small)
            except BlockingIOError:
                self.carried = 0
                return
            except OSError:
                relay.reset()
                return
            if not size:
                self.end()
                return
            if not self.hand_over(small[:size]):
                self.rest = bytes(self.rest)
                return
            if size >= _BULK:
                self.bulk = True
                self.carried += size
                self.carry_bulk()
                return
            relay.loop.brisk = True
            if mask and not mask & _END:
                return
        relay.loop.again(self)

    def hand_over(self, data: memoryview) -> bool:
        """Send to the peer; False when it has no room for all, and the rest is kept, or has gone."""
        try:
            sent = self.peer.sock.send(data)
        except BlockingIOError:
            sent = 0
        except OSError:
            self.lose_peer()
            return False
        if sent < len(data):
            self.rest = data[sent:]
            self.stick()
            return False
        return True

    def carry_bulk(self) -> None:
        """Move bytes until nothing is left, the peer has no room, or the budget is spent."""
        stores = self.relay.stores
        budget = max(_BUDGET, int(_LONG_BUDGET * self.relay.loop.share()))
        if self.carried >= _STREAM and (buffer := stores.borrow_buffer()) is not None:
            try:
                self.carry_in_buffer(buffer, budget)
            finally:
                if self.lent is not buffer:
                    stores.take_back_buffer(buffer)
        elif (pipe := stores.borrow_pipe()) is not None:
            try:
                self.carry_in_pipe(pipe, budget)
            finally:
                if self.pipe is not pipe:
                    stores.take_back_pipe(pipe)
        else:
            self.bulk = False
            self.relay.loop.again(self)

    def carry_in_buffer(self, buffer: memoryview, budget: int) -> None:
        """Move bytes of a stream."""
        left = budget
        while left > 0:
            size = self.take(budget - left, self.sock.recv_into, buffer, min(left, len(buffer)))
            if not size:
                return
            left -= size
            if not self.hand_over(buffer[:size]):
                if self.stuck:
                    self.lent = buffer
                return
        self.relay.loop.again(self)

    def carry_in_pipe(self, pipe: Pipe, budget: int) -> None:
        """Move bytes that may be those of a large message."""
        source, sink = self.sock.fileno(), self.peer.sock.fileno()
        left = budget
        while left > 0 and self.bulk:
            pipe.held = self.take(budget - left, os.splice, source, pipe.write, min(pipe.size, left), None, None, _MOVE)
            if not pipe.held:
                return
            left -= pipe.held
            self.carried += pipe.held
            if pipe.held < _BULK:
                self.bulk, self.carried = False, 0
            while pipe.held:
                try:
                    pipe.held -= os.splice(pipe.read, sink, pipe.held, flags=_MOVE)
                except BlockingIOError:
                    self.pipe = pipe
                    self.stick()
                    return
                except OSError:
                    self.lose_peer()
                    return
        self.relay.loop.again(self)

    def take(self, moved: int, read: Callable[..., int], *arguments: Any) -> int:
        """What a read in bulk brings, after `moved` bytes in this turn; 0: no more for now, or for ever."""
        try:
            size = read(*arguments)
        except BlockingIOError:
            if moved < _MUCH:
                self.carried = 0
            return 0
        except OSError:
            self.relay.reset()
            return 0
        if not size:
            self.end()
        return size

    def stick(self) -> None:
        """The peer has no room: read nothing more, and do not be woken for what arrives."""
        self.stuck = True
        self.relay.loop.tell_only(self.sock, DEAF)

    def push(self) -> None:
        """The peer may have room again: first what waits, then whatever has come meanwhile."""
        try:
            while self.pipe and self.pipe.held:
                self.pipe.held -= os.splice(self.pipe.read, self.peer.sock.fileno(), self.pipe.held, flags=_MOVE)
            while self.rest:
                self.rest = self.rest[self.peer.sock.send(self.rest) :]
        except BlockingIOError:
            return
        except OSError:
            self.lose_peer()
            return
        self.release()
        self.stuck = False
        self.relay.loop.tell_only(self.sock, EDGES)
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
        if self.lent is not None:
            self.relay.stores.take_back_buffer(self.lent)
            self.lent = None
        if self.pipe is not None:
            self.relay.stores.take_back_pipe(self.pipe)
            self.pipe = None

    def abort(self) -> None:
        """Something unforeseen happened."""
        self.relay.reset()
