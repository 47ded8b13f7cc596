"""HTTP/1.1 and HTTP/2 on a stream that somebody else has accepted.

hypercorn's own accept loop can be ended by one malformed request: the
exception leaves the connection's task and takes its nursery along. So the
proxy accepts, draws a boundary around each connection, and only the protocol
is hypercorn's: `TCPServer`, which is not in its documented API (setup.cfg
pins the minor version, tests/test_proxy_malformed.py holds it to this).

The most frequent requests do not get that far: simple_http.py answers them
for a fraction of the cost.
"""

import logging
from collections.abc import Callable
from typing import Any, cast

import trio
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.config import Config
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import ConnectionState, LifespanState

from gateway.asgi import App, Scope
from gateway.simple_http import SimpleHttp

HttpStream = trio.SocketStream | trio.SSLStream[trio.SocketStream]


class HttpServer:
    """Serves one ASGI app on any number of connections."""

    def __init__(
        self,
        app: App,
        *,
        at_once: Callable[[Scope], bool] | None = None,
        keep_alive: float = 75.0,
        read_timeout: int | None = None,
    ) -> None:
        """`keep_alive` is how many seconds an idle connection is kept; `read_timeout` how long a pause may be.

        `at_once` tells requests that the app answers in one piece, without asking anybody who may take long.
        """
        config = Config()
        config.errorlog = logging.getLogger("hypercorn.error")
        config.include_server_header = False
        config.keep_alive_timeout = keep_alive
        config.keep_alive_max_requests = 1_000_000  # a dashboard or a poller may stay as long as it likes
        config.h11_max_incomplete_size = 64 * 1024
        config.read_timeout = read_timeout
        config.websocket_max_message_size = 64 * 1024 * 1024
        config.websocket_ping_interval = 30.0
        self._config = config
        self._context = WorkerContext(None)
        self._app = ASGIWrapper(app)
        self._state = ConnectionState(LifespanState())
        self._simple = SimpleHttp(app, at_once, keep_alive=keep_alive) if at_once else None

    async def serve(self, stream: HttpStream) -> None:
        """Serve one connection to its end. May raise anything that a peer's input provokes in the protocol's code."""
        # hypercorn asks for the ALPN protocol of an SSLStream, and takes everything without one for plain TCP.
        tls_or_plain = cast("trio.SSLStream[trio.SocketStream]", stream)
        if self._simple:
            data = await self._simple.serve(stream, "https" if isinstance(stream, trio.SSLStream) else "http")
            if data is None:
                return
            tls_or_plain = cast("trio.SSLStream[trio.SocketStream]", _Unread(stream, data))
        await TCPServer(self._app, self._config, self._context, self._state, tls_or_plain).run()

    async def drain(self) -> None:
        """Let idle connections go; busy ones finish their request. For a shutdown that is under way."""
        if self._simple:
            self._simple.drain()
        await self._context.terminated.set()


class _Unread:
    """A stream of which some bytes have been read already; in all else the stream itself."""

    def __init__(self, stream: HttpStream, data: bytes) -> None:
        self._stream = stream
        self._data = data

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """First what has been read."""
        if self._data:
            await trio.lowlevel.checkpoint()
            data, self._data = self._data, b""
            return data
        return bytes(await self._stream.receive_some(max_bytes))
