"""From a connection that asks for a cluster to a relay with its scheduler, and all relays that are open."""

import errno
import os
import select
import socket
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial

import structlog
import trio

from gateway.addresses import Address
from gateway.config.proxy import Proxy
from gateway.log import RateLimitedLog
from gateway.proxy.admission import Guest
from gateway.proxy.deadlines import Deadlines
from gateway.proxy.detect import PendingConnection
from gateway.proxy.dialer import Dialer, RefusedDestination, numeric_family
from gateway.proxy.relay.epoll_loop import EpollLoop
from gateway.proxy.relay.pipes import Pipes
from gateway.proxy.relay.relay import Relay
from gateway.proxy.resolver import Target
from gateway.proxy.routes import Route, Routes
from gateway.proxy.sockets import expect_life, hurry_within_host
from gateway.proxy.traffic import Traffic

_log = structlog.get_logger()


class Dial:
    """The watcher of a connection to a scheduler that is being made for a pending connection.

    `done(dial, reason)` is called once: the scheduler has accepted (no reason), or not at this address. `others` are
    the addresses left to try then.
    """

    __slots__ = ("done", "others", "pending", "route", "sock")

    def __init__(
        self,
        done: "Callable[[Dial, str], None]",
        pending: PendingConnection,
        route: Route,
        sock: socket.socket,
        others: Sequence[Target] = (),
    ) -> None:
        self.done = done
        self.pending = pending
        self.route = route
        self.sock = sock
        self.others = others

    def ready(self, mask: int) -> None:
        """Tell whether the connection stands, or why there is none."""
        error = self.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if error:
            self.done(self, os.strerror(error))
        elif mask & select.EPOLLOUT:
            self.done(self, "")

    def expire(self) -> None:
        """Give this address up, as its time is over."""
        self.done(self, "no answer")

    def abort(self) -> None:
        """Give up and try no other address: the route has gone, the port closes, or something unforeseen happened."""
        self.others = ()
        self.done(self, "given up")


class SchedulerConnector:
    """Connects pending connections with schedulers.

    `failed(pending)` is called for one whose scheduler does not answer (its socket is still open),
    `left(guest)` when the relay of that client has ended.
    """

    def __init__(
        self,
        nursery: trio.Nursery,
        loop: EpollLoop,
        pipes: Pipes,
        *,
        routes: Routes,
        dialer: Dialer,
        options: Proxy,
        log: RateLimitedLog,
        failed: Callable[[PendingConnection], None],
        left: Callable[[Guest], None],
    ) -> None:
        self.dials: Deadlines[Dial] = Deadlines(options.connect_timeout, Dial.expire)
        self._nursery = nursery
        self._loop = loop
        self._routes = routes
        self._dialer = dialer
        self._options = options
        self._log = log
        self._failed = failed
        self._left = left
        self._pipes = pipes
        self._dials: dict[Route, set[Dial]] = {}
        self._relays: dict[Route, set[Relay]] = {}
        self._traffic: dict[str, Traffic] = {}
        self._ended = Traffic()  # what those that have ended have carried, of all clusters
        self._clients: Counter[str] = Counter()
        self._on_closed = self._relay_closed  # one bound method for all relays

    def connect(self, pending: PendingConnection, route: Route) -> None:
        """Begin to connect a client with the scheduler of a route; `failed(pending)` is called when that cannot be."""
        address = _scheduler_of(route)
        family = numeric_family(address[0])
        if family is None:
            self._nursery.start_soon(self._look_up, pending, route)
        else:
            self._dial(pending, route, [(family, address)])

    async def _look_up(self, pending: PendingConnection, route: Route) -> None:
        try:
            await self._dial_by_name(pending, route)
        except Exception as error:  # noqa: BLE001 (the boundary of each connection, as the loop's is for watchers)
            _log.error("connection failed", cluster=route.cluster, error=repr(error), exc_info=error)
            pending.abort()
        except trio.Cancelled:
            pending.abort()
            raise

    async def _dial_by_name(self, pending: PendingConnection, route: Route) -> None:
        try:
            with trio.fail_after(self._options.connect_timeout):
                targets = await self._dialer.look_up(route.cluster, _scheduler_of(route))
        except (OSError, trio.TooSlowError) as error:
            self._fail(pending, route, str(error) or "its name cannot be looked up in time")
            return
        if pending.guest.gone:
            return
        if self._routes.get(route.name) == route:
            self._dial(pending, route, targets)
        else:  # `end_route` has come and gone meanwhile, and would not end this connection
            self._failed(pending)

    def _dial(self, pending: PendingConnection, route: Route, targets: Sequence[Target]) -> None:
        """Connect with the first of these addresses that accepts."""
        reason = "it has no address"
        for tried, (family, address) in enumerate(targets, 1):
            try:
                self._dialer.check((family, address))
                sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
            except RefusedDestination as error:
                reason = str(error)
                self._log.warning("a scheduler's address is not connected to", cluster=route.cluster, reason=reason)
                continue
            except OSError as error:
                reason = str(error)
                continue
            code = sock.connect_ex(address)
            if code == 0:
                self._relay(pending, route, sock)
                return
            if code == errno.EINPROGRESS:
                pending.guest.end = partial(self._give_up, pending)
                dial = pending.dial = Dial(self._dialed, pending, route, sock, targets[tried:])
                self._loop.register(sock, dial)
                self.dials.add(dial)
                self._dials.setdefault(route, set()).add(dial)
                return
            sock.close()
            reason = os.strerror(code)
        self._fail(pending, route, reason)

    def _dialed(self, dial: Dial, reason: str) -> None:
        """Let the bytes flow when a scheduler has accepted; else it may have other addresses."""
        self._forget(dial)
        if not reason:
            self._relay(dial.pending, dial.route, dial.sock, watched=True)
            return
        self._loop.close_socket(dial.sock)
        if dial.others:
            self._dial(dial.pending, dial.route, dial.others)
        else:
            self._fail(dial.pending, dial.route, reason)

    def _forget(self, dial: Dial) -> None:
        dial.pending.dial = None
        self.dials.discard(dial)
        dials = self._dials[dial.route]
        dials.discard(dial)
        if not dials:
            del self._dials[dial.route]

    def _give_up(self, pending: PendingConnection) -> None:
        """End it to make room, before its scheduler has answered."""
        if dial := pending.dial:
            self._forget(dial)
            self._loop.close_socket(dial.sock)
        pending.abort()

    def _fail(self, pending: PendingConnection, route: Route, reason: str) -> None:
        if pending.guest.gone:
            return
        host, port = _scheduler_of(route)
        self._log.info("scheduler does not answer", cluster=route.cluster, address=f"{host}:{port}", error=reason)
        self._routes.refused(route.name)
        self._failed(pending)

    def _relay(self, pending: PendingConnection, route: Route, sock: socket.socket, *, watched: bool = False) -> None:
        loop = self._loop
        expect_life(sock, self._options.dead_peer_timeout)
        hurry_within_host(sock)
        hurry_within_host(pending.sock)
        relay = Relay(loop, self._pipes, pending.sock, sock, self._on_closed, (route, pending.guest))
        pending.guest.end = relay.reset
        self._relays.setdefault(route, set()).add(relay)
        for side, known in ((relay.client, pending.watched), (relay.upstream, watched)):
            if known:
                loop.set_watcher(side.sock, side)
            else:
                loop.register(side.sock, side)
        traffic = self._traffic.get(route.cluster)
        if traffic is None:
            traffic = self._traffic[route.cluster] = Traffic()
        traffic.total_connections += 1
        self._ended.total_connections += 1
        self._clients[route.cluster] += 1
        if self._clients[route.cluster] == 1:
            self._routes.client(route.cluster, connected=True)
        relay.start()

    def _relay_closed(self, relay: Relay) -> None:
        route, guest = relay.tag
        relays = self._relays[route]
        relays.discard(relay)
        if not relays:
            del self._relays[route]
        of_cluster = self._traffic.get(route.cluster)
        self._ended.count(relay.upstream.sock, *([of_cluster] if of_cluster else ()))
        self._clients[route.cluster] -= 1
        if not self._clients[route.cluster]:
            del self._clients[route.cluster]
            self._routes.client(route.cluster, connected=False)
        self._left(guest)

    def end_route(self, route: Route) -> None:
        """End all connections that go to where this route leads, with a reset."""
        for dial in tuple(self._dials.get(route, ())):
            dial.abort()
        for relay in tuple(self._relays.get(route, ())):
            relay.reset()
        if not self._routes.of_cluster(route.cluster):
            self._traffic.pop(route.cluster, None)

    def traffic(self, cluster: str) -> Traffic:
        """Return what a cluster's connections have carried since it has a route; nothing for an unknown one."""
        relays = [relay for route in self._routes.of_cluster(cluster) for relay in self._relays.get(route, ())]
        return self._traffic.get(cluster, Traffic()).with_open([relay.upstream.sock for relay in relays])

    def all_traffic(self) -> Traffic:
        """Return what all connections have carried since the port was opened, of clusters that are gone as well."""
        open_ones = [relay.upstream.sock for relays in self._relays.values() for relay in relays]
        return self._ended.with_open(open_ones)


def _scheduler_of(route: Route) -> Address:
    """Where connections by this route go; those that go nowhere are no server's name (`Routes.find`)."""
    assert route.scheduler is not None
    return route.scheduler
