"""What stands on either side of the proxy in tests: a scheduler, a public port, a small web application."""

import contextlib
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import trio
import trustme

from gateway.config.proxy import Proxy
from gateway.proxy.certificate import server_context
from gateway.proxy.http import ServeHttp
from gateway.proxy.listeners import open_listeners
from gateway.proxy.routes import Routes
from gateway.proxy.serving import serve_public
from gateway.web.server import HttpServer
from tests.support.hellos import openssl_hello

NAME = "daskgateway-abc"
HELLO = openssl_hello(NAME)
LOCAL = "127.0.0.1"
LIMITS = Proxy(connect_timeout=5, shutdown_grace=0)
_IP_BIND_ADDRESS_NO_PORT = 24  # linux/in.h; `socket` has it from Python 3.12 on

Handler = Callable[[trio.SocketStream], Awaitable[None]]


class NegotiatedStream:
    """A stream, as if a TLS handshake had agreed on HTTP/2."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self.transport_stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self.transport_stream, name)

    async def do_handshake(self) -> None:
        await trio.lowlevel.checkpoint()

    def selected_alpn_protocol(self) -> str:
        return "h2"


@asynccontextmanager
async def peer(handler: Handler) -> AsyncIterator[int]:
    """A server on loopback; yields its port."""
    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(partial(trio.serve_tcp, handler, 0, host=LOCAL))
        yield listeners[0].socket.getsockname()[1]
        nursery.cancel_scope.cancel()


async def echo(stream: trio.SocketStream) -> None:
    """Sends back what it hears, then ends its own direction; does not mind to be cut off."""
    with contextlib.suppress(trio.BrokenResourceError):
        async for data in stream:
            await stream.send_all(data)
        await stream.send_eof()


@asynccontextmanager
async def public_port(
    routes: Routes,
    *,
    serve_http: ServeHttp | None = None,
    address: str = "127.0.0.1:0",
    options: Proxy = LIMITS,
    **more: Any,
) -> AsyncIterator[Any]:
    """The proxy on a free port; yields the address of its first listener."""
    listeners = await open_listeners(address)
    try:
        async with trio.open_nursery() as nursery:
            serve = partial(serve_public, listeners, routes=routes, serve_http=serve_http, options=options, **more)
            await nursery.start(serve)
            yield listeners[0].getsockname()
            nursery.cancel_scope.cancel()
    finally:
        for listener in listeners:
            listener.close()


async def connect(address: Any, *, source: str = "") -> trio.SocketStream:
    """A connection, from another address of this host if `source` names one."""
    family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET6 if len(address) == 4 else socket.AF_INET
    sock = trio.socket.socket(family)
    try:
        if source:
            # The port is chosen when both ends are known; else whatever is in TIME_WAIT takes one away (ip(7)).
            sock.setsockopt(socket.IPPROTO_IP, _IP_BIND_ADDRESS_NO_PORT, 1)
            await sock.bind((source, 0))
        await sock.connect(address)
    except OSError:
        sock.close()
        raise
    return trio.SocketStream(sock)


async def receive_exactly(stream: trio.abc.ReceiveStream, size: int) -> bytes:
    data = b""
    while len(data) < size:
        piece = await stream.receive_some(size - len(data))
        assert piece, f"ended after {data!r}"
        data += piece
    return data


async def receive_all(stream: trio.abc.ReceiveStream) -> bytes:
    return b"".join([bytes(piece) async for piece in stream])


async def heard_until_end(stream: trio.abc.ReceiveStream) -> bytes:
    """What comes before the other side ends the connection, by a close or by a reset; waits for that."""
    data = b""
    with contextlib.suppress(trio.BrokenResourceError):
        async for piece in stream:
            data += piece
    return data


async def is_ended(stream: trio.SocketStream) -> bool:
    """Whether the other side ends the connection without another word; waits for that, and closes it."""
    async with stream:
        try:
            return await stream.receive_some() == b""
        except trio.BrokenResourceError:
            return True


async def first_ended(streams: Sequence[trio.SocketStream]) -> trio.SocketStream:
    """The first of these that the other side ends without another word; waits for that, and closes it."""
    ended: list[trio.SocketStream] = []

    async def look(stream: trio.SocketStream) -> None:
        with contextlib.suppress(trio.BrokenResourceError):
            assert await stream.receive_some() == b""
        ended.append(stream)
        nursery.cancel_scope.cancel()

    async with trio.open_nursery() as nursery:
        for stream in streams:
            nursery.start_soon(look, stream)
    await ended[0].aclose()
    return ended[0]


def gateways_tls(folder: Path, *, trusted: Path | None = None) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """The TLS of the gateway itself for `localhost`, with files in this folder, and of a client that trusts it.

    Other programs trust it with the file `trusted`.
    """
    authority = trustme.CA()
    issued = authority.issue_cert("localhost")
    cert, key = folder / "server.crt", folder / "server.key"
    issued.cert_chain_pems[0].write_to_path(cert)
    issued.private_key_pem.write_to_path(key)
    if trusted is not None:
        authority.cert_pem.write_to_path(trusted)
    client = ssl.create_default_context()
    authority.configure_trust(client)
    return server_context(cert, key), client


def server_of(app: Any, **options: Any) -> HttpServer:
    """The HTTP server of an ASGI application, with the limits of the public port where none are given."""
    limits = {
        "head_timeout": LIMITS.head_timeout,
        "websocket_message_size": LIMITS.websocket_message_size,
    }
    return HttpServer(app, **limits | options)


@asynccontextmanager
async def client_of(server: Any) -> AsyncIterator[trio.SocketStream]:
    """A client's end of a connection to what has `serve(stream)`.

    Nothing is ever on its way in a pair of sockets, as virtual clocks want it.
    """
    ours, theirs = (trio.SocketStream(trio.socket.from_stdlib_socket(sock)) for sock in socket.socketpair())

    async def serve() -> None:
        async with theirs:
            await server.serve(theirs)

    async with trio.open_nursery() as nursery, ours:
        nursery.start_soon(serve)
        yield ours
        nursery.cancel_scope.cancel()


def http_server(app: Any, **options: Any) -> ServeHttp:
    """An ASGI application as the public port serves it."""
    return server_of(app, **options).serve


async def hello_app(scope: Any, receive: Any, send: Any) -> None:
    """Reads the whole body, answers its size; takes every websocket and echoes one message."""
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        message = await receive()
        if message["type"] == "websocket.receive":
            await send({"type": "websocket.send", "text": message.get("text") or ""})
        return
    size, more = 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        size, more = size + len(message["body"]), message["more_body"]
    body = f"{scope['scheme']} {size}".encode()
    headers = [(b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def get(address: Any, path: str = "/", context: ssl.SSLContext | None = None) -> bytes:
    """The whole answer to a GET."""
    stream: Any = await connect(address)
    if context:
        stream = trio.SSLStream(stream, context, server_hostname="localhost", https_compatible=True)
    async with stream:
        await stream.send_all(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        return await receive_all(stream)
