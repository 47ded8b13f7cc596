"""Headers that go with every answer of an application, whoever in it answers."""

from collections.abc import Awaitable, Callable, Iterable
from typing import Any

#: Messages are mappings, which each library types in its own way.
Send = Callable[[Any], Awaitable[None]]

#: The messages of ASGI that begin an answer; the second one turns a websocket down.
_STARTS = ("http.response.start", "websocket.http.response.start")


def with_headers(send: Send, headers: Iterable[tuple[bytes, bytes]]) -> Send:
    """Return a `send` (ASGI) that adds these headers to each answer that begins."""

    async def send_with_headers(message: Any) -> None:
        if message["type"] in _STARTS:
            message = {**message, "headers": [*message["headers"], *headers]}
        await send(message)

    return send_with_headers
