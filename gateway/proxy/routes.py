"""Where each cluster's scheduler and dashboard are; the only thing the proxy knows of clusters.

The cluster side writes (`add` when a scheduler has reported its addresses,
`remove` when the cluster ends), the proxy reads. What lasts longer than a
look-up is told by calls in either direction: `on_gone` callbacks run when
connections to an address must end, because the route was removed or now leads
elsewhere; `on_refused` callbacks run when nobody answered at a route's address,
which is news to whoever watches the cluster's job.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

from attrs import frozen

#: Server names of clusters are this and the cluster's name.
SERVER_NAME_PREFIX = "daskgateway-"

Address = tuple[str, int]
"""Host (name, IPv4 or IPv6 without brackets) and TCP port."""


@frozen
class Route:
    """One cluster's addresses; `dashboard` is None when it has none."""

    name: str
    scheduler: Address
    dashboard: Address | None = None


def parse_address(url: str) -> Address:
    """`tls://10.0.0.1:8786` → `("10.0.0.1", 8786)`; raises `ValueError` naming the text that is no such address."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise ValueError(f"{url!r} is not an address: {error}") from None
    if not parts.scheme or not host or not port:
        raise ValueError(f"{url!r} is not an address of the form scheme://host:port")
    return host, port


class Routes:
    """The table of routes, by cluster name."""

    def __init__(self) -> None:
        self._routes: dict[str, Route] = {}
        self._on_gone: list[Callable[[Route], None]] = []
        self._on_refused: list[Callable[[str], None]] = []

    def add(self, name: str, scheduler: str, dashboard: str = "") -> None:
        """Lead to these addresses (`tls://host:port`; `http://host:port` or "") from now on; raises `ValueError`.

        Saying the same again changes nothing. Other addresses end the connections to the earlier ones.
        """
        route = Route(name, parse_address(scheduler), parse_address(dashboard) if dashboard else None)
        earlier = self._routes.get(name)
        self._routes[name] = route
        if earlier not in (None, route):
            self._gone(earlier)

    def remove(self, name: str) -> None:
        """Forget a cluster and end its connections; an unknown name is fine."""
        self._gone(self._routes.pop(name, None))

    def find(self, server_name: str | bytes) -> Route | None:
        """The route that a TLS server name asks for, compared without case."""
        if isinstance(server_name, bytes):
            server_name = server_name.decode("ascii", "replace")
        label = server_name.lower()
        if not label.startswith(SERVER_NAME_PREFIX):
            return None
        return self._routes.get(label.removeprefix(SERVER_NAME_PREFIX))

    def dashboard(self, name: str) -> Address | None:
        """The address of a cluster's dashboard, None when the cluster is unknown or has none."""
        route = self._routes.get(name)
        return route.dashboard if route else None

    def get(self, name: str) -> Route | None:
        """The route of a cluster."""
        return self._routes.get(name)

    def refused(self, name: str) -> None:
        """Say that nobody answers at this cluster's address; for the proxy."""
        for callback in tuple(self._on_refused):
            callback(name)

    @contextmanager
    def on_gone(self, callback: Callable[[Route], None]) -> Iterator[None]:
        """While entered, `callback(route)` runs for each route that was removed or replaced. It must not raise."""
        self._on_gone.append(callback)
        try:
            yield
        finally:
            self._on_gone.remove(callback)

    @contextmanager
    def on_refused(self, callback: Callable[[str], None]) -> Iterator[None]:
        """While entered, `callback(name)` runs when a connection to a cluster was refused. It must not raise."""
        self._on_refused.append(callback)
        try:
            yield
        finally:
            self._on_refused.remove(callback)

    def _gone(self, route: Route | None) -> None:
        if route is not None:
            for callback in tuple(self._on_gone):
                callback(route)
