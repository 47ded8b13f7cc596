"""From an arrival that asks for a cluster to a relay with its scheduler, and all relays that are open."""

import errno
import os
import socket
from collections.abc import Callable, Sequence
from functools import partial

import structlog
import trio

from gateway.log import RateLimitedLog
from gateway.proxy.admission import Guest
from gateway.proxy.connector import Connector, RefusedDestination, numeric_family
from gateway.proxy.deadlines import Deadlines
from gateway.proxy.detect import Arrival
from gateway.proxy.dialing import Dial
from gateway.proxy.limits import Limits
from gateway.proxy.relay.epoll_loop import EpollLoop
from gateway.proxy.relay.pipes import Pipes
from gateway.proxy.relay.relay import Relay
from gateway.proxy.resolver import Target
from gateway.proxy.routes import Route, Routes
from gateway.proxy.tcp_options import expect_life, hurry_within_host
from gateway.proxy.traffic import Traffic

_log = structlog.get_logger()


class Switchboard:
    """Connects arrivals with schedulers.

    `failed(arrival)` is called for an arrival whose scheduler does not answer (its socket is still open),
    `left(guest)` when the relay of that client has ended.
    """

    def __init__(
        self,
        nursery: trio.Nursery,
        loop: EpollLoop,
        pipes: Pipes,
        routes: Routes,
        connector: Connector,
        limits: Limits,
        log: RateLimitedLog,
        *,
        failed: Callable[[Arrival], None],
        left: Callable[[Guest], None],
    ) -> None:
        self.dials: Deadlines[Dial] = Deadlines(limits.connect_timeout, Dial.expire)
        self._nursery = nursery
        self._loop = loop
        self._routes = routes
        self._connector = connector
        self._limits = limits
        self._log = log
        self._failed = failed
        self._left = left
        self._pipes = pipes
        self._dials: dict[Route, set[Dial]] = {}
        self._relays: dict[Route, set[Relay]] = {}
        self._traffic: dict[str, Traffic] = {}
        self._on_closed = self._relay_closed  # one bound method for all relays

    def connect(self, arrival: Arrival, route: Route) -> None:
        """Begin to connect an arrival with the scheduler of a route."""
        family = numeric_family(route.scheduler[0])
        if family is None:
            self._nursery.start_soon(self._look_up, arrival, route)
        else:
            self._dial(arrival, route, [(family, route.scheduler)])

    async def _look_up(self, arrival: Arrival, route: Route) -> None:
        try:
            await self._dial_by_name(arrival, route)
        except Exception as error:  # noqa: BLE001 (the boundary of each connection, as the loop's is for watchers)
            _log.error("connection failed", cluster=route.name, error=repr(error), exc_info=error)
            arrival.abort()
        except trio.Cancelled:
            arrival.abort()
            raise

    async def _dial_by_name(self, arrival: Arrival, route: Route) -> None:
        try:
            with trio.fail_after(self._limits.connect_timeout):
                targets = await self._connector.look_up(route.name, route.scheduler)
        except (OSError, trio.TooSlowError) as error:
            self._fail(arrival, route, str(error) or "its name cannot be looked up in time")
            return
        if arrival.guest.gone:
            return
        if self._routes.get(route.name) == route:
            self._dial(arrival, route, targets)
        else:  # `end_route` has come and gone meanwhile, and would not end this connection
            self._failed(arrival)

    def _dial(self, arrival: Arrival, route: Route, targets: Sequence[Target]) -> None:
        """Connect with the first of these addresses that accepts."""
        reason = "it has no address"
        for tried, (family, address) in enumerate(targets, 1):
            try:
                self._connector.check((family, address))
                sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
            except RefusedDestination as error:
                reason = str(error)
                self._log.warning("a scheduler's address is not connected to", cluster=route.name, reason=reason)
                continue
            except OSError as error:
                reason = str(error)
                continue
            code = sock.connect_ex(address)
            if code == 0:
                self._relay(arrival, route, sock)
                return
            if code == errno.EINPROGRESS:
                arrival.guest.end = partial(self._give_up, arrival)
                dial = arrival.dial = Dial(self, arrival, route, sock, targets[tried:])
                self._loop.add(sock, dial)
                self.dials.add(dial)
                self._dials.setdefault(route, set()).add(dial)
                return
            sock.close()
            reason = os.strerror(code)
        self._fail(arrival, route, reason)

    def connected(self, dial: Dial) -> None:
        """A scheduler has accepted: let the bytes flow."""
        self._forget(dial)
        self._relay(dial.arrival, dial.route, dial.sock, watched=True)

    def refused(self, dial: Dial, reason: str) -> None:
        """A scheduler has not accepted at this address; it may have others."""
        self._forget(dial)
        self._loop.drop(dial.sock)
        if dial.others:
            self._dial(dial.arrival, dial.route, dial.others)
        else:
            self._fail(dial.arrival, dial.route, reason)

    def _forget(self, dial: Dial) -> None:
        dial.arrival.dial = None
        self.dials.discard(dial)
        dials = self._dials[dial.route]
        dials.discard(dial)
        if not dials:
            del self._dials[dial.route]

    def _give_up(self, arrival: Arrival) -> None:
        """It is ended to make room, before its scheduler has answered."""
        if dial := arrival.dial:
            self._forget(dial)
            self._loop.drop(dial.sock)
        arrival.abort()

    def _fail(self, arrival: Arrival, route: Route, reason: str) -> None:
        if arrival.guest.gone:
            return
        host, port = route.scheduler
        self._log.info("scheduler does not answer", cluster=route.name, address=f"{host}:{port}", error=reason)
        self._routes.refused(route.name)
        self._failed(arrival)

    def _relay(self, arrival: Arrival, route: Route, sock: socket.socket, *, watched: bool = False) -> None:
        loop = self._loop
        expect_life(sock, self._limits.dead_peer_timeout)
        hurry_within_host(sock)
        hurry_within_host(arrival.sock)
        relay = Relay(loop, self._pipes, arrival.sock, sock, self._on_closed, (route, arrival.guest))
        arrival.guest.end = relay.reset
        self._relays.setdefault(route, set()).add(relay)
        for side, known in ((relay.client, arrival.watched), (relay.upstream, watched)):
            if known:
                loop.hand_over(side.sock, side)
            else:
                loop.add(side.sock, side)
        traffic = self._traffic.get(route.name)
        if traffic is None:
            traffic = self._traffic[route.name] = Traffic()
        traffic.total_connections += 1
        relay.start()

    def _relay_closed(self, relay: Relay) -> None:
        route, guest = relay.tag
        relays = self._relays[route]
        relays.discard(relay)
        if not relays:
            del self._relays[route]
        if traffic := self._traffic.get(route.name):
            traffic.count(relay.upstream.sock)
        self._left(guest)

    def end_route(self, route: Route) -> None:
        """End all connections that go to where this route leads."""
        for dial in tuple(self._dials.get(route, ())):
            dial.abort()
        for relay in tuple(self._relays.get(route, ())):
            relay.reset()
        if self._routes.get(route.name) is None:
            self._traffic.pop(route.name, None)

    def traffic(self, name: str) -> Traffic:
        """What a cluster's connections have carried since it has a route; nothing of one that has gone."""
        route = self._routes.get(name)
        relays = self._relays.get(route, ()) if route else ()
        return self._traffic.get(name, Traffic()).with_open([relay.upstream.sock for relay in relays])
