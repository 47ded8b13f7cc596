"""The dashboards of all clusters, as one ASGI application below `/clusters/{name}/`.

Pages, assets and messages of websockets are passed through as they come, in
pieces, in both directions; whoever reads slowly holds back the peer and nobody
else. Each exchange has a connection of its own to the dashboard and keeps
nothing (upstream.py, upstream_websocket.py); headers.py says what may pass.
Everything a user can meet when it fails is a page that says so. guard.py says
who is let in at all. Whatever is answered here, by whomever, runs in a sandbox,
unless the dashboard has a host of its own.
"""

import secrets
from collections.abc import Iterator
from contextlib import AsyncExitStack, closing, contextmanager

import h11
import trio
from wsproto.events import AcceptConnection, BytesMessage, CloseConnection, RejectConnection, TextMessage

from gateway.addresses import Address
from gateway.config.proxy import Proxy
from gateway.log import RateLimitedLog
from gateway.proxy.answer_headers import with_headers
from gateway.proxy.dashboard import pages
from gateway.proxy.dashboard.guard import Guard
from gateway.proxy.dashboard.headers import (
    ALWAYS,
    SANDBOX,
    Headers,
    has_passed,
    header,
    request_headers,
    response_headers,
)
from gateway.proxy.dashboard.request import DashboardRequest, Message, Receive, RequestBody, Scope, Send
from gateway.proxy.dashboard.upstream import HttpExchange, UpstreamError
from gateway.proxy.dashboard.upstream_websocket import WebsocketExchange
from gateway.proxy.dialer import Dialer, RefusedDestination
from gateway.proxy.memory_budget import MemoryBudget
from gateway.proxy.routes import Route, Routes
from gateway.proxy.sockets import expect_life

_log = RateLimitedLog()  # a log that strangers cannot flood

#: Websocket codes that exist only in software, never on the wire (RFC 6455, 7.4.1).
_UNSENDABLE = frozenset((1005, 1006, 1015))
_GOING_AWAY, _NORMAL = 1001, 1000


class _Refusal(Exception):
    """The exchange ends with an answer of our own: a page, or a `location` to go to instead."""

    def __init__(self, status: int, page: bytes, location: bytes = b"") -> None:
        super().__init__(status)
        self.status = status
        self.page = page
        self.headers: Headers = [(b"content-type", b"text/html; charset=utf-8"), (b"cache-control", b"no-store")]
        if location:
            self.headers = [(b"location", location), (b"cache-control", b"no-store")]


class Dashboard:
    """The ASGI application (http and websocket) for paths `/clusters/{name}[/...]`, without the site's prefix.

    `scope["root_path"]` is that prefix. `guard` says who is let in; without it, whoever knows a cluster's name.
    `dialer` says which addresses are connected to; without it all are. `budget` is what all of it may hold. It raises
    nothing of its own: what fails is answered with a page.

    Websockets are accepted with `pieces`: their messages come and go in pieces, all but the last one with `more`
    (web/hypercorn_patches.py).
    """

    def __init__(
        self,
        routes: Routes,
        *,
        guard: Guard | None = None,
        options: Proxy | None = None,
        dialer: Dialer | None = None,
        budget: MemoryBudget | None = None,
    ) -> None:
        self._guard = guard
        self._budget = budget or MemoryBudget()
        self._routes = routes
        self._dialer = dialer or Dialer()
        self._via = f"gateway-{secrets.token_hex(8)}".encode()  # nobody else's, after a restart neither
        self._options = options or Proxy()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request or websocket (ASGI)."""
        request = DashboardRequest(scope, self._via, self._guard.hosts if self._guard else None)
        send = with_headers(send, ALWAYS if request.at_own_host else SANDBOX)
        try:
            if has_passed(request.headers, self._via):
                # A cluster's dashboard that leads back here by way of another server, once for each part of the path.
                _log.warning("a dashboard leads back to this gateway", cluster=request.cluster)
                raise _Refusal(508, pages.dashboard_elsewhere(request.cluster))
            address = self._routes.dashboard(request.cluster)
            if address is None:
                raise _Refusal(404, pages.unknown_cluster(request.cluster))
            if self._guard and (turn := self._guard.turn(request)):
                raise _Refusal(turn.status, turn.page, turn.location)
            if scope["type"] == "websocket":
                await self._websocket(request, address, receive, send)
            elif request.target is None:
                location = f"{request.origin.prefix}/".encode() + request.query
                await _answer(send, 307, b"", [(b"location", location)])
            else:
                await self._http(request, address, receive, send)
        except _Refusal as refusal:
            if scope["type"] == "http":
                await _answer(send, refusal.status, refusal.page, refusal.headers)
            else:
                await _reject(scope, send, refusal.status, refusal.page, refusal.headers)

    async def _connect(self, request: DashboardRequest, address: Address) -> trio.SocketStream:
        try:
            stream = await self._dialer.connect(request.cluster, address, self._options.connect_timeout)
        except RefusedDestination as error:
            _log.warning("a dashboard's address is not connected to", cluster=request.cluster, reason=str(error))
            raise _Refusal(502, pages.dashboard_elsewhere(request.cluster)) from None
        except OSError as error:
            _log.info("dashboard does not answer", cluster=request.cluster, error=str(error))
            self._routes.refused(request.cluster)
            raise _Refusal(502, pages.dashboard_down(request.cluster)) from None
        expect_life(stream.socket, self._options.dead_peer_timeout)
        return stream

    @contextmanager
    def _while_routed(self, cluster: str) -> Iterator[trio.CancelScope]:
        """A scope that is cancelled when the cluster goes away, or its dashboard moves."""
        route = self._routes.get(cluster)
        with trio.CancelScope() as scope:
            if route is None:
                scope.cancel()

            def gone(other: Route) -> None:
                if other == route:
                    scope.cancel()

            with self._routes.on_gone(gone):
                yield scope

    async def _http(self, request: DashboardRequest, address: Address, receive: Receive, send: Send) -> None:
        with trio.move_on_after(self._options.dashboard_timeout) as scope:
            first = await receive()
        if scope.cancelled_caught:
            raise _Refusal(408, pages.bad_request())
        if first["type"] == "http.disconnect":
            return
        head = _head(request, first)
        async with await self._connect(request, address) as stream, AsyncExitStack() as stack:
            stack.enter_context(closing(exchange := HttpExchange(stream, self._budget, request.cluster)))
            ended: _Refusal | Message | None = None
            # Before anything is received: h11 fails on an answer that comes before its question.
            await exchange.send(head)
            async with trio.open_nursery() as nursery:
                body = RequestBody(exchange, receive, self._options.dashboard_timeout)
                nursery.start_soon(body.send, first, nursery.cancel_scope)
                try:
                    with self._while_routed(request.cluster):
                        ended = await self._respond(request, address, exchange, send)
                except _Refusal as refusal:
                    ended = refusal
                nursery.cancel_scope.cancel()
            if isinstance(ended, _Refusal):
                raise ended
            if body.paused and not request.answered:
                raise _Refusal(408, pages.bad_request())
            # The last message is sent out of the scope that a disconnect cancels: it makes the server close the
            # connection and say so, and that close would be cut off half-way.
            if ended is not None:
                await send(ended)

    async def _respond(
        self, request: DashboardRequest, address: Address, exchange: HttpExchange, send: Send
    ) -> Message | None:
        """Pass the answer on but for its last message, which is returned; None when the answer is cut short."""
        try:
            with trio.fail_after(self._options.dashboard_timeout):
                head = await exchange.receive()
        except trio.TooSlowError:
            raise _Refusal(504, pages.dashboard_slow(request.cluster)) from None
        except UpstreamError as error:
            _log.info("dashboard failed", cluster=request.cluster, error=str(error))
            raise _Refusal(502, pages.dashboard_down(request.cluster)) from None
        assert isinstance(head, h11.Response)
        framed = header(head.headers, b"transfer-encoding") is None
        headers = response_headers(head.headers, request.origin, _netloc(address), framed=framed)
        request.answered = True
        await send({"type": "http.response.start", "status": head.status_code, "headers": headers})
        try:
            while isinstance(event := await exchange.receive(), h11.Data):
                await send({"type": "http.response.body", "body": bytes(event.data), "more_body": True})
        except UpstreamError as error:
            # Returning with the body unfinished makes the server cut the connection: the browser learns of it.
            _log.info("dashboard broke off an answer", cluster=request.cluster, error=str(error))
            return None
        return {"type": "http.response.body", "body": b"", "more_body": False}

    async def _websocket(self, request: DashboardRequest, address: Address, receive: Receive, send: Send) -> None:
        await receive()  # websocket.connect
        headers = request_headers(request.headers, request.origin)
        async with await self._connect(request, address) as stream, AsyncExitStack() as stack:
            size = self._options.websocket_message_size
            stack.enter_context(closing(exchange := WebsocketExchange(stream, size, self._budget, request.cluster)))
            try:
                with trio.fail_after(self._options.dashboard_timeout):
                    target = (request.target or b"/").decode("ascii", "replace")
                    answer = await exchange.open(target, headers, request.subprotocols)
                    if isinstance(answer, RejectConnection):
                        body = await exchange.rejection_body(answer)
            except trio.TooSlowError:
                raise _Refusal(504, pages.dashboard_slow(request.cluster)) from None
            except (UpstreamError, UnicodeError, h11.LocalProtocolError) as error:
                _log.info("dashboard failed", cluster=request.cluster, error=str(error))
                raise _Refusal(502, pages.dashboard_down(request.cluster)) from None
            passed = response_headers(
                answer.extra_headers if isinstance(answer, AcceptConnection) else answer.headers,
                request.origin,
                _netloc(address),
                framed=False,
            )
            if isinstance(answer, RejectConnection):
                await _reject(request.scope, send, answer.status_code, body, passed)
                return
            accept = {"type": "websocket.accept", "subprotocol": answer.subprotocol, "headers": passed, "pieces": True}
            await send(accept)
            closed: Message | None = None
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_browser_to_dashboard, exchange, receive, nursery.cancel_scope)
                with self._while_routed(request.cluster) as routed:
                    closed = await _dashboard_to_browser(exchange, send, request.cluster)
                if routed.cancelled_caught:
                    closed = {"type": "websocket.close", "code": _GOING_AWAY, "reason": "the cluster has ended"}
                nursery.cancel_scope.cancel()
            if closed is not None:
                await send(closed)


async def _browser_to_dashboard(exchange: WebsocketExchange, receive: Receive, scope: trio.CancelScope) -> None:
    try:
        while (message := await receive())["type"] == "websocket.receive":
            data, finished = message.get("bytes"), not message.get("more", False)
            if data is None:
                await exchange.send(TextMessage(data=message["text"], message_finished=finished))
            else:
                await exchange.send(BytesMessage(data=data, message_finished=finished))
        code = message.get("code") or _NORMAL
        await exchange.send(CloseConnection(code=_GOING_AWAY if code in _UNSENDABLE else code))
    except UpstreamError:
        return  # the other direction meets the same end, and tells the browser
    scope.cancel()


async def _dashboard_to_browser(exchange: WebsocketExchange, send: Send, cluster: str) -> Message:
    """Pass messages on until the dashboard closes; returns the close that the browser is to see."""
    try:
        while not isinstance(piece := await exchange.receive(), CloseConnection):
            kind = "text" if isinstance(piece, TextMessage) else "bytes"
            more = {} if piece.message_finished else {"more": True}
            await send({"type": "websocket.send", kind: piece.data, **more})
        code, reason = piece.code, piece.reason
    except UpstreamError as error:
        _log.info("dashboard's websocket ended", cluster=cluster, error=str(error))
        code, reason = _GOING_AWAY, "the dashboard is gone"
    return {"type": "websocket.close", "code": _NORMAL if code in _UNSENDABLE else code, "reason": reason or ""}


def _head(request: DashboardRequest, first: Message) -> h11.Request:
    """What the dashboard is asked; `first` is the first message of the request."""
    headers = request_headers(request.headers, request.origin)
    if request.has_body(first) and request.is_chunked():
        # A length beside chunks does not count (RFC 9112, 6.3), and may be a lie.
        headers = [(name, value) for name, value in headers if name != b"content-length"]
        headers.append((b"transfer-encoding", b"chunked"))
    headers.append((b"connection", b"close"))
    try:
        return h11.Request(method=request.method, target=request.target or b"/", headers=headers)
    except h11.LocalProtocolError:
        raise _Refusal(400, pages.bad_request()) from None


async def _answer(send: Send, status: int, body: bytes, headers: Headers) -> None:
    headers = [*headers, (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})


async def _reject(scope: Scope, send: Send, status: int, body: bytes, headers: Headers) -> None:
    """Refuse a websocket with an HTTP answer, where the server can do that."""
    if "websocket.http.response" in scope.get("extensions", {}):
        headers = [*headers, (b"content-length", b"%d" % len(body))]
        await send({"type": "websocket.http.response.start", "status": status, "headers": headers})
        await send({"type": "websocket.http.response.body", "body": body, "more_body": False})
    else:
        await send({"type": "websocket.close", "code": _NORMAL})


def _netloc(address: Address) -> bytes:
    host, port = address
    return f"[{host}]:{port}".encode() if ":" in host else f"{host}:{port}".encode()
