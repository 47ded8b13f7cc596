"""The route of heartbeats, answered before the web framework because it is by far the most frequent one.

`POST /api/v1/clusters/{name}/heartbeat`, authenticated with the cluster's own
token. The token is checked before the body is read, so only a job can make
the gateway hold one.
"""

import trio

from gateway.asgi import App, Receive, Scope, Send, answer, answer_error, header, read_body
from gateway.errors import GatewayError, MethodNotAllowed, RequestTooSlow
from gateway.heartbeat import parse_heartbeat
from gateway.manager import Manager

#: Bytes. `closed_workers` grows for as long as a cluster lives: this is room for half a million names.
BODY_LIMIT = 8 * 1024 * 1024

#: Seconds for a body to arrive.
BODY_DEADLINE = 60.0


def heartbeat_app(manager: Manager) -> App:
    """The ASGI app of the route."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            if scope["method"] != "POST":
                raise MethodNotAllowed(f"Heartbeats come as POST, not as {scope['method']}", allowed="POST")
            name = scope["path"].split("/")[4]
            cluster = manager.authenticated(name, header(scope, b"authorization"))
            with trio.fail_after(BODY_DEADLINE):
                body = await read_body(receive, BODY_LIMIT)
            await cluster.heartbeat(parse_heartbeat(body))
        except trio.TooSlowError:
            await answer_error(send, RequestTooSlow("The heartbeat did not arrive in time"))
        except GatewayError as error:
            await answer_error(send, error)
        else:
            await answer(send, 200)

    return app
