"""The public port: one accept loop, and for each connection a look at its first bytes.

The bytes are looked at with MSG_PEEK, so that they stay in the kernel and
whoever owns the connection next sees an untouched socket:

    ClientHello for `daskgateway-<cluster>`  → relay to that cluster's scheduler, TLS untouched
    any other ClientHello                    → TLS with us, then HTTP
    anything else                            → HTTP

Nothing that a client sends can leave its connection: each has one boundary
(`_serve_connection`) where exceptions end as a log line.
"""

import socket
import ssl
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

import structlog
import trio

from gateway.proxy.client_hello import MAX_HELLO, BadHello, Hello, More, NotTls, parse_client_hello
from gateway.proxy.limits import DEFAULT_LIMITS, Limits
from gateway.proxy.relay import relay, reset
from gateway.proxy.routes import SERVER_NAME_PREFIX, Route, Routes

log = structlog.get_logger()

HttpStream = trio.SocketStream | trio.SSLStream[trio.SocketStream]
ServeHttp = Callable[[HttpStream], Awaitable[None]]

# Alerts, RFC 8446, 6.2: a record of type 21 in the oldest version's clothes, level fatal.
_UNRECOGNIZED_NAME = b"\x15\x03\x01\x00\x02\x02\x70"
_DECODE_ERROR = b"\x15\x03\x01\x00\x02\x02\x32"
_HANDSHAKE_FAILURE = b"\x15\x03\x01\x00\x02\x02\x28"


async def serve_public(
    listeners: Sequence[socket.socket],
    *,
    routes: Routes,
    serve_http: ServeHttp | None,
    schedulers: bool = True,
    ssl_context: ssl.SSLContext | None = None,
    limits: Limits = DEFAULT_LIMITS,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve connections from `listeners` (which stay the caller's to close) until cancelled.

    `serve_http(stream)` serves HTTP on a connection whose TLS handshake, if any, is done; without it only
    scheduler traffic is taken. Without `schedulers` no connection is relayed. With `ssl_context` TLS connections
    are taken for HTTP too; plain ones are handed to `serve_http` as before, which decides what they may ask for.
    """
    server = _Server(routes, serve_http, schedulers, ssl_context, limits)
    with routes.on_gone(server.end_route):
        async with trio.open_nursery() as nursery:
            for listener in listeners:
                own = trio.SocketListener(trio.socket.fromfd(listener.fileno(), listener.family, listener.type))
                nursery.start_soon(partial(trio.serve_listeners, server.serve_connection, [own]))
            task_status.started()


class _Server:
    def __init__(
        self,
        routes: Routes,
        serve_http: ServeHttp | None,
        schedulers: bool,
        ssl_context: ssl.SSLContext | None,
        limits: Limits,
    ) -> None:
        self.routes = routes
        self.serve_http = serve_http
        self.schedulers = schedulers
        self.ssl_context = ssl_context
        self.limits = limits
        self.relays: dict[Route, set[trio.CancelScope]] = {}

    def end_route(self, route: Route) -> None:
        for scope in self.relays.get(route, ()):
            scope.cancel()

    async def serve_connection(self, stream: trio.SocketStream) -> None:
        """The boundary of one connection."""
        try:
            async with stream:
                await self.decide(stream)
        except* Exception as errors:  # noqa: BLE001 (the boundary)
            log.info("connection failed", error=repr(errors.exceptions[0]))

    async def decide(self, stream: trio.SocketStream) -> None:
        asked: Hello | NotTls | None = None
        with trio.move_on_after(self.limits.first_byte_timeout + self.limits.hello_timeout):
            try:
                asked = await self.peek(stream)
            except BadHello as error:
                log.info("bad hello", error=str(error))
                await self.refuse(stream, _DECODE_ERROR)
        if isinstance(asked, Hello):
            for_cluster = asked.server_name.startswith(SERVER_NAME_PREFIX)
            route = self.routes.find(asked.server_name) if self.schedulers else None
            if route is not None:
                await self.connect(stream, route)
            elif for_cluster or self.ssl_context is None or self.serve_http is None:
                log.info("unknown server name", server_name=asked.server_name)
                await self.refuse(stream, _UNRECOGNIZED_NAME if for_cluster else _HANDSHAKE_FAILURE)
            else:
                await self.handshake(stream, self.ssl_context, self.serve_http)
        elif asked is not None and self.serve_http is not None:
            await self.serve_http(stream)

    async def peek(self, stream: trio.SocketStream) -> Hello | NotTls | None:
        """What the connection asks for; None when it ended before that was clear. Raises `BadHello`."""
        wanted = 1
        while True:
            stream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, wanted)
            await trio.lowlevel.wait_readable(stream.socket)
            data = await stream.socket.recv(MAX_HELLO, socket.MSG_PEEK)
            if len(data) < wanted:
                return None
            match parse_client_hello(data):
                case More(size):
                    wanted = size
                case asked:
                    stream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 1)
                    return asked

    async def refuse(self, stream: trio.SocketStream, alert: bytes) -> None:
        # What has arrived is read first: closing over unread bytes is a reset, which may overtake the alert.
        with trio.move_on_after(self.limits.hello_timeout):
            await stream.receive_some(MAX_HELLO)
            await stream.send_all(alert)
            await stream.send_eof()

    async def handshake(self, stream: trio.SocketStream, context: ssl.SSLContext, serve_http: ServeHttp) -> None:
        secure = trio.SSLStream(stream, context, server_side=True, https_compatible=True)
        try:
            with trio.fail_after(self.limits.hello_timeout):
                await secure.do_handshake()
        except (trio.BrokenResourceError, trio.TooSlowError) as error:
            log.debug("handshake failed", error=repr(error.__cause__ or error))
        else:
            await serve_http(secure)

    async def connect(self, stream: trio.SocketStream, route: Route) -> None:
        with trio.CancelScope() as scope:
            self.relays.setdefault(route, set()).add(scope)
            try:
                try:
                    with trio.fail_after(self.limits.connect_timeout):
                        upstream = await trio.open_tcp_stream(*route.scheduler)
                except (OSError, trio.TooSlowError) as error:
                    log.info("scheduler does not answer", cluster=route.name, error=str(error))
                    self.routes.refused(route.name)
                    reset(stream)
                else:
                    async with upstream:
                        await relay(stream, upstream)
            finally:
                self.relays[route].discard(scope)
                if not self.relays[route]:
                    del self.relays[route]
