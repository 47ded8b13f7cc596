"""Connections that come and go: nothing of them stays."""

import gc
import os
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from tests.attacks.attacked import CLUSTERS, Attacked, ClusterOfUser, open_attacked, probe
from tests.attacks.test_hostile_dashboards import cluster_with, open_websocket, shake_hands
from tests.support.houses import basic
from tests.support.proxy_peers import connect, gateways_tls, peer

CONNECTIONS = 20
FILES = {"cert": "server.crt", "key": "server.key"}


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


Beginning = Callable[[Attacked, ClusterOfUser], bytes]


def request(path: str, *, host: str = "x", more: str = "", end: str = "\r\n") -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: {basic('alice')}\r\n{more}{end}".encode()


BEGINNINGS: dict[str, Beginning] = {
    "nothing": lambda gateway, cluster: b"",
    "half a head": lambda gateway, cluster: b"GET / HTTP/1.1\r\n",
    "no HTTP": lambda gateway, cluster: b"\x00\x01\r\n\r\n",
    "an answered request": lambda gateway, cluster: request("/api/version", host=gateway.name),
    "a list": lambda gateway, cluster: request(CLUSTERS, host=gateway.name),
    "a wait": lambda gateway, cluster: request(f"{CLUSTERS}{cluster.name}?wait", host=gateway.name),
    "half a body": lambda gateway, cluster: (
        request(CLUSTERS, host=gateway.name, more="Content-Length: 9\r\n").replace(b"GET", b"POST") + b"{"
    ),
    "half a heartbeat": lambda gateway, cluster: (
        f"POST {CLUSTERS}{cluster.name}/heartbeat HTTP/1.1\r\nHost: {gateway.name}\r\n"
        f"Authorization: token {cluster.token}\r\nContent-Length: 100000\r\n\r\n"
    ).encode(),
    "a page": lambda gateway, cluster: request(f"{cluster.dashboard}status", host=gateway.name),
    "a page that there is not": lambda gateway, cluster: request("/clusters/none/", host=gateway.name),
    "HTTP/2": lambda gateway, cluster: b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
}


def late_garbage() -> list[Any]:
    """What only a look at everything finds."""
    gc.collect()
    gc.unfreeze()
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        gc.collect()
        return list(gc.garbage)
    finally:
        gc.set_debug(0)
        gc.garbage.clear()


def kinds(garbage: list[Any]) -> Counter[str]:
    return Counter(f"{type(item).__module__}.{type(item).__qualname__}" for item in garbage)


async def dashboard(stream: trio.SocketStream) -> None:
    """Answers with half of a page."""
    with suppress(trio.BrokenResourceError):
        await stream.receive_some()
        await stream.send_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
        await stream.receive_some()


async def websockets(stream: trio.SocketStream) -> None:
    with suppress(trio.BrokenResourceError):
        await shake_hands(stream)
        await stream.send_all(b"\x81\x01x")
        await stream.receive_some()


@asynccontextmanager
async def open_at_once(open_one: Callable[[], Any]) -> AsyncIterator[None]:
    async with AsyncExitStack() as stack:
        for _ in range(CONNECTIONS):
            stream = await open_one()
            if isinstance(stream, trio.SSLStream):
                stack.callback(vars(stream).clear)  # the test's own end holds itself as well
            stack.push_async_callback(trio.aclose_forcefully, stream)
        await trio.testing.wait_all_tasks_blocked(0.05)
        yield


@pytest.mark.parametrize("kind", BEGINNINGS)
async def test_connections_leave_no_cycles(tmp_path: Path, kind: str) -> None:
    async with open_attacked(tmp_path) as gateway, peer(dashboard) as port:
        cluster = await (gateway.create() if kind == "a wait" else cluster_with(gateway, port))

        async def open_one() -> trio.SocketStream:
            stream = await connect(("127.0.0.1", gateway.port))
            await stream.send_all(BEGINNINGS[kind](gateway, cluster))
            return stream

        await leave_none(open_one)
        await probe(gateway)


async def test_websockets_leave_no_cycles(tmp_path: Path) -> None:
    async with open_attacked(tmp_path) as gateway, peer(websockets) as port:
        cluster = await cluster_with(gateway, port)

        async def open_one() -> trio.SocketStream:
            return (await open_websocket(gateway, cluster))[0]

        await leave_none(open_one)


async def test_tls_leaves_no_cycles(tmp_path: Path) -> None:
    _, client = gateways_tls(tmp_path)
    cert, key = (f"c.Proxy.tls_{kind} = {str(tmp_path / file)!r}" for kind, file in FILES.items())
    async with open_attacked(tmp_path, cert, key, tls=client) as gateway:

        async def open_one() -> trio.SSLStream[trio.SocketStream]:
            stream = await connect(("127.0.0.1", gateway.port))
            secure = trio.SSLStream(stream, client, server_hostname="localhost", https_compatible=True)
            await secure.send_all(request("/api/version", host="localhost"))
            return secure

        await leave_none(open_one)


async def leave_none(open_one: Callable[[], Any]) -> None:
    """Open connections, let the gateway set aside what has survived, and close them."""
    late_garbage()
    before = open_files()
    async with open_at_once(open_one):
        gc.collect()
        assert gc.get_freeze_count() > 0
    # Who still works on a connection whose client has gone is given a moment.
    while open_files() > before:
        await trio.testing.wait_all_tasks_blocked(0.01)
    await trio.testing.wait_all_tasks_blocked(0.01)
    garbage = late_garbage()
    assert len(garbage) < CONNECTIONS, kinds(garbage)
