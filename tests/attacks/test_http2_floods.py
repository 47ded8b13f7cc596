"""HTTP/2 connections that send what leads to nothing, thousands at once; and those that take nothing."""

from itertools import cycle, islice
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from gateway.web.http_budget import BURST, REFUSAL
from tests.attacks.attacked import CLUSTERS, probe
from tests.attacks.http2_peer import (
    ACK,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    ENHANCE_YOUR_CALM,
    FRAME_SIZE_ERROR,
    GOAWAY,
    HEADERS,
    PADDED,
    PING,
    PRIORITY,
    PROTOCOL_ERROR,
    PUSH_PROMISE,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    connected,
    frame,
    headers,
    number,
    open_secure,
    setting,
)
from tests.attacks.steps import counted_steps

#: As many as do not use up what all connections have together, or they would wait for the time in which it fills up.
CONNECTIONS = 5
MANY = 5000
#: Frames that are dealt with before others have their turn.
A_PART = 40


def priorities() -> list[bytes]:
    """Each stream depends on the one before, exclusively; and then they change places."""
    chain = [frame(PRIORITY, 0, 2 * n + 3, number(0x80000000 | (2 * n + 1)) + b"\x00") for n in range(300)]
    turned = [frame(PRIORITY, 0, 2 * n + 1, number(2 * n + 3) + b"\xff") for n in range(300)]
    return chain + turned


FLOODS = {
    "ping": [frame(PING, 0, 0, bytes(8))],
    "answer to a ping": [frame(PING, ACK, 0, bytes(8))],
    "empty settings": [frame(SETTINGS, 0, 0)],
    "settings that grow and shrink windows": [frame(SETTINGS, 0, 0, setting(4, size)) for size in (0, 1 << 30)],
    "settings that grow and shrink tables": [frame(SETTINGS, 0, 0, setting(1, size)) for size in (0, 1 << 31)],
    "settings without a meaning": [frame(SETTINGS, 0, 0, setting(n, 1)) for n in range(1000, 60000)],
    "answer to settings": [frame(SETTINGS, ACK, 0)],
    "priorities of one stream": [frame(PRIORITY, 0, 1, number(0) + b"\x01")],
    "priorities of many": [frame(PRIORITY, 0, 2 * n + 3, number(0) + b"\x01") for n in range(MANY)],
    "priorities in a chain": priorities(),
    "empty data": [frame(DATA, 0, 1)],
    "data of one byte": [frame(DATA, 0, 1, b"x")],
    "padding": [frame(DATA, PADDED, 1, b"\x08" + bytes(8))],
    "data of a stream that never was": [frame(DATA, 0, 7)],
    "windows": [frame(WINDOW_UPDATE, 0, 0, number(1))],
    "windows of a stream": [frame(WINDOW_UPDATE, 0, 1, number(1))],
    "windows of a stream that never was": [frame(WINDOW_UPDATE, 0, 7, number(1))],
    "resets of streams that never were": [frame(RST_STREAM, 0, 2 * n + 7, number(8)) for n in range(MANY)],
    "headers without an end": [frame(HEADERS, 0, 3, headers("GET", "/")), *[frame(CONTINUATION, 0, 3)] * MANY],
    "promises": [frame(PUSH_PROMISE, END_HEADERS, 1, number(2) + headers("GET", "/"))],
    "farewells": [frame(GOAWAY, 0, 0, bytes(8))],
    "alternative services": [frame(10, 0, 0, b"\x00\x01x")],
    "alternative services of a stream": [frame(10, 0, 1, b"\x00\x00h2")],
    "origins": [frame(12, 0, 0, b"\x00\x01x")],
    "priority updates": [frame(16, 0, 0, number(1) + b"u=1")],
    "empty unknown frames": [frame(0x77, 0xFF, 0)],
    "unknown frames of a stream": [frame(0xFF, 0, 1, b"x" * 20)],
}


#: What breaks the protocol ends the connection in another way: the last word it hears.
OTHER_ENDS = {
    "promises": PROTOCOL_ERROR,
    "farewells": None,  # after one's own there is none
    "headers without an end": PROTOCOL_ERROR,
    "data of a stream that never was": PROTOCOL_ERROR,
    "windows of a stream that never was": PROTOCOL_ERROR,
}


@pytest.mark.parametrize("flood", FLOODS)
async def test_frames_that_lead_to_nothing_have_a_budget(
    flood: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, slow_clock: MockClock
) -> None:
    many = b"".join(islice(cycle(FLOODS[flood]), MANY))
    async with open_secure(tmp_path) as gateway:
        cluster = await gateway.create()
        beat = headers("POST", f"{CLUSTERS}{cluster.name}/heartbeat", ("authorization", f"token {cluster.token}"))

        async def attack() -> None:
            async with connected(gateway) as peer, trio.open_nursery() as nursery:
                nursery.start_soon(peer.read_to_end)
                await peer.send(frame(HEADERS, END_HEADERS, 1, beat) + many)
                await peer.ended.wait()
                assert peer.goodbye == OTHER_ENDS.get(flood, ENHANCE_YOUR_CALM)

        with counted_steps(monkeypatch) as steps:
            async with trio.open_nursery() as nursery:
                for _ in range(CONNECTIONS):
                    nursery.start_soon(attack)
                await probe(gateway)
        assert steps.most <= A_PART
        assert steps.total <= steps.budget_of(CONNECTIONS, A_PART)
        await probe(gateway)


async def test_refused_requests_have_a_budget(tmp_path: Path, slow_clock: MockClock) -> None:
    """They cost more than a frame, and their headers may be as small as one."""
    async with open_secure(tmp_path) as gateway, connected(gateway) as peer:
        refused = headers("GET", f"{CLUSTERS}x/heartbeat")
        asked = 0
        while got := await peer.next():
            kind, _, stream, _ = got
            if ((kind, stream) == (SETTINGS, 0) and not asked) or kind == HEADERS:  # one after the other
                await peer.send(frame(HEADERS, END_HEADERS | END_STREAM, 2 * asked + 1, refused))
                asked += 1
        assert peer.goodbye == ENHANCE_YOUR_CALM
        assert asked >= BURST / REFUSAL / 2  # what a request costs as a frame comes in addition
        await probe(gateway)


@pytest.mark.parametrize(
    ("begun", "end"),
    [
        (b"\xff\xff\xff" + bytes((DATA, 0)) + number(1), FRAME_SIZE_ERROR),
        (b"\x00\x40\x01" + bytes((0x77, 0)) + number(0), FRAME_SIZE_ERROR),
        (b"\x00\x01\x02" + bytes((SETTINGS, 0)) + number(0), ENHANCE_YOUR_CALM),
        (
            b"".join(frame(kind, 0, 1, bytes(16_000)) for kind in (HEADERS, *[CONTINUATION] * 3))
            + b"\x00\x40\x00"
            + bytes((CONTINUATION, 0))
            + number(1),
            ENHANCE_YOUR_CALM,
        ),
    ],
)
async def test_what_is_too_large_is_not_waited_for(begun: bytes, end: int, tmp_path: Path) -> None:
    """A frame that would be kept until it is complete, before anybody looks at its size."""
    async with open_secure(tmp_path) as gateway, connected(gateway) as peer:
        await peer.send(begun)
        await peer.read_to_end()
        assert peer.goodbye == end
        await probe(gateway)


async def test_settings_without_a_meaning_are_not_collected(tmp_path: Path) -> None:
    """Slowly, so that they are within the budget of frames."""
    async with open_secure(tmp_path) as gateway, connected(gateway) as peer:
        for first in range(1000, 1100, 20):
            some = b"".join(setting(first + each, 1) for each in range(20))
            await peer.send(frame(SETTINGS, 0, 0, some))
        await peer.read_to_end()
        assert peer.goodbye == ENHANCE_YOUR_CALM


async def test_a_long_stay_with_ordinary_frames_is_nothing_special(tmp_path: Path) -> None:
    """As browsers have them: settings, priorities, a ping now and then, windows for what has come."""
    async with open_secure(tmp_path) as gateway, connected(gateway) as peer:
        hello = frame(SETTINGS, 0, 0, b"".join(setting(n, 65536) for n in (1, 4, 6, 0x4A4A)))
        hello += frame(WINDOW_UPDATE, 0, 0, number(1 << 24))
        hello += b"".join(frame(PRIORITY, 0, n, number(0) + b"\xc8") for n in (3, 5, 7, 9, 11))
        await peer.send(hello)
        asked = 0
        while got := await peer.next():
            kind, flags, _, _ = got
            if (kind, flags) == (SETTINGS, ACK) or (kind == DATA and flags & END_STREAM):
                if asked == 100:
                    break
                asked += 1
                path = headers("GET", "/api/version")
                flagged = frame(HEADERS, 0x20 | END_HEADERS | END_STREAM, 2 * asked + 1, number(0) + b"\x10" + path)
                await peer.send(flagged + frame(PING, 0, 0, bytes(8)) + frame(WINDOW_UPDATE, 0, 0, number(30)))
        assert (asked, peer.goodbye) == (100, None)
