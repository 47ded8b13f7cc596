"""The first moments of a connection: whose is it?

An `Arrival` watches a connection until its first bytes tell, and then gives it
to whom it is for (`Desk`). Like a relay it lives in the `EpollLoop`, without a
task, and in the best case (a hello that is there already) it comes and goes
within one turn.

The bytes are looked at with MSG_PEEK: they stay in the kernel, and whoever
gets the connection finds an untouched socket. While a hello is incomplete,
SO_RCVLOWAT is raised to what is missing, so that not each of its segments
wakes us. Each of its records is looked at once, and only some in one turn, so
that hellos of very many tiny records delay nobody.
"""

import select
import socket
from typing import Any, Protocol

from gateway.proxy.admission import Guest
from gateway.proxy.client_hello import MAX_HELLO, START, BadHello, Hello, More, parse_client_hello
from gateway.proxy.proxy_protocol import BadProxyHeader, ProxyHeader, parse_proxy_header

#: Records of a hello that are looked at before others have their turn; no usual hello has as many.
_RECORDS = 64
_END = select.EPOLLRDHUP | select.EPOLLHUP | select.EPOLLERR


class Desk(Protocol):
    """Decides, and has the buffer to look with."""

    peek_buffer: memoryview

    def heard(self, arrival: "Arrival") -> None:
        """The first bytes have come."""

    def not_through(self, arrival: "Arrival") -> None:
        """More has come than one turn is for: call `arrival.ready(0)` in the next."""

    def introduced(self, arrival: "Arrival", client: str) -> bool:
        """A trusted proxy says who the client is; False when it cannot be taken (and has been closed)."""
        ...

    def wants_server(self, arrival: "Arrival", server_name: str) -> None:
        """It is TLS, for a server of this name (lower case, may be empty)."""

    def wants_plain(self, arrival: "Arrival") -> None:
        """It is no TLS."""

    def bad_start(self, arrival: "Arrival", reason: str) -> None:
        """It is something that makes no sense."""

    def gave_up(self, arrival: "Arrival") -> None:
        """It ended, or took too long, before it was clear."""


class Arrival:
    """The watcher of a connection that is not understood yet.

    `guest` has the client's address, as logs and limits know it; `client` is the same when a trusted proxy has said it.
    """

    __slots__ = (
        "client",
        "desk",
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

    def __init__(self, desk: Desk, sock: socket.socket, guest: Guest, *, has_header: bool) -> None:
        self.desk = desk
        self.sock = sock
        self.guest = guest
        self.client = ""
        self.has_header = has_header  # a PROXY protocol header stands before everything else
        self.dial: Any = None  # its scheduler's, while that is being connected with
        self.seen = START  # how far the hello was looked at
        self.wanted = 1
        self.ended = False
        self.silent = True
        self.settled = False
        self.watched = False

    def ready(self, mask: int) -> None:
        """Look at what has come; while that says nothing new, wait on."""
        if self.settled:
            return
        desk = self.desk
        if mask & _END:
            self.ended = True  # which is told once
        while True:
            try:
                size = self.sock.recv_into(desk.peek_buffer, MAX_HELLO, socket.MSG_PEEK)
            except BlockingIOError:
                return
            except OSError:
                desk.gave_up(self)
                return
            if size < self.wanted:
                if not size or self.ended:
                    desk.gave_up(self)
                return
            if self.silent:
                self.silent = False
                desk.heard(self)
            data = bytes(desk.peek_buffer[:size])
            try:
                answer = parse_proxy_header(data) if self.has_header else parse_client_hello(data, self.seen, _RECORDS)
            except (BadHello, BadProxyHeader) as error:
                desk.bad_start(self, str(error))
                return
            if isinstance(answer, More):
                self.seen = answer
                if answer.size <= size:
                    desk.not_through(self)
                elif self.ended:
                    desk.gave_up(self)
                else:
                    self._expect(answer.size)
                return
            self._expect(1)
            self.seen = START
            if not isinstance(answer, ProxyHeader):
                break
            self.sock.recv_into(desk.peek_buffer, answer.size)
            self.has_header = False
            if answer.client and not desk.introduced(self, answer.client):
                return
        if isinstance(answer, Hello):
            desk.wants_server(self, answer.server_name)
        else:
            desk.wants_plain(self)

    def _expect(self, size: int) -> None:
        if size != self.wanted:
            self.wanted = size
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, size)

    def abort(self) -> None:
        """Time is up, or something unforeseen happened."""
        self.desk.gave_up(self)
