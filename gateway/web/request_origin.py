"""From where a request comes, and for whom it was meant, as its headers show it; pure.

A browser adds the visitor's cookies, and passwords that it remembers, to
whatever any page asks of us: a page on another port of this host, a user's
dashboard, a page of somebody else whose name suddenly has our address. What
such pages cannot choose are `Origin`, `Sec-Fetch-Site` and `Host`: the browser
writes them. Programs (the published client, schedulers) send neither of the
first two. Nor can a page choose the content type of a body without asking
first (CORS), which is never answered here: so a change that is not declared as
JSON may come from any page, old browsers included, and is not taken.
"""

import ipaddress
from collections.abc import Iterable

Headers = Iterable[tuple[bytes, bytes]]

#: What `Sec-Fetch-Site` says of requests by our own pages, and of those by no page (an address that was typed in).
#: Not "same-site": that is another port, or another name of the same domain, where anybody may have a server.
_OWN_SITES = frozenset((b"same-origin", b"none"))
_DEFAULT_PORTS = {b"http": b":80", b"https": b":443"}
#: Methods that change nothing (RFC 9110, 9.2.1).
_SAFE = frozenset(("GET", "HEAD", "OPTIONS", "TRACE"))
#: Methods whose body is what they are about.
_WITH_BODY = frozenset(("POST", "PUT", "PATCH"))


def other_page(headers: Headers, scheme: str) -> str:
    """What shows that a request by `scheme` (http or https) comes from a page that is not ours; empty: nothing does."""
    origins, sites, hosts = [], [], []
    for name, value in headers:
        name = name.lower()
        if name == b"origin":
            origins.append(value.strip().lower())
        elif name == b"sec-fetch-site":
            sites.append(value.strip().lower())
        elif name == b"host":
            hosts.append(value.strip().lower())
    for site in sites:
        if site not in _OWN_SITES:
            return f"Sec-Fetch-Site: {_shown(site)}"
    own = scheme.encode()
    for origin in origins:
        # The browser knows better than we which scheme it speaks, for a server in front of us may end its TLS.
        spoken = origin.partition(b"://")[0] if b"same-origin" in sites else own
        if len(hosts) != 1 or _normal(origin) != _normal(spoken + b"://" + hosts[0]):
            return f"Origin: {_shown(origin)}"
    return ""


def is_visit(method: str, headers: Headers) -> bool:
    """Whether somebody follows a link, or a redirect, to what they then see as a page of its own.

    That is no danger if it changes nothing and nobody frames it, for the page that has the link learns nothing of it.
    A form that a page sends is no visit: it has an `Origin`.
    """
    fetch = {name.lower(): value.strip().lower() for name, value in headers if name.lower().startswith(b"sec-fetch-")}
    return (
        method in ("GET", "HEAD")
        and fetch.get(b"sec-fetch-mode") == b"navigate"
        and fetch.get(b"sec-fetch-dest") == b"document"
        and all(name.lower() != b"origin" for name, _ in headers)
    )


def may_change(method: str, headers: Headers) -> bool:
    """False for a change whose body is not declared as JSON.

    One without a body (DELETE) need not declare anything: no page may send it unasked.
    """
    if method in _SAFE:
        return True
    types = [value for name, value in headers if name.lower() == b"content-type"]
    if not types:
        return method not in _WITH_BODY
    return len(types) == 1 and types[0].partition(b";")[0].strip().lower() == b"application/json"


def is_own_form(headers: Headers) -> bool:
    """Whether a form was sent by a page of ours, once `other_page` has found nothing.

    A form needs no declaration that would be asked for first; so there has to be a header that only a browser writes,
    and it says that the page is ours.
    """
    return any(name.lower() in (b"origin", b"sec-fetch-site") for name, _ in headers)


class HostNames:
    """The names under which requests may come: these, every address, and localhost.

    A page of somebody else is on our origin once its name has our address (DNS rebinding). Its name is none of ours,
    and an address needs no name server.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self._names = {"localhost", *(name.lower().rstrip(".") for name in names if name)}

    def foreign(self, headers: Headers) -> str:
        """The first name that is not ours among the Host headers; empty when there is none.

        Only programs that speak HTTP/1.0 send no Host at all.
        """
        for name, value in headers:
            if name.lower() == b"host" and not self._is_ours(host := value.decode("latin-1").strip()):
                return host or "(none)"
        return ""

    def _is_ours(self, host: str) -> bool:
        name = host.lower()
        if name.startswith("["):
            name = name[1:].partition("]")[0]
        elif name.count(":") == 1:
            name = name.partition(":")[0]
        return name.rstrip(".") in self._names or _is_address(name)


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _normal(origin: bytes) -> bytes:
    """An origin without the port that its scheme has anyway."""
    return origin.removesuffix(_DEFAULT_PORTS.get(origin.partition(b"://")[0], b"\n"))


def _shown(value: bytes) -> str:
    return value[:100].decode("ascii", "replace")
