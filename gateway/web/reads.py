"""What can be read: the GET routes whose answers need nobody's I/O.

The API (api.py) serves them to everybody. Where the headers alone say who asks
(a cookie; or a password, to an authenticator that only compares it), and
nothing unusual is asked for, the router hands a request to `FastReads`, which
spares it the web framework and, at the beginning of a connection, the general
HTTP server as well (fast_path.py).
"""

import re
from collections.abc import Callable
from functools import partial
from typing import Any

import orjson

from gateway import __version__
from gateway.auth.chain import Chain
from gateway.auth.identity import Identity
from gateway.clusters.cluster import Cluster
from gateway.clusters.events import Event
from gateway.clusters.manager import Manager
from gateway.clusters.sharing import Verb, dashboard_name, may, name_for, needs_admission, refusal
from gateway.clusters.vital_signs import parts
from gateway.config.user_options import Options
from gateway.errors import GatewayError, InvalidRequest
from gateway.metrics import count_request
from gateway.models import ClusterRecord, ClusterStatus, User
from gateway.proxy.traffic import Traffic
from gateway.store.writer import Store
from gateway.web.asgi import REFUSED, App, Receive, Scope, Send, answer, answer_error, cookies, header

#: A status, and what is to be said in JSON.
Read = tuple[int, Any]

#: The newest shared clusters, which a list shows.
MOST_SHARED = 1000

_OF_USERS = re.compile(r"/api/v1/(?:(options)|clusters/(?:([^/]+)(?:/(events|traffic))?)?)")


class Reads:
    """The answers. `traffic(name)` is what the connections to a cluster's scheduler have carried.

    `dashboard_route(name, user)` is the path that opens a dashboard by a name of this user's.
    """

    def __init__(
        self,
        manager: Manager,
        store: Store,
        traffic: Callable[[str], Traffic] = lambda name: Traffic(),
        dashboard_route: Callable[[str, str], str] = lambda name, user: f"/clusters/{name}/status",
    ) -> None:
        self._manager = manager
        self._store = store
        self._traffic = traffic
        self._dashboard_route = dashboard_route

    def health(self) -> Read:
        """Which part fails, if one does, or has for a moment what users would not notice."""
        failing: list[str] = []
        warning: list[str] = []
        for part in parts(self._manager, self._store):
            if part.trouble:
                (failing if part.affects_users else warning).append(part.name)
        told = {key: names for key, names in (("failing", failing), ("warning", warning)) if names}
        if failing:
            return 503, {"status": "fail", **told}
        return 200, {"status": "warn" if warning else "pass", **told}

    def ready(self) -> Read:
        """Whether clusters can be created: not during a shutdown, nor while the database cannot be written."""
        if self._manager.closed:
            return 503, {"status": "fail", "failing": ["shutting down"]}
        if not self._store.healthy:
            return 503, {"status": "fail", "failing": ["database"]}
        return 200, {"status": "pass"}

    def version(self) -> Read:
        """The gateway's."""
        return 200, {"version": __version__}

    @property
    def fixed_options(self) -> Options | None:
        """What everybody may set; None when the site's own function has to be asked."""
        return self._manager.options.fixed

    def options(self, user: User, options: Options) -> Read:
        """What a user may set on a cluster. Raises `InvalidRequest` when the site's own code fails."""
        return 200, {"cluster_options": self._manager.options.specification(options, user)}

    def clusters(self, user: User, statuses: str | None = None) -> Read:
        """A user's clusters, those of some statuses or those that have not ended. Raises `InvalidRequest`."""
        found = self._manager.list(user, statuses_in(statuses))
        return 200, {
            cluster.name: report(cluster.record, cluster.name, self._dashboard(user, cluster.record))
            for cluster in found
        }

    async def shared_clusters(self, user: User, statuses: str | None = None) -> Read:
        """As `clusters`, of others' clusters that are shared with the user, without their options."""
        found = await self._manager.list_all(
            statuses_in(statuses), lambda record: record.username != user.name and may(user, record, "view")
        )
        newest = found[-MOST_SHARED:]
        return 200, {
            record.name: report(record, record.name, self._dashboard(user, record)) | {"options": {}}
            for record in newest
        }

    def cluster(self, user: User, name: str, *, keys: bool = True) -> Read:
        """One cluster, with the keys to it or without.

        Raises `NotFound`, and what `sharing.refusal` says when it is another's; so do those below.
        """
        record = self.allowed(user, name).record
        return 200, full_report(user, record, self._dashboard(user, record), keys=keys)

    def needs_admission(self, user: User, name: str) -> bool:
        """Whether somebody with whom a cluster is shared has no way into it yet, so that it cannot be reported."""
        return self._manager.knows(name) and needs_admission(user, self._manager.find(name).record)

    def dashboard(self, user: User, name: str) -> str:
        """The path that opens a cluster's dashboard for a user, empty when it has none. Raises as `cluster` does."""
        return self._dashboard(user, self.allowed(user, name).record) or ""

    def _dashboard(self, user: User, record: ClusterRecord) -> str | None:
        """The path that opens its dashboard for this user; None when there is none, or no way of theirs to it."""
        name = dashboard_name(user, record)
        has_dashboard = record.status is ClusterStatus.RUNNING and record.dashboard_address
        return self._dashboard_route(name, user.name) if has_dashboard and name else None

    def events(self, user: User, name: str) -> Read:
        """What has happened to a cluster."""
        return 200, events_report(self.allowed(user, name))

    def traffic(self, user: User, name: str) -> Read:
        """What the connections to its scheduler have carried."""
        carried = self._traffic(self.allowed(user, name).name)
        fields = ("connections", "total_connections", "bytes_to_scheduler", "bytes_to_clients", "idle_seconds")
        return 200, {field: getattr(carried, field) for field in fields}

    def allowed(self, user: User, name: str, verb: Verb = "view") -> Cluster:
        """A cluster with which a user may do this. Raises `NotFound`, and what `sharing.refusal` says."""
        cluster = self._manager.find(name)
        if not may(user, cluster.record, verb):
            raise refusal(user, cluster.record, verb)
        return cluster


class FastReads:
    """Finds who can answer a request at once."""

    def __init__(self, reads: Reads, chain: Chain) -> None:
        self._reads = reads
        self._chain = chain
        self._of_all = {"/api/health": reads.health, "/api/ready": reads.ready, "/api/version": reads.version}

    def find(self, scope: Scope) -> App | None:
        """The app that answers a read without a query of somebody who is known, or whoever guesses; None for others."""
        if scope["type"] != "http":
            return None
        return self._find_read(scope) or self._find_refusal(scope)

    def _find_refusal(self, scope: Scope) -> App | None:
        if not scope["path"].startswith("/api/v1/"):
            return None
        error = self._chain.refusal_by_headers(cookies(scope), header(scope, b"authorization"), _address(scope))
        return None if error is None else partial(_refuse, error)

    def _find_read(self, scope: Scope) -> App | None:
        if scope["method"] != "GET" or scope["query_string"]:
            return None
        path = scope["path"]
        if (of_all := self._of_all.get(path)) is not None:
            return partial(_answer, path, of_all, None)
        match = _OF_USERS.fullmatch(path)
        if match is None:
            return None
        secure = scope["scheme"] == "https"
        identity = self._chain.identify_by_headers(
            cookies(scope), header(scope, b"authorization"), _address(scope), secure=secure
        )
        return None if identity is None else self._read_of(match, identity)

    def _read_of(self, match: re.Match[str], identity: Identity) -> App | None:
        for_options, name, part = match.groups()
        if for_options:
            options = self._reads.fixed_options
            if options is None:
                return None
            return partial(_answer, "/api/v1/options", partial(self._reads.options, identity.user, options), identity)
        if name is None:
            return partial(_answer, "/api/v1/clusters/", partial(self._reads.clusters, identity.user), identity)
        if part is None and self._reads.needs_admission(identity.user, name):
            return None
        cluster: Callable[[User, str], Read] = partial(self._reads.cluster, keys=identity.may_change)
        of_cluster = {None: cluster, "events": self._reads.events, "traffic": self._reads.traffic}
        route = f"/api/v1/clusters/<name>/{part}" if part else "/api/v1/clusters/<name>"
        return partial(_answer, route, partial(of_cluster[part], identity.user, name), identity)


def _address(scope: Scope) -> str:
    """Where a request comes from; empty when nobody knows."""
    client = scope.get("client")
    return client[0] if client else ""


async def _refuse(error: GatewayError, scope: Scope, receive: Receive, send: Send) -> None:
    count_request(REFUSED, scope["method"], error.status)
    await answer_error(send, error)


async def _answer(
    route: str, read: Callable[[], Read], identity: Identity | None, scope: Scope, receive: Receive, send: Send
) -> None:
    cookie = () if identity is None or identity.new_cookie is None else ((b"set-cookie", identity.new_cookie.encode()),)
    try:
        status, said = read()
    except GatewayError as error:
        count_request(route, "GET", error.status)
        await answer_error(send, error, cookie)
        return
    count_request(route, "GET", status)
    await answer(send, status, orjson.dumps(said), ((b"content-type", b"application/json"), *cookie))


def events_report(cluster: Cluster) -> dict[str, Any]:
    """What has happened to a cluster."""
    return {"events": [event_report(event) for event in cluster.events]}


def event_report(event: Event) -> dict[str, Any]:
    """One thing that has happened."""
    return {"time": event.time, "message": event.message}


def report(record: ClusterRecord, name: str, dashboard_route: str | None) -> dict[str, Any]:
    """A cluster as lists show it. The published client takes exactly these keys.

    `name` is what it asks for to reach the scheduler, `dashboard_route` the path that opens the dashboard.
    """
    return {
        "name": name,
        "dashboard_route": dashboard_route,
        "status": record.status,
        "start_time": record.start_time,
        "stop_time": record.stop_time,
        "options": record.options,
    }


def full_report(user: User, record: ClusterRecord, dashboard_route: str | None, *, keys: bool = True) -> dict[str, Any]:
    """A single cluster, with what is needed to connect while it runs for those who may use it (`keys`)."""
    may_use = may(user, record, "use")
    has_keys = keys and may_use and record.status is ClusterStatus.RUNNING
    return {
        **report(record, name_for(user, record) if keys else record.name, dashboard_route),
        "options": record.options if may_use else {},  # which may hold secrets
        "tls_cert": record.tls_cert if has_keys else None,
        "tls_key": record.tls_key if has_keys else None,
    }


def statuses_in(text: str | None) -> frozenset[ClusterStatus] | None:
    """The statuses of a query, None for none. Raises `InvalidRequest`."""
    if text is None:
        return None
    try:
        return frozenset(ClusterStatus(name.strip().upper()) for name in text.split(","))
    except ValueError:
        known = ", ".join(ClusterStatus)
        raise InvalidRequest(f"Query 'status' is {text!r}, expected some of {known}, separated by commas") from None
