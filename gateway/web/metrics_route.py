"""`/metrics`, for Prometheus, and the count of what the API answers.

On the public port it is for administrators alone, who give Prometheus a
personal token that may read. On the private one, which only the cluster's
network reaches, and on the administrator's socket it is for whoever is there:
there is nothing in it of a single user.
"""

from collections.abc import Callable

from prometheus_client import CONTENT_TYPE_LATEST
from quart import Quart, Response, request

from gateway.auth.chain import Chain
from gateway.auth.token_record import METRICS
from gateway.metrics import count_request
from gateway.web.administrators import administrator
from gateway.web.asgi import App, Receive, Scope, Send, answer, for_the_asker

PATH = "/metrics"


def add_metrics(app: Quart, chain: Chain, text: Callable[[], bytes]) -> None:
    """Add the route for administrators, and tokens of theirs for it, to the app of the API, and count its answers."""

    async def show() -> Response:
        await administrator(chain, or_scope=METRICS)
        return Response(text(), content_type=CONTENT_TYPE_LATEST)

    async def count(response: Response) -> Response:
        route = request.url_rule.rule if request.url_rule is not None else "none"
        count_request(route, request.method, response.status_code)
        return response

    app.get(PATH)(show)
    app.after_request(count)


def with_metrics(app: App, text: Callable[[], bytes]) -> App:
    """The app of the private port, which shows them to everybody."""

    async def show(scope: Scope, receive: Receive, send: Send) -> None:
        count_request(PATH, "GET", 200)
        await answer(send, 200, text(), ((b"content-type", CONTENT_TYPE_LATEST.encode()),))

    shown = for_the_asker(show)

    async def or_else(scope: Scope, receive: Receive, send: Send) -> None:
        is_asked_for = scope["type"] == "http" and scope["path"] == PATH and scope["method"] == "GET"
        await (shown if is_asked_for else app)(scope, receive, send)

    return or_else
