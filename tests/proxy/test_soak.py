"""A soak: relays and web requests with random kills of either side; in the end nothing is left.

`SOAK_SECONDS=600 pytest test_soak.py` (`make soak`) is the long form; without the variable it takes
seconds.

A good client asks all the while. Connecting and being answered are timed apart, because a connection that takes a
second to make need be no news of ours: thousands of ports come and go here, and the kernel waits a second before it
sends a lost SYN again. Lost it may be to a full queue, or to a port still in TIME-WAIT at the other end, which may
answer with an ACK of the old connection (RFC 9293, 3.10.7.4). The kernel's counts of such are printed beside. All
share one process, load included, so the limit on answers is for what stands still and says nothing about latency.
"""

import contextlib
import ctypes
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

from gateway.config.proxy import Proxy
from gateway.proxy.routes import Routes
from tests.support.proxy_peers import (
    HELLO,
    LOCAL,
    connect,
    hello_app,
    http_server,
    peer,
    public_port,
    receive_all,
    receive_exactly,
)

SECONDS = float(os.environ.get("SOAK_SECONDS", "3"))
CLIENTS = 40


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def resident_kib() -> int:
    """What is in use: the clients are in this process too, and what they have freed the C library may keep."""
    gc.collect()
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    found = re.search(r"VmRSS:\s+(\d+)", Path("/proc/self/status").read_text())
    assert found
    return int(found[1])


def kernel_counts() -> dict[str, int]:
    """What made connections wait, in this network namespace so far (/proc/net/netstat)."""
    lines = (line.split() for line in Path("/proc/net/netstat").read_text().splitlines())
    names, values = (line for line in lines if line[0] == "TcpExt:")
    counts = dict(zip(names, values, strict=True))
    return {name: int(counts[name]) for name in ("TCPSynRetrans", "TCPChallengeACK", "ListenOverflows")}


def kill(stream: trio.SocketStream) -> None:
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    stream.socket.close()


@pytest.mark.timeout(SECONDS + 120)
async def test_random_kills_leave_nothing_behind() -> None:
    dice = random.Random(7)
    exchanged, killed, slowest_connect, slowest_answer = 0, 0, 0.0, 0.0

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
            size = dice.choice([1, 1, 200, 200, 70_000, 400_000, 3_000_000])
            async with trio.open_nursery() as nursery:
                nursery.start_soon(stream.send_all, bytes(size))
                await receive_exactly(stream, size)
            exchanged += 1
        if dice.random() < 0.5:
            await stream.send_eof()
            await stream.receive_some()

    async def good_client(address: Any) -> None:
        nonlocal slowest_connect, slowest_answer
        while True:
            start = trio.current_time()
            async with await connect(address) as stream:
                connected = trio.current_time()
                await stream.send_all(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                assert (await receive_all(stream)).endswith(b"http 0")
            slowest_connect = max(slowest_connect, connected - start)
            slowest_answer = max(slowest_answer, trio.current_time() - connected)

    async def run(seconds: float) -> None:
        routes = Routes()
        options = Proxy(shutdown_grace=0, hello_timeout=1)
        async with peer(moody_echo) as port:
            routes.add("abc", f"tls://{LOCAL}:{port}")
            async with public_port(routes, serve_http=http_server(hello_app), options=options) as address:
                with trio.move_on_after(seconds):
                    async with trio.open_nursery() as nursery:
                        nursery.start_soon(good_client, address)
                        for _ in range(CLIENTS):
                            nursery.start_soon(moody_client, address)

    await run(min(SECONDS, 5))  # warm: pools, caches, buffers
    before, counts = (descriptors(), resident_kib()), kernel_counts()
    await run(SECONDS)
    after = descriptors(), resident_kib()
    print(f"{exchanged} messages, {killed} kills, {before} → {after}")
    print(f"slowest good request: {slowest_connect * 1000:.0f} ms to connect, {slowest_answer * 1000:.0f} ms to answer")
    print({name: count - counts[name] for name, count in kernel_counts().items()})
    assert exchanged > 100
    assert killed > 10
    assert after[0] == before[0]
    assert after[1] - before[1] < 10_000
