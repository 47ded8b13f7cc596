"""The public port: for each connection a look at its first bytes, and then the right way.

    ClientHello for `daskgateway-<cluster>`  → relay to that cluster's scheduler, TLS untouched
      of which it is known that it has ended → its reason (farewell.py)
    any other ClientHello                    → TLS with us, then HTTP
    anything else                            → HTTP

Whatever has no need of a task has none: listeners, arrivals, dials and relays
are watchers in one `EpollLoop` (detect.py, proxy/relay/relay.py). A task begins where HTTP
begins (http.py). Nothing that a client sends can leave its connection: watchers
have their boundary in the loop, web connections in the door.
"""

import select
import socket
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from typing import Any

import trio

from gateway.errors import innermost
from gateway.log import RateLimitedLog
from gateway.proxy.accept import Acceptor
from gateway.proxy.admission import Admission, Guest
from gateway.proxy.client_hello import MAX_HELLO
from gateway.proxy.connector import Connector
from gateway.proxy.deadlines import Deadlines
from gateway.proxy.detect import Arrival
from gateway.proxy.farewell import Farewell, say_farewell
from gateway.proxy.http import Context, HttpStream, ServeHttp, WebDoor
from gateway.proxy.limits import DEFAULT_LIMITS, Limits
from gateway.proxy.relay.epoll_loop import EpollLoop
from gateway.proxy.relay.pipes import Pipes
from gateway.proxy.routes import SERVER_NAME_PREFIX, Route, Routes
from gateway.proxy.switchboard import Switchboard
from gateway.proxy.tcp_options import expect_life
from gateway.proxy.traffic import Traffic
from gateway.proxy.trust import Trust

__all__ = ["HttpStream", "PublicPort", "ServeHttp", "serve_public"]

# Fatal alerts, RFC 8446, 6: what OpenSSL clients print as "unrecognized name", and so on.
_UNRECOGNIZED_NAME = b"\x15\x03\x01\x00\x02\x02\x70"
_DECODE_ERROR = b"\x15\x03\x01\x00\x02\x02\x32"
_HANDSHAKE_FAILURE = b"\x15\x03\x01\x00\x02\x02\x28"
_INTERNAL_ERROR = b"\x15\x03\x01\x00\x02\x02\x50"

#: So many clients of ended clusters are told so at once; others try again.
MAX_FAREWELLS = 32

#: So many connections are ended when file descriptors or memory are used up: others need some as well.
_SPARED = 16

#: How long a listener rests when they are used up and nobody is left to be ended, in seconds.
_PAUSE = 0.1


async def serve_public(
    listeners: Sequence[socket.socket],
    *,
    routes: Routes,
    serve_http: ServeHttp | None,
    schedulers: bool = True,
    ssl_context: Context | None = None,
    trusted_proxies: Sequence[str] = (),
    connector: Connector | None = None,
    limits: Limits = DEFAULT_LIMITS,
    farewell: Callable[[str], Farewell | None] = lambda name: None,
    missed: Callable[[str], None] = lambda reason: None,
    task_status: trio.TaskStatus["PublicPort"] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve connections from `listeners` (which stay the caller's to close) until cancelled.

    `serve_http(stream)` serves HTTP on a connection whose TLS handshake, if any, is done; without it only
    scheduler traffic is taken. Without `schedulers` no connection is relayed. With `ssl_context` TLS connections
    are taken for HTTP too (a `ReloadingContext` follows renewed files); plain ones are handed to `serve_http` as
    before, which decides what they may ask for. Connections from `trusted_proxies` (addresses, networks, or `unix`)
    must begin with a PROXY protocol header. `connector` says which addresses of schedulers are connected to; without it
    all are. `farewell(name)` is what clients of a cluster that has ended are told, None for any other name.
    `missed(reason)` is called when somebody may have spoken in vain: a connection was turned away.
    `task_status` gets the `PublicPort`.

    When cancelled, no more connections are taken, open ones have `limits.shutdown_grace` seconds to end by
    themselves, and then are closed.
    """
    log = RateLimitedLog()
    door = WebDoor(serve_http, ssl_context, limits, log) if serve_http else None
    async with trio.open_nursery() as outer:
        # Shielded, and with a deadline as soon as the cancellation that is waited for outside has come.
        with closing(Pipes()) as pipes, closing(EpollLoop()) as loop, trio.CancelScope(shield=True) as life:
            async with trio.open_nursery() as nursery:
                port = PublicPort(
                    nursery,
                    loop,
                    pipes,
                    routes,
                    door,
                    schedulers,
                    Trust(trusted_proxies),
                    connector or Connector(),
                    limits,
                    log,
                    farewell,
                    missed,
                )
                with routes.on_gone(port.switchboard.end_route):
                    port.listen(listeners)
                    for run in (loop.run, port.silent.run, port.unclear.run, port.switchboard.dials.run):
                        nursery.start_soon(run)
                    if door:
                        nursery.start_soon(door.abort_when_cancelled)
                    outer.start_soon(_stop_when_cancelled, port, life, limits.shutdown_grace)
                    task_status.started(port)
                    await trio.sleep_forever()
        outer.cancel_scope.cancel()


async def _stop_when_cancelled(port: "PublicPort", life: trio.CancelScope, grace: float) -> None:
    try:
        await trio.sleep_forever()
    finally:
        life.deadline = trio.current_time() + grace
        port.stop(life)


class PublicPort:
    """The desk (detect.py) at which all connections of some listeners arrive."""

    def __init__(
        self,
        nursery: trio.Nursery,
        loop: EpollLoop,
        pipes: Pipes,
        routes: Routes,
        door: WebDoor | None,
        schedulers: bool,
        trust: Trust,
        connector: Connector,
        limits: Limits,
        log: RateLimitedLog,
        farewell: Callable[[str], Farewell | None],
        missed: Callable[[str], None],
    ) -> None:
        self.loop = loop
        self.peek_buffer = memoryview(bytearray(MAX_HELLO))
        self.silent: Deadlines[Arrival] = Deadlines(limits.first_byte_timeout, Arrival.abort)
        self.unclear: Deadlines[Arrival] = Deadlines(limits.hello_timeout, Arrival.abort)
        self.switchboard = Switchboard(
            nursery, loop, pipes, routes, connector, limits, log, failed=self._failed, left=self._left
        )
        self._nursery = nursery
        self._routes = routes
        self._door = door
        self._schedulers = schedulers
        self._trust = trust
        self._limits = limits
        self._log = log
        self._farewell = farewell
        self._farewells = 0
        self._missed = missed
        self._admission = Admission(limits, self._ended)
        self._acceptors: set[Acceptor] = set()
        self._life: trio.CancelScope | None = None

    @property
    def connections(self) -> int:
        """How many connections are open, of whatever kind."""
        return self._admission.total

    def traffic(self, name: str) -> Traffic:
        """What this cluster's connections through this port have carried so far."""
        return self.switchboard.traffic(name)

    def listen(self, listeners: Sequence[socket.socket]) -> None:
        """Take connections from these sockets."""
        for listener in listeners:
            if listener.family != socket.AF_UNIX:
                expect_life(listener, self._limits.dead_peer_timeout)
            self._open(Acceptor(self, listener))

    def _open(self, acceptor: Acceptor) -> None:
        self._acceptors.add(acceptor)
        self.loop.add(acceptor.listener, acceptor, select.EPOLLIN)

    def stop(self, life: trio.CancelScope) -> None:
        """Take no more connections, and cancel `life` when the last one has ended."""
        for acceptor in self._acceptors:
            if acceptor.listener.fileno() >= 0:  # else the port has failed, and everything is closed already
                self.loop.remove(acceptor.listener)
                acceptor.abort()
        self._acceptors.clear()
        self._life = life
        self._end_if_empty()

    def pause(self, acceptor: Acceptor, reason: OSError) -> None:
        """File descriptors or memory are used up: let some be given back first."""
        self._log.warning("cannot accept connections", error=str(reason), open=self._admission.total)
        self._missed("connections could not be accepted")
        if self._admission.spare(_SPARED):
            return  # in the next turn those are closed
        self.loop.remove(acceptor.listener)
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

    def arrive(self, sock: socket.socket, name: Any) -> None:
        """A connection has been accepted."""
        address = name[0].removeprefix("::ffff:") if isinstance(name, tuple) else "unix"
        if reason := self._admission.make_room(address):
            self._turned_away(address, reason)
            sock.close()
            return
        sock.setblocking(False)
        guest = self._admission.enter(address)
        arrival = Arrival(self, sock, guest, has_header=address in self._trust)
        guest.end = arrival.abort
        self.loop.tell(arrival, select.EPOLLIN)
        if not arrival.settled:
            self._admission.is_silent(guest)
            (self.silent if arrival.silent else self.unclear).add(arrival)
            arrival.watched = True
            self.loop.add(sock, arrival)

    def _turned_away(self, address: str, reason: str) -> None:
        self._log.warning("connection refused", client=address, reason=reason)
        self._missed("connections were refused")

    def _ended(self, guest: Guest, reason: str) -> None:
        """A connection is about to be ended for another's sake."""
        self._log.warning("connection ended to make room", client=guest.address, reason=reason)
        if not guest.served:  # it may have been about to say something
            self._missed("connections were ended to make room for others")

    def heard(self, arrival: Arrival) -> None:
        """A connection has said its first byte; from here a shorter time runs."""
        if arrival.watched:
            self.silent.discard(arrival)
            self.unclear.add(arrival)

    def not_through(self, arrival: Arrival) -> None:
        """There is more to look at in the next turn."""
        self.loop.again(arrival)

    def introduced(self, arrival: Arrival, client: str) -> bool:
        """A trusted proxy has said who the client is; False when that client has no more room."""
        reason = self._admission.introduce(arrival.guest, client)
        arrival.client = client
        if reason:
            self._turned_away(client, reason)
            self.gave_up(arrival)
        return not reason

    def wants_server(self, arrival: Arrival, server_name: str) -> None:
        """It is TLS: for a cluster, for us, or for nobody."""
        for_cluster = server_name.startswith(SERVER_NAME_PREFIX)
        route = self._routes.find(server_name) if for_cluster and self._schedulers else None
        if route:
            self._to_scheduler(arrival, route)
        elif farewell := self._farewell_of(server_name) if for_cluster and self._schedulers else None:
            self._to_farewell(arrival, farewell)
        elif not for_cluster and self._door and self._door.has_tls:
            self._to_web(arrival, self._door, tls=True)
        else:
            self._log.info("unknown server name", client=arrival.guest.address, server_name=server_name)
            self._refuse(arrival, _UNRECOGNIZED_NAME if for_cluster else _HANDSHAKE_FAILURE)

    def wants_plain(self, arrival: Arrival) -> None:
        """It is no TLS: HTTP, or nothing that is served here."""
        if self._door:
            self._to_web(arrival, self._door, tls=False)
        else:
            self.gave_up(arrival)

    def bad_start(self, arrival: Arrival, reason: str) -> None:
        """No sense can be made of it."""
        self._log.info("bad first bytes", client=arrival.guest.address, error=reason)
        self._refuse(arrival, _DECODE_ERROR)

    def gave_up(self, arrival: Arrival) -> None:
        """It ended, or took too long."""
        self._settle(arrival)
        self.loop.drop(arrival.sock)
        self._left(arrival.guest)

    def _failed(self, arrival: Arrival) -> None:
        self._refuse(arrival, _INTERNAL_ERROR)

    def _refuse(self, arrival: Arrival, alert: bytes) -> None:
        # What has arrived is read first: closing over unread bytes is a reset, which may overtake the alert.
        with suppress(OSError):
            arrival.sock.recv_into(self.peek_buffer)
            arrival.sock.send(alert)
        self.gave_up(arrival)

    def _settle(self, arrival: Arrival) -> None:
        if not arrival.settled:
            arrival.settled = True
            self._admission.has_asked(arrival.guest)
            if arrival.watched:
                self.silent.discard(arrival)
                self.unclear.discard(arrival)

    def _left(self, guest: Guest) -> None:
        self._admission.leave(guest)
        self._end_if_empty()

    def _end_if_empty(self) -> None:
        if self._life and not self._admission.total:
            self._life.cancel()

    def _to_scheduler(self, arrival: Arrival, route: Route) -> None:
        self._settle(arrival)
        if self._admission.knows(arrival.guest):
            self.switchboard.connect(arrival, route)
        else:
            self._log.warning("connection refused", client=arrival.guest.address, reason="too many are relayed")
            self._refuse(arrival, _INTERNAL_ERROR)

    def _farewell_of(self, server_name: str) -> Farewell | None:
        if self._farewells >= MAX_FAREWELLS:
            return None
        return self._farewell(server_name.lower().removeprefix(SERVER_NAME_PREFIX))

    def _to_farewell(self, arrival: Arrival, farewell: Farewell) -> None:
        self._settle(arrival)
        if arrival.watched:
            self.loop.remove(arrival.sock)
        self._farewells += 1
        self._nursery.start_soon(self._say_farewell, arrival, farewell)

    async def _say_farewell(self, arrival: Arrival, farewell: Farewell) -> None:
        try:
            await say_farewell(arrival.sock, farewell)
        except* Exception as errors:  # noqa: BLE001 (the boundary of this connection)
            self._log.info("connection failed", client=arrival.guest.address, error=repr(innermost(errors)))
        finally:
            self._farewells -= 1
            self._left(arrival.guest)

    def _to_web(self, arrival: Arrival, door: WebDoor, *, tls: bool) -> None:
        self._settle(arrival)
        if arrival.watched:
            self.loop.remove(arrival.sock)
        arrival.guest.end = arrival.sock.close  # until its task has begun
        self._admission.idles(arrival.guest)
        self._nursery.start_soon(self._serve_web, arrival, door, tls)

    async def _serve_web(self, arrival: Arrival, door: WebDoor, tls: bool) -> None:
        try:
            if not arrival.guest.gone:
                await door.serve(arrival.sock, arrival.guest, arrival.client, tls=tls)
        finally:
            self._left(arrival.guest)
