"""Dashboards and schedulers that say very much: in very many small pieces, or without an end."""

import gc
from base64 import b64encode
from collections.abc import Awaitable, Callable
from hashlib import sha1
from pathlib import Path

import pytest
import trio

from tests.attacks.attacked import CLUSTERS, JSON, Attacked, ClusterOfUser, open_attacked, probe
from tests.attacks.steps import counted_steps
from tests.support.proxy_peers import connect, peer, receive_all

#: Events of one peer that may be dealt with before others have their turn.
A_FEW = 20
#: What hypercorn parses of a browser's bytes at once: 4 KiB, of frames that have six.
A_PART = 800
CONNECTIONS = 10

PONG, EMPTY, FIRST, LAST, PING = b"\x8a\x00", b"\x00\x00", b"\x01\x00", b"\x80\x01x", b"\x89\x01p"
MASKED_PONG, MASKED_FIRST, MASKED_EMPTY, MASKED_LAST = (
    bytes((opcode, 0x80 + size)) + bytes(4) + b"x" * size
    for opcode, size in ((0x8A, 0), (0x01, 0), (0x00, 0), (0x80, 1))
)
MANY = 10_000
#: Within a browser's budget, when it has sent none before.
SOME = 900


async def read_head(stream: trio.abc.ReceiveStream) -> bytes:
    data = b""
    while b"\r\n\r\n" not in data:
        piece = await stream.receive_some()
        assert piece, data
        data += piece
    return data


async def shake_hands(stream: trio.SocketStream, head: bytes = b"") -> None:
    """As a server of websockets, which may have read the head already."""
    head = head or await read_head(stream)
    (key,) = (line.split(b": ")[1] for line in head.split(b"\r\n") if line.lower().startswith(b"sec-websocket-key"))
    accept = b64encode(sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())
    answer = b"HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n\r\n"
    await stream.send_all(answer % accept)


async def open_websocket(gateway: Attacked, cluster: ClusterOfUser) -> tuple[trio.SocketStream, bytes]:
    """As a browser: the stream, and what the gateway has answered."""
    stream = await connect(("127.0.0.1", gateway.port))
    await stream.send_all(
        f"GET {cluster.dashboard}ws HTTP/1.1\r\nHost: {gateway.name}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
    )
    return stream, await read_head(stream)


async def cluster_with(gateway: Attacked, port: int, *, api: int | None = None) -> ClusterOfUser:
    """A cluster with a dashboard at this port. Another scheduler answers to its API, unless `api` is where that is."""
    cluster = await gateway.create("mallory")
    here = f"127.0.0.1:{port}"
    asked = f"127.0.0.1:{api}" if api else gateway.computations[0].address
    assert (await cluster.beat(dashboard=here, api=asked, scheduler=here)).status == 200
    return cluster


@pytest.mark.parametrize("begin", [b"", FIRST])
async def test_tiny_frames_of_dashboards_leave_others_their_turn(
    begin: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pongs, or empty fragments of a message; ten connections send them, and then a message with one letter."""

    async def hostile(stream: trio.SocketStream) -> None:
        await shake_hands(stream)
        await stream.send_all(begin + (EMPTY if begin else PONG) * MANY + (LAST if begin else b"\x81\x01x"))
        await stream.receive_some()

    async def visit(gateway: Attacked, cluster: ClusterOfUser) -> None:
        stream, head = await open_websocket(gateway, cluster)
        async with stream:
            while not head.endswith(b"\x81\x01x"):
                head += await stream.receive_some()

    async with open_attacked(tmp_path) as gateway, peer(hostile) as port:
        cluster = await cluster_with(gateway, port)
        with counted_steps(monkeypatch) as steps:
            async with trio.open_nursery() as nursery:
                for _ in range(CONNECTIONS):
                    nursery.start_soon(visit, gateway, cluster)
                await probe(gateway)
        assert steps.total >= CONNECTIONS * MANY
        assert steps.most <= A_FEW


async def test_empty_fragments_are_not_kept(tmp_path: Path) -> None:
    seen: list[int] = []

    async def hostile(stream: trio.SocketStream) -> None:
        await shake_hands(stream)
        await stream.send_all(FIRST + EMPTY * MANY + PING)
        await stream.receive_some()  # the pong: all before it has been read
        seen.append(sum(type(item) is list and len(item) >= MANY and not any(item) for item in gc.get_objects()))
        await stream.send_all(LAST)

    async with open_attacked(tmp_path) as gateway, peer(hostile) as port:
        stream, _ = await open_websocket(gateway, await cluster_with(gateway, port))
        async with stream:
            data = b""
            while not data.endswith(b"\x81\x01x"):  # after a ping of the server's own
                data += await stream.receive_some()
        await probe(gateway)
    assert seen == [0]


@pytest.mark.parametrize(
    ("begin", "piece", "end"), [(b"", MASKED_PONG, b""), (MASKED_FIRST, MASKED_EMPTY, MASKED_LAST)]
)
async def test_nor_do_tiny_frames_of_browsers_take_it(
    begin: bytes, piece: bytes, end: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = trio.Event()

    async def dashboard(stream: trio.SocketStream) -> None:
        await shake_hands(stream)
        while await stream.receive_some():
            done.set()

    async with open_attacked(tmp_path) as gateway, peer(dashboard) as port:
        cluster = await cluster_with(gateway, port)
        with counted_steps(monkeypatch) as steps:
            stream, _ = await open_websocket(gateway, cluster)
            async with stream, trio.open_nursery() as nursery:
                nursery.start_soon(probe, gateway)
                await stream.send_all(begin + piece * SOME + (end or b"\x81\x80" + bytes(4)))
                await done.wait()
        assert steps.total >= SOME
        assert steps.most <= A_PART


WAIT = b"HTTP/1.1 100 Continue\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@pytest.mark.parametrize("interim", [WAIT, b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n"])
async def test_answers_that_are_none_have_a_budget(
    interim: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def answers(count: int) -> Callable[[trio.SocketStream], Awaitable[None]]:
        async def handler(stream: trio.SocketStream) -> None:
            await read_head(stream)
            try:
                await stream.send_all(interim * count + OK)
                await receive_all(stream)
            except trio.BrokenResourceError:
                pass

        return handler

    async with open_attacked(tmp_path) as gateway, peer(answers(3)) as few, peer(answers(MANY)) as many:
        honest, cluster = await cluster_with(gateway, few), await cluster_with(gateway, many, api=many)
        assert (await gateway.ask("GET", honest.dashboard)).body == b"ok"
        with counted_steps(monkeypatch) as steps:
            async with trio.open_nursery() as nursery:
                statuses: list[int] = []

                async def visit() -> None:
                    statuses.append((await gateway.ask("GET", cluster.dashboard)).status)

                for _ in range(CONNECTIONS):
                    nursery.start_soon(visit)
                await probe(gateway)
            assert statuses == [502] * CONNECTIONS
            scale = {"user": "mallory", "headers": [JSON], "body": b'{"count": 1}'}
            assert (await gateway.ask("POST", f"{CLUSTERS}{cluster.name}/scale", **scale)).status == 409
            stream, head = await open_websocket(gateway, cluster)
            await stream.aclose()
            assert head.startswith(b"HTTP/1.1 502 ")
        assert steps.most <= 4096 // len(WAIT) + A_FEW


async def test_tiny_chunks_leave_others_their_turn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def hostile(stream: trio.SocketStream) -> None:
        await read_head(stream)
        await stream.send_all(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * 3000 + b"0\r\n\r\n"
        )
        await stream.receive_some()

    async with open_attacked(tmp_path) as gateway, peer(hostile) as port:
        cluster = await cluster_with(gateway, port)
        with counted_steps(monkeypatch) as steps:
            async with await connect(("127.0.0.1", gateway.port)) as stream:  # httpcore would be counted as well
                await stream.send_all(f"GET {cluster.dashboard} HTTP/1.1\r\nHost: {gateway.name}\r\n\r\n".encode())
                data = b""
                while not data.endswith(b"\r\n0\r\n\r\n"):
                    data += await stream.receive_some()
        assert steps.total >= 3000
        assert steps.most <= A_FEW
        await probe(gateway)


@pytest.mark.parametrize("length", ["Content-Length: 100000000000", "Transfer-Encoding: chunked"])
async def test_of_a_scheduler_s_answer_only_the_status_is_read(length: str, tmp_path: Path) -> None:
    piece = b"ffff\r\n" + b"x" * 0xFFFF + b"\r\n"
    much = 64 * 1024 * 1024
    sent = 0

    async def hostile(stream: trio.SocketStream) -> None:
        nonlocal sent
        await read_head(stream)
        try:
            await stream.send_all(f"HTTP/1.1 200 OK\r\n{length}\r\n\r\n".encode())
            while sent < much:
                await stream.send_all(piece)
                sent += len(piece)
        except trio.BrokenResourceError:
            pass

    async with open_attacked(tmp_path) as gateway, peer(hostile) as port:
        cluster = await cluster_with(gateway, port, api=port)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(probe, gateway)
            for path, body in (("scale", b'{"count": 1}'), ("adapt", b"{}")):
                scaled = await gateway.ask(
                    "POST", f"{CLUSTERS}{cluster.name}/{path}", user="mallory", headers=[JSON], body=body
                )
                assert (scaled.status, scaled.json["ok"]) == (200, True)
        assert sent < much // 2  # what the kernel's buffers take
