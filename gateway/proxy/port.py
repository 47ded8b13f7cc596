"""The public port: for each connection a look at its first bytes, and then the right way.

    ClientHello for `daskgateway-<cluster>`  → relay to that cluster's scheduler, TLS untouched
      of which it is known that it has ended → its reason (farewell.py)
    any other ClientHello                    → TLS with us, then HTTP
    anything else                            → HTTP

Whatever has no need of a task has none: listeners, pending connections, dials
and relays are watchers in one `EpollLoop` (detect.py, proxy/relay/relay.py). A
task begins where HTTP begins (http.py). Nothing that a client sends can leave
its connection: watchers have their boundary in the loop, HTTP connections in
their handler.
"""

import select
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import trio
from attrs import frozen

from gateway import metrics
from gateway.config.proxy import Proxy
from gateway.log import RateLimitedLog
from gateway.proxy.accept import Acceptor
from gateway.proxy.admission import Admission, Guest, Trust
from gateway.proxy.client_hello import (
    DECODE_ERROR,
    HANDSHAKE_FAILURE,
    INTERNAL_ERROR,
    MAX_HELLO,
    UNRECOGNIZED_NAME,
    ClientHello,
    PlainText,
)
from gateway.proxy.connector import SchedulerConnector
from gateway.proxy.deadlines import Deadlines
from gateway.proxy.detect import Malformed, Outcome, PendingConnection, Undecided
from gateway.proxy.dialer import Dialer
from gateway.proxy.farewell import Farewell, Farewells
from gateway.proxy.http import HttpHandler
from gateway.proxy.proxy_protocol import ProxyHeader
from gateway.proxy.relay.epoll_loop import EpollLoop
from gateway.proxy.relay.pipes import Pipes
from gateway.proxy.routes import SERVER_NAME_PREFIX, Route, Routes
from gateway.proxy.sockets import expect_life
from gateway.proxy.traffic import Traffic

#: So many connections are ended when file descriptors or memory are used up: others need some as well.
_SPARED = 16

#: How long a listener rests when they are used up and nobody is left to be ended, in seconds.
_PAUSE = 0.1


@frozen(kw_only=True)
class Service:
    """What a port serves, and how; see `serve_public`."""

    routes: Routes
    http: HttpHandler | None
    schedulers: bool
    trust: Trust
    dialer: Dialer
    options: Proxy
    log: RateLimitedLog
    farewell: Callable[[str], Farewell | None]
    missed: Callable[[str], None]


class PublicPort:
    """All connections of some listeners, from the moment that they are accepted."""

    def __init__(self, nursery: trio.Nursery, loop: EpollLoop, pipes: Pipes, service: Service) -> None:
        options = service.options
        self.loop = loop
        self.silent: Deadlines[PendingConnection] = Deadlines(options.first_byte_timeout, PendingConnection.abort)
        self.unclear: Deadlines[PendingConnection] = Deadlines(options.hello_timeout, PendingConnection.abort)
        self.connector = SchedulerConnector(
            nursery,
            loop,
            pipes,
            routes=service.routes,
            dialer=service.dialer,
            options=options,
            log=service.log,
            failed=self._failed,
            left=self._left,
        )
        self._peek_buffer = memoryview(bytearray(MAX_HELLO))
        self._nursery = nursery
        self._service = service
        self._log = service.log
        self._farewells = Farewells(service.farewell, service.log)
        self._admission = Admission(options, self._ended)
        self._acceptors: set[Acceptor] = set()
        self._life: trio.CancelScope | None = None

    def traffic(self, name: str) -> Traffic:
        """Return what this cluster's connections through this port have carried so far."""
        return self.connector.traffic(name)

    def all_traffic(self) -> Traffic:
        """Return what the connections of all clusters through this port have carried so far."""
        return self.connector.all_traffic()

    @property
    def open_connections(self) -> int:
        """How many connections there are, of all kinds."""
        return self._admission.total

    def listen(self, listeners: Sequence[socket.socket]) -> None:
        """Accept connections from these sockets, which stay the caller's to close."""
        for listener in listeners:
            if listener.family != socket.AF_UNIX:
                expect_life(listener, self._service.options.dead_peer_timeout)
            self._open(Acceptor(listener, self._arrive, self._pause))

    def _open(self, acceptor: Acceptor) -> None:
        self._acceptors.add(acceptor)
        self.loop.register(acceptor.listener, acceptor, select.EPOLLIN)

    def stop(self, life: trio.CancelScope) -> None:
        """Take no more connections, and cancel `life` when the last one has ended."""
        for acceptor in self._acceptors:
            if acceptor.listener.fileno() >= 0:  # else the port has failed, and everything is closed already
                self.loop.unregister(acceptor.listener)
                acceptor.abort()
        self._acceptors.clear()
        self._life = life
        self._end_if_empty()

    def _pause(self, acceptor: Acceptor, reason: OSError) -> None:
        """File descriptors or memory are used up: let some be given back first."""
        self._log.warning("cannot accept connections", error=str(reason), open=self._admission.total)
        metrics.REFUSED_CONNECTIONS.labels("no resources").inc()
        self._service.missed("connections could not be accepted")
        if self._admission.spare(_SPARED):
            return  # in the next turn those are closed
        self.loop.unregister(acceptor.listener)
        self._acceptors.discard(acceptor)
        self._nursery.start_soon(self._resume, acceptor)

    async def _resume(self, acceptor: Acceptor) -> None:
        try:
            await trio.sleep(_PAUSE)
        finally:
            if self._life is None:
                self._open(acceptor)
            else:
                acceptor.abort()

    def _arrive(self, sock: socket.socket, name: Any) -> None:
        """A connection has been accepted."""
        address = name[0].removeprefix("::ffff:") if isinstance(name, tuple) else "unix"
        if reason := self._admission.make_room(address):
            self._turned_away(address, reason)
            sock.close()
            return
        sock.setblocking(False)
        guest = self._admission.enter(address)
        pending = PendingConnection(
            self._act, self._peek_buffer, sock, guest, has_header=address in self._service.trust
        )
        guest.end = pending.abort
        self.loop.call(pending, select.EPOLLIN)
        if not pending.settled:
            self._admission.is_silent(guest)
            (self.silent if pending.silent else self.unclear).add(pending)
            pending.watched = True
            self.loop.register(sock, pending)

    def _turned_away(self, address: str, reason: str) -> None:
        self._log.warning("connection refused", client=address, reason=reason)
        metrics.REFUSED_CONNECTIONS.labels("no room").inc()
        self._service.missed("connections were refused")

    def _ended(self, guest: Guest, reason: str) -> None:
        """A connection is about to be ended for another's sake."""
        self._log.warning("connection ended to make room", client=guest.address, reason=reason)
        metrics.REFUSED_CONNECTIONS.labels("ended for others").inc()
        if not guest.served:  # it may have been about to say something
            self._service.missed("connections were ended to make room for others")

    def _act(self, pending: PendingConnection, outcome: Outcome) -> None:
        """Do what a look at a connection's first bytes asks for."""
        if not pending.silent and pending in self.silent:  # from its first byte on a shorter time runs
            self.silent.discard(pending)
            self.unclear.add(pending)
        match outcome:
            case ClientHello(server_name):
                self._serve_tls(pending, server_name)
            case PlainText():
                self._serve_plain(pending)
            case ProxyHeader(_, client):
                if not client or self._introduce(pending, client):
                    self._act(pending, pending.look())
            case Malformed(reason):
                self._log.info("bad first bytes", client=pending.guest.address, error=reason)
                metrics.REFUSED_CONNECTIONS.labels("bad first bytes").inc()
                self._refuse(pending, DECODE_ERROR)
            case Undecided.LOOK_AGAIN:
                self.loop.call_soon(pending)
            case Undecided.ENDED:
                self._give_up(pending)

    def _introduce(self, pending: PendingConnection, client: str) -> bool:
        """A trusted proxy has said who the client is; False when that client has no more room."""
        reason = self._admission.introduce(pending.guest, client)
        pending.client = client
        if reason:
            self._turned_away(client, reason)
            self._give_up(pending)
        return not reason

    def _serve_tls(self, pending: PendingConnection, server_name: str) -> None:
        """It is TLS: for a cluster, for us, or for nobody."""
        http = self._service.http
        for_cluster = server_name.startswith(SERVER_NAME_PREFIX)
        route = self._service.routes.find(server_name) if for_cluster and self._service.schedulers else None
        if route:
            self._to_scheduler(pending, route)
        elif farewell := self._farewells.find(server_name) if for_cluster and self._service.schedulers else None:
            self._to_farewell(pending, farewell)
        elif not for_cluster and http and http.has_tls:
            self._to_http(pending, http, tls=True)
        else:
            self._log.info("unknown server name", client=pending.guest.address, server_name=server_name)
            self._refuse(pending, UNRECOGNIZED_NAME if for_cluster else HANDSHAKE_FAILURE)

    def _serve_plain(self, pending: PendingConnection) -> None:
        """It is no TLS: HTTP, or nothing that is served here."""
        if http := self._service.http:
            self._to_http(pending, http, tls=False)
        else:
            self._give_up(pending)

    def _give_up(self, pending: PendingConnection) -> None:
        """It ended, or took too long."""
        self._settle(pending)
        self.loop.close_socket(pending.sock)
        self._left(pending.guest)

    def _failed(self, pending: PendingConnection) -> None:
        self._refuse(pending, INTERNAL_ERROR)

    def _refuse(self, pending: PendingConnection, alert: bytes) -> None:
        # What has arrived is read first: closing over unread bytes is a reset, which may overtake the alert.
        with suppress(OSError):
            pending.sock.recv_into(self._peek_buffer)
            pending.sock.send(alert)
        self._give_up(pending)

    def _settle(self, pending: PendingConnection) -> None:
        if not pending.settled:
            pending.settled = True
            self._admission.has_asked(pending.guest)
            if pending.watched:
                self.silent.discard(pending)
                self.unclear.discard(pending)

    def _left(self, guest: Guest) -> None:
        self._admission.leave(guest)
        self._end_if_empty()

    def _end_if_empty(self) -> None:
        if self._life and not self._admission.total:
            self._life.cancel()

    def _to_scheduler(self, pending: PendingConnection, route: Route) -> None:
        self._settle(pending)
        if self._admission.knows(pending.guest):
            self.connector.connect(pending, route)
        else:
            self._log.warning("connection refused", client=pending.guest.address, reason="too many are relayed")
            metrics.REFUSED_CONNECTIONS.labels("no room").inc()
            self._refuse(pending, INTERNAL_ERROR)

    def _to_farewell(self, pending: PendingConnection, farewell: Farewell) -> None:
        self._settle(pending)
        if pending.watched:
            self.loop.unregister(pending.sock)
        guest = pending.guest
        self._farewells.begin(self._nursery, pending.sock, farewell, guest.address, lambda: self._left(guest))

    def _to_http(self, pending: PendingConnection, http: HttpHandler, *, tls: bool) -> None:
        self._settle(pending)
        if pending.watched:
            self.loop.unregister(pending.sock)
        pending.guest.end = pending.sock.close  # until its task has begun
        self._admission.idles(pending.guest)
        self._nursery.start_soon(self._serve_http, pending, http, tls)

    async def _serve_http(self, pending: PendingConnection, http: HttpHandler, tls: bool) -> None:
        try:
            if not pending.guest.gone:
                await http.serve(pending.sock, pending.guest, pending.client, tls=tls)
        finally:
            self._left(pending.guest)
