"""Where each cluster's scheduler and dashboard are; the only thing the proxy knows of clusters.

A cluster has a route, or several of different names: one for each person who
may come in, so that the end of one ends their connections and nobody else's.
A name that only one of them may know stands in no log (log.py).

The cluster side writes (`add` when a scheduler has reported its addresses,
`remove` when the cluster ends), the proxy reads. What lasts longer than a
look-up is told by calls in either direction: `on_gone` callbacks run when
connections to an address must end, because the route was removed or now leads
elsewhere; `on_refused` callbacks run when nobody answered at a route's address,
and `on_client` callbacks when the first client of a cluster has connected or
the last one has left, which is news to whoever watches the cluster.
"""

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager

from attrs import Factory, field, frozen

from gateway.addresses import Address, parse_url

#: Server names of clusters are this and the cluster's name.
SERVER_NAME_PREFIX = "daskgateway-"


@frozen
class Route:
    """Where a name leads: to a `scheduler`, to a `dashboard`, or to both of this `cluster`."""

    name: str
    scheduler: Address | None
    dashboard: Address | None = None
    cluster: str = field(default=Factory(lambda self: self.name, takes_self=True))


class Routes:
    """The table of routes, by name."""

    def __init__(self) -> None:
        self._routes: dict[str, Route] = {}
        self._of_clusters: dict[str, dict[str, Route]] = {}
        self._on_gone: list[Callable[[Route], None]] = []
        self._on_refused: list[Callable[[str], None]] = []
        self._on_client: list[Callable[[str, bool], None]] = []

    def add(self, name: str, scheduler: str, dashboard: str = "", *, cluster: str = "") -> None:
        """Lead to these addresses from now on: `tls://host:port`, `http://host:port`, or an empty text for nowhere.

        `cluster` is the cluster's name, if `name` is not. Saying the same again changes nothing. Other addresses end
        the connections to the earlier ones. Raises `ValueError`, and changes nothing, when one is no such address, or
        both lead nowhere.
        """
        if not scheduler and not dashboard:
            raise ValueError("a route leads to a scheduler, to a dashboard, or to both")
        to_scheduler, to_dashboard = (parse_url(url) if url else None for url in (scheduler, dashboard))
        route = Route(name, to_scheduler, to_dashboard, cluster or name)
        earlier = self._routes.get(name)
        self._routes[name] = self._of_clusters.setdefault(route.cluster, {})[name] = route
        if earlier is not None and earlier != route:
            self._gone(earlier)

    def remove(self, name: str) -> None:
        """Forget a name and end its connections; an unknown name is fine."""
        route = self._routes.pop(name, None)
        if route is not None:
            others = self._of_clusters[route.cluster]
            del others[name]
            if not others:
                del self._of_clusters[route.cluster]
            self._gone(route)

    def find(self, server_name: str) -> Route | None:
        """Return the route to a scheduler that a TLS server name asks for, compared without case; None for none."""
        label = server_name.lower()
        if not label.startswith(SERVER_NAME_PREFIX):
            return None
        route = self._routes.get(label.removeprefix(SERVER_NAME_PREFIX))
        return route if route is not None and route.scheduler is not None else None

    def dashboard(self, name: str) -> Address | None:
        """Return the address of the dashboard to which a name leads; None when it leads to none."""
        route = self._routes.get(name)
        return route.dashboard if route else None

    def get(self, name: str) -> Route | None:
        """Return the route of a name, None for an unknown one."""
        return self._routes.get(name)

    def of_cluster(self, cluster: str) -> Collection[Route]:
        """Return all routes to a cluster."""
        return self._of_clusters.get(cluster, {}).values()

    def refused(self, name: str) -> None:
        """Tell the `on_refused` callbacks that nobody answers where this name leads; for the proxy."""
        route = self._routes.get(name)
        for callback in tuple(self._on_refused):
            callback(name if route is None else route.cluster)

    def client(self, name: str, *, connected: bool) -> None:
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

    def _gone(self, route: Route) -> None:
        for callback in tuple(self._on_gone):
            callback(route)
