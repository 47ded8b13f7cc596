"""The router: one ASGI app that hands each request to who answers it.

    {prefix}/clusters/{name}/...                    that cluster's dashboard
    {prefix}/api/v1/clusters/{name}/heartbeat       heartbeat_route.py: by far the most frequent, no web framework
    {prefix}/api/v1/clusters/                       list_route.py, when a cookie says who asks: no web framework
    {prefix}/...                                    the API (Quart)

The API is for programs, and for pages of its own: what another page has made
a browser send is refused (request_origin.py says why). Its answers are for
whoever asked, and kept by nobody. Dashboards are other people's code on the
same host: see proxy/dashboard/app.py.

With TLS on the public port, jobs still reach it over plain HTTP: a site's
own certificate authority is seldom known on compute nodes. What they may say
in the clear is what they prove with their cluster's own token, and nothing
else; everybody else is sent to HTTPS.
"""

import re
from collections.abc import Awaitable, Callable
from typing import Any, Protocol
from urllib.parse import quote, unquote

import orjson

from gateway.errors import BadRequest, Forbidden, GatewayError, Misdirected, TooLarge
from gateway.log import RateLimitedLog
from gateway.proxy.answer_headers import with_headers
from gateway.proxy.memory_budget import SMALL, MemoryBudget
from gateway.web.request_origin import HostNames, other_page

_log = RateLimitedLog()  # a log that strangers cannot flood

Scope = dict[str, Any]
Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
#: Each library spells the types of ASGI in its own way; what they share is the call.
App = Callable[[Any, Any, Any], Awaitable[None]]

#: In a scope: what to call when a request has proved to be a job's.
KNOWN = "gateway.known"

_CLUSTER = re.compile("/api/v1/clusters/[^/]+")
_HEARTBEAT = re.compile("/api/v1/clusters/[^/]+/heartbeat")
#: With every answer but dashboards' (which have headers of their own): some hold keys, none is anything but JSON.
_FOR_THE_ASKER = ((b"cache-control", b"no-store"), (b"x-content-type-options", b"nosniff"))


class Lists(Protocol):
    """An app for some lists of clusters."""

    def takes(self, scope: Scope) -> bool:
        """True for a request that it can answer."""
        ...

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer it."""


class Router:
    """Dispatches by path.

    `dashboards` is None where only the API is served; `secure` is True where plain HTTP is the exception. Without
    `lists`, the API answers all of them. `hosts` are the names under which people may ask; None: any.
    """

    def __init__(
        self,
        *,
        api: App,
        heartbeats: App,
        dashboards: App | None,
        lists: Lists | None = None,
        prefix: str = "",
        secure: bool = False,
        hosts: HostNames | None = None,
    ):
        self._api = api
        self._heartbeats = heartbeats
        self._lists = lists
        self._dashboards = dashboards
        self._prefix = prefix
        self._secure = secure
        self._hosts = hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request or websocket."""
        if not scope["path"].startswith("/"):
            scope = _in_origin_form(scope)
        path: str = scope["path"]
        if not path:  # "GET ?a=b HTTP/1.1"; Quart takes it for granted that there is one
            await refuse(scope, for_the_asker(send), 400, "The request's target has no path")
            return
        if self._prefix and not (path == self._prefix or path.startswith(f"{self._prefix}/")):
            text = f"Nothing here: this gateway serves below {self._prefix}/"
            await refuse(scope, for_the_asker(send), 404, text)
            return
        below = strip_prefix(scope, self._prefix) if self._prefix else scope
        if not await self._turned_down(scope, below, send):
            await self._dispatch(scope, below, receive, send)

    async def _turned_down(self, scope: Scope, below: Scope, send: Send) -> bool:
        """Answer what is for another host, came in the clear, or was sent by another page; True when it was that."""
        from_job = _is_from_job(below)
        if self._hosts is not None and not from_job and (host := self._hosts.foreign(scope["headers"])):
            await _answer_misdirected(scope, send, host)
        elif self._secure and scope["scheme"] in ("http", "ws") and not from_job:
            await _send_to_https(scope, send)
        elif self._is_for_dashboard(below):
            return False  # which has an origin of its own
        elif page := other_page(scope["headers"], "https" if scope["scheme"] in ("https", "wss") else "http"):
            await _refuse_page(scope, send, page)
        else:
            return False
        return True

    def _is_for_dashboard(self, below: Scope) -> bool:
        return self._dashboards is not None and below["path"].startswith("/clusters/")

    async def _dispatch(self, scope: Scope, below: Scope, receive: Receive, send: Send) -> None:
        if self._dashboards is not None and self._is_for_dashboard(below):
            await self._dashboards(below, receive, send)
        elif scope["type"] == "http" and _HEARTBEAT.fullmatch(below["path"]):
            await self._heartbeats(below, receive, for_the_asker(send))
        elif scope["type"] == "http" and self._lists is not None and self._lists.takes(below):
            await self._lists(below, receive, for_the_asker(send))
        else:  # Quart takes the prefix off by itself
            await self._api({**scope, "root_path": self._prefix}, receive, for_the_asker(send))

    def at_once(self, scope: Scope) -> bool:
        """True for an HTTP request whose answer comes in one piece, without asking anybody who may take long."""
        path: str = scope["path"]
        if not path.startswith(f"{self._prefix}/api/v1/clusters/"):
            return False
        below = strip_prefix(scope, self._prefix) if self._prefix else scope
        if scope["method"] == "POST":
            return _HEARTBEAT.fullmatch(below["path"]) is not None
        return self._lists is not None and self._lists.takes(below)


def for_the_asker(send: Send) -> Send:
    """A `send` whose answers are kept by no browser or proxy, and are taken for nothing but what they say they are."""
    return with_headers(send, _FOR_THE_ASKER)


def _in_origin_form(scope: Scope) -> Scope:
    """The scope of "GET http://gateway/path" as of "GET /path": both mean the same (RFC 9112, 3.2.2)."""
    absolute = re.match(rb"https?://[^/]*", scope.get("raw_path") or b"", re.IGNORECASE)
    if absolute is None:
        return scope
    raw = scope["raw_path"][absolute.end() :] or b"/"
    return {**scope, "raw_path": raw, "path": unquote(raw.decode("ascii", "replace"))}


def strip_prefix(scope: Scope, prefix: str) -> Scope:
    """The scope as seen below `prefix`, which moves to `root_path`."""
    path = scope["path"][len(prefix) :] or "/"
    raw: bytes = scope.get("raw_path") or b""
    # A client may have written characters of the prefix as %XX; then the rest is written anew.
    as_sent = raw.startswith(prefix.encode())
    return {
        **scope,
        "root_path": scope.get("root_path", "") + prefix,
        "path": path,
        "raw_path": raw[len(prefix.encode()) :] or b"/" if as_sent else quote(path).encode(),
    }


def header(scope: Scope, name: bytes) -> str:
    """The value of a request header (lower case name), empty when it is missing."""
    for key, value in scope["headers"]:
        if key.lower() == name:
            return str(value.decode("latin-1"))
    return ""


async def read_body(receive: Receive, limit: int) -> bytes:
    """The whole body. Raises `TooLarge` beyond `limit` bytes and `BadRequest` when the peer leaves in the middle."""
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise BadRequest("The request ended before its body did")
        body += message.get("body", b"")
        if len(body) > limit:
            raise TooLarge(f"The request body is larger than {limit} bytes")
        if not message.get("more_body", False):
            return bytes(body)


def with_bodies_of(app: App, budget: MemoryBudget, size: int) -> App:
    """The app with bodies for which there is room: more than a small one is read when `size` bytes are reserved."""

    async def within_budget(scope: Scope, receive: Receive, send: Send) -> None:
        client = scope.get("client")
        owner = f"address {client[0] if client else ''}"
        read, reserved = 0, False

        async def receive_in_turn() -> Message:
            nonlocal read, reserved
            message = await receive()
            read += len(message.get("body", b""))
            if read > SMALL and not reserved:
                await budget.bodies.reserve(owner, size)
                reserved = True
            return message

        try:
            await app(scope, receive_in_turn, send)
        finally:
            if reserved:
                budget.bodies.give_back(owner, size)

    return within_budget


async def answer(send: Send, status: int, body: bytes = b"", headers: tuple[tuple[bytes, bytes], ...] = ()) -> None:
    """A complete HTTP answer."""
    length = (b"content-length", b"%d" % len(body))
    await send({"type": "http.response.start", "status": status, "headers": [length, *headers]})
    await send({"type": "http.response.body", "body": body})


async def answer_error(send: Send, error: GatewayError) -> None:
    """An error as every route tells it."""
    headers = [(name.lower().encode(), value.encode()) for name, value in error.headers.items()]
    body = orjson.dumps({"error": str(error)})
    await answer(send, error.status, body, ((b"content-type", b"application/json"), *headers))


async def refuse(scope: Scope, send: Send, status: int, text: str) -> None:
    """Turn a request or a websocket down."""
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1008, "reason": text})
        return
    body = orjson.dumps({"error": text})
    await answer(send, status, body, ((b"content-type", b"application/json"),))


def _is_from_job(scope: Scope) -> bool:
    """True for the two things that a job says: its heartbeat, and the end of its own cluster."""
    if scope["type"] != "http" or not header(scope, b"authorization").startswith("token "):
        return False
    said = {"POST": _HEARTBEAT, "DELETE": _CLUSTER}.get(scope["method"])
    return said is not None and said.fullmatch(scope["path"]) is not None


async def _refuse_page(scope: Scope, send: Send, page: str) -> None:
    """Turn down what a page that is not ours has made a browser send."""
    text = f"This request comes from a page that is not the gateway's own ({page}), for which the API does nothing"
    _log.warning("a request from another page was refused", path=scope["path"][:100], shown_by=page)
    await refuse(scope, for_the_asker(send), Forbidden.status, text)


async def _answer_misdirected(scope: Scope, send: Send, host: str) -> None:
    text = (
        f"This gateway does not go by the name {host[:200]!r}. Ask for it by its address; or its administrator adds "
        "the name to c.Proxy.host_names, or sets a password (c.SimpleAuthenticator.password)"
    )
    _log.warning("a request for another host was refused", host=host[:200], path=scope["path"][:100])
    await refuse(scope, for_the_asker(send), Misdirected.status, text)


async def _send_to_https(scope: Scope, send: Send) -> None:
    host = header(scope, b"host")
    if scope["type"] == "http" and scope["method"] in ("GET", "HEAD") and _is_host(host):
        query = b"?" + scope["query_string"] if scope["query_string"] else b""
        raw: bytes = scope.get("raw_path") or scope["path"].encode()
        location = b"https://" + host.encode("latin-1") + raw + query
        await answer(send, 308, headers=((b"location", location),))
    else:
        await refuse(scope, send, 403, "This gateway speaks HTTPS: use an address that begins with https://")


def _is_host(host: str) -> bool:
    return 0 < len(host) < 256 and all(char.isalnum() or char in "-._:[]" for char in host)
