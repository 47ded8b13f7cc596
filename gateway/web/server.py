"""HTTP/1.1 and HTTP/2 on a stream that somebody else has accepted.

hypercorn's own accept loop can be ended by one malformed request: the
exception leaves the connection's task and takes its nursery along. So the
proxy accepts, draws a boundary around each connection, and only the protocol
is hypercorn's: `TCPServer`, which is not in its documented API (setup.cfg
pins the minor version, tests/test_proxy_malformed.py holds it to this).

The most frequent requests do not get that far: fast_path.py answers them
for a fraction of the cost.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from math import inf
from typing import Any, cast

import h2.exceptions
import h11
import trio
import wsproto.utilities
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.config import Config
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import ConnectionState, LifespanState

import gateway.web.hypercorn_patches  # noqa: F401 (before anything is served)
from gateway.errors import innermost
from gateway.log import RateLimitedLog
from gateway.proxy.http import HttpStream, Presence, SecureStream, linger, owner_of, presence_of
from gateway.proxy.memory_budget import SMALL, Holding, MemoryBudget, ReadSize
from gateway.web.asgi import HOLDING, KNOWN, App, Message, Receive, Scope, Send, refuse
from gateway.web.fast_path import SimpleHttp
from gateway.web.http_budget import REFUSAL, Budget, SharedBudget
from gateway.web.http_budget import SMALL as SMALL_PIECE
from gateway.web.router import Handler

_log = logging.getLogger("hypercorn.error")

#: Seconds that an idle connection is kept.
KEEP_ALIVE = 75.0
#: Bytes of a request's target and headers.
HEAD_LIMIT = 64 * 1024
#: Bytes that are reserved for a large one: as it came, and taken apart.
_HEAD_COST = 2 * HEAD_LIMIT

#: What an app's `send` raises when its peer has left the protocol meanwhile.
PEER_PROTOCOL_ERRORS = (h11.ProtocolError, h2.exceptions.ProtocolError, wsproto.utilities.ProtocolError)


class HttpServer:
    """Serves one ASGI app on any number of connections."""

    def __init__(
        self,
        app: App,
        *,
        route: Callable[[Scope], Handler] | None = None,
        head_timeout: float,
        websocket_message_size: int,
        budget: MemoryBudget | None = None,
    ) -> None:
        """`head_timeout` bounds the seconds from a request's first byte to the end of its head,
        `websocket_message_size` the bytes of one message.
        `budget` is what all connections may hold. `route`, if the app has one, finds the handlers that are fast.
        """
        config = Config()
        config.errorlog = _log
        config.include_server_header = False
        config.keep_alive_timeout = KEEP_ALIVE
        config.keep_alive_max_requests = 1_000_000  # a dashboard or a poller may stay as long as it likes
        config.h11_max_incomplete_size = HEAD_LIMIT
        config.websocket_max_message_size = websocket_message_size
        config.max_app_queue_size = 1  # of messages, each of which may be as large as that
        config.websocket_ping_interval = 30.0
        self._config = config
        self._context = WorkerContext(None)
        self._app = _contain_errors(app)
        self._head_timeout = head_timeout
        self._memory = budget or MemoryBudget()
        self._state = ConnectionState(LifespanState())
        self._shared_budget = SharedBudget()
        self._simple = SimpleHttp(route, self._memory, keep_alive=KEEP_ALIVE) if route else None

    async def serve(self, stream: HttpStream) -> None:
        """Serve one connection to its end. May raise anything that a peer's input provokes in the protocol's code."""
        data: bytes = b""
        budget = Budget(self._shared_budget)
        presence = presence_of(stream)
        if self._simple:
            scheme = "https" if isinstance(stream, SecureStream | trio.SSLStream) else "http"
            unread = await self._simple.serve(stream, scheme, budget, presence)
            if unread is None:
                return
            data = unread
        timed = _HeadTimeoutStream(stream, data, self._head_timeout, self._memory, budget, presence)
        # hypercorn asks for the ALPN protocol of an SSLStream, and takes everything without one for plain TCP.
        tls_or_plain = cast("trio.SSLStream[trio.SocketStream]", timed)
        server = TCPServer(
            _DrainRequestBody(self._app, timed, budget, self._memory),
            self._config,
            self._context,
            self._state,
            tls_or_plain,
        )
        try:
            await server.run()
        finally:
            timed.give_back()
            _untie(server)

    async def drain(self) -> None:
        """Let idle connections go; busy ones finish their request. For a shutdown that is under way."""
        if self._simple:
            self._simple.drain()
        await self._context.terminated.set()


def _untie(server: TCPServer) -> None:
    """Let a connection's objects go at once, which hold each other: gc_pauses.py does not look for them very often."""
    wrapper = getattr(server, "protocol", None)
    for knot in (getattr(wrapper, "protocol", None), wrapper, server):
        if knot is not None:
            vars(knot).clear()


class _DrainRequestBody(ASGIWrapper):
    """An app whose queue is read to the end of the exchange.

    The end of an exchange is put into the queue as well. When the app has returned, nobody would take what is before
    it, and the connection would stay open for ever.
    """

    def __init__(self, app: App, stream: "_HeadTimeoutStream", budget: Budget, memory: MemoryBudget) -> None:
        super().__init__(cast("Any", app))
        self._stream = stream
        # The connection's; hypercorn hands this app to all that works on it.
        self.budget = budget
        self.memory = memory
        self.owner = stream.owner

    def answered_early(self) -> None:
        """See `http1_connection.Lingering`."""
        self._stream.answered_early = True

    async def __call__(self, scope: Any, receive: Any, send: Any, sync_spawn: Any, call_soon: Any) -> None:
        """See hypercorn."""
        scope[KNOWN] = self._stream.presence.is_known
        holding = scope[HOLDING] = Holding(self.memory.buffers, self.owner)

        async def send_counted(message: Any) -> None:
            if message.get("status", 0) >= 400 and not self.budget.spend(REFUSAL) and scope["http_version"] < "2":
                message = {**message, "headers": [*message["headers"], (b"connection", b"close")]}
            await send(message)

        try:
            with self._stream.exchange(scope["http_version"]):
                await super().__call__(scope, receive, send_counted, sync_spawn, call_soon)
        except Exception:  # noqa: BLE001 (the boundary of a request)
            _log.exception("Error in ASGI Framework")  # as hypercorn has it, and before the client hears of it
        finally:
            # hypercorn says it once more, to a stream that has ended then, or that fails again and so ends.
            try:
                with suppress(*PEER_PROTOCOL_ERRORS):
                    await _send_and_read_on(send, None, receive)
            finally:
                holding.close()


async def _send_and_read_on(send: Any, message: Any, receive: Receive) -> None:
    """Send what may end the exchange."""
    error: Exception | None = None
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_read_on, receive)
        try:
            await send(message)
        except PEER_PROTOCOL_ERRORS as provoked:  # raised outside, so that it comes alone and not in a group
            error = provoked
        nursery.cancel_scope.cancel()
    if error is not None:
        raise error


async def _read_on(receive: Receive) -> None:
    while True:
        await receive()


def _contain_errors(app: App) -> App:
    """The app without requests that are too large, and without its errors that are none of its own.

    The last message of an answer is sent when the app has returned. It may make hypercorn close the connection, which
    tells the app that the client has gone; quart-trio then cancels what sends, and the close with it, so that the
    connection would stay open.
    """
    log = RateLimitedLog()

    async def guarded(scope: Scope, receive: Receive, send: Send) -> None:
        last: Message | None = None

        async def send_all_but_last(message: Message) -> None:
            nonlocal last
            if message["type"] == "http.response.body" and not message.get("more_body", False):
                last = message
            else:
                await send(message)

        try:
            # h11 holds only an unfinished head to its limit: what comes at once may be twice as large.
            if _head_size(scope) > HEAD_LIMIT:
                await refuse(scope, send, 431, f"The target and headers are larger than {HEAD_LIMIT} bytes")
            else:
                await app(scope, receive, send_all_but_last)
                if last is not None:
                    await _send_and_read_on(send, last, receive)
        except* (
            PEER_PROTOCOL_ERRORS
        ) as group:  # hypercorn would log a traceback for each, and any stranger can provoke it
            log.warning("a peer broke the protocol", path=scope["path"][:100], error=repr(innermost(group)))

    return guarded


def _head_size(scope: Scope) -> int:
    target = len(scope.get("raw_path") or b"") + len(scope["query_string"])
    return target + sum(len(name) + len(value) + 4 for name, value in scope["headers"])  # ": " and a line's end


class _HeadTimeoutStream:
    """A stream of which some bytes have been read already, and on which heads of requests must arrive in time.

    hypercorn bounds only how long a connection is idle. Between the first byte of a request and the call of the app
    `receive_some` raises `TooSlowError` after `head_timeout` seconds, which hypercorn takes for the connection's end.
    In all else it is the stream itself. With HTTP/2, where pings come at any time, only the first head is timed.

    What is read stays within the budget: more than the beginning of a head is read when there is room for all of it,
    which is kept until it has been answered.
    """

    def __init__(
        self,
        stream: HttpStream,
        data: bytes,
        head_timeout: float,
        memory: MemoryBudget,
        budget: Budget,
        presence: Presence,
    ) -> None:
        self.presence = presence
        self.owner = owner_of(stream)
        self._pool = memory.bodies
        self._size = ReadSize(memory, self.owner)
        self._head = 0  # bytes of the head that is being read
        self._reserved = False
        self._cut = False  # the last read took all it could: that little is left is not the peer's doing
        self._stream = stream
        self._budget = budget
        self._data = data
        self._head_timeout = head_timeout
        self._deadline = inf
        self._waiting = trio.CancelScope()
        self._exchanges = 0
        self._timed = True
        self._reading = trio.Lock()
        self.answered_early = False  # the peer is still sending what has been answered
        self._ended = self._lingered = False  # we are closing it; and have read on

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """First what has been read."""
        cut = self._cut
        if self._data:
            await trio.lowlevel.checkpoint()
            data, self._data = self._data, b""
        else:
            with trio.CancelScope(deadline=self._deadline) as self._waiting:
                data = await self._read(max_bytes)
            if self._waiting.cancelled_caught and self._ended:
                raise trio.ClosedResourceError
            if self._waiting.cancelled_caught:
                await trio.aclose_forcefully(self._stream)  # hypercorn would let its idle timer do that
                raise trio.TooSlowError
        if len(data) < SMALL_PIECE and not cut:
            self._budget.spend(1)
        if self._in_head:
            self._head += len(data)
            if self._deadline == inf:
                self._deadline = trio.current_time() + self._head_timeout
        return data

    @property
    def _in_head(self) -> bool:
        return self._timed and not self._exchanges

    async def _read(self, max_bytes: int | None) -> bytes:
        if self._in_head and self._head >= SMALL and not self._reserved:
            await self._pool.reserve(self.owner, _HEAD_COST)
            self._reserved = True
        size = min(max_bytes or self._size.now, self._size.now)
        async with self._reading:
            data = bytes(await self._stream.receive_some(size))
        self._size.was(len(data))
        self._cut = len(data) == size
        return data

    def give_back(self) -> None:
        """Nothing more is read: give all memory back."""
        self._size.close()
        self._forget_head()

    def _forget_head(self) -> None:
        self._head = 0
        if self._reserved:
            self._reserved = False
            self._pool.give_back(self.owner, _HEAD_COST)

    async def aclose(self) -> None:
        """Close. Who is answered while they are sending would lose that word if it were not read meanwhile."""
        try:
            if self._budget.exhausted or self.answered_early:
                self._ended = True
                self._waiting.cancel()  # one reads at a time
                async with self._reading:  # several close it, and the first of them reads on
                    if not self._lingered:
                        self._lingered = True
                        await linger(self._stream)
        finally:
            await self._stream.aclose()

    @contextmanager
    def exchange(self, http_version: str) -> Iterator[None]:
        """While entered, a request is being answered: its head is complete."""
        self._exchanges += 1
        if self._exchanges == 1:
            self.presence.works()
        self._deadline = self._waiting.deadline = inf
        self._timed = http_version < "2"
        try:
            yield
        finally:
            self._exchanges -= 1
            if not self._exchanges:
                self.presence.waits()
                self._forget_head()
