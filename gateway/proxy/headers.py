"""What passes between a browser and a user's dashboard in the headers, and what does not.

A dashboard is a program of some user, reached under `<prefix>/clusters/<name>`
on the gateway's own origin. So in the one direction it must not see what is
meant for the gateway (its cookies, `Authorization`) nor be lied to about where
a request came from (`X-Forwarded-*` of the client are dropped, ours are set);
in the other its cookies and redirects are kept below its own path, and headers
that would hold for the whole origin are dropped. Hop-by-hop headers (RFC 9110,
7.6.1) concern one connection and end here in both directions.
"""

from collections.abc import Iterable, Sequence
from urllib.parse import urlsplit

from attrs import frozen

Headers = list[tuple[bytes, bytes]]
RawHeaders = Iterable[tuple[bytes, bytes]]

_HOP_BY_HOP = frozenset(
    b"connection keep-alive proxy-authenticate proxy-authorization proxy-connection te trailer transfer-encoding "
    b"upgrade".split()
)
_NOT_FOR_DASHBOARDS = frozenset(
    (b"authorization", b"cookie", b"expect", b"forwarded", b"host", b"x-real-ip", b"true-client-ip", b"x-client-ip")
)
#: Written anew by the server that answers, or (from the third on) an attempt to speak for the whole origin.
_NOT_FOR_BROWSERS = frozenset(
    b"date server alt-svc clear-site-data nel report-to reporting-endpoints service-worker-allowed "
    b"strict-transport-security".split()
)


@frozen(kw_only=True)
class Origin:
    """Where a request came from, as far as a dashboard may know."""

    client: str
    scheme: str
    host: bytes
    #: Path under which the browser sees the dashboard, without a slash at the end.
    prefix: str


def header(headers: RawHeaders, name: bytes) -> bytes | None:
    """The first value of a header, None when there is none; `name` is lower case."""
    return next((value for key, value in headers if key.lower() == name), None)


def _passing(headers: RawHeaders, dropped: frozenset[bytes]) -> Headers:
    """The end-to-end headers of `headers` but for `dropped`, names in lower case."""
    lowered = [(key.lower(), value) for key, value in headers]
    named = {
        token.strip().lower() for key, value in lowered if key == b"connection" for token in value.split(b",") if token
    }
    # How long a body is concerns its reader, whatever a client says of it.
    gone = _HOP_BY_HOP | dropped | (named - {b"content-length"})
    return [(key, value) for key, value in lowered if key not in gone]


def request_headers(headers: RawHeaders, origin: Origin, private_cookies: Sequence[str]) -> Headers:
    """What a dashboard is told; cookies whose names start with one of `private_cookies` stay here."""
    headers = list(headers)
    passed = [
        (key, value)
        for key, value in _passing(headers, _NOT_FOR_DASHBOARDS)
        # Some servers read x_forwarded_for as x-forwarded-for: an underscore could say what a dash must not.
        if b"_" not in key and not key.startswith((b"x-forwarded-", b"sec-websocket-", b":"))
    ]
    cookies = _public_cookies((value for key, value in headers if key.lower() == b"cookie"), private_cookies)
    return [
        (b"host", origin.host),
        *passed,
        *([(b"cookie", cookies)] if cookies else []),
        (b"x-forwarded-for", origin.client.encode()),
        (b"x-forwarded-host", origin.host),
        (b"x-forwarded-proto", origin.scheme.encode()),
        (b"x-forwarded-prefix", origin.prefix.encode()),
    ]


def _public_cookies(values: Iterable[bytes], private: Sequence[str]) -> bytes:
    hidden = tuple(prefix.lower().encode() for prefix in private)
    cookies = (cookie.strip() for value in values for cookie in value.split(b";"))
    return b"; ".join(cookie for cookie in cookies if cookie and not cookie.lower().startswith(hidden))


def response_headers(
    headers: RawHeaders, origin: Origin, upstream: bytes, private_cookies: Sequence[str], *, framed: bool = True
) -> Headers:
    """What a browser is told. `upstream` is the dashboard's own `host:port`.

    Without `framed` the length of the body is not passed on: the answer is no HTTP/1 message with that body.
    """
    passed: Headers = []
    for key, value in _passing(headers, _NOT_FOR_BROWSERS):
        if key in (b"location", b"content-location"):
            passed.append((key, _location(value, origin, upstream)))
        elif key == b"set-cookie":
            if not value.strip().lower().startswith(tuple(prefix.lower().encode() for prefix in private_cookies)):
                passed.append((key, _set_cookie(value, origin.prefix.encode())))
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
    """`path` under `prefix`, unless it is there already."""
    path = b"/" + path.lstrip(b"/")
    if path == prefix or path.startswith(prefix + b"/"):
        return path
    return prefix + path


def _set_cookie(value: bytes, prefix: bytes) -> bytes:
    """A cookie is for this host alone and for paths below the prefix."""
    pair, *attributes = (part.strip() for part in value.split(b";"))
    kept, path = [], b"/"
    for attribute in attributes:
        name, _, content = attribute.partition(b"=")
        if name.strip().lower() == b"path":
            path = content.strip().strip(b'"')
        elif name.strip().lower() != b"domain" and attribute:
            kept.append(attribute)
    return b"; ".join((pair, b"Path=" + below(prefix, path), *kept))
