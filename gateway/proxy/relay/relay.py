"""Bytes both ways between a client and a scheduler, at the speed of the wire.

A relay is two `Side`s, each a socket with the flow that reads from it and
writes to its peer. Sides are watchers of an `EpollLoop`: no task, no buffer
and no timer belongs to a relay that is idle.

Small messages are received into one buffer that all sides share, and sent on at
once. After a large read the flow is in *bulk*: bytes are moved by splice(2)
through a pipe and never enter this process. Pipes are few (pipes.py), so a flow
borrows one only while bytes are in it; without a free one it goes on with the
buffer.

What a peer does not take is pending (the rest of one buffer, or one pipe) and
the flow is *blocked*: it reads nothing more until its peer has room again, so
memory never grows with what a slow reader leaves unread.

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

from gateway.proxy.relay.epoll_loop import EDGES, EDGES_NO_READ, EpollLoop
from gateway.proxy.relay.pipes import Pipe, Pipes

#: From this size on a read says that more of the kind is to come, and the next one is a splice.
_BULK = 32768
#: Bytes that a flow in bulk may carry in one turn: at least, and when it has a whole long turn (turn_policy.py).
_MIN_BUDGET = 1 << 18
_MAX_BUDGET = 4 << 20
#: How many short reads a flow may do in one turn.
_MAX_SHORT_READS = 16
_END = select.EPOLLRDHUP | select.EPOLLHUP | select.EPOLLERR
_READABLE = select.EPOLLIN | _END
_RESET = struct.pack("ii", 1, 0)
_MOVE = os.SPLICE_F_MOVE | os.SPLICE_F_NONBLOCK if hasattr(os, "SPLICE_F_MOVE") else 0


class Relay:
    """The two sides together. `closed(relay)` is called once, when both sockets are about to be closed.

    Both sockets are non-blocking, and belong to the relay. `tag` is the owner's, to know the relay by.
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
        """Carry what the client has said already. The loop must watch both sockets, for the sides of this relay."""
        self.client.ready(select.EPOLLIN)

    def finish(self) -> None:
        """Close both sockets, after both directions have ended; a second time does nothing."""
        if self.open:
            self.open = False
            self.closed(self)
            for side in (self.client, self.upstream):
                side.release()
                self.loop.close_socket(side.sock)

    def reset(self) -> None:
        """End both connections with a reset, so that either peer knows that bytes may be missing."""
        if self.open:
            for side in (self.client, self.upstream):
                side.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            self.finish()


class Side:
    """One socket of a relay, and the flow from it to its peer."""

    __slots__ = (
        "blocked",
        "broken",
        "bulk",
        "ended",
        "peer",
        "pending",
        "pipe",
        "relay",
        "sock",
    )

    peer: "Side"

    def __init__(self, relay: Relay, sock: socket.socket) -> None:
        self.relay = relay
        self.sock = sock
        self.bulk = False
        self.blocked = False  # bytes wait, in `pending` or `pipe`, until the peer has room
        self.pending = b""
        self.pipe: Pipe | None = None
        self.ended = False  # nothing more will come from this socket
        self.broken = False  # this socket has failed; the kernel reports that once, and then only an end

    def ready(self, mask: int) -> None:
        """Carry on, in both directions, what this socket's state allows."""
        peer, relay = self.peer, self.relay
        if mask & select.EPOLLERR:
            self.broken = True
        if peer.blocked:
            peer.flush()
            if not relay.open:
                return
        if self.blocked:
            return
        if self.ended:
            if self.broken:
                relay.reset()
            return
        if mask and not mask & _READABLE:
            return
        if self.bulk:
            self.carry_bulk()
        else:
            self.carry_small(mask)

    def carry_small(self, mask: int) -> None:
        """Receive and send on until nothing is left, the peer has no room, or there have been enough short reads."""
        relay, buffer, sock = self.relay, self.relay.buffer, self.sock
        for _ in range(_MAX_SHORT_READS):
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
            if not self.send(buffer[:size]):
                return
            if size >= _BULK:
                self.bulk = True
                self.carry_bulk()
                return
            relay.loop.latency_sensitive = True
            if mask and not mask & _END:
                return
        relay.loop.call_soon(self)

    def send(self, data: memoryview) -> bool:
        """Send to the peer; False when it has gone, or has no room for all, and the rest is pending."""
        try:
            sent = self.peer.sock.send(data)
        except BlockingIOError:
            sent = 0
        except OSError:
            self.lose_peer()
            return False
        if sent < len(data):
            self.pending = bytes(data[sent:])
            self.block()
            return False
        return True

    def carry_bulk(self) -> None:
        """Splice until nothing is left, the peer has no room, or the budget of this turn is spent."""
        pipes = self.relay.pipes
        pipe = pipes.borrow()
        if pipe is None:
            self.bulk = False
            self.relay.loop.call_soon(self)
            return
        try:
            self.carry_through(pipe, max(_MIN_BUDGET, int(_MAX_BUDGET * self.relay.loop.slice_fraction())))
        finally:
            if self.pipe is not pipe:
                pipes.take_back(pipe)

    def carry_through(self, pipe: Pipe, budget: int) -> None:
        """Splice about `budget` bytes at most through an empty pipe, which is kept while some stay inside."""
        source, sink = self.sock.fileno(), self.peer.sock.fileno()
        while budget > 0 and self.bulk:
            try:
                pipe.held = os.splice(source, pipe.write, min(pipe.size, budget), flags=_MOVE)
            except BlockingIOError:
                return
            except OSError:
                self.relay.reset()
                return
            if not pipe.held:
                self.end()
                return
            budget -= pipe.held
            self.bulk = pipe.held >= _BULK
            while pipe.held:
                try:
                    pipe.held -= os.splice(pipe.read, sink, pipe.held, flags=_MOVE)
                except BlockingIOError:
                    self.pipe = pipe
                    self.block()
                    return
                except OSError:
                    self.lose_peer()
                    return
        self.relay.loop.call_soon(self)

    def block(self) -> None:
        """Read nothing more, for the peer has no room, and do not be woken for what arrives."""
        self.blocked = True
        self.relay.loop.modify(self.sock, EDGES_NO_READ)

    def flush(self) -> None:
        """Send what is pending, as the peer may have room again, then whatever has come meanwhile."""
        try:
            while self.pipe and self.pipe.held:
                self.pipe.held -= os.splice(self.pipe.read, self.peer.sock.fileno(), self.pipe.held, flags=_MOVE)
            while self.pending:
                self.pending = self.pending[self.peer.sock.send(self.pending) :]
        except BlockingIOError:
            return
        except OSError:
            self.lose_peer()
            return
        self.release()
        self.blocked = False
        self.relay.loop.modify(self.sock, EDGES)
        self.ready(0)

    def end(self) -> None:
        """Handle EOF from this socket: half-close the peer, or finish when the peer has said all as well."""
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
        """Handle a failed write: the peer is gone, but what it had sent before is still to be read."""
        self.release()
        self.blocked, self.ended = False, True
        peer = self.peer
        peer.broken = True
        if peer.ended:
            self.relay.reset()
        elif not peer.blocked:
            peer.ready(0)

    def release(self) -> None:
        """Drop what is pending, and give the pipe back."""
        self.pending = b""
        if self.pipe is not None:
            self.relay.pipes.take_back(self.pipe)
            self.pipe = None

    def abort(self) -> None:
        """Reset both connections: something unforeseen happened."""
        self.relay.reset()
