"""What all that speaks ASGI here shares: its types, headers of requests, and answers in one piece."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import orjson

from gateway.errors import GatewayError
from gateway.metrics import count_request
from gateway.proxy.answer_headers import with_headers

Scope = dict[str, Any]
Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
#: Each library spells the types of ASGI in its own way; what they share is the call.
App = Callable[[Any, Any, Any], Awaitable[None]]

#: In a scope: what to call when a request has proved to be a job's.
KNOWN = "gateway.known"
#: In a scope: the `Holding` of the answer.
HOLDING = "gateway.holding"

#: What requests are counted as that are turned down whatever they ask for, and those of dashboards.
REFUSED, DASHBOARD = "refused", "/clusters/<name>/..."
#: With every answer but dashboards' (which have headers of their own): some hold keys, none is anything but JSON.
_FOR_THE_ASKER = ((b"cache-control", b"no-store"), (b"x-content-type-options", b"nosniff"))


def header(scope: Scope, name: bytes) -> str:
    """The value of a request header (lower case name), empty when it is missing."""
    for key, value in scope["headers"]:
        if key.lower() == name:
            return str(value.decode("latin-1"))
    return ""


def cookies(scope: Mapping[str, Any]) -> str:
    """All cookies of a request; HTTP/2 may have a header for each."""
    return "; ".join(value.decode("latin-1") for key, value in scope["headers"] if key.lower() == b"cookie")


async def answer(send: Send, status: int, body: bytes = b"", headers: tuple[tuple[bytes, bytes], ...] = ()) -> None:
    """A complete HTTP answer."""
    length = (b"content-length", b"%d" % len(body))
    await send({"type": "http.response.start", "status": status, "headers": [length, *headers]})
    await send({"type": "http.response.body", "body": body})


async def answer_error(send: Send, error: GatewayError, more: tuple[tuple[bytes, bytes], ...] = ()) -> None:
    """An error as every route tells it, with some more headers."""
    headers = [(name.lower().encode(), value.encode()) for name, value in error.headers]
    body = orjson.dumps({"error": str(error)})
    await answer(send, error.status, body, ((b"content-type", b"application/json"), *headers, *more))


async def refuse(scope: Scope, send: Send, status: int, text: str) -> None:
    """Turn a request or a websocket down."""
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1008, "reason": text})
        return
    body = orjson.dumps({"error": text})
    await answer(send, status, body, ((b"content-type", b"application/json"),))


def counted(route: str, app: App) -> App:
    """The app, whose answers are counted as those of a route; websockets when they are accepted, as 101."""

    async def counted_app(scope: Scope, receive: Receive, send: Send) -> None:
        async def count_and_send(message: Message) -> None:
            if (code := _code_of(message)) is not None:
                count_request(route, scope.get("method", "GET"), code)
            await send(message)

        await app(scope, receive, count_and_send)

    return counted_app


def _code_of(message: Message) -> int | None:
    kind = message["type"]
    if kind.endswith("response.start"):
        return int(message["status"])
    return {"websocket.accept": 101}.get(kind)


def for_the_asker(app: App) -> App:
    """The app, whose answers are kept by no browser or proxy, and are taken for nothing but what they say they are."""

    async def answers_for_the_asker(scope: Scope, receive: Receive, send: Send) -> None:
        await app(scope, receive, with_headers(send, _FOR_THE_ASKER))

    return answers_for_the_asker
