"""The router: one ASGI app that hands each request to who answers it.

    {prefix}/clusters/{name}/...                    that cluster's dashboard
    {prefix}/api/v1/clusters/{name}/heartbeat       heartbeat_route.py: by far the most frequent, no web framework
    {prefix}/api/...                                reads.py, when it is plain who asks: no web framework
    {prefix}/...                                    the API and the pages (Quart)
    any path at a host that is a cluster's          that cluster's dashboard

The API is for programs, and for pages of its own: what another page has made
a browser send is refused (request_origin.py says why). Links to our pages may
stand anywhere. All answers are for whoever asked, and kept by nobody.
Dashboards are other people's code on the same host: see proxy/dashboard/.

With TLS on the public port, jobs still reach it over plain HTTP: a site's
own certificate authority is seldom known on compute nodes. What they may say
in the clear is what they prove with their cluster's own token, and nothing
else; everybody else is sent to HTTPS.
"""

import re
from collections.abc import Callable
from functools import partial
from urllib.parse import quote, unquote

from attrs import frozen

from gateway.errors import Forbidden, Misdirected
from gateway.log import RateLimitedLog
from gateway.web.asgi import (
    DASHBOARD,
    REFUSED,
    App,
    Receive,
    Scope,
    Send,
    answer,
    counted,
    for_the_asker,
    header,
    refuse,
)
from gateway.web.request_origin import HostNames, is_visit, other_page
from gateway.web.room import with_room_for_answers

_log = RateLimitedLog()  # a log that strangers cannot flood

_CLUSTER = re.compile("/api/v1/clusters/[^/]+")
_HEARTBEAT = re.compile("/api/v1/clusters/[^/]+/heartbeat")


@frozen
class Handler:
    """The app that answers a request, and the scope that it gets.

    It `is_fast` when its answer comes in one piece and it waits for nobody but the one who asks.
    """

    app: App
    scope: Scope
    is_fast: bool = False


class Router:
    """Dispatches by path; `route` decides, and has no effect.

    `dashboards` is None where only the API is served; `is_dashboards` says whether a host is that of one of them, where
    nothing else is served. `secure` is True where plain HTTP is the exception. `find_read` finds the app of what can be
    read at once; without it, the API answers. `hosts` are the names under which people may ask; None: any.
    """

    def __init__(
        self,
        *,
        api: App,
        heartbeats: App,
        dashboards: App | None,
        is_dashboards: Callable[[str], bool] = lambda host: False,
        find_read: Callable[[Scope], App | None] = lambda scope: None,
        prefix: str = "",
        secure: bool = False,
        hosts: HostNames | None = None,
    ):
        self._api = for_the_asker(with_room_for_answers(api))
        self._heartbeats = for_the_asker(heartbeats)
        self._find_read = find_read
        self._dashboards = None if dashboards is None else counted(DASHBOARD, dashboards)
        self._is_dashboards = is_dashboards
        self._prefix = prefix
        self._secure = secure
        self._hosts = hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request or websocket."""
        handler = self.route(scope)
        await handler.app(handler.scope, receive, send)

    def route(self, scope: Scope) -> Handler:
        """Who answers."""
        if not scope["path"].startswith("/"):
            scope = _in_origin_form(scope)
        path: str = scope["path"]
        if not path:  # "GET ?a=b HTTP/1.1"; Quart takes it for granted that there is one
            return Handler(_refusing(400, "The request's target has no path"), scope)
        if dashboard := self._at_own_host(scope):
            return Handler(dashboard, scope)
        if self._prefix and not (path == self._prefix or path.startswith(f"{self._prefix}/")):
            return Handler(_refusing(404, f"Nothing here: this gateway serves below {self._prefix}/"), scope)
        below = strip_prefix(scope, self._prefix) if self._prefix else scope
        app = self._refusal(below)
        if app is not None:
            return Handler(counted(REFUSED, app), scope)
        if self._dashboards is not None and below["path"].startswith("/clusters/"):
            return Handler(self._dashboards, below)
        return self._route_to_api(scope, below)

    def _at_own_host(self, scope: Scope) -> App | None:
        """The dashboards' app, for a request to a host that is one's own: nothing of ours is there."""
        if self._dashboards is None or not self._is_dashboards(header(scope, b"host")):
            return None
        return _send_to_https if self._is_insecure(scope) else self._dashboards

    def _refusal(self, below: Scope) -> App | None:
        """What turns down a request for the way it comes, whatever it is for."""
        from_job = _is_from_job(below)
        if self._hosts is not None and not from_job and (host := self._hosts.foreign(below["headers"])):
            return partial(_answer_misdirected, host)
        if self._is_insecure(below) and not from_job:
            return _send_to_https
        return None

    def _is_insecure(self, scope: Scope) -> bool:
        return self._secure and scope["scheme"] in ("http", "ws")

    def _route_to_api(self, scope: Scope, below: Scope) -> Handler:
        page = other_page(below["headers"], "https" if below["scheme"] in ("https", "wss") else "http")
        if page and not _is_visit_of_page(below):
            return Handler(counted(REFUSED, partial(_refuse_page, page)), below)
        if below["type"] == "http" and _HEARTBEAT.fullmatch(below["path"]):
            return Handler(self._heartbeats, below, is_fast=below["method"] == "POST")
        if read := self._find_read(below):
            return Handler(for_the_asker(with_room_for_answers(read)), below, is_fast=True)
        # Quart takes the prefix off by itself.
        return Handler(self._api, {**scope, "root_path": self._prefix})


def _refusing(status: int, text: str) -> App:
    async def refuse_it(scope: Scope, receive: Receive, send: Send) -> None:
        await refuse(scope, send, status, text)

    return for_the_asker(counted(REFUSED, refuse_it))


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


def _is_visit_of_page(below: Scope) -> bool:
    """True for a link to one of the pages for people (web/pages.py), wherever that link is."""
    is_page = below["type"] == "http" and not below["path"].startswith("/api/")
    return is_page and is_visit(below["method"], below["headers"])


def _is_from_job(scope: Scope) -> bool:
    """True for the two things that a job says: its heartbeat, and the end of its own cluster."""
    if scope["type"] != "http" or not header(scope, b"authorization").startswith("token "):
        return False
    said = {"POST": _HEARTBEAT, "DELETE": _CLUSTER}.get(scope["method"])
    return said is not None and said.fullmatch(scope["path"]) is not None


async def _refuse_page(page: str, scope: Scope, receive: Receive, send: Send) -> None:
    """Turn down what a page that is not ours has made a browser send."""
    text = f"This request comes from a page that is not the gateway's own ({page}), for which the API does nothing"
    _log.warning("a request from another page was refused", path=scope["path"][:100], shown_by=page)
    await _refusing(Forbidden.status, text)(scope, receive, send)


async def _answer_misdirected(host: str, scope: Scope, receive: Receive, send: Send) -> None:
    text = (
        f"This gateway does not go by the name {host[:200]!r}. Ask for it by its address; or its administrator adds "
        "the name to c.Proxy.host_names, or sets a password (c.SimpleAuthenticator.password)"
    )
    _log.warning("a request for another host was refused", host=host[:200], path=scope["path"][:100])
    await _refusing(Misdirected.status, text)(scope, receive, send)


async def _send_to_https(scope: Scope, receive: Receive, send: Send) -> None:
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
