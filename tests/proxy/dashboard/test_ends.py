"""Exchanges with a dashboard that somebody leaves hanging, and what happens to them when the cluster goes."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
from trio_websocket import ConnectionClosed, wrap_client_stream

from gateway.config.proxy import Proxy
from gateway.proxy.dashboard.app import Dashboard
from gateway.proxy.routes import Routes
from tests.support.proxy_peers import LOCAL, connect, hello_app, http_server, peer, public_port, receive_all, server_of

LIMITS = Proxy(dashboard_timeout=0.2)


@asynccontextmanager
async def dashboard(handler: Any, options: Proxy | None = None) -> AsyncIterator[tuple[Any, Routes]]:
    """The public address below which the handler is the dashboard of cluster abc, and the routes."""
    routes = Routes()
    async with peer(handler) as port:
        routes.add("abc", f"tls://{LOCAL}:1", f"http://{LOCAL}:{port}")
        server = server_of(Dashboard(routes, options=options))
        async with public_port(routes, serve_http=server.serve) as address:
            yield address, routes


async def test_a_stream_ends_with_its_route() -> None:
    go_on = trio.Event()

    async def endless(stream: trio.SocketStream) -> None:
        await stream.receive_some()
        await stream.send_all(b"HTTP/1.1 200 OK\r\n\r\nfirst")
        await go_on.wait()
        await stream.send_all(b"second")
        await trio.sleep_forever()

    async with dashboard(endless) as (address, routes), await connect(address) as client:
        await client.send_all(b"GET /clusters/abc/stream HTTP/1.1\r\nHost: x\r\n\r\n")
        said = b""
        with trio.fail_after(30):
            while b"first" not in said:
                said += await client.receive_some()
            routes.add("abd", f"tls://{LOCAL}:1", f"http://{LOCAL}:1")
            routes.remove("abd")  # somebody else's
            go_on.set()
            while b"second\r\n" not in said:
                said += await client.receive_some()
            routes.remove("abc")
            assert await receive_all(client) == b""  # cut off: the last chunk is missing


async def test_a_websocket_ends_with_its_route() -> None:
    async with (
        dashboard(http_server(hello_app)) as (address, routes),
        await connect(address) as stream,
        trio.open_nursery() as nursery,
    ):
        socket = await wrap_client_stream(nursery, stream, "x", "/clusters/abc/ws")
        routes.remove("abc")
        with trio.fail_after(30), pytest.raises(ConnectionClosed) as caught:
            await socket.get_message()
        assert caught.value.reason.code == 1001


@pytest.mark.parametrize("body", [b"", b"12345"])
async def test_a_body_that_does_not_come_is_not_waited_for(body: bytes) -> None:
    async def silent(stream: trio.SocketStream) -> None:
        await receive_all(stream)

    async with dashboard(silent, LIMITS) as (address, _), await connect(address) as client:
        await client.send_all(b"POST /clusters/abc/x HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n" + body)
        with trio.fail_after(30):
            answer = await receive_all(client)
    # Both the browser and the dashboard have been silent for as long as either may.
    assert answer.startswith((b"HTTP/1.1 408 ", b"HTTP/1.1 504 "))


async def test_a_length_beside_chunks_is_refused() -> None:
    request = b"POST /clusters/abc/x HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 3\r\n"
    request += b"Transfer-Encoding: chunked\r\n\r\n7\r\nchunked\r\n0\r\n\r\n"
    async with dashboard(http_server(hello_app)) as (address, _), await connect(address) as client:
        await client.send_all(request)
        with trio.fail_after(30):
            answer = await receive_all(client)
    assert answer.startswith(b"HTTP/1.1 400 ")
