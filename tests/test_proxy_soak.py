"""A soak: relays and web requests with random kills of either side; in the end nothing is left.

`SOAK_SECONDS=600 pytest tests/test_proxy_soak.py` (`make soak`) is the long form; without the variable it takes
seconds.
"""

import contextlib
import gc
import os
import random
import re
import socket
import struct
from pathlib import Path
from typing import Any

import pytest
import trio

from gateway.proxy.limits import Limits
from gateway.proxy.routes import Routes
from tests.proxy_peers import HELLO, LOCAL, connect, get, hello_app, http_server, peer, public_port, receive_exactly

SECONDS = float(os.environ.get("SOAK_SECONDS", "3"))
CLIENTS = 40


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def resident_kib() -> int:
    found = re.search(r"VmRSS:\s+(\d+)", Path("/proc/self/status").read_text())
    assert found
    return int(found[1])


def kill(stream: trio.SocketStream) -> None:
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    stream.socket.close()


@pytest.mark.timeout(SECONDS + 120)
async def test_random_kills_leave_nothing_behind() -> None:
    dice = random.Random(7)
    exchanged, killed, slowest = 0, 0, 0.0

    async def moody_echo(stream: trio.SocketStream) -> None:
        nonlocal killed
        with contextlib.suppress(trio.BrokenResourceError):
            async for data in stream:
                if dice.random() < 0.02:
                    killed += 1
                    kill(stream)
                    return
                await stream.send_all(data)
            await stream.send_eof()

    async def moody_client(address: Any) -> None:
        nonlocal killed
        while True:
            async with await connect(address) as stream:
                try:
                    await talk(stream)
                except* (trio.BrokenResourceError, trio.ClosedResourceError, AssertionError):
                    await trio.lowlevel.checkpoint()
                if dice.random() < 0.3:
                    killed += 1
                    kill(stream)

    async def talk(stream: trio.SocketStream) -> None:
        nonlocal exchanged
        await stream.send_all(HELLO[: dice.choice([len(HELLO), len(HELLO), len(HELLO), 50])])
        if dice.random() < 0.1:
            return
        await receive_exactly(stream, len(HELLO))
        for _ in range(dice.randrange(20)):
            size = dice.choice([1, 200, 70_000, 400_000])
            async with trio.open_nursery() as nursery:
                nursery.start_soon(stream.send_all, bytes(size))
                await receive_exactly(stream, size)
            exchanged += 1
        if dice.random() < 0.5:
            await stream.send_eof()
            await stream.receive_some()

    async def good_client(address: Any) -> None:
        nonlocal slowest
        while True:
            start = trio.current_time()
            assert (await get(address)).endswith(b"http 0")
            slowest = max(slowest, trio.current_time() - start)

    async def run(seconds: float) -> None:
        routes = Routes()
        limits = Limits(shutdown_grace=0, hello_timeout=1)
        async with peer(moody_echo) as port:
            routes.add("abc", f"tls://{LOCAL}:{port}")
            async with public_port(routes, serve_http=http_server(hello_app), limits=limits) as address:
                with trio.move_on_after(seconds):
                    async with trio.open_nursery() as nursery:
                        nursery.start_soon(good_client, address)
                        for _ in range(CLIENTS):
                            nursery.start_soon(moody_client, address)

    await run(min(SECONDS, 5))  # warm: pools, caches, buffers
    gc.collect()
    before = descriptors(), resident_kib()
    await run(SECONDS)
    gc.collect()
    after = descriptors(), resident_kib()
    print(f"{exchanged} messages, {killed} kills, slowest good request {slowest * 1000:.0f} ms, {before} → {after}")
    assert exchanged > 100
    assert killed > 10
    assert after[0] == before[0]
    assert after[1] - before[1] < 10_000
