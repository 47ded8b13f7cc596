"""What others notice of an attack: a real gateway with HTTPS, a real Dask cluster that computes, and strangers.

    python -m tests.bench.attacks [--seconds 5] [--only NAME] [--check]

One attack after the other, by a process of its own that is `nice`, as attackers have processors of their own. Beside
each, and first beside none:

- a user lists their clusters ten times a second, over a new connection each time; the slowest answer
- a client gives its cluster one task after the other; how many are done in a second
- the gateway's memory, at most

`--check` fails when an answer takes longer than 0.5 s, nothing is computed, or the memory exceeds the bound.
"""

import argparse
import multiprocessing
import os
import ssl
import sys
import tempfile
import threading
import time
from base64 import b64encode
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from itertools import count, cycle, islice
from pathlib import Path

import httpcore
import trio
from attrs import frozen

from tests.attacks.attacked import CLUSTERS, JSON, heartbeat_body
from tests.attacks.http2_peer import (
    END_HEADERS,
    END_STREAM,
    HEADERS,
    PREFACE,
    SETTINGS,
    connected,
    frame,
    headers,
    setting,
)
from tests.attacks.memory import MEGABYTE
from tests.attacks.test_hostile_dashboards import EMPTY, FIRST, MANY, PONG, WAIT, shake_hands
from tests.attacks.test_http1_floods import FLOODS as BROWSER_FLOODS
from tests.attacks.test_http2_floods import FLOODS
from tests.bench.api_gateways import JOB, resident_mib
from tests.e2e.gateway_process import GatewayProcess, open_gateway
from tests.support.proxy_peers import connect, gateways_tls

#: Where they come from.
STRANGERS = "127.0.0.2"
PROBE_LIMIT = 0.5
MEMORY_LIMIT_MIB = 256.0

CONFIG = """
from gateway.options import Bool, Options
c.Proxy.dashboard_access = "open"  # the attackers are users, and know their way in
c.Proxy.tls_cert = {directory!r} + "/server.crt"
c.Proxy.tls_key = {directory!r} + "/server.key"
c.Backend.cluster_options = Options(
    Bool("hostile", default=False),
    handler=lambda options: {{"scheduler_cmd": [{directory!r} + "/job.sh"]}} if options.hostile else {{}},
)
"""


@frozen
class Target:
    """The gateway, and the cluster of an attacker who is one of its users."""

    port: int
    tls: ssl.SSLContext
    cluster: str
    token: str

    def request(self, line: str, *fields: str) -> bytes:
        """The head of a request of the attacker's job."""
        token = f"Authorization: token {self.token}"
        return "\r\n".join((f"{line} HTTP/1.1", "Host: localhost", token, *fields, "\r\n")).encode()

    async def say(self, data: bytes, *, alpn: str = "http/1.1") -> None:
        """One connection that says this, and reads until the gateway closes it."""
        async with connected(self, alpn, first=b"", source=STRANGERS) as peer, trio.open_nursery() as nursery:
            nursery.start_soon(peer.send, data)
            with suppress(trio.BrokenResourceError):
                while await peer.stream.receive_some():
                    pass


Attack = Callable[[Target], Awaitable[None]]
_numbers = count()


async def silent(target: Target) -> None:
    async with await connect(("127.0.0.1", target.port), source=STRANGERS) as stream:
        with suppress(trio.BrokenResourceError):
            await stream.receive_some()


async def kept(target: Target) -> None:
    await target.say(target.request("GET /api/health"))


async def http2_frames(target: Target) -> None:
    flood = list(FLOODS.values())[next(_numbers) % len(FLOODS)]
    await target.say(PREFACE + frame(SETTINGS, 0, 0) + b"".join(islice(cycle(flood), 20_000)), alpn="h2")


async def http2_windows(target: Target) -> None:
    asked = headers("GET", "/api/version")
    streams = b"".join(frame(HEADERS, END_HEADERS | END_STREAM, 2 * n + 1, asked) for n in range(100))
    await target.say(PREFACE + frame(SETTINGS, 0, 0, setting(4, 0)) + streams, alpn="h2")


async def refused_requests(target: Target) -> None:
    await target.say(target.request(f"POST {CLUSTERS}x/heartbeat") * 10_000)


async def tiny_chunks(target: Target) -> None:
    head = target.request(f"POST {CLUSTERS}{target.cluster}/heartbeat", "Transfer-Encoding: chunked")
    await target.say(head + b"1\r\nx\r\n" * 50_000)


async def large_heartbeats(target: Target) -> None:
    body = heartbeat_body(closed_workers=[f"w{number}" for number in range(800_000)])
    head = target.request(f"POST {CLUSTERS}{target.cluster}/heartbeat", f"Content-Length: {len(body)}")
    await target.say(head + body)


async def large_heads(target: Target) -> None:
    await target.say(target.request("GET /api/version")[:-2] + b"X: " + b"x" * 60_000)


async def browser_frames(target: Target) -> None:
    flood = list(BROWSER_FLOODS.values())[next(_numbers) % len(BROWSER_FLOODS)]
    await target.say(_websocket(target, "quiet") + b"\x01\x80" + bytes(4) + flood * 20_000)


def _websocket(target: Target, path: str) -> bytes:
    """A browser's request for a websocket of the attacker's dashboard."""
    key = ("Upgrade: websocket", "Connection: Upgrade", f"Sec-WebSocket-Key: {b64encode(bytes(16)).decode()}")
    return target.request(f"GET /clusters/{target.cluster}/{path}", *key, "Sec-WebSocket-Version: 13")


def _visits(path: str) -> Attack:
    async def visit(target: Target) -> None:
        await target.say(_websocket(target, path))

    return visit


async def interim_answers(target: Target) -> None:
    await target.say(target.request(f"GET /clusters/{target.cluster}/interim", "Connection: close"))


async def unread_messages(target: Target) -> None:
    async with connected(target, "http/1.1", first=_websocket(target, "large"), source=STRANGERS):
        await trio.sleep(2)


#: What is tried: by how many connections at once.
ATTACKS: dict[str, tuple[Attack, int]] = {
    "nothing": (silent, 0),
    "silent connections": (silent, 3000),
    "kept connections": (kept, 1500),
    "HTTP/2 frames of every type": (http2_frames, 100),
    "HTTP/2 windows of zero": (http2_windows, 60),
    "refused requests": (refused_requests, 20),
    "tiny chunks": (tiny_chunks, 20),
    "heartbeats of 8 MB": (large_heartbeats, 8),
    "heads that do not end": (large_heads, 400),
    "a browser's tiny frames": (browser_frames, 20),
    "a dashboard's pongs": (_visits("pongs"), 10),
    "a dashboard's empty fragments": (_visits("fragments"), 10),
    "a dashboard's interim answers": (interim_answers, 10),
    "messages that nobody reads": (unread_messages, 12),
}


async def _dashboard(stream: trio.SocketStream) -> None:
    """The attacker's: what it does is in the path."""
    async with stream:
        with suppress(trio.BrokenResourceError):
            head = bytes(await stream.receive_some())
            if b"/interim " in head:
                await stream.send_all(WAIT * MANY)
                return
            await shake_hands(stream, head)
            if b"/pongs " in head:
                await stream.send_all(PONG * 20 * MANY)
            elif b"/fragments " in head:
                await stream.send_all(FIRST + EMPTY * 20 * MANY)
            elif b"/large " in head:
                size = 20 * MEGABYTE - 1
                await stream.send_all(b"\x82\x7f" + size.to_bytes(8, "big") + bytes(size))
            async for _ in stream:
                pass


async def _attack(target: Target, name: str) -> None:
    attack, connections = ATTACKS[name]

    async def again_and_again() -> None:
        while True:
            with suppress(OSError, trio.BrokenResourceError, ssl.SSLError):
                await attack(target)
            await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        (listener,) = await nursery.start(partial(trio.serve_tcp, _dashboard, 0, host="127.0.0.1"))
        here = f"127.0.0.1:{listener.socket.getsockname()[1]}"
        body = heartbeat_body(dashboard=here, scheduler=here, api=here)
        beat = target.request(f"POST {CLUSTERS}{target.cluster}/heartbeat", f"Content-Length: {len(body)}")
        async with connected(target, "http/1.1", first=beat + body) as peer:
            assert (await peer.stream.receive_some()).startswith(b"HTTP/1.1 200 ")
        for _ in range(connections):
            nursery.start_soon(again_and_again)


def _attacker(target: Target, name: str) -> None:
    os.nice(10)
    trio.run(_attack, target, name)


@contextmanager
def attackers(target: Target, name: str) -> Iterator[None]:
    """A process of strangers."""
    process = multiprocessing.get_context("fork").Process(target=_attacker, args=(target, name), daemon=True)
    process.start()
    try:
        yield
        assert process.is_alive(), f"{name}: the attackers have failed"
    finally:
        process.kill()
        process.join()


async def compute(gateway, progress, stop):
    """What the client does, as a script in a process of its own."""
    async with await gateway.new_cluster() as cluster:
        await cluster.scale(1)
        async with cluster.get_client(set_as_default=False) as client:
            client = await client
            await client.wait_for_workers(1, timeout=60)
            number = 0
            while not Path(stop).exists():  # noqa: ASYNC240
                assert await client.submit(inc, number, pure=False) == number + 1  # type: ignore[name-defined]  # noqa: F821 (the script's)
                number += 1
                with open(progress, "ab") as file:  # noqa: ASYNC230
                    file.write(b".")


@frozen
class Outcome:
    """What others noticed: seconds, tasks per second, MiB."""

    slowest: float
    tasks: float
    memory: float


def watch(house: GatewayProcess, client: ssl.SSLContext, progress: Path, seconds: float) -> Outcome:
    """Ask ten times a second, for so long."""
    basic = [("Authorization", "Basic " + b64encode(b"bob:").decode())]
    begin, before = time.monotonic(), progress.stat().st_size
    slowest = memory = 0.0
    while (now := time.monotonic()) < begin + seconds:
        with httpcore.ConnectionPool(ssl_context=client) as pool:
            answer = pool.request("GET", house.url + CLUSTERS, headers=basic)
        assert (answer.status, answer.content) == (200, b"{}")
        slowest = max(slowest, time.monotonic() - now)
        memory = max(memory, resident_mib(house.process.pid))
        time.sleep(max(0.0, now + 0.1 - time.monotonic()))
    tasks = (progress.stat().st_size - before) / (time.monotonic() - begin)
    return Outcome(slowest, tasks, memory)


def hostile_cluster(house: GatewayProcess, client: ssl.SSLContext, folder: Path) -> tuple[str, str]:
    """The attacker's cluster, and its token."""
    basic = ("Authorization", "Basic " + b64encode(b"mallory:").decode())
    with httpcore.ConnectionPool(ssl_context=client) as pool:
        body = b'{"cluster_options": {"hostile": true}}'
        answer = pool.request("POST", house.url + CLUSTERS, headers=[basic, JSON], content=body)
        assert answer.status == 201, answer.content
    while not (folder / "jobs" / "scheduler").exists():
        time.sleep(0.05)
    cluster, token = (folder / "jobs" / "scheduler").read_text().split()
    return cluster, token


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--only", choices=list(ATTACKS))
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    missed = 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "jobs").mkdir()
        (folder / "job.sh").write_text(JOB)
        (folder / "job.sh").chmod(0o755)
        progress, stop = folder / "progress", folder / "stop"
        progress.touch()
        _, client = gateways_tls(folder, trusted=folder / "trusted.pem")
        environment = {"SSL_CERT_FILE": str(folder / "trusted.pem")}
        with open_gateway(folder, CONFIG.format(directory=name), scheme="https", environment=environment) as house:
            port = int(house.address.rpartition(":")[2])
            house.url = f"https://localhost:{port}"
            worker = threading.Thread(
                target=house.client, args=(compute, str(progress), str(stop)), kwargs={"timeout": 600}
            )
            worker.start()
            try:
                while not progress.stat().st_size:
                    assert worker.is_alive(), house.log
                    time.sleep(0.1)
                target = Target(port, client, *hostile_cluster(house, client, folder))
                for attack in [options.only] if options.only else ATTACKS:
                    with attackers(target, attack):
                        time.sleep(1)
                        found = watch(house, client, progress, options.seconds)
                    good = found.slowest <= PROBE_LIMIT and found.tasks > 0 and found.memory <= MEMORY_LIMIT_MIB
                    missed += not good
                    print(
                        f"{attack:<32} slowest answer {found.slowest * 1000:4.0f} ms   {found.tasks:5.1f} tasks/s   "
                        f"{found.memory:5.1f} MiB{'' if good else '   MISSED'}",
                        flush=True,
                    )
            finally:
                stop.touch()
                worker.join()
    print("\nall goals reached" if not missed else f"\n{missed} goals missed")
    return int(options.check and bool(missed))


if __name__ == "__main__":
    sys.exit(main())
