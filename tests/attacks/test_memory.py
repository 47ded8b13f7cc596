"""Many connections that each begin something large, and never finish it."""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
import trio
import trio.testing

from tests.attacks.attacked import CLUSTERS, Attacked, ClusterOfUser, heartbeat_body, open_attacked, probe
from tests.attacks.memory import MEGABYTE, memory
from tests.attacks.test_clusters import OPTIONS
from tests.attacks.test_clusters import ask as create_with_options
from tests.support.houses import basic
from tests.support.proxy_peers import connect, receive_all, receive_exactly

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
            await probe(gateway)  # small requests need no room
            # Large ones of another client have a share of their own.
            async with await connect(("127.0.0.1", gateway.port), source="127.0.0.2") as other:
                await other.send_all(head + rest)
                assert (await receive_all(other)).startswith(b"HTTP/1.1 ")
            nursery.cancel_scope.cancel()
        assert growth < 28 * MEGABYTE  # not 47 and 217


@pytest.mark.parametrize("way", ["short", "general"])
async def test_large_answers_that_nobody_takes_are_bounded_in_all(tmp_path: Path, way: str) -> None:
    """Lists of four megabytes, asked for by a hundred connections that read nothing."""
    async with open_attacked(tmp_path, OPTIONS, "c.Proxy.memory_budget = '64 M'") as gateway:
        for _ in range(60):
            assert (await create_with_options(gateway, "mallory", text="x" * 65_000)).status == 201
        listed = await gateway.ask("GET", CLUSTERS, user="mallory")
        assert len(listed.body) > 60 * 65_000
        cookie = listed.all("set-cookie")[0].partition(";")[0]
        who = f"Cookie: {cookie}" if way == "short" else f"Authorization: {basic('mallory')}"
        ask = f"GET {CLUSTERS} HTTP/1.1\r\nHost: {gateway.name}\r\n{who}\r\n\r\n".encode()
        async with AsyncExitStack() as stack:
            statuses = []
            for _ in range(100):
                stream = await stack.enter_async_context(await connect(("127.0.0.1", gateway.port)))
                await stream.send_all(ask)
                statuses.append((await receive_exactly(stream, 12))[-3:])
            assert set(statuses) == {b"200", b"503"}
            await probe(gateway)
            # Large answers to another client have a share of their own.
            async with await connect(("127.0.0.1", gateway.port), source="127.0.0.2") as other:
                await other.send_all(ask)
                assert len(await receive_exactly(other, len(listed.body))) == len(listed.body)
        assert (await gateway.ask("GET", CLUSTERS, user="mallory")).status == 200  # they have gone


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
