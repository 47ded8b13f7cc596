"""Messages of websockets that are large, and that nobody takes."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing
from wsproto.connection import Connection, ConnectionType
from wsproto.events import BytesMessage, Ping, TextMessage

from tests.attacks.attacked import Attacked, ClusterOfUser, open_attacked, probe
from tests.attacks.memory import MEGABYTE, memory
from tests.attacks.test_hostile_dashboards import cluster_with, open_websocket, shake_hands
from tests.support.proxy_peers import peer

CONNECTIONS = 12
SIZE = 16 * MEGABYTE
KEY = b"\0\0\0\0"


def frame(opcode: int, data: bytes, *, masked: bool) -> bytes:
    head = bytes((opcode, (0x80 if masked else 0) | 127)) + len(data).to_bytes(8, "big")
    return head + (KEY if masked else b"") + data


@asynccontextmanager
async def dashboard_that(sends: bytes) -> AsyncIterator[int]:
    """A dashboard whose websocket does this, and then nothing."""

    async def serve(stream: trio.SocketStream) -> None:
        await shake_hands(stream)
        with suppress(trio.BrokenResourceError):
            await stream.send_all(sends)
            await trio.sleep_forever()

    async with peer(serve) as port:
        yield port


async def visit(
    gateway: Attacked, cluster: ClusterOfUser, says: bytes, task_status: Any = trio.TASK_STATUS_IGNORED
) -> None:
    """A browser that says this, and reads nothing."""
    stream, _ = await open_websocket(gateway, cluster)
    async with stream:
        task_status.started()
        with suppress(trio.BrokenResourceError):
            await stream.send_all(says)
        await trio.sleep_forever()


@pytest.mark.parametrize("kind", ["bytes", "text", "wide text", "unfinished"])
@pytest.mark.parametrize("to", ["browser", "dashboard"])
async def test_messages_that_nobody_takes_are_not_held(tmp_path: Path, kind: str, to: str) -> None:
    data = "😀".encode() + b"x" * SIZE if kind == "wide text" else b"x" * SIZE
    message = frame(0x82 if kind == "bytes" else 0x81, data, masked=to == "dashboard")
    if kind == "unfinished":
        message = message[:-1]
    sends, says = (message, b"") if to == "browser" else (b"", message)
    async with open_attacked(tmp_path) as gateway, dashboard_that(sends) as port:
        cluster = await cluster_with(gateway, port)
        before = memory()
        async with trio.open_nursery() as nursery:
            for _ in range(CONNECTIONS):
                await nursery.start(visit, gateway, cluster, says)
            await trio.testing.wait_all_tasks_blocked(0.1)
            await probe(gateway)
            assert memory() - before < 48 * MEGABYTE  # not 192 or more
            nursery.cancel_scope.cancel()


async def message_of(stream: trio.SocketStream, side: ConnectionType) -> bytes:
    """Read one message, whatever its pieces."""
    connection, data = Connection(side), b""
    while True:
        connection.receive_data(bytes(await stream.receive_some()))
        for event in connection.events():
            if isinstance(event, Ping):
                continue
            assert isinstance(event, TextMessage | BytesMessage)
            data += event.data.encode() if isinstance(event, TextMessage) else event.data
            if event.message_finished:
                return data


@pytest.mark.parametrize("opcode", [0x81, 0x82])
async def test_an_honest_message_arrives_as_it_was_sent(tmp_path: Path, opcode: int) -> None:
    """Both ways, with characters that do not end where pieces do."""
    data = ("aü€😀" * 300_000).encode()

    async def echo(stream: trio.SocketStream) -> None:
        await shake_hands(stream)
        await stream.send_all(frame(opcode, await message_of(stream, ConnectionType.SERVER), masked=False))
        await stream.receive_some()

    async with open_attacked(tmp_path) as gateway, peer(echo) as port:
        stream, _ = await open_websocket(gateway, await cluster_with(gateway, port))
        async with stream:
            await stream.send_all(frame(opcode, data, masked=True))
            assert await message_of(stream, ConnectionType.CLIENT) == data


@pytest.mark.parametrize("pieces", [1, 300])
async def test_a_message_that_is_too_large_is_not_passed_on(tmp_path: Path, pieces: int) -> None:
    """In one frame, or in many fragments; the browser is told why, and nothing after it counts."""
    received = bytearray()
    part = b"x" * (30_000_000 // pieces)
    message = [frame(0x02 if not number else 0x00, part, masked=True) for number in range(pieces)]
    message.append(frame(0x80, b"end", masked=True))

    async def dashboard(stream: trio.SocketStream) -> None:
        await shake_hands(stream)
        async for data in stream:
            received.extend(data)

    async with open_attacked(tmp_path) as gateway, peer(dashboard) as port:
        stream, _ = await open_websocket(gateway, await cluster_with(gateway, port))
        async with stream, trio.open_nursery() as nursery:
            nursery.start_soon(stream.send_all, b"".join(message))
            answer = b""
            while b"\x03\xf1" not in answer:  # 1009
                answer += await stream.receive_some()
            await probe(gateway)
            nursery.cancel_scope.cancel()
    assert len(received) < 21 * MEGABYTE
    assert b"end" not in received
