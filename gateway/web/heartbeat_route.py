"""The route of heartbeats, answered before the web framework because it is by far the most frequent one.

`POST /api/v1/clusters/{name}/heartbeat`, authenticated with the cluster's own
token. The token is checked before the body is read, so only a job can make
the gateway hold one. From there on the connection is known to be a job's, and
is not given up for others (proxy/admission.py). The body is read in parts that
are soon forgotten (clusters/heartbeat_body.py), one of a cluster at a time, and at a
pace: an honest cluster sends next to nothing four times a minute, and megabytes
only when it has had hundreds of thousands of workers.

Addresses to which the gateway would not connect are refused at once, so that
whoever has configured the wrong networks learns of it where it happens. What
counts is the check when they are connected to: a name may mean anything then.
"""

from collections.abc import Callable

import trio

from gateway.addresses import parse_url
from gateway.clusters.cluster import Cluster
from gateway.clusters.heartbeat import Heartbeat, parse_heartbeat
from gateway.clusters.heartbeat_body import WINDOW, HeartbeatBody
from gateway.clusters.manager import Manager
from gateway.errors import (
    BadRequest,
    Conflict,
    GatewayError,
    InvalidRequest,
    MethodNotAllowed,
    RequestTooSlow,
    TooLarge,
)
from gateway.log import RateLimitedLog
from gateway.metrics import count_request
from gateway.proxy.memory_budget import MemoryBudget
from gateway.web.asgi import KNOWN, App, Message, Receive, Scope, Send, answer, answer_error, header
from gateway.web.pace import Pace

#: Bytes. `closed_workers` grows for as long as a cluster lives: this is room for half a million names.
BODY_LIMIT = 8 * 1024 * 1024

#: Bytes that a heartbeat may have without closed workers, and in addition for each worker that the cluster has. The
#: first is for workers that users have started themselves, the second for several processes in one job.
KEPT, KEPT_PER_WORKER = 128 * 1024, 256

#: A body that comes at once, and is no larger, is parsed as it is.
SHORT = 16 * 1024

#: Seconds for a body to arrive.
BODY_DEADLINE = 60.0

#: Bytes per second of a cluster's heartbeats, on average, and what may come at once before that holds. The largest that
#: there are may come every eight seconds.
PACE, BURST = 1024 * 1024, 2 * BODY_LIMIT


_log = RateLimitedLog()

ROUTE = "/api/v1/clusters/<name>/heartbeat"


def heartbeat_app(
    manager: Manager,
    refusal: Callable[[str, int], str] = lambda host, port: "",
    budget: MemoryBudget | None = None,
) -> App:
    """The ASGI app of the route. `refusal(host, port)` says why the gateway would not connect to an address.

    `budget` is where long heartbeats have their memory from.
    """
    bodies = _Bodies(budget or MemoryBudget())

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            if scope["method"] != "POST":
                raise MethodNotAllowed(f"Heartbeats come as POST, not as {scope['method']}", allowed="POST")
            name = scope["path"].split("/")[4]
            cluster = manager.authenticated(name, header(scope, b"authorization"))
            if KNOWN in scope:
                scope[KNOWN]()
            heartbeat = await _read(bodies, cluster, receive)
            _check_addresses(cluster, heartbeat, refusal)
            await cluster.heartbeat(heartbeat)
        except GatewayError as error:
            count_request(ROUTE, scope["method"], error.status)
            await answer_error(send, error)
        else:
            count_request(ROUTE, "POST", 200)
            await answer(send, 200)

    return app


async def _read(bodies: "_Bodies", cluster: Cluster, receive: Receive) -> Heartbeat:
    try:
        return await bodies.read(cluster, receive)
    except (
        TooLarge
    ) as error:  # an honest cluster would fail for want of heartbeats; whoever looks for the reason finds it
        _log.warning("a heartbeat was refused", cluster=cluster.name, user=cluster.record.username, reason=str(error))
        cluster.events.record_event(str(error))
        raise


class _Bodies:
    """Reads heartbeats, of each cluster one at a time: the newest."""

    def __init__(self, budget: MemoryBudget) -> None:
        self._budget = budget
        self._reading: dict[str, trio.CancelScope] = {}
        self._pace = Pace(PACE, BURST)

    async def read(self, cluster: Cluster, receive: Receive) -> Heartbeat:
        """The heartbeat. Raises `GatewayError`."""
        # What is under way comes from a scheduler that has given it up, or never meant to finish it.
        if (older := self._reading.get(cluster.name)) is not None:
            older.cancel()
        with trio.move_on_after(BODY_DEADLINE) as scope:
            self._reading[cluster.name] = scope
            try:
                return await self._read(cluster, receive)
            finally:
                newest = self._reading.get(cluster.name) is scope
                if newest:
                    del self._reading[cluster.name]
        if newest:
            raise RequestTooSlow("The heartbeat did not arrive in time")
        raise Conflict("A newer heartbeat of this cluster came before this one had arrived")

    async def _read(self, cluster: Cluster, receive: Receive) -> Heartbeat:
        message = await receive()
        part: bytes = message.get("body", b"")
        if (
            message["type"] == "http.request"
            and not message.get("more_body", False)
            and len(part) <= min(SHORT, BODY_LIMIT)
        ):
            return parse_heartbeat(part)
        limit = min(KEPT + KEPT_PER_WORKER * len(cluster.rows.workers), BODY_LIMIT)
        async with self._budget.bodies.reserved(f"user {cluster.record.username}", 2 * limit):
            return await self._read_parts(cluster, message, receive, limit)

    async def _read_parts(self, cluster: Cluster, message: Message, receive: Receive, limit: int) -> Heartbeat:
        body = HeartbeatBody(limit, cluster.rows.states if cluster.rows.coming else ())
        size = 0
        while True:
            if message["type"] == "http.disconnect":
                raise BadRequest("The request ended before its body did")
            part: bytes = message.get("body", b"")
            size += len(part)
            if size > BODY_LIMIT:
                raise TooLarge(f"The heartbeat is larger than {BODY_LIMIT} bytes")
            for start in range(0, len(part), WINDOW):
                body.take(part[start : start + WINDOW])
                await trio.lowlevel.checkpoint()
            await self._pace.spend(cluster.name, len(part))
            if not message.get("more_body", False):
                return parse_heartbeat(body.rest(), body.closed)
            message = await receive()


def _check_addresses(cluster: Cluster, heartbeat: Heartbeat, refusal: Callable[[str, int], str]) -> None:
    """Raises `InvalidRequest` for an address that is not connected to, when it is news."""
    record = cluster.record
    known = (record.scheduler_address, record.dashboard_address, record.api_address)
    for address in (heartbeat.scheduler_address, heartbeat.dashboard_address, heartbeat.api_address):
        if address in known or not address:
            continue
        if reason := refusal(*parse_url(address)):
            text = f"The scheduler's address {address} is not connected to: {reason}"
            _log.warning("a heartbeat was refused", cluster=cluster.name, user=record.username, reason=reason)
            cluster.events.record_event(text)
            raise InvalidRequest(text)
