"""Where each cluster's scheduler and dashboard are; the only thing the proxy knows of clusters.

The cluster side writes (`add` when a scheduler has reported its addresses,
`remove` when the cluster ends), the proxy reads. What lasts longer than a
look-up is told by calls in either direction: `on_gone` callbacks run when
connections to an address must end, because the route was removed or now leads
elsewhere; `on_refused` callbacks run when nobody answered at a route's address,
and `on_client` callbacks when the first client of a cluster has connected or
the last one has left, which is news to whoever watches the cluster.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from attrs import frozen

from gateway.addresses import Address, parse_url

#: Server names of clusters are this and the cluster's name.
SERVER_NAME_PREFIX = "daskgateway-"


@frozen
class Route:
    """One cluster's addresses; `dashboard` is None when it has none."""

    name: str
    scheduler: Address
    dashboard: Address | None = None


class Routes:
    """The table of routes, by cluster name."""

    def __init__(self) -> None:
        self._routes: dict[str, Route] = {}
        self._on_gone: list[Callable[[Route], None]] = []
        self._on_refused: list[Callable[[str], None]] = []
        self._on_client: list[Callable[[str, bool], None]] = []

    def add(self, name: str, scheduler: str, dashboard: str = "") -> None:
        """Lead to these addresses from now on: `tls://host:port`, and `http://host:port` or an empty text.

        Saying the same again changes nothing. Other addresses end the connections to the earlier ones.
        Raises `ValueError`, and changes nothing, when one is no such address.
        """
        route = Route(name, parse_url(scheduler), parse_url(dashboard) if dashboard else None)
        earlier = self._routes.get(name)
        self._routes[name] = route
        if earlier not in (None, route):
            self._gone(earlier)

    def remove(self, name: str) -> None:
        """Forget a cluster and end its connections; an unknown name is fine."""
        self._gone(self._routes.pop(name, None))

    def find(self, server_name: str) -> Route | None:
        """Return the route that a TLS server name asks for, compared without case; None for any other name."""
        label = server_name.lower()
        if not label.startswith(SERVER_NAME_PREFIX):
            return None
        return self._routes.get(label.removeprefix(SERVER_NAME_PREFIX))

    def dashboard(self, name: str) -> Address | None:
        """Return the address of a cluster's dashboard, None when the cluster is unknown or has none."""
        route = self._routes.get(name)
        return route.dashboard if route else None

    def get(self, name: str) -> Route | None:
        """Return the route of a cluster, None for an unknown one."""
        return self._routes.get(name)

    def refused(self, name: str) -> None:
        """Tell the `on_refused` callbacks that nobody answers at this cluster's address; for the proxy."""
        for callback in tuple(self._on_refused):
            callback(name)

    def client(self, name: str, connected: bool) -> None:
        """Tell the `on_client` callbacks whether clients are connected to this cluster's scheduler; for the proxy."""
        for callback in tuple(self._on_client):
            callback(name, connected)

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

    @contextmanager
    def on_client(self, callback: Callable[[str, bool], None]) -> Iterator[None]:
        """While entered, `callback(name, connected)` runs for the first client of a cluster, and after the last one.

        It must not raise.
        """
        self._on_client.append(callback)
        try:
            yield
        finally:
            self._on_client.remove(callback)

    def _gone(self, route: Route | None) -> None:
        if route is not None:
            for callback in tuple(self._on_gone):
                callback(route)
