"""The edges of the server: the API and the listeners, which stand on everything else and end first.

The public port speaks HTTP and, unless schedulers have a port of their own,
carries their traffic; the private one speaks HTTP only, and the admin socket
serves the administrator's commands.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial

import trio
from attrs import Factory, define, frozen
from quart import Quart

from gateway.auth.chain import Chain
from gateway.auth.login_state import LoginStates
from gateway.auth.origins import own_origins
from gateway.auth.setup import open_chain, prepared
from gateway.clusters.hearing import Hearing
from gateway.clusters.lifecycle import is_active
from gateway.clusters.manager import Manager
from gateway.clusters.reasons import not_running
from gateway.clusters.sharing import leads_nowhere
from gateway.clusters.vital_signs import parts
from gateway.config.load import Config
from gateway.proxy.certificate import ReloadingContext
from gateway.proxy.dashboard.app import Dashboard
from gateway.proxy.dashboard.guard import Guard
from gateway.proxy.dialer import Dialer
from gateway.proxy.farewell import Farewell
from gateway.proxy.http import ServeHttp
from gateway.proxy.listeners import Ports
from gateway.proxy.memory_budget import MemoryBudget
from gateway.proxy.port import PublicPort
from gateway.proxy.routes import Routes
from gateway.proxy.serving import serve_public
from gateway.proxy.traffic import Traffic
from gateway.server.exposition import Exposition, State
from gateway.server.own_names import known_host_names
from gateway.store.writer import Store
from gateway.web.admin.server import AdminSocket
from gateway.web.api import BODY_LIMIT, create_api
from gateway.web.dashboards import open_guard
from gateway.web.event_stream import EventStreams
from gateway.web.heartbeat_route import heartbeat_app
from gateway.web.metrics_route import with_metrics
from gateway.web.reads import FastReads, Reads
from gateway.web.request_origin import HostNames
from gateway.web.room import with_bodies_of
from gateway.web.router import Router
from gateway.web.server import HttpServer


@frozen(kw_only=True)
class Inside:
    """What the edges stand on."""

    config: Config
    context: ReloadingContext | None
    ports: Ports
    manager: Manager
    routes: Routes
    store: Store
    dialer: Dialer
    hearing: Hearing
    admin: AdminSocket


@asynccontextmanager
async def open_edges(inside: Inside) -> AsyncIterator[None]:
    """The API and the public listeners; at the end open requests have `serve_public`'s time of grace."""
    config, ports = inside.config, inside.ports
    needs_groups, prefix = config.depends_on_groups, config.proxy.prefix
    chain = await open_chain(config.authenticators, inside.store, prefix, config.gateway, needs_groups=needs_groups)
    guard = open_guard(config.proxy, inside.manager, chain, inside.store)
    opened = _OpenPorts()
    vital = partial(parts, inside.manager, inside.store)
    state = State(manager=inside.manager, parts=vital, ports=opened.all, certificate=config.proxy.tls_cert)
    metrics = Exposition(state).text
    reads = Reads(inside.manager, inside.store, opened.traffic, guard.route)
    streams = EventStreams()
    states = LoginStates(inside.store.derive_keys(LoginStates.PURPOSE))
    api = create_api(
        inside.manager,
        chain,
        reads,
        states=states,
        streams=streams,
        prefix=config.proxy.prefix,
        dashboard_host=config.proxy.dashboard_host,
        metrics=metrics,
    )
    # For authenticators: under which URLs the gateway knows itself.
    api.config["OWN_URLS"] = own_origins(known_host_names(config), ports.numbers, https=inside.context is not None)
    public, private = _http_servers(inside, api, FastReads(reads, chain), chain, guard, metrics)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(chain.tokens.registry.kept())
        for authenticator in config.authenticators:
            await stack.enter_async_context(prepared(authenticator, api))
        nursery = await stack.enter_async_context(trio.open_nursery())
        await opened.open(nursery, inside, public.serve, private.serve)
        nursery.start_soon(inside.admin.serve, api)
        yield
        streams.end()
        await public.drain()
        await private.drain()
        nursery.cancel_scope.cancel()


@define
class _OpenPorts:
    """The ports that are open by now; `relaying` is that of schedulers' traffic."""

    all: list[PublicPort] = Factory(list)
    relaying: PublicPort | None = None

    async def open(self, nursery: trio.Nursery, inside: Inside, public: ServeHttp, private: ServeHttp) -> None:
        """Serve all listeners there are; returns once they accept."""
        ports = inside.ports
        serve_listeners = partial(
            serve_public,
            routes=inside.routes,
            options=inside.config.proxy,
            farewell=partial(_farewell, inside.manager),
            dialer=inside.dialer,
            missed=inside.hearing.missed,
        )
        serve_web = partial(
            serve_listeners,
            ports.public,
            serve_http=public,
            schedulers=not ports.schedulers,
            ssl_context=inside.context,
        )
        self.relaying = await self._start(nursery, serve_web)
        if ports.schedulers:
            self.relaying = await self._start(nursery, partial(serve_listeners, ports.schedulers, serve_http=None))
        if ports.private:
            await self._start(nursery, partial(serve_listeners, ports.private, serve_http=private, schedulers=False))

    async def _start(self, nursery: trio.Nursery, serve: Callable[..., Awaitable[None]]) -> PublicPort:
        port: PublicPort = await nursery.start(serve)
        self.all.append(port)
        return port

    def traffic(self, name: str) -> Traffic:
        """What a cluster's connections have carried; before the port is open, nothing."""
        return self.relaying.traffic(name) if self.relaying else Traffic()


def _http_servers(
    inside: Inside, api: Quart, reads: FastReads, chain: Chain, guard: Guard, metrics: Callable[[], bytes]
) -> tuple[HttpServer, HttpServer]:
    """Those of the public port and of the private one, which has no dashboards."""
    config, manager, dialer, options = inside.config, inside.manager, inside.dialer, inside.config.proxy
    budget = MemoryBudget(options.memory_budget)
    bounded_api = with_bodies_of(api, budget, 2 * BODY_LIMIT)  # as it came, and as it is understood
    router_of = partial(
        Router,
        api=bounded_api,
        heartbeats=heartbeat_app(manager, dialer.refusal, budget),
        find_read=reads.find,
        hosts=HostNames(known_host_names(config)) if chain.believes_anybody else None,
    )
    routers = (
        router_of(
            dashboards=Dashboard(inside.routes, guard=guard, options=options, dialer=dialer, budget=budget),
            is_dashboards=guard.is_own_host,
            prefix=options.prefix,
            secure=inside.context is not None,
        ),
        router_of(dashboards=None, api=with_metrics(bounded_api, metrics)),
    )
    public, private = (
        HttpServer(
            router,
            route=router.route,
            head_timeout=options.head_timeout,
            websocket_message_size=options.websocket_message_size,
            budget=budget,
        )
        for router in routers
    )
    return public, private


def _farewell(manager: Manager, name: str) -> Farewell | None:
    """What clients are told instead of being connected: that the cluster ends, or that its name is no way in."""
    if not manager.knows(name):
        return None
    record = manager.find(name).record
    words = leads_nowhere(name, record) if is_active(record.status) else not_running(record)
    return Farewell(words, record.tls_cert, record.tls_key) if words else None
