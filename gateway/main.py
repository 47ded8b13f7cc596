"""`serve`: the nursery tree of the whole server, readable from top to bottom.

    sockets ▸ store ▸ driver ▸ clusters ▸ edges (public listeners, signals)

Each stands on what is to its left and is entered after it: a port in use or a
locked database is found before a single job is touched, and the innermost
dies first. After SIGTERM or SIGINT no cluster is created any more, the present
ones are stopped where the configuration wants that, and the tree unwinds.
"""

import os
import signal
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from functools import partial
from urllib.parse import urlsplit

import structlog
import trio
from attrs import frozen
from quart import Quart

from gateway import __version__
from gateway.addresses import Address, parse_address
from gateway.auth.chain import Chain
from gateway.auth.login_state import LoginStates
from gateway.auth.origins import own_origins
from gateway.auth.setup import open_chain, prepared
from gateway.clusters.hearing import Hearing, noting_stalls
from gateway.clusters.ledger import Ledger
from gateway.clusters.lifecycle import is_active
from gateway.clusters.manager import Manager, open_manager
from gateway.clusters.reasons import not_running
from gateway.clusters.rules import Rules
from gateway.clusters.scheduler_client import used_for_messages
from gateway.clusters.services import Services
from gateway.clusters.sharing import leads_nowhere
from gateway.clusters.vital_signs import status_line, vital_parts
from gateway.config.backend import DBBackendBase, encryption_keys
from gateway.config.load import Config
from gateway.errors import GatewayError, StartError
from gateway.process.gc_pauses import spare_survivors
from gateway.process.systemd import notify
from gateway.process.watchdog import reporting
from gateway.proxy.certificate import ReloadingContext, reloading_context
from gateway.proxy.dashboard.app import Dashboard
from gateway.proxy.dashboard.guard import Guard
from gateway.proxy.destinations import Destinations
from gateway.proxy.dialer import Dialer
from gateway.proxy.farewell import Farewell
from gateway.proxy.listeners import Ports, open_ports
from gateway.proxy.memory_budget import MemoryBudget
from gateway.proxy.port import PublicPort, serve_public
from gateway.proxy.routes import Routes
from gateway.proxy.sockets import raise_file_limit
from gateway.proxy.this_host import is_this_host
from gateway.proxy.traffic import Traffic
from gateway.store.writer import Store, open_store
from gateway.supervise import describe
from gateway.web.admin.server import AdminSocket, open_admin_socket
from gateway.web.api import BODY_LIMIT, create_api
from gateway.web.dashboards import open_guard
from gateway.web.heartbeat_route import heartbeat_app
from gateway.web.reads import FastReads, Reads
from gateway.web.request_origin import HostNames
from gateway.web.router import Router, with_bodies_of
from gateway.web.server import HttpServer

_log = structlog.get_logger()


def run(config: Config) -> int:
    """Serve until a signal says stop; returns the process's exit code (0 clean, 1 failure)."""
    try:
        trio.run(_serve_until_signal, config)
        return 0
    except* GatewayError as group:
        _log.critical("the gateway cannot go on", reason=describe(group))
    except* Exception as group:  # noqa: BLE001 (the last boundary)
        _log.critical("the gateway failed", exc_info=group)
    return 1


async def _serve_until_signal(config: Config) -> None:
    # Heard from the first moment: a stop during the start is carried out as soon as it has started.
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async with trio.open_nursery() as nursery:
            stop = trio.Event()
            nursery.start_soon(_hear_signals, signals, stop, nursery.cancel_scope)
            await serve(config, wait_stop=stop.wait)
            nursery.cancel_scope.cancel()


async def _hear_signals(signals: AsyncIterator[int], stop: trio.Event, everything: trio.CancelScope) -> None:
    """The first signal asks for a stop, the second one does not wait for it."""
    async for number in signals:
        name = signal.Signals(number).name
        if stop.is_set():
            _log.warning("stopping at once; what is left is ended at the next start", signal=name)
            everything.cancel()
            return
        _log.info("stopping", signal=name)
        stop.set()


async def serve(
    config: Config,
    *,
    wait_stop: Callable[[], Awaitable[None]],
    task_status: trio.TaskStatus[Ports] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve until `wait_stop` returns. Calls `started` with the listening sockets once they answer.

    Raises `StartError` (a sentence) when it cannot start.
    """
    backend = config.backend
    _log.info("starting", version=__version__, backend=type(backend).__name__)
    for warning in config.warnings:
        _log.warning(warning)
    context = reloading_context(config.proxy.tls_cert, config.proxy.tls_key)
    raise_file_limit()
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(spare_survivors())
        ports = await open_ports(
            stack,
            public=config.proxy.address,
            schedulers=config.proxy.tcp_address if config.proxy.tcp_address != config.proxy.address else "",
            private=config.gateway.address,
        )
        admin = stack.enter_context(open_admin_socket(config.gateway, os.environ))
        dialer = Dialer(_destinations(config, ports))
        stack.enter_context(used_for_messages(dialer))
        store = await stack.enter_async_context(
            open_store(backend.db_url, keys=encryption_keys(backend.db_encrypt_keys), debug=backend.db_debug)
        )
        driver = await stack.enter_async_context(backend.open_driver())
        routes, hearing = Routes(), Hearing()
        stack.enter_context(noting_stalls(hearing))
        rules, ledger = _rules(config, ports), Ledger(config.limits)
        services = Services(driver=driver, store=store, routes=routes, rules=rules, hearing=hearing, ledger=ledger)
        manager = await stack.enter_async_context(open_manager(backend, config.cluster_config, services))
        # A connection that a scheduler refuses is a reason to ask for its job at once.
        stack.enter_context(routes.on_refused(manager.ask_about))
        stack.enter_context(routes.on_client(manager.client))
        inside = _Inside(
            config=config,
            context=context,
            ports=ports,
            manager=manager,
            routes=routes,
            store=store,
            dialer=dialer,
            hearing=hearing,
            admin=admin,
        )
        tell_status = partial(status_line, ports.name, manager, store)
        async with _edges(inside), reporting(tell_status, vital_parts(driver, store)):
            task_status.started(ports)
            _announce(ports, tell_status(), https=context is not None)
            await wait_stop()
            notify(STOPPING="1")
            manager.close()
            if backend.stops_clusters:
                await manager.stop_all()
    _log.info("stopped")


def _announce(ports: Ports, status: str, *, https: bool) -> None:
    _log.info("serving", address=ports.name, schedulers=ports.scheduler_name or "same", https=https)
    notify(READY="1", STATUS=status)


@frozen(kw_only=True)
class _Inside:
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
async def _edges(inside: _Inside) -> AsyncIterator[None]:
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
    api.config["OWN_URLS"] = own_origins(_host_names(config), ports.numbers, https=inside.context is not None)
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
    inside: _Inside, api: Quart, reads: FastReads, chain: Chain, guard: Guard
) -> tuple[HttpServer, HttpServer]:
    """Those of the public port and of the private one, which has no dashboards."""
    config, manager, dialer, options = inside.config, inside.manager, inside.dialer, inside.config.proxy
    budget = MemoryBudget(options.memory_budget)
    router_of = partial(
        Router,
        api=with_bodies_of(api, budget, 2 * BODY_LIMIT),  # as it came, and as it is understood
        heartbeats=heartbeat_app(manager, dialer.refusal, budget),
        find_read=reads.find,
        hosts=HostNames(_host_names(config)) if chain.believes_anybody else None,
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


def _destinations(config: Config, ports: Ports) -> Destinations:
    """Which of the addresses that heartbeats name are connected to."""
    try:
        is_this_host("127.0.0.1")
    except OSError as error:
        raise StartError(
            f"The kernel cannot be asked which addresses are this host's own ({error}). Under systemd, "
            "RestrictAddressFamilies= has to include AF_NETLINK"
        ) from error
    return Destinations(
        is_this_host,
        listeners=[
            listener.getsockname()[:2]
            for listener in (*ports.public, *ports.schedulers, *ports.private)
            if listener.family != socket.AF_UNIX
        ],
        networks=config.proxy.scheduler_networks,
        jobs_here=lambda: config.backend.jobs_run_here,
    )


def _host_names(config: Config) -> Iterator[str]:
    """The names of this gateway that the configuration knows, and the one that jobs are told."""
    yield from config.proxy.host_names
    yield socket.gethostname()
    yield urlsplit(config.backend.api_url).hostname or ""
    for listener in (config.proxy.address, config.gateway.address):
        with suppress(ValueError):  # a Unix socket has no name, and some have no address
            yield parse_address(listener).host


def _rules(config: Config, ports: Ports) -> Rules:
    backend = config.backend
    return Rules(
        options=backend,
        api_url=backend.api_url or _api_url(config, backend, ports),
        host=backend.default_host or "0.0.0.0",  # noqa: S104 (schedulers are reached from other nodes)
    )


def _api_url(config: Config, backend: DBBackendBase, ports: Ports) -> str:
    """Where jobs reach the API: at the private address when there is one, else at the public port.

    Plain HTTP even when the public port has TLS (web/router.py says why).
    """
    for listeners, written, prefix in (
        (ports.private, config.gateway.address, ""),
        (ports.public, config.proxy.address, config.proxy.prefix),
    ):
        for name in (listener.getsockname() for listener in listeners if listener.family != socket.AF_UNIX):
            try:
                host = parse_address(written).host
            except ValueError:  # a socket that somebody else has opened (fd://, systemd)
                host = name[0]
            if host in ("", "0.0.0.0", "::"):  # noqa: S104
                host = backend.default_host or socket.gethostname()
            return f"http://{Address(host, name[1])}{prefix}/api"
    raise StartError("Jobs cannot reach a Unix socket: set c.Backend.api_url, so that they find the gateway")
