"""Links that carry the right to open a dashboard in their path; pure.

    /clusters/{name}/~{expiry}.{mac}/status

A dashboard's page has an origin that is nobody's (headers.py), so its scripts,
its requests and its websocket bring no cookie along, and neither does
JupyterLab's server when it asks whether a dashboard is there. What all of them
keep is the path. So the right is a part of it: until when it holds, in seconds
since the epoch, and a MAC over the cluster, its user and that time, with a key
that nobody but the gateway has. Nothing is stored: a link ends with its time,
with its cluster, or with the key.

Times are rounded down to an eighth of a link's life, so that a cluster has the
same link for a while: what asks for it every few seconds, as lists do, gets a
text that stays, and a browser finds scripts and styles in its cache.
"""

import base64
import enum
import hmac
import re
from collections.abc import Sequence
from functools import lru_cache

#: A segment of a path that begins like this is a link's, whether it holds or not, and never a dashboard's own.
MARK = "~"
#: Bytes of the MAC: 144 bits, which base64 writes without padding.
_MAC_SIZE = 18
_FORM = re.compile(r"~([0-9]{1,12})\.[A-Za-z0-9_-]{24}")
#: A link's life is told apart in so many steps.
_STEPS = 8


class Link(enum.Enum):
    """What a request's link is worth."""

    #: There is none.
    NONE = enum.auto()
    #: It was never made here, or not for this cluster, or with another key.
    FALSE = enum.auto()
    EXPIRED = enum.auto()
    #: It opens the dashboard, but more than half of its life is over.
    AGEING = enum.auto()
    FRESH = enum.auto()

    @property
    def holds(self) -> bool:
        """Whether it opens the dashboard."""
        return self in (Link.AGEING, Link.FRESH)


class Links:
    """Makes links with the first of `keys`, and takes those of any; each lives for at most `max_age` seconds."""

    def __init__(self, keys: Sequence[bytes], max_age: int) -> None:
        self._keys = tuple(keys)
        self._max_age = max_age
        self._step = max(1, max_age // _STEPS)

    def make(self, cluster: str, user: str, now: float) -> str:
        """Return the segment that opens this user's cluster from now on; `now` is in seconds since the epoch."""
        expiry = int(now + self._max_age) // self._step * self._step
        return _made(self._keys[0], cluster, user, expiry)

    def check(self, segment: str, cluster: str, user: str, now: float) -> Link:
        """Return what this segment, or none (""), is worth for this user's cluster."""
        if not segment:
            return Link.NONE
        match = _FORM.fullmatch(segment)
        if match is None:
            return Link.FALSE
        expiry = int(match[1])
        given = segment.encode()
        # All of them are tried, whichever fits: the time that it takes says nothing.
        fits = [hmac.compare_digest(_segment(key, cluster, user, expiry).encode(), given) for key in self._keys]
        if not any(fits):
            return Link.FALSE
        if expiry <= now:
            return Link.EXPIRED
        return Link.AGEING if expiry - now < self._max_age / 2 else Link.FRESH


@lru_cache(maxsize=4096)
def _made(key: bytes, cluster: str, user: str, expiry: int) -> str:
    """The same as below, remembered: lists are asked for again and again."""
    return _segment(key, cluster, user, expiry)


def _segment(key: bytes, cluster: str, user: str, expiry: int) -> str:
    parts = (cluster.encode("utf-8", "surrogatepass"), user.encode("utf-8", "surrogatepass"), b"%d" % expiry)
    message = b"".join(len(part).to_bytes(4, "big") + part for part in parts)
    mac = hmac.digest(key, message, "sha256")[:_MAC_SIZE]
    return f"{MARK}{expiry}.{base64.urlsafe_b64encode(mac).decode()}"
