"""Thousands of sockets in one trio task: a private, edge-triggered epoll.

A trio task that waits for one socket costs, for each wait, a change of trio's
own epoll and a round through its scheduler: two to three times the price of
relaying a small message. So sockets that only need bytes moved are registered
once, edge-triggered, in an epoll of their own, and one task takes its events
in batches. To trio that epoll is a single file descriptor; cancellation ends
the task like any other.

Each socket has a *watcher*, whose `ready(mask)` must never block and returns
when there is nothing left to do or its budget is spent (then it asks for
another turn with `call_soon`). Here is the mechanism; how long turns and their
parts are, when other tasks of the process run, and when the loop sleeps is
decided by turn_policy.py. What keeps it fair and safe:

- A watcher has one share in a turn, whether it asked for it, has news, or both;
  who asks waits behind those who asked before.
- A socket is closed at the end of a turn, so that no number of a closed socket
  is used again while events of the same batch still name it.
- An exception ends its watcher, not the loop.
"""

import select
import socket
import time
from itertools import islice
from typing import Final, Protocol

import structlog
import trio

from gateway.proxy.relay.turn_policy import LONG_TURN, Turn, TurnPolicy

_log = structlog.get_logger()

#: Everything there is to know about a socket, told once for each change.
EDGES: Final = select.EPOLLIN | select.EPOLLOUT | select.EPOLLRDHUP | select.EPOLLET
#: The same but for arrivals, for a watcher that can take nothing more for now: each would wake it in vain.
EDGES_NO_READ: Final = EDGES & ~select.EPOLLIN


class Watcher(Protocol):
    """Who looks after a socket."""

    def ready(self, mask: int) -> None:
        """Handle a change of the socket's state: `mask` has the events of epoll(7), or is 0 after `call_soon`."""
        ...

    def abort(self) -> None:
        """End at once: something unforeseen happened."""
        ...


class _Steps(trio.abc.Instrument):
    """Counts the steps of all tasks."""

    def __init__(self) -> None:
        self.taken = 0

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        """See trio."""
        self.taken += 1


class EpollLoop:
    """The epoll and its one task, `run`."""

    def __init__(self, policy: TurnPolicy | None = None) -> None:
        self._epoll = select.epoll()
        self._watchers: dict[int, Watcher] = {}
        self._called_soon: dict[Watcher, None] = {}  # in the order of asking
        self._closing: list[socket.socket] = []
        self._in_turn = False
        self._steps = _Steps()
        self._policy = policy or TurnPolicy()
        self._turn = LONG_TURN
        self._watchers_in_turn = 1
        #: Set by a watcher that has moved something small, to which the answer may come soon.
        self.latency_sensitive = False

    def __len__(self) -> int:
        return len(self._watchers)

    def fileno(self) -> int:
        """Return the epoll's descriptor, which is readable while any watched socket has news."""
        return self._epoll.fileno()

    def register(self, sock: socket.socket, watcher: Watcher, events: int = EDGES) -> None:
        """Watch a non-blocking socket. What is ready already is told in the next turn."""
        descriptor = sock.fileno()
        self._epoll.register(descriptor, events)
        self._watchers[descriptor] = watcher

    def modify(self, sock: socket.socket, events: int) -> None:
        """Tell these events of a watched socket from now on; what is ready already is told in the next turn."""
        self._epoll.modify(sock.fileno(), events)

    def set_watcher(self, sock: socket.socket, watcher: Watcher) -> None:
        """Let another watcher look after a watched socket; it is told anew what is ready."""
        self.modify(sock, EDGES)
        self._watchers[sock.fileno()] = watcher

    def unregister(self, sock: socket.socket) -> None:
        """Stop watching a socket, without closing it."""
        self._epoll.unregister(sock.fileno())
        del self._watchers[sock.fileno()]

    def close_socket(self, sock: socket.socket) -> None:
        """Close a socket, watched or not: at once, or at the end of the turn. A second time does nothing."""
        self._watchers.pop(sock.fileno(), None)
        if self._in_turn:
            self._closing.append(sock)
        else:
            sock.close()

    def call_soon(self, watcher: Watcher) -> None:
        """Call `watcher.ready(0)` in the next turn that has room for it: its share of this one is used up."""
        self._called_soon[watcher] = None

    def slice_fraction(self) -> float:
        """Return which part of a long turn each watcher may take in this one: from 0, as little as it can, to 1."""
        return self._turn.slice_fraction(self._watchers_in_turn)

    async def run(self) -> None:
        """Serve until cancelled."""
        trio.lowlevel.add_instrument(self._steps)
        try:
            await self._serve()
        finally:
            trio.lowlevel.remove_instrument(self._steps)

    async def _serve(self) -> None:
        clock, policy = time.perf_counter, self._policy
        now = clock()
        policy.woke(now)
        while True:
            if self.turn(policy.begin_turn(now)):
                latency_sensitive, self.latency_sensitive = self.latency_sensitive, False
                now = clock()
                if policy.turn_ended(now, latency_sensitive):
                    now = await self._yield()
            else:
                now = clock()
                if policy.nothing_ready(now):
                    await trio.lowlevel.wait_readable(self.fileno())
                    now = clock()
                    policy.woke(now)

    async def _yield(self) -> float:
        """Let other tasks run for as long as the policy says; returns the time after that."""
        while True:
            before = self._steps.taken
            await trio.lowlevel.checkpoint()
            now = time.perf_counter()
            others_ran = self._steps.taken != before + 1  # one step is our own
            if not self._policy.yielded(now, others_ran):
                return now

    def turn(self, turn: Turn = LONG_TURN) -> bool:
        """Handle what is ready, and who asked to be called, as far as this turn goes; False when there was nothing."""
        events = self._epoll.poll(0, turn.max_events)
        if not events and not self._called_soon:
            return False
        called: tuple[Watcher, ...] = ()
        if self._called_soon:
            called = tuple(islice(self._called_soon, turn.max_resumed))
            for watcher in called:
                del self._called_soon[watcher]
        # As a rule, events concern those who asked as well.
        self._watchers_in_turn = max(len(events), len(called))
        self._turn = turn
        self._in_turn = True
        find = self._watchers.get
        for descriptor, mask in events:
            if found := find(descriptor):
                try:
                    found.ready(mask)
                except Exception as error:  # noqa: BLE001 (the boundary of each connection)
                    self._failed(found, error)
        for watcher in called:
            if watcher not in self._called_soon:  # else it has had its share, because of an event
                self.call(watcher, 0)
        self._in_turn = False
        if self._closing:
            for sock in self._closing:
                sock.close()
            self._closing.clear()
        return True

    def close(self) -> None:
        """Abort all watchers and close the epoll; after `run` has ended."""
        for watcher in tuple(self._watchers.values()):
            watcher.abort()
        self._epoll.close()

    def call(self, watcher: Watcher, mask: int) -> None:
        """Call `watcher.ready(mask)` at once; an exception ends the watcher and is logged."""
        try:
            watcher.ready(mask)
        except Exception as error:  # noqa: BLE001
            self._failed(watcher, error)

    def _failed(self, watcher: Watcher, error: Exception) -> None:
        _log.error("connection failed", error=repr(error), exc_info=error)
        try:
            watcher.abort()
        except Exception as another:  # noqa: BLE001
            _log.exception("connection not closed", error=repr(another))
