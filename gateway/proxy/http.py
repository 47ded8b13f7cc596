"""Connections that want HTTP: a handshake where it is TLS, then the HTTP server, within one boundary."""

import socket
import ssl
from collections.abc import Awaitable, Callable

import trio

from gateway.errors import innermost
from gateway.log import RateLimitedLog
from gateway.proxy.admission import Guest
from gateway.proxy.http_stream import SecureStream, WebStream
from gateway.proxy.limits import Limits

HttpStream = WebStream | SecureStream
ServeHttp = Callable[[HttpStream], Awaitable[None]]
#: Seconds for whoever still works on a connection that has been closed.
_LINGER = 1.0

Context = ssl.SSLContext | Callable[[], ssl.SSLContext]


class WebDoor:
    """Serves HTTP with `serve_http(stream)`. `context` gives the TLS settings, anew for each connection if callable."""

    def __init__(self, serve_http: ServeHttp, context: Context | None, limits: Limits, log: RateLimitedLog) -> None:
        self._serve_http = serve_http
        self._context = context
        self._limits = limits
        self._log = log
        self._open: set[WebStream] = set()

    @property
    def has_tls(self) -> bool:
        """True when TLS connections can be served."""
        return self._context is not None

    async def serve(self, sock: socket.socket, guest: Guest, client: str, *, tls: bool) -> None:
        """Serve one connection to its end. `client` is who it comes from, when that is not the socket's peer."""
        stream = WebStream(trio.SocketStream(trio.socket.from_stdlib_socket(sock)), client, _LINGER, guest)
        guest.end = stream.abort
        self._open.add(stream)
        try:
            with stream.scope:
                if not tls:
                    await self._serve_http(stream)
                else:
                    await self._serve_tls(stream, guest.address)
        except* Exception as errors:  # noqa: BLE001 (the boundary of a web connection)
            self._log.info("connection failed", client=guest.address, error=repr(innermost(errors)))
        finally:
            self._open.discard(stream)
            stream.abort()

    async def _serve_tls(self, stream: WebStream, address: str) -> None:
        context = self._context() if callable(self._context) else self._context
        assert context is not None
        secure = SecureStream(stream, context)
        try:
            if await self._shake_hands(secure, address):
                await self._serve_http(secure)
        finally:
            secure.untie()

    async def _shake_hands(self, secure: SecureStream, address: str) -> bool:
        try:
            with trio.fail_after(self._limits.hello_timeout):
                await secure.do_handshake()
        except (trio.BrokenResourceError, trio.TooSlowError) as error:
            self._log.info("TLS handshake failed", client=address, error=repr(error.__cause__ or error))
            return False
        return True

    async def abort_when_cancelled(self) -> None:
        """Sleep; when cancelled, cut off those connections that cannot be cancelled because they send in a shield."""
        try:
            await trio.sleep_forever()
        finally:
            for stream in tuple(self._open):
                stream.abort()
