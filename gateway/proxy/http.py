"""Connections that want HTTP: a handshake where it is TLS, then the HTTP server, within one boundary."""

import socket
import ssl
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Protocol

import trio

from gateway.config.proxy import Proxy
from gateway.errors import innermost
from gateway.log import RateLimitedLog
from gateway.proxy.admission import Guest
from gateway.proxy.handshakes import HandshakeTurn, HandshakeTurns
from gateway.proxy.memory_budget import owner_at
from gateway.proxy.token_bucket import TokenBucket


class Presence(Protocol):
    """What becomes known of a connection while it is served, for when somebody has to go (admission.py)."""

    def waits(self) -> None:
        """Note that a request of its was answered, and none is at the moment."""

    def works(self) -> None:
        """Note that a request of its is being answered."""

    def is_known(self) -> None:
        """Note that it has proved to be a job's."""


class _Nobody:
    """A connection of which nobody keeps count."""

    def waits(self) -> None:
        """Do nothing."""

    def works(self) -> None:
        """Do nothing."""

    def is_known(self) -> None:
        """Do nothing."""


NOBODY: Presence = _Nobody()


class _Named:
    """The socket's own name, and the client's as it was introduced to us."""

    def __init__(self, sock: trio.socket.SocketType, client: str) -> None:
        self._socket = sock
        self._client = client
        self.family = trio.socket.AF_INET6 if ":" in client else trio.socket.AF_INET

    def getpeername(self) -> tuple[str, int]:
        return self._client, 0

    def getsockname(self) -> Any:
        name = self._socket.getsockname()
        return name if isinstance(name, tuple) else ("", 0)


def owner_of(stream: trio.abc.Stream) -> str:
    """Return who has what a connection holds (memory_budget.py): the address that it comes from."""
    return owner_at(address_of(stream))


def address_of(stream: trio.abc.Stream) -> str:
    """Return the address that a connection comes from, empty when there is none (any more)."""
    sock = getattr(below_tls(stream), "socket", None)
    try:
        name = None if sock is None else sock.getpeername()
    except OSError:  # it has gone already
        name = None
    return str(name[0]) if isinstance(name, tuple) else ""


#: Bytes that may come by TLS without becoming data: so many at once (a handshake, and what of a record has arrived),
#: and so many each second.
_OVERHEAD, _OVERHEAD_RATE = 64 * 1024, 8 * 1024
#: Bytes that each record is larger than its data.
_RECORD_OVERHEAD = 64
#: Bytes that OpenSSL gets at once (it does not say how many it wants); fewer while nothing comes of them. A request for
#: new keys has 27.
_TLS_READ, _TLS_READ_CAREFUL = 16 * 1024, 4 * 1024


class WebStream(trio.abc.HalfCloseableStream):
    """A `trio.SocketStream` in all that an HTTP server uses. `client` replaces the peer's name unless it is empty."""

    def __init__(self, stream: trio.SocketStream, client: str, linger: float, presence: Presence = NOBODY) -> None:
        self._stream = stream
        self._linger = linger
        self.presence = presence
        self.socket: Any = _Named(stream.socket, client) if client else stream.socket
        #: Around everything that works on this stream.
        self.scope = trio.CancelScope()
        self._overhead: TokenBucket | None = None
        self._careful = False  # nothing has come of what was received last
        self._turn: HandshakeTurn | None = None

    @contextmanager
    def in_turns(self, turn: HandshakeTurn) -> Iterator[None]:
        """While entered, each step that follows from what was received is made within a turn."""
        self._turn = turn
        try:
            yield
        finally:
            self._turn = None
            turn.give_back()

    def meter(self) -> None:
        """Take bytes that are received without a limit (`max_bytes`) for TLS from now on, which has to become data."""
        self._overhead = TokenBucket(_OVERHEAD_RATE, _OVERHEAD)

    def delivered(self, size: int) -> None:
        """Note that `size` bytes of data have come of it. Only after `meter`."""
        assert self._overhead is not None
        self._overhead.add(size + _RECORD_OVERHEAD)
        self._careful = False

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """See trio. The HTTP server ends a stream (`send_eof`) on which it may be sending.

        So that raises `trio.BrokenResourceError` in place of `trio.BusyResourceError`.
        """
        if self._turn is not None:
            self._turn.give_back()
        try:
            await self._stream.send_all(data)
        except trio.BusyResourceError as error:
            raise trio.BrokenResourceError("the connection is being closed") from error

    async def wait_send_all_might_not_block(self) -> None:
        """See trio."""
        await self._stream.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """See trio. The client's end starts the last deadline as well, for HTTP knows no half-close.

        Raises `trio.BrokenResourceError` also for too much TLS that is no data.
        """
        if self._turn is not None:
            self._turn.give_back()
        overhead = self._overhead if max_bytes is None else None
        if overhead is not None:
            max_bytes = _TLS_READ_CAREFUL if self._careful else _TLS_READ
        try:
            data = await self._stream.receive_some(max_bytes or _TLS_READ)
            if overhead is not None:
                self._careful = True
                if overhead.add(-len(data)) < 0:
                    raise trio.BrokenResourceError("too much came by TLS that is no data")
        except trio.BrokenResourceError:
            self._end_soon()
            raise
        if not data:
            self._end_soon()
        if self._turn is not None:
            await self._turn.take()
        return bytes(data)

    async def send_eof(self) -> None:
        """See trio."""
        await self._stream.send_eof()

    async def aclose(self) -> None:
        """Close the stream; whoever works on it has `linger` seconds left."""
        self._end_soon()
        await self._stream.aclose()

    def _end_soon(self) -> None:
        self.scope.deadline = min(self.scope.deadline, trio.current_time() + self._linger)

    def abort(self) -> None:
        """Close at once, without waiting; sends and receives that wait fail."""
        self._stream.socket.close()
        self.scope.cancel()


class SecureStream(trio.abc.Stream):
    """TLS as a server, on a `WebStream`: a `trio.SSLStream` in all that an HTTP server uses."""

    def __init__(self, stream: WebStream, context: ssl.SSLContext) -> None:
        stream.meter()
        self.transport_stream = stream
        self._secure = trio.SSLStream(stream, context, server_side=True, https_compatible=True)

    async def do_handshake(self) -> None:
        """See trio."""
        await self._secure.do_handshake()

    def selected_alpn_protocol(self) -> str | None:
        """Return what both sides have agreed to speak, as ALPN has it; None when nothing was said.

        Raises `trio.NeedHandshakeError` before the handshake.
        """
        chosen: str | None = self._secure.selected_alpn_protocol()
        return chosen

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        """See trio. Raises `trio.BrokenResourceError` when too much comes that is no data."""
        data = await self._secure.receive_some(max_bytes)
        self.transport_stream.delivered(len(data))
        return data

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """See trio."""
        await self._secure.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        """See trio."""
        await self._secure.wait_send_all_might_not_block()

    async def aclose(self) -> None:
        """See trio."""
        await self._secure.aclose()

    def untie(self) -> None:
        """Break the cycle by which it would hold itself, with the handshake that it knows how to make."""
        vars(self._secure).pop("_handshook", None)  # gc_pauses.py does not look for cycles very often


#: What is thrown away of a peer's bytes after our last word, and for how many seconds.
_LINGER_BYTES = 1024 * 1024
_LINGER_SECONDS = 1.0


async def linger(stream: trio.abc.Stream) -> None:
    """End our direction, and read and drop a mebibyte, or for a second, at most.

    Closing with bytes unread would make the peer lose our last ones.
    """
    bare = below_tls(stream)
    if not isinstance(bare, trio.abc.HalfCloseableStream):
        return
    left = _LINGER_BYTES
    with (
        trio.move_on_after(_LINGER_SECONDS),
        suppress(trio.BrokenResourceError, trio.ClosedResourceError),
    ):
        try:
            await bare.send_eof()
            while left > 0 and (data := await bare.receive_some(64 * 1024)):
                left -= len(data)
        except trio.BusyResourceError:
            await trio.sleep_forever()  # until the deadline: another task is at it, and what it reads is not lost


def below_tls(stream: Any) -> Any:
    """Return the stream that TLS is spoken on; without TLS the stream itself."""
    return stream.transport_stream if isinstance(stream, SecureStream | trio.SSLStream) else stream


def presence_of(stream: Any) -> Presence:
    """Return the presence of a `WebStream`, with TLS around it or without; `NOBODY` for any other stream."""
    inner = below_tls(stream)
    return inner.presence if isinstance(inner, WebStream) else NOBODY


HttpStream = WebStream | SecureStream
ServeHttp = Callable[[HttpStream], Awaitable[None]]
#: Seconds for whoever still works on a connection that has been closed.
_LINGER = 1.0

Context = ssl.SSLContext | Callable[[], ssl.SSLContext]


class HttpHandler:
    """Serves HTTP with `serve_http(stream)`. `context` gives the TLS settings, anew for each connection if callable."""

    def __init__(self, serve_http: ServeHttp, context: Context | None, options: Proxy, log: RateLimitedLog) -> None:
        self._serve_http = serve_http
        self._context = context
        self._options = options
        self._log = log
        self._turns = HandshakeTurns()
        self._open: set[WebStream] = set()

    @property
    def has_tls(self) -> bool:
        """True when TLS connections can be served."""
        return self._context is not None

    async def serve(self, sock: socket.socket, guest: Guest, client: str, *, tls: bool) -> None:
        """Serve one connection to its end, and close it. What fails is logged, and raised to nobody.

        `client` is who it comes from, when that is not the socket's peer, else empty.
        """
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
            turn = self._turns.of(address)
            with trio.fail_after(self._options.hello_timeout), secure.transport_stream.in_turns(turn):
                await secure.do_handshake()
        except (trio.BrokenResourceError, trio.TooSlowError) as error:
            self._log.info("TLS handshake failed", client=address, error=repr(error.__cause__ or error))
            return False
        return True

    async def abort_when_cancelled(self) -> None:
        """Sleep until cancelled, then abort all connections: those that send in a shield cannot be cancelled."""
        try:
            await trio.sleep_forever()
        finally:
            for stream in tuple(self._open):
                stream.abort()
