"""The edges of the server: the API and the listeners, which stand on everything else and end first.

The public port speaks HTTP and, unless schedulers have a port of their own,
carries their traffic; the private one speaks HTTP only, and the admin socket
serves the administrator's commands.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial

import trio
from attrs import frozen
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
from gateway.config.load import Config
from gateway.proxy.certificate import ReloadingContext
from gateway.proxy.dashboard.app import Dashboard
from gateway.proxy.dashboard.guard import Guard
from gateway.proxy.dialer import Dialer
from gateway.proxy.farewell import Farewell
from gateway.proxy.listeners import Ports
from gateway.proxy.memory_budget import MemoryBudget
from gateway.proxy.port import PublicPort, serve_public
from gateway.proxy.routes import Routes
from gateway.proxy.traffic import Traffic
from gateway.server.own_names import known_host_names
from gateway.store.writer import Store
from gateway.web.admin.server import AdminSocket
from gateway.web.api import BODY_LIMIT, create_api
from gateway.web.dashboards import open_guard
from gateway.web.heartbeat_route import heartbeat_app
from gateway.web.reads import FastReads, Reads
from gateway.web.request_origin import HostNames
from gateway.web.router import Router, with_bodies_of
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
    relaying: list[PublicPort] = []  # the port of scheduler traffic, once it is open
    reads = Reads(inside.manager, inside.store, partial(_traffic, relaying), guard.route)
    states = LoginStates(inside.store.derive_keys(LoginStates.PURPOSE))
    api = create_api(
        inside.manager,
        chain,
        reads,
        states=states,
        prefix=config.proxy.prefix,
        dashboard_host=config.proxy.dashboard_host,
    )
    # For authenticators: under which URLs the gateway knows itself.
    api.config["OWN_URLS"] = own_origins(known_host_names(config), ports.numbers, https=inside.context is not None)
    public, private = _http_servers(inside, api, FastReads(reads, chain), chain, guard)
    serve_listeners = partial(
        serve_public,
        routes=inside.routes,
        options=config.proxy,
        farewell=partial(_farewell, inside.manager),
        dialer=inside.dialer,
        missed=inside.hearing.missed,
    )
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(chain.tokens.registry.kept())
        for authenticator in config.authenticators:
            await stack.enter_async_context(prepared(authenticator, api))
        nursery = await stack.enter_async_context(trio.open_nursery())
        web: PublicPort = await nursery.start(
            partial(
                serve_listeners,
                ports.public,
                serve_http=public.serve,
                schedulers=not ports.schedulers,
                ssl_context=inside.context,
            )
        )
        if ports.schedulers:
            relaying.append(await nursery.start(partial(serve_listeners, ports.schedulers, serve_http=None)))
        else:
            relaying.append(web)
        if ports.private:
            await nursery.start(partial(serve_listeners, ports.private, serve_http=private.serve, schedulers=False))
        nursery.start_soon(inside.admin.serve, api)
        yield
        await public.drain()
        await private.drain()
        nursery.cancel_scope.cancel()


def _http_servers(
    inside: Inside, api: Quart, reads: FastReads, chain: Chain, guard: Guard
) -> tuple[HttpServer, HttpServer]:
    """Those of the public port and of the private one, which has no dashboards."""
    config, manager, dialer, options = inside.config, inside.manager, inside.dialer, inside.config.proxy
    budget = MemoryBudget(options.memory_budget)
    router_of = partial(
        Router,
        api=with_bodies_of(api, budget, 2 * BODY_LIMIT),  # as it came, and as it is understood
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
        router_of(dashboards=None),
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


def _traffic(relaying: Sequence[PublicPort], name: str) -> Traffic:
    """What a cluster's connections have carried; before the port is open, nothing."""
    return relaying[0].traffic(name) if relaying else Traffic()
