"""The first moments of a connection: whose is it?

A `PendingConnection` watches a connection until its first bytes tell. Like a
relay it lives in the `EpollLoop`, without a task, and in the best case (a hello
that is there already) it comes and goes within one turn. Each look has an
outcome, and the port acts on it (port.py).

The bytes are looked at with MSG_PEEK: they stay in the kernel, and whoever
gets the connection finds an untouched socket. While a hello is incomplete,
SO_RCVLOWAT is raised to what is missing, so that not each of its segments
wakes us. Each of its records is looked at once, and only some in one turn, so
that hellos of very many tiny records delay nobody.
"""

import enum
import select
import socket
from collections.abc import Callable
from typing import Any

from attrs import frozen

from gateway.proxy.admission import Guest
from gateway.proxy.client_hello import (
    MAX_HELLO,
    START,
    ClientHello,
    MalformedClientHello,
    NeedMoreData,
    PlainText,
    parse_client_hello,
)
from gateway.proxy.proxy_protocol import MalformedProxyHeader, ProxyHeader, parse_proxy_header

#: Records of a hello that are looked at before others have their turn; no usual hello has as many.
_RECORDS = 64
_END = select.EPOLLRDHUP | select.EPOLLHUP | select.EPOLLERR


class Undecided(enum.Enum):
    """Outcomes of a look that do not tell what the connection is for."""

    WAIT = enum.auto()
    """Nothing that was not known: the socket will have news."""
    LOOK_AGAIN = enum.auto()
    """More has come than is looked at in one turn."""
    ENDED = enum.auto()
    """It has ended, or taken too long, before it was clear."""


@frozen
class Malformed:
    """No further byte could make sense of it."""

    reason: str


Outcome = Undecided | Malformed | ProxyHeader | ClientHello | PlainText


class PendingConnection:
    """The watcher of a connection that is not understood yet. `act(pending, outcome)` is called after each look.

    `guest` has the client's address, as logs and limits know it; `client` is the same when a trusted proxy has said
    it. All of a port look with one `buffer` of `MAX_HELLO` bytes.
    """

    __slots__ = (
        "act",
        "buffer",
        "client",
        "dial",
        "ended",
        "guest",
        "has_header",
        "seen",
        "settled",
        "silent",
        "sock",
        "wanted",
        "watched",
    )

    def __init__(
        self,
        act: "Callable[[PendingConnection, Outcome], None]",
        buffer: memoryview,
        sock: socket.socket,
        guest: Guest,
        *,
        has_header: bool,
    ) -> None:
        self.act = act
        self.buffer = buffer
        self.sock = sock
        self.guest = guest
        self.client = ""
        self.has_header = has_header  # a PROXY protocol header stands before everything else
        self.dial: Any = None  # its scheduler's, while that is being connected with
        self.seen = START  # how far the hello was looked at
        self.wanted = 1
        self.ended = False
        self.silent = True  # not a byte has come
        self.settled = False
        self.watched = False

    def ready(self, mask: int) -> None:
        """Look at what has come, and act on it."""
        if not self.settled:
            self.act(self, self.look(mask))

    def look(self, mask: int = 0) -> Outcome:
        """Return what the bytes that are there tell. A `ProxyHeader` is taken off: the next look is at what follows."""
        if mask & _END:
            self.ended = True  # which is told once
        try:
            size = self.sock.recv_into(self.buffer, MAX_HELLO, socket.MSG_PEEK)
        except BlockingIOError:
            return Undecided.WAIT
        except OSError:
            return Undecided.ENDED
        if size < self.wanted:
            return Undecided.ENDED if not size or self.ended else Undecided.WAIT
        self.silent = False
        data = bytes(self.buffer[:size])
        try:
            answer = parse_proxy_header(data) if self.has_header else parse_client_hello(data, self.seen, _RECORDS)
        except (MalformedClientHello, MalformedProxyHeader) as error:
            return Malformed(str(error))
        if isinstance(answer, NeedMoreData):
            return self._wait_for(answer, size)
        self._expect(1)
        self.seen = START
        if isinstance(answer, ProxyHeader):
            self.sock.recv_into(self.buffer, answer.size)
            self.has_header = False
        return answer

    def _wait_for(self, more: NeedMoreData, size: int) -> Undecided:
        self.seen = more
        if more.size <= size:
            return Undecided.LOOK_AGAIN
        if self.ended:
            return Undecided.ENDED
        self._expect(more.size)
        return Undecided.WAIT

    def _expect(self, size: int) -> None:
        if size != self.wanted:
            self.wanted = size
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, size)

    def abort(self) -> None:
        """End it: time is up, or something unforeseen happened."""
        self.act(self, Undecided.ENDED)
