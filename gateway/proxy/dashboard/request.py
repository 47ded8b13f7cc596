"""A request for a dashboard, taken apart, and its body on the way there."""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import h11
import trio

from gateway.log import RateLimitedLog
from gateway.proxy.dashboard.headers import Headers, Origin, header
from gateway.proxy.dashboard.hosts import Hosts
from gateway.proxy.dashboard.paths import parse_place
from gateway.proxy.dashboard.upstream import HttpExchange

_log = RateLimitedLog()

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class DashboardRequest:
    """A scope, taken apart: for which cluster, what the dashboard shall see, and where it came from.

    `hosts` are those on which a dashboard is all there is.
    """

    def __init__(self, scope: Scope, via: bytes, hosts: Hosts | None = None) -> None:
        self.scope = scope
        self.answered = False
        self.headers: Headers = list(scope["headers"])
        self.http_version: str = scope.get("http_version", "1.1")
        self.method: str = scope.get("method", "GET")
        self.query = b"?" + scope["query_string"] if scope.get("query_string") else b""
        self.subprotocols: list[str] = list(scope.get("subprotocols") or ())
        host = header(self.headers, b"host") or header(self.headers, b":authority") or b"localhost"
        at_host_of = hosts.cluster_at(host) if hosts else None
        #: It came to the host of its cluster, and not to the gateway's own.
        self.at_own_host = at_host_of is not None
        raw = (scope.get("raw_path") or scope["path"].encode()).partition(b"?")[0]
        self.place = place = parse_place(raw, scope.get("root_path", "").rstrip("/"), at_host_of)
        self.cluster = place.cluster
        #: What the dashboard is asked for; None for where no relative link works, for the lack of a slash.
        self.target: bytes | None = None if place.path is None else place.path + self.query
        client, scheme = scope.get("client"), scope.get("scheme", "http")
        self.origin = Origin(
            client=str(client[0]) if client else "unknown",
            scheme="https" if scheme in ("https", "wss") else "http",
            host=host,
            prefix=place.prefix,
            cluster=place.cluster,
            via=via,
        )

    def is_chunked(self) -> bool:
        """Return whether the body, if there is one, comes without a length that holds."""
        chunks, length = (header(self.headers, name) for name in (b"transfer-encoding", b"content-length"))
        return chunks is not None or length is None

    def has_body(self, first: Message) -> bool:
        """Return whether a body follows; `first` is the first message received. HTTP/2 needs no header to say so."""
        if self.http_version >= "2":
            return bool(first.get("body")) or _more(first)
        return any(name.lower() in (b"content-length", b"transfer-encoding") for name, _ in self.headers)


class RequestBody:
    """A request's body on its way. `paused` says that the browser did not go on with it for `pause` seconds."""

    def __init__(self, exchange: HttpExchange, receive: Receive, pause: float) -> None:
        self._exchange = exchange
        self._receive = receive
        self._pause = pause
        self.paused = False

    async def send(self, message: Message, scope: trio.CancelScope) -> None:
        """Pass it on as it arrives, from its first `message` on; then cancel `scope` when the browser goes away."""
        try:
            while message["type"] == "http.request":
                if message.get("body"):
                    await self._exchange.send(h11.Data(data=message["body"]))
                if not _more(message):
                    await self._exchange.send(h11.EndOfMessage())
                    await self._receive()
                    break
                with trio.move_on_after(self._pause) as waiting:
                    message = await self._receive()
                if waiting.cancelled_caught:
                    self.paused = True
                    break
        except h11.LocalProtocolError as error:
            _log.info("request cannot be passed on", error=str(error))  # a body that is not as long as was said
        scope.cancel()


def _more(message: Message) -> bool:
    return bool(message.get("more_body", False))
