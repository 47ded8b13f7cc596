"""What passes between a browser and a user's dashboard in the headers, and what does not.

A dashboard is a program of some user, reached under `<prefix>/clusters/<name>`
on the gateway's own origin. So in the one direction it must not see what is
meant for others (the gateway's `Authorization`, the cookies of whatever else
this host serves, what a site's server in front says of who the visitor is)
nor be lied to about where a request came from
(`X-Forwarded-*` of the client are dropped, ours are set); in the other its
cookies and redirects are kept below its own path, and headers that would hold
for the whole origin are dropped. Hop-by-hop headers (RFC 9110, 7.6.1) concern
one connection and end here in both directions.

A browser tells names, paths and hosts of cookies apart, but neither ports nor
who has set them. So a dashboard's cookies get a name that begins with its
cluster's, and those that have such a name are the ones that it gets back.

Its pages run in a sandbox: with `Content-Security-Policy: sandbox` a browser
gives them an origin that is nobody's. Their scripts run, and their plots move,
but they reach no cookie, no storage and no answer of the gateway, and what
they send says that it comes from elsewhere (`Origin: null`).
"""

import re
from collections.abc import Iterable
from typing import Final
from urllib.parse import urlsplit

from attrs import frozen

Headers = list[tuple[bytes, bytes]]
RawHeaders = Iterable[tuple[bytes, bytes]]

_HOP_BY_HOP = frozenset(
    b"connection keep-alive proxy-authenticate proxy-authorization proxy-connection te trailer transfer-encoding "
    b"upgrade".split()
)
#: Among them the page that led here: none of a dashboard's own, which say nothing of themselves (`ALWAYS`), but one of
#: this host, such as a notebook's, whose address may hold a token.
_NOT_FOR_DASHBOARDS = frozenset(
    b"authorization cookie expect forwarded from host referer via x-real-ip true-client-ip x-client-ip".split()
)
#: In names of headers that say who somebody is, or prove it. Servers in front have many: oauth2-proxy, Authelia,
#: Shibboleth, Cloudflare Access, the load balancers of clouds, client certificates. A page's own token against forged
#: requests is none of them, nor is what browsers say of a page (`Sec-Fetch-User`).
_IDENTITY = re.compile(
    rb"""auth(?!or(?!i[sz])) | jwt | assertion | claim | credential | secret | passw(?:or)?d | api-?key
    | (?<![cx]srf) (?<![cx]srf-) token | sec(?:ure)?-session
    | consumer | identity | kerberos | login | oidc | principal | saml | shib | eppn | tailscale | ssl | cert(?!ain)
    | \b remote-
    | (?<!sec-fetch-) \b (?: users? | user-?(?:name|id|info) | e?mail | groups? | roles? ) \Z""",
    re.VERBOSE,
)
#: Written anew by the server that answers, or (from the third on) an attempt to speak for the whole origin, up to
#: asking for the gateway's own password. The last two are set for all dashboards.
_NOT_FOR_BROWSERS = frozenset(
    b"date server accept-ch alt-svc authentication-control authentication-info clear-site-data critical-ch expect-ct "
    b"nel optional-www-authenticate origin-agent-cluster public-key-pins public-key-pins-report-only report-to "
    b"reporting-endpoints sec-session-challenge sec-session-registration secure-session-challenge "
    b"secure-session-registration service-worker-allowed set-cookie2 set-login strict-transport-security "
    b"use-as-dictionary www-authenticate referrer-policy x-content-type-options".split()
)
#: With whatever is answered for a dashboard, so that a browser neither takes it for something else than it says it is,
#: nor tells its address (which opens it) to others.
ALWAYS: Final = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
)
#: On the gateway's own host as well, so that it is not taken for a page of the gateway. A policy that a dashboard has
#: of its own holds beside it.
SANDBOX: Final = (
    (b"content-security-policy", b"sandbox allow-scripts allow-forms allow-popups allow-downloads"),
    *ALWAYS,
)


@frozen(kw_only=True)
class Origin:
    """Where a request came from, as far as a dashboard may know."""

    client: str
    scheme: str
    host: bytes
    #: Path under which the browser sees the dashboard, without a slash at the end.
    prefix: str
    #: The cluster whose dashboard it is.
    cluster: str
    #: What this gateway is called among the servers that a request has passed (RFC 9110, 7.6.3); a token of its own.
    via: bytes = b"gateway"
    #: It came by a link that holds, so that a page of nobody's origin is the dashboard's own.
    by_link: bool = False

    @property
    def cookies(self) -> bytes:
        """What the names of this dashboard's cookies begin with in a browser; no cluster's name has a dot."""
        return b"dask-dashboard-%s." % self.cluster.encode("ascii", "replace")


def header(headers: RawHeaders, name: bytes) -> bytes | None:
    """Return the first value of a header, None when there is none; `name` is lower case."""
    return next((value for key, value in headers if key.lower() == name), None)


def has_passed(headers: RawHeaders, via: bytes) -> bool:
    """Return whether a request has passed the server of that name before, as its `Via` says."""
    entries = (entry.split() for key, value in headers if key.lower() == b"via" for entry in value.split(b","))
    return any(len(entry) > 1 and entry[1] == via for entry in entries)


def _passing(headers: RawHeaders, dropped: frozenset[bytes]) -> Headers:
    """The end-to-end headers of `headers` but for `dropped`, names in lower case."""
    lowered = [(key.lower(), value) for key, value in headers]
    named = {
        token.strip().lower() for key, value in lowered if key == b"connection" for token in value.split(b",") if token
    }
    # How long a body is concerns its reader, whatever a client says of it.
    gone = _HOP_BY_HOP | dropped | (named - {b"content-length"})
    return [(key, value) for key, value in lowered if key not in gone]


def request_headers(headers: RawHeaders, origin: Origin) -> Headers:
    """Return the headers that a dashboard is sent; of the cookies those that it has set."""
    headers = list(headers)
    passed = [
        (key, _origin(value, origin) if key == b"origin" else value)
        for key, value in _passing(headers, _NOT_FOR_DASHBOARDS)
        # Some servers read x_forwarded_for as x-forwarded-for: an underscore could say what a dash must not.
        if b"_" not in key
        and not key.startswith((b"x-forwarded-", b"sec-websocket-", b":"))
        and not _IDENTITY.search(key)
    ]
    passed_by = [value for key, value in headers if key.lower() == b"via"]
    cookies = _cookies_of((value for key, value in headers if key.lower() == b"cookie"), origin.cookies)
    return [
        (b"host", origin.host),
        *passed,
        *([(b"cookie", cookies)] if cookies else []),
        (b"via", b", ".join((*passed_by, b"1.1 " + origin.via))),
        (b"x-forwarded-for", origin.client.encode()),
        (b"x-forwarded-host", origin.host),
        (b"x-forwarded-proto", origin.scheme.encode()),
        (b"x-forwarded-prefix", origin.prefix.encode()),
    ]


def _origin(value: bytes, origin: Origin) -> bytes:
    """What a dashboard is told of the page that has made a browser send this."""
    if origin.by_link and value.strip().lower() == b"null":
        return origin.scheme.encode() + b"://" + origin.host
    return value


def _cookies_of(values: Iterable[bytes], begin: bytes) -> bytes:
    """The cookies whose names begin like this, by the names that the dashboard has given them."""
    cookies = (cookie.strip() for value in values for cookie in value.split(b";"))
    return b"; ".join(cookie[len(begin) :] for cookie in cookies if cookie.startswith(begin) and b"=" in cookie)


def response_headers(headers: RawHeaders, origin: Origin, upstream: bytes, *, framed: bool = True) -> Headers:
    """Return the headers that a browser is sent, without those that all dashboards' answers have (`SANDBOX`).

    `upstream` is the dashboard's own `host:port`.
    Without `framed` the length of the body is not passed on: the answer is no HTTP/1 message with that body.
    """
    passed: Headers = []
    for key, value in _passing(headers, _NOT_FOR_BROWSERS):
        if key in (b"location", b"content-location"):
            passed.append((key, _location(value, origin, upstream)))
        elif key == b"set-cookie":
            passed.append((key, _set_cookie(value, origin)))
        elif key != b"content-length" or framed:
            passed.append((key, value))
    return passed


def _location(value: bytes, origin: Origin, upstream: bytes) -> bytes:
    """A redirect within the dashboard leads below its prefix; one to elsewhere, or a relative one, is left alone."""
    text = value.strip().decode("latin1")
    try:
        parts = urlsplit(text)
    except ValueError:
        return value
    if parts.netloc and parts.netloc.lower().encode("latin1") not in (origin.host.lower(), upstream.lower()):
        return value
    if not parts.netloc and not text.startswith("/"):
        return value
    return below(origin.prefix.encode(), parts._replace(scheme="", netloc="").geturl().encode("latin1") or b"/")


def below(prefix: bytes, path: bytes) -> bytes:
    """Return `path` under `prefix`, unless it is there already."""
    path = b"/" + path.lstrip(b"/")
    if path == prefix or path.startswith(prefix + b"/"):
        return path
    return prefix + path


def _set_cookie(value: bytes, origin: Origin) -> bytes:
    """A cookie is for this host alone and for paths below the prefix, and its name says whose it is."""
    pair, *attributes = (part.strip() for part in value.split(b";"))
    if b"=" not in pair:  # browsers take it for the value of a cookie without a name
        pair = b"=" + pair
    kept, path = [], b"/"
    for attribute in attributes:
        name, _, content = attribute.partition(b"=")
        if name.strip().lower() == b"path":
            path = content.strip().strip(b'"')
        elif name.strip().lower() != b"domain" and attribute:
            kept.append(attribute)
    return b"; ".join((origin.cookies + pair, b"Path=" + below(origin.prefix.encode(), path), *kept))
