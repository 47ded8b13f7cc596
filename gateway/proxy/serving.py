"""Serves a port until it is told to stop, and then for as long as open connections may still take."""

import socket
from collections.abc import Callable, Sequence
from contextlib import closing

import trio

from gateway.config.proxy import Proxy
from gateway.log import RateLimitedLog
from gateway.proxy.admission import Trust
from gateway.proxy.dialer import Dialer
from gateway.proxy.farewell import Farewell
from gateway.proxy.http import Context, HttpHandler, ServeHttp
from gateway.proxy.port import PublicPort, Service
from gateway.proxy.relay.epoll_loop import EpollLoop
from gateway.proxy.relay.pipes import Pipes
from gateway.proxy.routes import Routes


async def serve_public(
    listeners: Sequence[socket.socket],
    *,
    routes: Routes,
    serve_http: ServeHttp | None,
    schedulers: bool = True,
    ssl_context: Context | None = None,
    options: Proxy,
    dialer: Dialer | None = None,
    farewell: Callable[[str], Farewell | None] = lambda name: None,
    missed: Callable[[str], None] = lambda reason: None,
    task_status: trio.TaskStatus["PublicPort"] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve connections from `listeners` (which stay the caller's to close) until cancelled.

    `serve_http(stream)` serves HTTP on a connection whose TLS handshake, if any, is done; without it only
    scheduler traffic is taken. Without `schedulers` no connection is relayed. With `ssl_context` TLS connections
    are taken for HTTP too (a `ReloadingContext` follows renewed files); plain ones are handed to `serve_http` as
    before, which decides what they may ask for. `dialer` says which addresses of schedulers are connected to; without
    it all are. `farewell(name)` is what clients of a cluster that has ended are told, None for any other name.
    `missed(reason)` is called when somebody may have spoken in vain: a connection was turned away. `task_status` gets
    the `PublicPort`.

    When cancelled, no more are taken, open ones have `options.shutdown_grace` seconds to end, and then are closed.
    """
    log = RateLimitedLog()
    service = Service(
        routes=routes,
        http=HttpHandler(serve_http, ssl_context, options, log) if serve_http else None,
        schedulers=schedulers,
        trust=Trust(options.trusted_proxies),
        dialer=dialer or Dialer(),
        options=options,
        log=log,
        farewell=farewell,
        missed=missed,
    )
    async with trio.open_nursery() as outer:
        # Shielded, and with a deadline as soon as the cancellation that is waited for outside has come.
        with closing(Pipes()) as pipes, closing(EpollLoop()) as loop, trio.CancelScope(shield=True) as life:
            async with trio.open_nursery() as nursery:
                port = PublicPort(nursery, loop, pipes, service)
                with routes.on_gone(port.connector.end_route):
                    port.listen(listeners)
                    for run in (loop.run, port.silent.run, port.unclear.run, port.connector.dials.run):
                        nursery.start_soon(run)
                    if service.http:
                        nursery.start_soon(service.http.abort_when_cancelled)
                    outer.start_soon(_stop_when_cancelled, port, life, options.shutdown_grace)
                    task_status.started(port)
                    await trio.sleep_forever()
        outer.cancel_scope.cancel()


async def _stop_when_cancelled(port: "PublicPort", life: trio.CancelScope, grace: float) -> None:
    try:
        await trio.sleep_forever()
    finally:
        life.deadline = trio.current_time() + grace
        port.stop(life)
