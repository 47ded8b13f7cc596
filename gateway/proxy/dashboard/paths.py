"""The path of a dashboard's address, taken apart; pure.

    {root}/clusters/{name}/{link}/status        on the gateway's own host
    /{link}/status                              on the host of the cluster (hosts.py)

The link (links.py) may be missing. A segment in its place that begins like one
is one, whether it opens anything or not.
"""

from urllib.parse import unquote

from attrs import frozen

from gateway.proxy.dashboard.links import MARK

_ROOT = "/clusters/"


@frozen
class Place:
    """Where a request leads."""

    cluster: str
    #: The path of the dashboard without a link, without a slash at the end.
    base: str
    #: The link, and how the browser spells it; empty when there is none.
    link: str
    link_as_sent: bytes
    #: What the dashboard is asked for; None for `{base}` or `{base}/{link}` alone, below which no relative link works.
    path: bytes | None

    @property
    def prefix(self) -> str:
        """What the browser has before the dashboard's own paths, without a slash at the end."""
        return f"{self.base}/{self.link_as_sent.decode('latin1')}" if self.link else self.base


def parse_place(raw: bytes, root: str, at_host_of: str | None) -> Place:
    """Return where a path leads, as it was sent but for a query.

    `root` is before all paths; `at_host_of` is the cluster whose host was asked, None for the gateway's own.
    """
    below = raw.removeprefix(root.encode())
    if at_host_of is not None:
        return _place(at_host_of, "", b"/", below.removeprefix(b"/"))
    name, slash, rest = below.removeprefix(_ROOT.encode()).partition(b"/")
    cluster = unquote(name.decode("latin1"))
    return _place(cluster, f"{root}{_ROOT}{cluster}", slash, rest)


def _place(cluster: str, base: str, slash: bytes, rest: bytes) -> Place:
    first, after_link, behind = rest.partition(b"/")
    link = unquote(first.decode("latin1"))
    if not link.startswith(MARK):
        return Place(cluster, base, "", b"", b"/" + rest if slash else None)
    return Place(cluster, base, link, first, b"/" + behind if after_link else None)
