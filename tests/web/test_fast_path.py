"""The short way of frequent requests, and the general server behind it: one connection, whoever answers."""

from contextlib import asynccontextmanager
from functools import partial

import httpcore
import pytest
import trio
from structlog.testing import capture_logs
from trio.testing import wait_all_tasks_blocked

from gateway.proxy.memory_budget import MemoryBudget
from gateway.web import fast_path as simple_http
from gateway.web.asgi import answer
from gateway.web.fast_path import SimpleHttp
from gateway.web.http_budget import Budget, SharedBudget
from gateway.web.router import Handler
from tests.support.proxy_peers import gateways_tls, server_of

GET = b"GET /quick HTTP/1.1\r\nHost: x\r\n\r\n"
LATER = b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n"


class Gone(Exception):
    """The client has left before it had said all."""


async def read_body(receive):
    body, more = b"", True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Gone
        body, more = body + message["body"], message["more_body"]
    return body


async def echo(scope, receive, send):
    """Says who asked for what, and whether the general server was asked."""
    body = await read_body(receive)
    by = b"general" if "server" in scope else b"simple"
    await answer(send, 200, b" ".join((by, scope["path"].encode(), body)))


def post(body, size=None, *lines):
    head = b"POST /quick HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n" % (len(body) if size is None else size)
    return head + b"".join(line + b"\r\n" for line in lines) + b"\r\n" + body


def quick_route(app, scope):
    return Handler(app, scope, is_fast=scope["path"] == "/quick")


@asynccontextmanager
async def open_server(app=echo, **options):
    server = server_of(app, route=partial(quick_route, app), **options)
    async with trio.open_nursery() as nursery:
        serve = partial(trio.serve_tcp, server.serve, 0, host="127.0.0.1")
        (listener,) = await nursery.start(serve)
        yield server, listener.socket.getsockname()[1]
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def connected(**options):
    async with open_server(**options) as (_, port), await trio.open_tcp_stream("127.0.0.1", port) as stream:
        with trio.fail_after(30):
            yield stream


async def receive_until(stream, end):
    data = b""
    while not data.endswith(end):
        part = bytes(await stream.receive_some())
        assert part, data
        data += part
    return data


async def receive_all(stream):
    return b"".join([bytes(part) async for part in stream])


async def test_simple_requests_one_after_another():
    async with connected() as stream:
        for number in range(3):
            await stream.send_all(post(b"%d" % number))
            data = await receive_until(stream, b"simple /quick %d" % number)
            assert data.startswith(b"HTTP/1.1 200 \r\ndate: ")
            assert b"content-length: 15\r\n" in data
            assert b"connection" not in data


async def test_a_client_sees_no_difference():
    async with open_server() as (_, port), httpcore.AsyncConnectionPool(max_connections=1) as pool:
        seen = []
        for path in ("quick", "slow", "quick"):
            response = await pool.request("GET", f"http://127.0.0.1:{port}/{path}")
            seen.append(([name for name, _ in response.headers], response.content))
        assert [body for _, body in seen] == [b"simple /quick ", b"general /slow ", b"general /quick "]
        assert sorted(seen[0][0]) == sorted(seen[1][0])


async def test_over_tls(tmp_path):
    server, client = gateways_tls(tmp_path)

    async def app(scope, receive, send):
        await answer(send, 200, scope["scheme"].encode() + scope["path"].encode())

    async def serve(stream):
        await server_of(app, route=partial(quick_route, app)).serve(trio.SSLStream(stream, server, server_side=True))

    async with trio.open_nursery() as nursery:
        (listener,) = await nursery.start(partial(trio.serve_tcp, serve, 0, host="127.0.0.1"))
        port = listener.socket.getsockname()[1]
        plain = await trio.open_tcp_stream("127.0.0.1", port)
        stream = trio.SSLStream(plain, client, server_hostname="localhost")
        with trio.fail_after(30):
            async with plain:
                await stream.send_all(GET)
                await receive_until(stream, b"https/quick")
                await stream.send_all(LATER)
                await receive_until(stream, b"https/slow")
        nursery.cancel_scope.cancel()


async def test_pipelined_requests_are_answered_in_order_by_whoever():
    async with connected() as stream:
        await stream.send_all(GET + post(b"abc") + LATER + GET)
        data = await receive_until(stream, b"general /quick ")
        assert [part.partition(b"\r\n\r\n")[2] for part in data.split(b"HTTP/1.1 200 ")[1:]] == [
            b"simple /quick ",
            b"simple /quick abc",
            b"general /slow ",
            b"general /quick ",
        ]


async def test_a_body_may_come_late_and_in_parts():
    async with connected() as stream:
        await stream.send_all(post(b"", 6))
        for part in (b"ab", b"cd"):
            await wait_all_tasks_blocked()
            await stream.send_all(part)
        await stream.send_all(b"ef" + GET)
        data = await receive_until(stream, b"simple /quick ")
        assert b"simple /quick abcdef" in data


async def test_a_head_in_parts_is_for_the_general_server():
    async with connected() as stream:
        await stream.send_all(GET[:20])
        await wait_all_tasks_blocked()
        await stream.send_all(GET[20:])
        await receive_until(stream, b"general /quick ")


@pytest.mark.parametrize("data", [GET[:-2] + b"Connection: close\r\n\r\n", post(b"x", None, b"Connection: Close")])
async def test_a_client_that_wants_to_close(data):
    async with connected() as stream:
        await stream.send_all(data)
        answered = await receive_all(stream)
        assert b"connection: close\r\n" in answered
        assert b"simple /quick" in answered


async def test_a_body_that_nobody_wants_ends_the_connection():
    async def app(scope, receive, send):
        await answer(send, 401, b"no")

    async with connected(app=app) as stream:
        await stream.send_all(post(b"secret"))
        answered = await receive_all(stream)
        assert answered.startswith(b"HTTP/1.1 401 ")
        assert answered.endswith(b"\r\nconnection: close\r\n\r\nno")


async def test_a_client_that_leaves_in_the_middle():
    ended = trio.Event()

    async def app(scope, receive, send):
        with pytest.raises(Gone):
            await read_body(receive)
        ended.set()

    with trio.fail_after(30):
        async with open_server(app) as (_, port):
            stream = await trio.open_tcp_stream("127.0.0.1", port)
            await stream.send_all(post(b"abc", 100))
            await stream.aclose()
            await ended.wait()


async def test_an_app_that_fails_is_a_500_and_the_next_request_is_served():
    async def app(scope, receive, send):
        body = await read_body(receive)
        await answer(send, 200, b"%d" % (1 / int(body)))

    with capture_logs() as logs:
        async with connected(app=app) as stream:
            await stream.send_all(post(b"0") + post(b"1"))
            data = await receive_until(stream, b"\r\n\r\n1")
            assert data.startswith(b"HTTP/1.1 500 ")
    assert [(entry["log_level"], entry["path"]) for entry in logs] == [("error", "/quick")]


async def test_draining_lets_idle_connections_go_and_busy_ones_finish():
    busy, go_on = trio.Event(), trio.Event()

    async def app(scope, receive, send):
        busy.set()
        await go_on.wait()
        await answer(send, 200, b"done")

    with trio.fail_after(30):
        async with open_server(app) as (server, port):
            idle, working = [await trio.open_tcp_stream("127.0.0.1", port) for _ in range(2)]
            async with idle, working:
                await working.send_all(GET)
                await busy.wait()
                await server.drain()
                assert await receive_all(idle) == b""
                go_on.set()
                assert (await receive_all(working)).endswith(b"connection: close\r\n\r\ndone")


class Stuck(trio.abc.Stream):
    """A client that asks and takes no answer."""

    def __init__(self, error=None):
        self._error = error

    async def receive_some(self, max_bytes=None):
        await trio.lowlevel.checkpoint()
        return GET

    async def send_all(self, data):
        if self._error:
            raise self._error
        await trio.sleep_forever()

    async def wait_send_all_might_not_block(self):
        raise NotImplementedError

    async def aclose(self):
        raise NotImplementedError


def quick():
    return SimpleHttp(partial(quick_route, echo), MemoryBudget(), keep_alive=75)


async def test_a_client_that_takes_no_answer_is_given_up(autojump_clock):
    assert await quick().serve(Stuck(), "http", Budget(SharedBudget())) is None
    assert trio.current_time() >= simple_http._SEND_DEADLINE


async def test_a_client_that_has_gone():
    for error in (trio.BrokenResourceError(), trio.ClosedResourceError()):
        assert await quick().serve(Stuck(error), "http", Budget(SharedBudget())) is None
