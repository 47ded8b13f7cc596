"""The route of heartbeats, answered before the web framework because it is by far the most frequent one.

`POST /api/v1/clusters/{name}/heartbeat`, authenticated with the cluster's own
token. The token is checked before the body is read, so only a job can make
the gateway hold one. From there on the connection is known to be a job's, and
is not given up for others (proxy/admission.py).

Addresses to which the gateway would not connect are refused at once, so that
whoever has configured the wrong networks learns of it where it happens. What
counts is the check when they are connected to: a name may mean anything then.
"""

from collections.abc import Callable
from urllib.parse import urlsplit

import trio

from gateway.asgi import KNOWN, App, Receive, Scope, Send, answer, answer_error, header, read_body
from gateway.cluster import Cluster
from gateway.errors import GatewayError, InvalidRequest, MethodNotAllowed, RequestTooSlow
from gateway.heartbeat import Heartbeat, parse_heartbeat
from gateway.manager import Manager
from gateway.proxy.hushed_log import HushedLog

#: Bytes. `closed_workers` grows for as long as a cluster lives: this is room for half a million names.
BODY_LIMIT = 8 * 1024 * 1024

#: Seconds for a body to arrive.
BODY_DEADLINE = 60.0


_log = HushedLog()


def heartbeat_app(manager: Manager, refusal: Callable[[str, int], str] = lambda host, port: "") -> App:
    """The ASGI app of the route. `refusal(host, port)` says why the gateway would not connect to an address."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            if scope["method"] != "POST":
                raise MethodNotAllowed(f"Heartbeats come as POST, not as {scope['method']}", allowed="POST")
            name = scope["path"].split("/")[4]
            cluster = manager.authenticated(name, header(scope, b"authorization"))
            if KNOWN in scope:
                scope[KNOWN]()
            with trio.fail_after(BODY_DEADLINE):
                body = await read_body(receive, BODY_LIMIT)
            heartbeat = parse_heartbeat(body)
            _check_addresses(cluster, heartbeat, refusal)
            await cluster.heartbeat(heartbeat)
        except trio.TooSlowError:
            await answer_error(send, RequestTooSlow("The heartbeat did not arrive in time"))
        except GatewayError as error:
            await answer_error(send, error)
        else:
            await answer(send, 200)

    return app


def _check_addresses(cluster: Cluster, heartbeat: Heartbeat, refusal: Callable[[str, int], str]) -> None:
    """Raises `InvalidRequest` for an address that is not connected to, when it is news."""
    record = cluster.record
    known = (record.scheduler_address, record.dashboard_address, record.api_address)
    for address in (heartbeat.scheduler_address, heartbeat.dashboard_address, heartbeat.api_address):
        if address in known:
            continue
        parts = urlsplit(address)
        if parts.hostname and parts.port and (reason := refusal(parts.hostname, parts.port)):
            text = f"The scheduler's address {address} is not connected to: {reason}"
            _log.warning("a heartbeat was refused", cluster=cluster.name, user=record.username, reason=reason)
            cluster.events.tell(text)
            raise InvalidRequest(text)
