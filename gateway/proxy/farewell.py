"""Connections that lead nowhere any more: whoever belongs to the cluster is told why, and does not try again.

A client takes a TLS alert, or a connection that ends, for something that may
pass, and tries for 30 seconds; then it says that it has tried. What it does
believe is a scheduler that turns it away (comm_messages.py). The scheduler has
gone, or is no longer for this client (clusters/sharing.py), but its certificate
and key are on record: with them the gateway speaks in its place, for these few
messages, to clients that prove with the same certificate that they belong to
the cluster, or did. Nobody who may come in is ever answered like this.
"""

import os
import socket
import ssl
from collections.abc import Callable

import trio
from attrs import field, frozen

from gateway.errors import innermost
from gateway.log import RateLimitedLog
from gateway.proxy.comm_messages import LENGTH_SIZE, handshake, length, registers, turned_away
from gateway.proxy.routes import SERVER_NAME_PREFIX
from gateway.proxy.token_bucket import TokenBucket

#: So many clients are told so at once; others try again.
MAX_FAREWELLS = 32
#: In a second so many begin, when those of a first moment are used up: each costs milliseconds, and strangers may ask.
RATE = 20.0
#: Seconds for the whole conversation.
TIMEOUT = 10.0
#: Seconds for the client to take the last word before the connection is closed.
LINGER = 2.0
#: Characters of a reason; the rest is in the answers of the API.
MAX_REASON = 8192

Stream = trio.SSLStream[trio.SocketStream]


@frozen
class Farewell:
    """Why there is no way into a cluster, and its certificate and key (PEM)."""

    reason: str
    cert: str = field(repr=False)
    key: str = field(repr=False)


class Farewells:
    """The conversations that are under way. `find(name)` gives the farewell for who asks by it, None for others."""

    def __init__(self, find: Callable[[str], Farewell | None], log: RateLimitedLog) -> None:
        self._find = find
        self._log = log
        self._under_way = 0
        self._pace = TokenBucket(RATE, MAX_FAREWELLS)

    def find(self, server_name: str) -> Farewell | None:
        """Return what whoever asks for this server name is told.

        None if there is none, or if too many conversations are under way or have just begun.
        """
        if self._under_way >= MAX_FAREWELLS or self._pace.seconds_to_fill():
            return None
        return self._find(server_name.lower().removeprefix(SERVER_NAME_PREFIX))

    def begin(
        self, nursery: trio.Nursery, sock: socket.socket, farewell: Farewell, client: str, ended: Callable[[], None]
    ) -> None:
        """Say it in a task of its own, which owns `sock`, and calls `ended` at its end."""
        self._under_way += 1
        self._pace.add(-1.0)
        nursery.start_soon(self._say, sock, farewell, client, ended)

    async def _say(self, sock: socket.socket, farewell: Farewell, client: str, ended: Callable[[], None]) -> None:
        try:
            await say_farewell(sock, farewell)
        except* Exception as errors:  # noqa: BLE001 (the boundary of this connection)
            self._log.info("connection failed", client=client, error=repr(innermost(errors)))
        finally:
            self._under_way -= 1
            ended()


async def say_farewell(sock: socket.socket, farewell: Farewell) -> None:
    """Shake hands as the cluster's scheduler would, tell a client the reason, and close, all within `TIMEOUT` seconds.

    Raises what TLS, sockets and malformed messages raise: OSError, `trio.BrokenResourceError`, `ValueError`.
    """
    stream = trio.SSLStream(
        trio.SocketStream(trio.socket.from_stdlib_socket(sock)), cluster_context(farewell), server_side=True
    )
    try:
        with trio.move_on_after(TIMEOUT):
            await stream.do_handshake()
            await stream.send_all(handshake())
            await _receive(stream)
            if registers(await _receive(stream)):
                await stream.send_all(turned_away(farewell.reason[:MAX_REASON]))
                with trio.move_on_after(LINGER):
                    while await stream.receive_some(1 << 16):
                        pass
    finally:
        await trio.aclose_forcefully(stream)


def cluster_context(farewell: Farewell) -> ssl.SSLContext:
    """Make TLS settings with a cluster's own certificate, for peers that have it, too. Raises `ssl.SSLError`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(cadata=farewell.cert)
    # OpenSSL reads keys from files only. This one is nowhere but in memory.
    descriptor = os.memfd_create("certificate")
    try:
        os.write(descriptor, f"{farewell.cert}\n{farewell.key}".encode())
        context.load_cert_chain(f"/proc/self/fd/{descriptor}")
    finally:
        os.close(descriptor)
    return context


async def _receive(stream: Stream) -> bytes:
    """One message without its length. Raises ValueError when it is too large or the connection ends within it."""
    return await _exactly(stream, length(await _exactly(stream, LENGTH_SIZE)))


async def _exactly(stream: Stream, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        piece = await stream.receive_some(size - len(data))
        if not piece:
            raise ValueError("the connection ended within a message")
        data += piece
    return bytes(data)
