"""The short way: an HTTP/1.1 server for simple requests to a few apps that answer at once.

Three of four microseconds of a heartbeat would be spent in the general HTTP
server, whose tasks, events and state machines are for all that HTTP can be
(docs/performance.md has the figures). So connections begin here. While each
request is simple (fast_parser.py) and for an app that asked for it, it is
read, answered and forgotten in one loop without a task of its own. The first
one that is anything else ends that: `serve` returns the bytes that are not
used yet, and the general server goes on as if it had read them itself.
"""

from collections.abc import Callable
from email.utils import formatdate
from functools import lru_cache
from time import time

import structlog
import trio

from gateway.proxy.http import NOBODY, Presence, address_of, linger, owner_of
from gateway.proxy.memory_budget import LARGE, SMALL, Holding, MemoryBudget
from gateway.web.asgi import KNOWN, Message, Scope, answer_error
from gateway.web.fast_parser import SimpleRequest, parse_simple_request
from gateway.web.http_budget import REFUSAL, Budget
from gateway.web.http_budget import SMALL as SMALL_PIECE
from gateway.web.room import TOO_MANY_WAIT
from gateway.web.router import Handler

_log = structlog.get_logger()

#: Bytes that are read at once: of a request's beginning, and of a body, which is soon forgotten.
_BEGINNING, _PART = 2 * SMALL, 16 * 1024
#: Seconds that a client has to take an answer; it is small, so most never wait at all.
_SEND_DEADLINE = 60.0


class SimpleHttp:
    """Serves those simple requests for which `route(scope)` finds a fast handler.

    `memory` is what all connections may hold, `keep_alive` how many seconds an idle one is kept.
    """

    def __init__(self, route: Callable[[Scope], Handler], memory: MemoryBudget, *, keep_alive: float) -> None:
        self._route = route
        self._memory = memory
        self._keep_alive = keep_alive
        self._idle: set[trio.CancelScope] = set()
        self._draining = False

    async def serve(
        self, stream: trio.abc.Stream, scheme: str, budget: Budget, presence: Presence = NOBODY
    ) -> bytes | None:
        """Serve a connection to its end, and return None; or until a request is not for us: its bytes, read so far.

        Refused requests, and bodies that come in tiny pieces, are paid for from `budget`.
        """
        data = b""
        client = address_of(stream), 0
        try:
            while True:
                if not data and not (data := await self._next(stream)):
                    return None
                request = parse_simple_request(data)
                if request is None:
                    return data
                handler = self._route(_scope(request, scheme) | {"client": client, KNOWN: presence.is_known})
                if not handler.is_fast:
                    return data
                exchange = _Exchange(stream, request, data, budget)
                await self._answer(exchange, handler)
                closing = self._draining or (exchange.refused and not budget.spend(REFUSAL))
                if exchange.is_large:
                    await self._send_large(stream, exchange, close=closing)
                else:
                    with trio.fail_after(_SEND_DEADLINE):
                        await stream.send_all(exchange.rendered(close=closing))
                if exchange.closes:
                    if budget.exhausted:
                        await linger(stream)
                    await stream.aclose()
                    return None
                presence.waits()
                data = exchange.rest
        except (trio.BrokenResourceError, trio.ClosedResourceError, trio.TooSlowError):
            return None  # the client has gone, or takes nothing

    async def _send_large(self, stream: trio.abc.Stream, exchange: "_Exchange", *, close: bool) -> None:
        """If there is room for it until it has been taken."""
        holding = Holding(self._memory.buffers, owner_of(stream))
        if not holding.take(exchange.size):
            await answer_error(exchange.send, TOO_MANY_WAIT)
        try:
            with trio.fail_after(_SEND_DEADLINE):
                await stream.send_all(exchange.rendered(close=close))
        finally:
            holding.close()

    def drain(self) -> None:
        """Let idle connections go; busy ones finish their request."""
        self._draining = True
        for scope in self._idle:
            scope.cancel()

    async def _next(self, stream: trio.abc.Stream) -> bytes:
        """The first bytes of the next request; none when the client has closed, is idle for too long, or we stop."""
        with trio.move_on_after(0 if self._draining else self._keep_alive) as scope:
            self._idle.add(scope)
            try:
                return bytes(await stream.receive_some(_BEGINNING))
            finally:
                self._idle.discard(scope)
        return b""

    async def _answer(self, exchange: "_Exchange", handler: Handler) -> None:
        scope = handler.scope
        try:
            await handler.app(scope, exchange.receive, exchange.send)
        except Exception as error:  # noqa: BLE001 (the boundary of a request)
            _log.error("an error inside the gateway", method=scope["method"], path=scope["path"], exc_info=error)
            exchange.fail()


class _Exchange:
    """One request and its answer: the two callables of ASGI."""

    def __init__(self, stream: trio.abc.Stream, request: SimpleRequest, data: bytes, budget: Budget) -> None:
        self.rest = data[request.size :]
        self.closes = not request.keep_alive
        self._stream = stream
        self._budget = budget
        self._missing = request.body_size
        self._status = 500
        self._headers: list[tuple[bytes, bytes]] = []
        self._body = b""

    async def receive(self) -> Message:
        """The next part of the body."""
        if not self.rest and self._missing:
            self.rest = bytes(await self._stream.receive_some(_PART))
            if not self.rest or (len(self.rest) < SMALL_PIECE and not self._budget.spend(1)):
                return {"type": "http.disconnect"}
        part, self.rest = self.rest[: self._missing], self.rest[self._missing :]
        self._missing -= len(part)
        return {"type": "http.request", "body": part, "more_body": self._missing > 0}

    async def send(self, message: Message) -> None:
        """Keep the answer."""
        if message["type"] == "http.response.start":
            self._status, self._headers = message["status"], message["headers"]
        else:
            self._body = message["body"]

    @property
    def size(self) -> int:
        """Bytes of the answer's body."""
        return len(self._body)

    @property
    def is_large(self) -> bool:
        """True for what is more than a connection may hold unasked."""
        return self.size > LARGE

    @property
    def refused(self) -> bool:
        """True when the answer is that there is none."""
        return self._status >= 400

    def fail(self) -> None:
        """The app could not answer."""
        self._status, self._headers, self._body = 500, [(b"content-length", b"0")], b""

    def rendered(self, *, close: bool) -> bytes:
        """The whole answer; whatever is left of the body that was not read makes it the last one."""
        self.closes = self.closes or close or self._missing > 0
        lines = [b"HTTP/1.1 %d \r\ndate: %b\r\n" % (self._status, _date(int(time())))]
        lines += [b"%b: %b\r\n" % header for header in self._headers]
        lines.append(b"connection: close\r\n\r\n" if self.closes else b"\r\n")
        lines.append(self._body)
        self._body = b""  # it may be large
        return b"".join(lines)


def _scope(request: SimpleRequest, scheme: str) -> Scope:
    return {
        "type": "http",
        "asgi": {"spec_version": "2.3", "version": "3.0"},
        "http_version": "1.1",
        "method": request.method,
        "scheme": scheme,
        "path": request.path,
        "raw_path": request.path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": list(request.headers.items()),
    }


@lru_cache(maxsize=1)
def _date(second: int) -> bytes:
    return formatdate(second, usegmt=True).encode()
