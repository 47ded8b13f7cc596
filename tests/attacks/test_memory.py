"""Many connections that each begin something large, and never finish it."""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
import trio
import trio.testing

from tests.attacks.attacked import CLUSTERS, Attacked, ClusterOfUser, heartbeat_body, open_attacked
from tests.attacks.memory import MEGABYTE, memory
from tests.support.houses import basic
from tests.support.proxy_peers import connect, receive_all

CONNECTIONS = 400
RequestOf = Callable[[Attacked, int], tuple[bytes, bytes]]
BUDGET = "c.Proxy.memory_budget = '16 M'"


def api_body(gateway: Attacked, size: int) -> tuple[bytes, bytes]:
    head = (
        f"POST {CLUSTERS} HTTP/1.1\r\nHost: {gateway.name}\r\nAuthorization: {basic('mallory')}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {size}\r\nConnection: close\r\n\r\n"
    )
    return head.encode(), b" " * size


def large_head(gateway: Attacked, size: int) -> tuple[bytes, bytes]:
    head = f"GET /api/version HTTP/1.1\r\nHost: {gateway.name}\r\nConnection: close\r\nX: ".encode()
    return head, b"x" * size + b"\r\n\r\n"


@asynccontextmanager
async def connections(gateway: Attacked, beginning: bytes) -> AsyncIterator[list[trio.SocketStream]]:
    async with AsyncExitStack() as stack:
        streams = []
        for _ in range(CONNECTIONS):
            streams.append(await stack.enter_async_context(await connect(("127.0.0.1", gateway.port))))
            await streams[-1].send_all(beginning)
        await trio.testing.wait_all_tasks_blocked(0.1)
        yield streams


async def connect_from(address: str, gateway: Attacked) -> trio.SocketStream:
    """A connection of another client."""
    sock = trio.socket.socket()
    await sock.bind((address, 0))
    await sock.connect(("127.0.0.1", gateway.port))
    return trio.SocketStream(sock)


@pytest.mark.parametrize(("request_of", "size"), [(api_body, 250_000), (large_head, 60_000)])
async def test_what_is_not_finished_is_bounded_in_all(tmp_path: Path, request_of: RequestOf, size: int) -> None:
    async with open_attacked(tmp_path, BUDGET) as gateway:
        head, rest = request_of(gateway, size)
        unfinished = rest[:-1]
        async with connections(gateway, head) as streams, trio.open_nursery() as nursery:
            before = memory()
            for stream in streams:
                nursery.start_soon(stream.send_all, unfinished)
            await trio.testing.wait_all_tasks_blocked(0.1)
            growth = memory() - before
            assert await gateway.clusters("alice") == []  # the probe: small requests need no room
            # Large ones of another client have a share of their own.
            async with await connect_from("127.0.0.2", gateway) as other:
                await other.send_all(head + rest)
                assert (await receive_all(other)).startswith(b"HTTP/1.1 ")
            nursery.cancel_scope.cancel()
        assert growth < 28 * MEGABYTE  # not 47 and 217


async def beat_in_parts(cluster: ClusterOfUser) -> bytes:
    """An honest heartbeat that is not short."""
    body = heartbeat_body(closed_workers=[f"w{number}-0" for number in range(10_000)])
    async with await connect(("127.0.0.1", cluster.gateway.port)) as stream:
        head = (
            f"POST {CLUSTERS}{cluster.name}/heartbeat HTTP/1.1\r\nHost: {cluster.gateway.name}\r\n"
            f"Authorization: token {cluster.token}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        )
        await stream.send_all(head.encode() + body)
        return await receive_all(stream)


async def test_heartbeats_of_others_have_room_beside_unfinished_ones(tmp_path: Path) -> None:
    async with open_attacked(tmp_path, BUDGET) as gateway:
        hostile = [await gateway.create("mallory") for _ in range(20)]
        honest = await gateway.create("alice")
        async with AsyncExitStack() as stack:
            for cluster in hostile:
                stream = await stack.enter_async_context(await connect(("127.0.0.1", gateway.port)))
                head = (
                    f"POST {CLUSTERS}{cluster.name}/heartbeat HTTP/1.1\r\nHost: {gateway.name}\r\n"
                    f"Authorization: token {cluster.token}\r\nContent-Length: 8000000\r\n\r\n"
                )
                await stream.send_all(head.encode() + b'{"closed_workers": [' + b" " * 20_000)
            await trio.testing.wait_all_tasks_blocked(0.1)
            assert (await beat_in_parts(honest)).startswith(b"HTTP/1.1 200 ")
