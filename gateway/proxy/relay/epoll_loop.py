"""Thousands of sockets in one trio task: a private, edge-triggered epoll.

A trio task that waits for one socket costs, for each wait, a change of trio's
own epoll and a round through its scheduler: two to three times the price of
relaying a small message. So sockets that only need bytes moved are registered
once, edge-triggered, in an epoll of their own, and one task takes its events
in batches. To trio that epoll is a single file descriptor; cancellation ends
the task like any other.

Each socket has a *watcher*, whose `ready(mask)` must never block and returns
when there is nothing left to do or its budget is spent (then it asks for
another turn with `again`). The rules that keep this fair and safe:

- After `SLICE_SECONDS` of work the rest of trio gets a turn, and when it has
  work to do, as much time as was taken. As long as other tasks take steps, and
  `COMPANY_SECONDS` longer, the process is not `idle_otherwise`: batches are
  small, so are the slices of watchers, and others have a turn after each, for a
  web request needs dozens of them.
- A watcher has one slice of a turn, whether it asked for it, has news, or both.
  `slice_fraction` says how large: all of a long turn for the only one, and
  nothing of it while others wait for the turn's end (`yield_soon`), be they
  tasks or watchers that are `latency_sensitive`. Then of all who asked, which
  are streams, only one has its slice of a turn.
- To sleep and to be woken costs more than a small message. So when the last
  sleep was shorter than `BUSY_POLL_SECONDS`, the epoll is polled for that long
  after a watcher was `latency_sensitive` before the task sleeps the next time: a
  lone request and its answer are then carried on at once. After a longer sleep
  there is no busy polling, so that rare messages cost no more than they must.
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

_log = structlog.get_logger()

#: Everything there is to know about a socket, told once for each change.
EDGES: Final = select.EPOLLIN | select.EPOLLOUT | select.EPOLLRDHUP | select.EPOLLET
#: The same but for arrivals, for a watcher that can take nothing more for now: each would wake it in vain.
EDGES_NO_READ: Final = EDGES & ~select.EPOLLIN
BATCH: Final = 256
SMALL_BATCH: Final = 8
SLICE_SECONDS: Final = 0.001
COMPANY_SECONDS: Final = 0.01
BUSY_POLL_SECONDS: Final = 0.0001


class Watcher(Protocol):
    """Who looks after a socket."""

    def ready(self, mask: int) -> None:
        """The socket's state has changed: `mask` has the events of epoll(7); 0 after `again`."""
        ...

    def abort(self) -> None:
        """Something unforeseen happened: end at once."""
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

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._watchers: dict[int, Watcher] = {}
        self._again: dict[Watcher, None] = {}  # in the order of asking
        self._closing: list[socket.socket] = []
        self._in_turn = False
        self._company_until = 0.0
        self._latency_sensitive_until = 0.0
        self._steps = _Steps()
        #: No other task of this process has work to do.
        self.idle_otherwise = True
        #: Somebody waits for this turn's end.
        self.yield_soon = False
        self._having_turn = 1
        #: Set by a watcher that has moved something small, to which the answer may come soon.
        self.latency_sensitive = False

    def __len__(self) -> int:
        return len(self._watchers)

    def fileno(self) -> int:
        """Readable while any watched socket has news."""
        return self._epoll.fileno()

    def add(self, sock: socket.socket, watcher: Watcher, events: int = EDGES) -> None:
        """Watch a non-blocking socket. What is ready already is told in the next turn."""
        descriptor = sock.fileno()
        self._epoll.register(descriptor, events)
        self._watchers[descriptor] = watcher

    def hand_over(self, sock: socket.socket, watcher: Watcher) -> None:
        """Let another watcher look after a watched socket; it is told anew what is ready."""
        self.tell_only(sock, EDGES)
        self._watchers[sock.fileno()] = watcher

    def tell_only(self, sock: socket.socket, events: int) -> None:
        """Tell these events of a watched socket from now on; what is ready already is told in the next turn."""
        self._epoll.modify(sock.fileno(), events)

    def remove(self, sock: socket.socket) -> None:
        """Watch a socket no longer, without closing it."""
        self._epoll.unregister(sock.fileno())
        del self._watchers[sock.fileno()]

    def drop(self, sock: socket.socket) -> None:
        """Close a socket, watched or not; a second time does nothing."""
        self._watchers.pop(sock.fileno(), None)
        if self._in_turn:
            self._closing.append(sock)
        else:
            sock.close()

    def again(self, watcher: Watcher) -> None:
        """Call `watcher.ready(0)` in the next turn: it has used up its share of this one."""
        self._again[watcher] = None

    def slice_fraction(self) -> float:
        """How much of a long turn each watcher may take: all of it when there is one, nothing in a hurry."""
        return 0.0 if self.yield_soon else 1 / self._having_turn

    async def run(self) -> None:
        """Serve until cancelled."""
        trio.lowlevel.add_instrument(self._steps)
        try:
            await self._serve()
        finally:
            trio.lowlevel.remove_instrument(self._steps)

    async def _serve(self) -> None:
        clock = time.perf_counter
        begin = busy_poll_end = now = clock()
        busy_poll = 0.0
        while True:
            self.yield_soon = not self.idle_otherwise or now < self._latency_sensitive_until
            busy = self.turn(BATCH if self.idle_otherwise else SMALL_BATCH)
            now = clock()
            if busy:
                if self.latency_sensitive:
                    busy_poll_end = now + busy_poll
                    self._latency_sensitive_until = now + COMPANY_SECONDS
                    self.latency_sensitive = False
                if now > begin + SLICE_SECONDS or not self.idle_otherwise:
                    await self._give_way(now - begin)
                    begin = clock()
            elif now > busy_poll_end:
                await trio.lowlevel.wait_readable(self.fileno())
                begin = clock()
                busy_poll = BUSY_POLL_SECONDS if begin - now < BUSY_POLL_SECONDS else 0.0
                now = begin

    async def _give_way(self, seconds: float) -> None:
        """Let the rest of trio have as much time, if it has that much to do."""
        now = time.perf_counter()
        end = now + seconds
        while now < end:
            before = self._steps.taken
            await trio.lowlevel.checkpoint()
            now = time.perf_counter()
            if self._steps.taken == before + 1:  # our own
                break
            self._company_until = now + COMPANY_SECONDS
        self.idle_otherwise = now > self._company_until

    def turn(self, most: int = BATCH) -> bool:
        """Handle at most so many events, and so many who asked (one in a hurry); False when there was nothing."""
        events = self._epoll.poll(0, most)
        if not events and not self._again:
            return False
        again = self._take_turns(1 if self.yield_soon else most) if self._again else ()
        # As a rule, events concern those who asked as well.
        self._having_turn = max(len(events), len(again))
        self._in_turn = True
        find = self._watchers.get
        for descriptor, mask in events:
            if watcher := find(descriptor):
                try:
                    watcher.ready(mask)
                except Exception as error:  # noqa: BLE001 (the boundary of each connection)
                    self._failed(watcher, error)
        for asked in again:
            if asked not in self._again:  # else it has had its share, because of an event
                self.tell(asked, 0)
        self._in_turn = False
        if self._closing:
            for sock in self._closing:
                sock.close()
            self._closing.clear()
        return True

    def _take_turns(self, most: int) -> tuple[Watcher, ...]:
        """At most so many of those that asked for a turn, in the order of asking."""
        taken = tuple(islice(self._again, most))
        for watcher in taken:
            del self._again[watcher]
        return taken

    def close(self) -> None:
        """Abort all watchers and close the epoll; after `run` has ended."""
        for watcher in tuple(self._watchers.values()):
            watcher.abort()
        self._epoll.close()

    def tell(self, watcher: Watcher, mask: int) -> None:
        """Call `watcher.ready` within the boundary."""
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
