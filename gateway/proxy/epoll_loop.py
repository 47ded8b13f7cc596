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

- After `SLICE_SECONDS` of work the rest of trio gets a turn. While the rest has
  work to do (its turn took longer than `ALONE_SECONDS`), batches are small, and
  it has a turn after each: a web request needs dozens of them.
- To sleep and to be woken costs more than a small message. So when the last
  sleep was shorter than `SPIN_SECONDS`, the epoll is asked again and again for
  that long after a watcher was `brisk` before the task sleeps the next time: a
  lone request and its answer are then carried on at once. After a longer sleep
  there is no such waiting, so that rare messages cost no more than they must.
- A socket is closed at the end of a turn, so that no number of a closed socket
  is used again while events of the same batch still name it.
- An exception ends its watcher, not the loop.
"""

import select
import socket
import time
from typing import Final, Protocol

import structlog
import trio

log = structlog.get_logger()

#: Everything there is to know about a socket, told once for each change.
EDGES: Final = select.EPOLLIN | select.EPOLLOUT | select.EPOLLRDHUP | select.EPOLLET
BATCH: Final = 256
SMALL_BATCH: Final = 8
SLICE_SECONDS: Final = 0.001
ALONE_SECONDS: Final = 0.00005
SPIN_SECONDS: Final = 0.0001


class Watcher(Protocol):
    """Who looks after a socket."""

    def ready(self, mask: int) -> None:
        """The socket's state has changed: `mask` has the events of epoll(7); 0 after `again`."""
        ...

    def abort(self) -> None:
        """Something unforeseen happened: end at once."""
        ...


class EpollLoop:
    """The epoll and its one task, `run`."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._watchers: dict[int, Watcher] = {}
        self._again: list[Watcher] = []
        self._closing: list[socket.socket] = []
        self._in_turn = False
        #: Nobody else in this process has work to do.
        self.alone = True
        #: Set by a watcher that has moved something small, to which the answer may come soon.
        self.brisk = False

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
        self._epoll.modify(sock.fileno(), EDGES)
        self._watchers[sock.fileno()] = watcher

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
        self._again.append(watcher)

    async def run(self) -> None:
        """Serve until cancelled."""
        clock = time.perf_counter
        now = clock()
        slice_end, spin_end = now + SLICE_SECONDS, now
        spin = 0.0
        while True:
            busy = self.turn(BATCH if self.alone else SMALL_BATCH)
            now = clock()
            if busy:
                if self.brisk:
                    spin_end = now + spin
                    self.brisk = False
                if now < slice_end:
                    continue
                before = time.thread_time()  # processor time: to be preempted by other processes does not count
                await trio.lowlevel.checkpoint()
                # Somebody else had something to do: such work needs many rounds, so let the next come soon.
                self.alone = time.thread_time() - before < ALONE_SECONDS
                back = clock()
                slice_end = back + SLICE_SECONDS if self.alone else back
            elif now < spin_end:
                continue
            else:
                await trio.lowlevel.wait_readable(self.fileno())
                back = clock()
                spin = SPIN_SECONDS if back - now < SPIN_SECONDS else 0.0
                slice_end = back

    def turn(self, most: int = BATCH) -> bool:
        """Handle one batch of at most so many events; False when there was nothing."""
        events = self._epoll.poll(0, most)
        if not events and not self._again:
            return False
        again, self._again = self._again, []
        self._in_turn = True
        find = self._watchers.get
        for descriptor, mask in events:
            if watcher := find(descriptor):
                try:
                    watcher.ready(mask)
                except Exception as error:  # noqa: BLE001 (the boundary of each connection)
                    self._failed(watcher, error)
        for watcher in again:
            self.tell(watcher, 0)
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

    def tell(self, watcher: Watcher, mask: int) -> None:
        """Call `watcher.ready` within the boundary."""
        try:
            watcher.ready(mask)
        except Exception as error:  # noqa: BLE001
            self._failed(watcher, error)

    def _failed(self, watcher: Watcher, error: Exception) -> None:
        log.error("connection failed", error=repr(error), exc_info=error)
        try:
            watcher.abort()
        except Exception as another:
            log.exception("connection not closed", error=repr(another))
