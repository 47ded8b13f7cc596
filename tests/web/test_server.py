"""HTTP on real connections: what hypercorn makes of our apps, and how it lets go."""

from contextlib import asynccontextmanager
from functools import partial

import httpcore
import pytest
import trio
from quart_trio import QuartTrio

from gateway.web.asgi import answer, refuse
from gateway.web.router import Handler, Router
from gateway.web.server import KEEP_ALIVE
from tests.support.proxy_peers import client_of, server_of


@asynccontextmanager
async def open_server(app, **options):
    """A server on loopback; connections beyond their own boundary would end the test."""
    server = server_of(app, **options)
    async with trio.open_nursery() as nursery:
        serve = partial(trio.serve_tcp, server.serve, 0, host="127.0.0.1")
        (listener,) = await nursery.start(serve)
        yield server, listener.socket.getsockname()
        nursery.cancel_scope.cancel()


async def hello(scope, receive, send):
    await answer(send, 200, scope["path"].encode())


def url(address, path="/"):
    return "http://{}:{}{}".format(*address, path)


async def test_requests_on_one_connection():
    async with open_server(hello) as (_, address), httpcore.AsyncConnectionPool(max_connections=1) as pool:
        for number in range(3):
            response = await pool.request("GET", url(address, f"/{number}"))
            assert (response.status, response.content) == (200, b"/%d" % number)
            assert b"server" not in dict(response.headers)
        (connection,) = pool.connections
        assert connection.is_idle()


async def test_an_app_that_fails_is_a_500_in_our_log(caplog):
    async def app(scope, receive, send):
        raise ZeroDivisionError("a mistake of ours")

    async with open_server(app) as (_, address), httpcore.AsyncConnectionPool() as pool:
        assert (await pool.request("GET", url(address))).status == 500
        assert (await pool.request("GET", url(address))).status == 500
    (first, _) = (record for record in caplog.records if record.name == "hypercorn.error")
    assert "a mistake of ours" in str(first.exc_info[1])


async def test_a_connection_is_closed_after_its_last_answer_by_an_app_of_quart_s_as_well():
    app = QuartTrio(__name__)

    @app.get("/")
    async def index():
        return "hello"

    async with open_server(app, route=partial(Handler, app)) as (_, address):
        for request in (b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", b"GET /nothing HTTP/1.0\r\n\r\n"):
            async with await trio.open_tcp_stream(*address) as stream:
                await stream.send_all(request)
                assert (await receive_all(stream)).startswith(b"HTTP/1.1 ")


async def receive_all(stream):
    data = b""
    with trio.fail_after(30):
        async for part in stream:
            data += part
    return data


@pytest.mark.parametrize("route", [None, partial(Handler, hello, is_fast=True)])
async def test_an_idle_connection_ends(autojump_clock, route):
    async with client_of(server_of(hello, route=route)) as stream:
        await trio.sleep(KEEP_ALIVE - 1)
        await stream.send_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        answered = b"".join([part async for part in stream])
        assert answered.startswith(b"HTTP/1.1 200 ")
        assert trio.current_time() == pytest.approx(2 * KEEP_ALIVE - 1)


async def test_draining_lets_idle_connections_go_and_busy_ones_finish():
    busy, go_on = trio.Event(), trio.Event()

    async def app(scope, receive, send):
        busy.set()
        await go_on.wait()
        await answer(send, 200, b"done")

    async with open_server(app) as (server, address):
        idle, working = [await trio.open_tcp_stream(*address) for _ in range(2)]
        async with idle, working:
            await working.send_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            await busy.wait()
            await server.drain()
            assert await receive_all(idle) == b""
            go_on.set()
            assert (await receive_all(working)).endswith(b"done")


async def test_headers_have_a_limit():
    async with open_server(hello) as (_, address), await trio.open_tcp_stream(*address) as stream:
        await stream.send_all(b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"x" * 100_000)
        with trio.fail_after(30):
            assert (await stream.receive_some()).startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 431 "))


async def test_a_large_head_that_comes_at_once_is_too_large():
    async with open_server(hello) as (_, address):
        for head in (b"X: " + b"x" * 66_000, b"X: x\r\n" * 12_000 + b"Y: y"):
            async with await trio.open_tcp_stream(*address) as stream:
                await stream.send_all(b"GET / HTTP/1.1\r\nHost: x\r\n" + head + b"\r\n\r\n")
                with trio.fail_after(30):
                    assert (await stream.receive_some()).startswith(b"HTTP/1.1 431 ")


async def test_a_refused_websocket_is_a_403():
    async def app(scope, receive, send):
        await refuse(scope, send, 404, "no")

    async with open_server(app) as (_, address), await trio.open_tcp_stream(*address) as stream:
        await stream.send_all(
            b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n\r\n"
        )
        with trio.fail_after(30):
            assert (await stream.receive_some()).startswith(b"HTTP/1.1 403 ")


@pytest.mark.parametrize(
    "data", [b"\x00\x01\x02\r\n\r\n", b"GET\r\n\r\n", b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: x\r\n\r\n"]
)
async def test_what_is_no_http_is_a_400(data):
    async with open_server(hello) as (_, address), await trio.open_tcp_stream(*address) as stream:
        await stream.send_all(data)
        assert (await receive_all(stream)).startswith(b"HTTP/1.1 400 ")


async def test_a_target_may_be_a_whole_url():
    front = Router(api=hello, heartbeats=hello, dashboards=hello)
    async with open_server(front) as (_, address), await trio.open_tcp_stream(*address) as stream:
        await stream.send_all(b"GET http://x/clusters/a%20b?c HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert (await receive_all(stream)).endswith(b"\r\n\r\n/clusters/a b")


async def test_a_body_that_nobody_reads_does_not_keep_the_connection():
    async def refuses(scope, receive, send):
        await refuse(scope, send, 403, "no")

    async def fails(scope, receive, send):
        raise ZeroDivisionError

    request = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n" + bytes(1_000_000)
    for app in (refuses, fails):
        async with open_server(app) as (_, address), await trio.open_tcp_stream(*address) as stream:
            with trio.fail_after(30):
                try:
                    await stream.send_all(request + b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                    await receive_all(stream)
                except trio.BrokenResourceError:
                    pass  # closed before it was all sent


async def test_no_extension_of_websockets_is_taken():
    async def app(scope, receive, send):
        await receive()
        await send({"type": "websocket.accept"})
        await receive()

    head = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    head += b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n"
    async with open_server(app) as (_, address), await trio.open_tcp_stream(*address) as stream:
        await stream.send_all(head)
        answer = await stream.receive_some()
        assert answer.startswith(b"HTTP/1.1 101 ")
        assert b"extensions" not in answer.lower()


@pytest.mark.parametrize("rest", [b"", b"SM\r\n\r\n", b"SM\r\n\r\n" + bytes(3) + b"\x04" + bytes(5)])
async def test_http2_without_tls_has_no_place_to_hide(autojump_clock, rest):
    async with client_of(server_of(hello)) as stream:
        await stream.send_all(b"PRI * HTTP/2.0\r\n\r\n" + rest)
        data = b"".join([part async for part in stream])
    assert not data.startswith(b"HTTP/1.1 2")
    assert trio.current_time() <= KEEP_ALIVE + 1


async def test_an_upgrade_to_http2_is_ignored():
    async with open_server(hello) as (_, address), await trio.open_tcp_stream(*address) as stream:
        await stream.send_all(
            b"GET /a HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
            b"HTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n"
        )
        answer = await stream.receive_some()
        assert answer.startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("before", [b"", b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n"])
@pytest.mark.parametrize("route", [None, partial(Handler, hello, is_fast=True)])
async def test_a_head_that_trickles_in_is_cut_off_in_time(autojump_clock, before, route):
    async with client_of(server_of(hello, route=route, head_timeout=20)) as stream:
        if before:
            await stream.send_all(before)
            assert await stream.receive_some()
        with pytest.raises((trio.BrokenResourceError, EOFError)):
            await stream.send_all(b"GET /slow HTTP/1.1\r\n")
            while True:
                await stream.send_all(b"X: 1\r\n")
                with trio.move_on_after(0.7):
                    if not await stream.receive_some():
                        raise EOFError
        assert 20 <= trio.current_time() < 21


async def test_an_answer_may_take_longer_than_a_head(autojump_clock):
    async def slow(scope, receive, send):
        await trio.sleep(30)
        await answer(send, 200, b"late")

    async with client_of(server_of(slow, head_timeout=10)) as stream:
        for _ in range(2):
            await stream.send_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            answered = b""
            while not answered.endswith(b"late"):
                answered += await stream.receive_some()
            await trio.sleep(20)
