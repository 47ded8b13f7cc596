"""Who may see a dashboard, decided; pure.

`c.Proxy.dashboard_access` names the rule:

- `link`: whoever has a link that holds. Somebody who may see the cluster, and
  whose browser has no such link, gets a fresh one.
- `owner`: pages open only for those who may see the cluster, as the session of
  their browser shows. What a page then fetches comes without a session
  (links.py says why), and is let in by a link that lives for minutes.
- `open`: whoever knows the cluster's name.

People are sent somewhere, programs are told. Which of the two asks is seen by
what a browser says of the request, which no page can make it say.
"""

import enum
from collections.abc import Iterable

from gateway.proxy.dashboard.headers import RawHeaders, header
from gateway.proxy.dashboard.links import Link

#: Where a browser puts what it gets, when that is a part of another page.
_FRAMES = frozenset((b"iframe", b"frame", b"embed", b"object", b"fencedframe"))


class Access(enum.StrEnum):
    """The rules."""

    LINK = "link"
    OWNER = "owner"
    OPEN = "open"


class Visit(enum.Enum):
    """What a request is, as far as it matters here."""

    #: Anything that is no page: a program's request, or what a page fetches by itself.
    FETCH = enum.auto()
    #: A browser is about to show the answer.
    PAGE = enum.auto()
    #: The same, within another page.
    FRAME = enum.auto()


class Viewer(enum.Enum):
    """Who the session of a browser says is there."""

    NOBODY = enum.auto()
    #: Somebody who may not see this cluster.
    STRANGER = enum.auto()
    #: Its owner, and whoever else may see it.
    ENTITLED = enum.auto()


class Verdict(enum.Enum):
    """What is to be done."""

    SHOW = enum.auto()
    #: Send the browser to a fresh link.
    RENEW = enum.auto()
    #: Send the browser to the page for logging in.
    LOG_IN = enum.auto()
    #: Say that a link is needed; that it has expired; that there never was such a one; that the cluster is another's.
    NEEDS_LINK = enum.auto()
    EXPIRED = enum.auto()
    FALSE = enum.auto()
    NOT_YOURS = enum.auto()


_SAID_OF = {Link.NONE: Verdict.NEEDS_LINK, Link.EXPIRED: Verdict.EXPIRED, Link.FALSE: Verdict.FALSE}


def decide(access: Access, link: Link, visit: Visit, viewer: Viewer) -> Verdict:
    """Return what is to be done with a request."""
    if access is Access.OPEN:
        return Verdict.SHOW
    needs_session = access is Access.OWNER and visit is not Visit.FETCH
    if link.holds and not needs_session:
        return Verdict.SHOW
    if visit is Visit.FETCH:
        return _SAID_OF[link]
    if viewer is Viewer.ENTITLED:
        # A page that is shown with an old link would find it expired when it fetches the rest.
        return Verdict.SHOW if link is Link.FRESH else Verdict.RENEW
    if viewer is Viewer.STRANGER:
        return Verdict.NOT_YOURS
    # A form for passwords within somebody else's page is none to trust; and whoever was given a link that has expired
    # need not be a user at all.
    if visit is Visit.FRAME or (access is Access.LINK and link is not Link.NONE):
        return _SAID_OF.get(link, Verdict.NEEDS_LINK)
    return Verdict.LOG_IN


def visit_of(kind: str, method: str, headers: RawHeaders) -> Visit:
    """Return what a request of this kind (`http` or `websocket`) and method is."""
    if kind != "http" or method not in ("GET", "HEAD"):
        return Visit.FETCH
    mode = header(headers, b"sec-fetch-mode")
    if mode is None:  # a program, an old browser, or one that speaks plain HTTP to another host
        return Visit.PAGE if _takes_html(headers) else Visit.FETCH
    if mode.strip().lower() not in (b"navigate", b"nested-navigate"):
        return Visit.FETCH
    destination = (header(headers, b"sec-fetch-dest") or b"").strip().lower()
    return Visit.FRAME if destination in _FRAMES else Visit.PAGE


def _takes_html(headers: Iterable[tuple[bytes, bytes]]) -> bool:
    return any(b"text/html" in value.lower() for key, value in headers if key.lower() == b"accept")
