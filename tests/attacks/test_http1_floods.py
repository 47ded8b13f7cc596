"""HTTP/1.1 connections that send what leads to nothing, and what could be read in two ways."""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from gateway.web.http_budget import BURST, REFUSAL
from tests.attacks.attacked import CLUSTERS, Attacked, ClusterOfUser, open_attacked, probe
from tests.attacks.http2_peer import connected, open_secure
from tests.attacks.steps import counted_steps
from tests.attacks.test_hostile_dashboards import cluster_with, open_websocket, shake_hands
from tests.support.proxy_peers import connect, peer, receive_all

#: As many as do not use up what all connections have together, or they would wait for the time in which it fills up.
CONNECTIONS = 5
MANY = 10_000
#: Pieces of one connection that are dealt with before others have their turn.
A_FEW = 20
#: Of a websocket: 4 KiB, of frames that have six.
A_PART = 800


async def said_to(gateway: Attacked, data: bytes) -> bytes:
    """All that the gateway says to this, until it closes."""
    async with await connect(("127.0.0.1", gateway.port)) as stream, trio.open_nursery() as nursery:

        async def send() -> None:
            with suppress(trio.BrokenResourceError):  # it has closed
                await stream.send_all(data)

        nursery.start_soon(send)
        answer = b""
        with suppress(trio.BrokenResourceError):
            async for piece in stream:
                answer += piece
    return answer


def beat(cluster: ClusterOfUser, *lines: str) -> bytes:
    """The head of a heartbeat."""
    head = (
        f"POST {CLUSTERS}{cluster.name}/heartbeat HTTP/1.1",
        f"Host: {cluster.gateway.name}",
        f"Authorization: token {cluster.token}",
        *lines,
    )
    return "\r\n".join((*head, "\r\n")).encode()


@pytest.mark.parametrize("chunk", [b"1\r\nx\r\n", b"1;" + b"e" * 50 + b"\r\nx\r\n", b"2\r\nxx\r\n"])
async def test_tiny_chunks_have_a_budget(
    chunk: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, slow_clock: MockClock
) -> None:
    async with open_attacked(tmp_path) as gateway:
        # One heartbeat of a cluster is read at a time: each connection has a cluster of its own.
        clusters = [await gateway.create() for _ in range(CONNECTIONS)]
        with counted_steps(monkeypatch) as steps:
            async with trio.open_nursery() as nursery:

                async def attack(cluster: ClusterOfUser) -> None:
                    answer = await said_to(gateway, beat(cluster, "Transfer-Encoding: chunked") + chunk * MANY)
                    assert answer.startswith(b"HTTP/1.1 429 ")
                    assert answer.count(b"HTTP/1.1 ") == 1

                for cluster in clusters:
                    nursery.start_soon(attack, cluster)
                await probe(gateway)
        assert steps.most <= A_FEW
        assert steps.total <= steps.budget_of(CONNECTIONS, A_FEW)
        await probe(gateway)


@pytest.mark.parametrize("simple", [True, False])
@pytest.mark.parametrize("kind", ["pipelined", "one after the other"])
async def test_refused_requests_have_a_budget(simple: bool, kind: str, tmp_path: Path, slow_clock: MockClock) -> None:
    """By the short way, and by the general one, which begins with the first request that is not simple."""
    async with open_attacked(tmp_path) as gateway:
        path = f"{CLUSTERS}x/heartbeat" if simple else f"{CLUSTERS}x?y"
        request = f"POST {path} HTTP/1.1\r\nHost: {gateway.name}\r\n\r\n".encode()
        if kind == "pipelined":
            answer = await said_to(gateway, request * MANY)
            assert b"connection: close" in answer[-1000:]
        else:
            answer = await _answers_to_each(gateway, request)
        refused = answer.count(b"HTTP/1.1 ") - answer.count(b"HTTP/1.1 429 ")
        assert BURST / (REFUSAL + 1) - 1 <= refused < MANY / 10  # a request of its own is a small piece, too
        await probe(gateway)


async def _answers_to_each(gateway: Attacked, request: bytes) -> bytes:
    """What is answered until the connection ends: with an answer that says so, or when the next request is too much."""
    answers = b""
    async with await connect(("127.0.0.1", gateway.port)) as stream:
        with suppress(trio.BrokenResourceError):
            while b"connection: close" not in answers[-1000:]:
                await stream.send_all(request)
                while piece := await stream.receive_some():
                    answers += piece
                    if answers.endswith(b"}"):
                        break
                if not piece:
                    break
    return answers


async def test_pipelined_requests_leave_others_their_turn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are answered, one after the other."""
    many = 300
    async with open_attacked(tmp_path) as gateway:
        request = f"GET /api/version HTTP/1.1\r\nHost: {gateway.name}\r\n\r\n".encode()
        last = request[:-2] + b"Connection: close\r\n\r\n"
        with counted_steps(monkeypatch) as steps:
            async with trio.open_nursery() as nursery:
                answers: list[bytes] = []

                async def ask() -> None:
                    answers.append(await said_to(gateway, request * many + last))

                for _ in range(3):
                    nursery.start_soon(ask)
                await probe(gateway)
        assert [answer.count(b"HTTP/1.1 200 ") for answer in answers] == [many + 1] * 3
        assert steps.most <= A_FEW


@pytest.mark.parametrize("request_", [b"GET / HTTP/1.1\r\n\r\n", b"\r\n\r\n", b"\r\n", b"GET /\r\n\r\n"])
async def test_what_is_no_request_is_answered_once(request_: bytes, tmp_path: Path) -> None:
    async with open_attacked(tmp_path) as gateway:
        answer = await said_to(gateway, request_ * MANY)
        assert answer.count(b"HTTP/1.1 ") <= 1
        assert answer[:12] in (b"HTTP/1.1 400", b"")  # nothing: what was not read makes the client lose it
        await probe(gateway)


MASK = bytes(4)
FLOODS = {
    "pongs": b"\x8a\x80" + MASK,
    "pings": b"\x89\x80" + MASK,
    "pings that say something": b"\x89\x84" + MASK + b"ping",
    "empty fragments": b"\x00\x80" + MASK,
    "fragments of a byte": b"\x00\x81" + MASK + b"x",
    "empty messages": b"\x81\x80" + MASK,
    "messages of a byte": b"\x82\x81" + MASK + b"x",
}


@pytest.mark.parametrize("flood", FLOODS)
async def test_a_browser_s_tiny_frames_have_a_budget(
    flood: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, slow_clock: MockClock
) -> None:
    begin = b"\x01\x80" + MASK if "fragments" in flood else b""

    async def dashboard(stream: trio.SocketStream) -> None:
        await shake_hands(stream)
        while await stream.receive_some():
            pass

    async with open_attacked(tmp_path) as gateway, peer(dashboard) as port:
        cluster = await cluster_with(gateway, port)
        with counted_steps(monkeypatch) as steps:
            async with trio.open_nursery() as nursery:

                async def attack() -> None:
                    stream, _ = await open_websocket(gateway, cluster)
                    async with stream, trio.open_nursery() as inner:

                        async def send() -> None:
                            with suppress(trio.BrokenResourceError):
                                await stream.send_all(begin + FLOODS[flood] * MANY)

                        inner.start_soon(send)
                        answer = await receive_all(stream)
                        assert b"\x03\xf0too many small frames" in answer  # 1008

                for _ in range(CONNECTIONS):
                    nursery.start_soon(attack)
                await probe(gateway)
        assert steps.most <= A_PART
        assert steps.total <= steps.budget_of(CONNECTIONS, A_PART)
        await probe(gateway)


BOTH = b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n"
SMUGGLED = b"GET /api/version HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.mark.parametrize(
    ("version", "lines", "status"),
    [
        (b"1.1", BOTH, b"400"),
        (b"1.1", b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", b"400"),
        (b"1.1", b"content-length: 5\r\nTRANSFER-ENCODING:chunked\r\n\r\n0\r\n\r\n", b"400"),
        (b"1.1", b"Content-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", b"400"),
        (b"1.1", b"Content-Length: 5\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", b"400"),
        (b"1.0", b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", b"400"),
        (b"9.9", b"\r\n", b"505"),
        (b"2.0", b"\r\n", b"505"),
        (b"3.0", b"\r\n", b"505"),
        (b"0.9", b"\r\n", b"505"),
    ],
)
@pytest.mark.parametrize("before", [b"", SMUGGLED])
async def test_what_could_be_read_in_two_ways_is_refused_and_closes(
    version: bytes, lines: bytes, status: bytes, before: bytes, tmp_path: Path
) -> None:
    """What follows is no request, whatever it looks like."""
    async with open_attacked(tmp_path) as gateway:
        before, after = (part.replace(b"Host: x", b"Host: " + gateway.name.encode()) for part in (before, SMUGGLED))
        for target in (b"GET /api/version", f"POST {CLUSTERS}x/heartbeat".encode()):
            request = target + b" HTTP/" + version + b"\r\nHost: " + gateway.name.encode() + b"\r\n" + lines
            answer = await said_to(gateway, before + request + after)
            statuses = [part[:3] for part in answer.split(b"HTTP/1.1 ")[1:]]
            assert statuses == [*[b"200"] * bool(before), status]
            assert b"connection: close" in answer.lower()
        await probe(gateway)


async def test_minor_versions_are_no_matter(tmp_path: Path) -> None:
    async with open_attacked(tmp_path) as gateway:
        for version in (b"1.0", b"1.2"):
            ask = b"GET /api/version HTTP/" + version + b"\r\nConnection: close\r\nHost: " + gateway.name.encode()
            assert b" 200 " in await said_to(gateway, ask + b"\r\n\r\n")


@pytest.mark.parametrize("part", ["a head", "a body by the short way", "a body"])
async def test_tiny_tls_records_have_a_budget(part: str, tmp_path: Path, slow_clock: MockClock) -> None:
    """A byte in each: every one is read by itself."""
    async with open_secure(tmp_path) as gateway:
        cluster = await gateway.create()
        heads: dict[str, Callable[[], bytes]] = {
            "a head": lambda: b"GET / HTTP/1.1\r\nX: ",
            "a body by the short way": lambda: beat(cluster, "Content-Length: 100000"),
            "a body": lambda: beat(cluster, "Content-Length: 100000", "Expect: nothing"),
        }
        async with connected(gateway, "http/1.1", first=heads[part]()) as attacker, trio.open_nursery() as nursery:

            async def send() -> None:
                for _ in range(MANY):
                    await attacker.send(b"x")

            nursery.start_soon(send)
            answer = b""
            try:
                async for piece in attacker.stream:
                    answer += piece
            except trio.BrokenResourceError:
                pass
            nursery.cancel_scope.cancel()
            assert answer[:12] in (b"HTTP/1.1 429", b"HTTP/1.1 400")
        await probe(gateway)
