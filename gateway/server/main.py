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
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from functools import partial

import structlog
import trio

from gateway import __version__
from gateway.clusters.hearing import Hearing, noting_stalls
from gateway.clusters.ledger import Ledger
from gateway.clusters.manager import open_manager
from gateway.clusters.rules import Rules
from gateway.clusters.scheduler_client import used_for_messages
from gateway.clusters.services import Services
from gateway.clusters.vital_signs import status_line, vital_parts
from gateway.config.backend import encryption_keys
from gateway.config.load import Config
from gateway.errors import GatewayError, StartError
from gateway.process.gc_pauses import spare_survivors
from gateway.process.systemd import notify
from gateway.process.watchdog import reporting
from gateway.proxy.certificate import reloading_context
from gateway.proxy.destinations import Destinations
from gateway.proxy.dialer import Dialer
from gateway.proxy.listeners import Ports, open_ports
from gateway.proxy.routes import Routes
from gateway.proxy.sockets import raise_file_limit
from gateway.proxy.this_host import is_this_host
from gateway.server.edges import Inside, open_edges
from gateway.server.own_names import jobs_api_url
from gateway.store.writer import open_store
from gateway.supervise import describe
from gateway.web.admin.server import open_admin_socket

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
        inside = Inside(
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
        async with open_edges(inside), reporting(tell_status, vital_parts(driver, store)):
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


def _rules(config: Config, ports: Ports) -> Rules:
    backend = config.backend
    return Rules(
        options=backend,
        api_url=jobs_api_url(config, ports),
        host=backend.default_host or "0.0.0.0",  # noqa: S104 (schedulers are reached from other nodes)
    )
