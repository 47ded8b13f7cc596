"""A program that behaves as busy dashboards do, for benchmarks: `python -m tests.bench.dashboard_backend`.

It says on which port of 127.0.0.1 it serves. Every path is a page or an asset
of `?size=` bytes; a websocket sends a message of `?size=` bytes, `?rate=` times
a second, which begins with the time of its sending (`SENT`, by the monotonic
clock that all processes of a machine share).
"""

import struct
import sys
import time
from typing import Any
from urllib.parse import parse_qs

import trio

from tests.support.proxy_peers import server_of

SENT = struct.Struct("<d")


async def dashboard(scope: Any, receive: Any, send: Any) -> None:
    """The ASGI app."""
    query = {key: float(values[0]) for key, values in parse_qs(scope["query_string"].decode()).items()}
    size = int(query.get("size", 10_000))
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        rest, start, sent = bytes(size - SENT.size), trio.current_time(), 0
        while True:
            await send({"type": "websocket.send", "bytes": SENT.pack(time.monotonic()) + rest})
            sent += 1
            await trio.sleep_until(start + sent / query["rate"])
    headers = [(b"content-length", b"%d" % size)]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": bytes(size)})


async def main() -> None:
    """Serve until terminated."""
    server = server_of(dashboard)
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    print(listener.socket.getsockname()[1], flush=True)

    async def serve(stream: trio.SocketStream) -> None:
        try:
            await server.serve(stream)
        except* (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            print("a connection broke:", error.exceptions, file=sys.stderr)

    await trio.serve_listeners(serve, [listener])


if __name__ == "__main__":
    trio.run(main)
