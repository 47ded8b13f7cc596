"""Ten people on ten dashboards at once: what they wait for, beside the Go proxy of the original if it can be had.

    python -m tests.bench.dashboards [--people 10] [--seconds 15] [--check]

Each person has a dashboard of their own open, whose websocket says something
ten times a second, and every three seconds all of them reload it at the same
moment: a page and what a browser fetches with it, over six connections each.
Then one person looks at a page again and again while the relay is as busy as
it can be: bulk each way and fifty connections that chat, at low priority, as if
the machines at their ends were others.

`--check` fails when ours makes people wait: 99 of 100 messages must be seen
within 0.1 s, which feels immediate, and whole pages within 1 s, which does not
interrupt a thought (Nielsen, Usability Engineering, 1993, 5.5); a page beside
the busy relay must come as soon as through the peer, or within 30 ms as API
calls do. gcc is needed.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import trio
from attrs import Factory, define
from trio_websocket import open_websocket_url

from tests.bench.crowd import Latencies
from tests.bench.dashboard_backend import SENT
from tests.bench.proxies import (
    SATURATION,
    Proxy,
    at_low_priority,
    compile_tools,
    go_binary,
    go_proxy,
    our_proxy,
    process,
)
from tests.support.hellos import openssl_hello

#: Bytes: a status page, and its scripts, styles and icons.
PAGE = 40_000
ASSETS = (1_100_000, 390_000, 330_000, 300_000, 30_000, *[12_000] * 6)
CONNECTIONS = 6
RELOAD_SECONDS = 3.0
MESSAGE_BYTES = 20_000
MESSAGES_PER_SECOND = 10
#: Each at most so many milliseconds for 99 of 100.
MESSAGE_GOAL, RELOAD_GOAL, PAGE_GOAL = 100.0, 1000.0, 30.0


@define
class Seen:
    """What people have waited for, in seconds each."""

    messages: list[float] = Factory(list)
    reloads: list[float] = Factory(list)


class Browser:
    """One connection of a person's browser."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self._stream = stream
        self._data = b""

    async def get(self, target: str) -> None:
        """Fetch something to its end."""
        await self._stream.send_all(f"GET {target} HTTP/1.1\r\nHost: gateway\r\n\r\n".encode())
        while (end := self._data.find(b"\r\n\r\n")) < 0:
            await self._receive()
        head, self._data = self._data[:end].lower(), self._data[end + 4 :]
        assert head.startswith(b"http/1.1 200 "), head
        left = int(head.partition(b"content-length:")[2].partition(b"\r\n")[0]) - len(self._data)
        self._data = b""
        while left:
            await self._receive()
            left -= len(self._data)
            self._data = b""

    async def _receive(self) -> None:
        data = await self._stream.receive_some()
        assert data, "the connection was closed"
        self._data += data


async def reload(port: int, root: str) -> float:
    """A page with all its assets; how long that took."""
    start = time.monotonic()
    sizes = list(ASSETS)

    async def fetch(browser: Browser) -> None:
        while sizes:
            await browser.get(f"{root}/static?size={sizes.pop(0)}")

    async with trio.open_nursery() as nursery, await trio.open_tcp_stream("127.0.0.1", port) as stream:
        first = Browser(stream)
        await first.get(f"{root}/status?size={PAGE}")
        async with trio.open_nursery() as fetching:
            fetching.start_soon(fetch, first)
            for _ in range(CONNECTIONS - 1):
                another = await trio.open_tcp_stream("127.0.0.1", port)
                nursery.start_soon(_close_at_end, another)
                fetching.start_soon(fetch, Browser(another))
        nursery.cancel_scope.cancel()
    return time.monotonic() - start


async def _close_at_end(stream: trio.SocketStream) -> None:
    async with stream:
        await trio.sleep_forever()


async def _watch(port: int, root: str, seen: Seen) -> None:
    target = f"{root}/ws?size={MESSAGE_BYTES}&rate={MESSAGES_PER_SECOND}"
    async with open_websocket_url(f"ws://127.0.0.1:{port}{target}") as socket:
        while True:
            message: Any = await socket.get_message()
            seen.messages.append(time.monotonic() - SENT.unpack_from(message)[0])


async def _person(port: int, root: str, start: float, seen: Seen) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_watch, port, root, seen)
        for number in range(10_000):
            await trio.sleep_until(start + RELOAD_SECONDS * number)
            seen.reloads.append(await reload(port, root))


async def people(port: int, count: int, seconds: float) -> Seen:
    """What `count` people see in this time."""
    seen = Seen()
    with trio.move_on_after(seconds):
        async with trio.open_nursery() as nursery:
            for number in range(count):
                nursery.start_soon(_person, port, f"/clusters/c{number}", trio.current_time() + 1, seen)
    return seen


async def single_pages(port: int, count: int, cluster: str = "c0") -> list[float]:
    """Pages one after the other, each over a new connection: how long each took."""
    took = []
    for _ in range(count):
        start = time.monotonic()
        async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
            await Browser(stream).get(f"/clusters/{cluster}/status?size=10000")
        took.append(time.monotonic() - start)
    return took


def measure(proxy: Proxy, options: argparse.Namespace, work: Path) -> dict[str, Latencies]:
    """Everything, through one proxy; prints it."""
    before, start = proxy.cpu(), time.monotonic()
    seen = trio.run(people, proxy.web_port, options.people, options.seconds)
    share = (proxy.cpu() - before) / (time.monotonic() - start)
    found = {"message": Latencies.of(seen.messages), "reload": Latencies.of(seen.reloads)}
    with ExitStack() as busy:
        for words in SATURATION:
            busy.enter_context(at_low_priority(work / "load", proxy.port, work / "hello", *words))
        time.sleep(0.5)
        found["page beside relay"] = Latencies.of(trio.run(single_pages, proxy.web_port, options.pages))
    print(f"{proxy.name}: {share:.2f} cores for {options.people} people, {proxy.resident() / 1024:.0f} MiB")
    for what, latencies in found.items():
        print(f"    {what:20}{latencies}")
    return found


def main() -> int:
    """Run, print, judge."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--people", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=15)
    parser.add_argument("--pages", type=int, default=500, help="single pages beside the busy relay")
    parser.add_argument("--check", action="store_true", help="exit with 1 when a goal is missed")
    options = parser.parse_args()
    found: dict[str, dict[str, Latencies]] = {}
    with ExitStack() as stack:
        work = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        compile_tools(work)
        hello = openssl_hello("daskgateway-c0")
        (work / "hello").write_bytes(hello)
        backend = stack.enter_context(at_low_priority(work / "backend", 0, len(hello)))
        pages = [sys.executable, "-m", "tests.bench.dashboard_backend"]
        dashboard = stack.enter_context(process(*pages, stdout=subprocess.PIPE))
        names = [f"c{number}" for number in range(options.people)]
        routes = [dict.fromkeys(names, int(server.stdout.readline())) for server in (backend, dashboard)]
        if binary := go_binary(work):
            with go_proxy(binary, *routes) as proxy:
                found["go"] = measure(proxy, options, work)
        with our_proxy(*routes) as proxy:
            found["ours"] = measure(proxy, options, work)
    goals = {"message": MESSAGE_GOAL, "reload": RELOAD_GOAL, "page beside relay": PAGE_GOAL}
    if "go" in found:
        goals["page beside relay"] = max(PAGE_GOAL, found["go"]["page beside relay"].p99)
    missed = [
        f"{what}: p99 {latencies.p99:.0f} ms, goal {goals[what]:.0f}"
        for what, latencies in found["ours"].items()
        if latencies.p99 > goals[what]
    ]
    print("\n".join(["", "goals missed:", *missed]) if missed else "\nall goals reached")
    return 1 if missed and options.check else 0


if __name__ == "__main__":
    sys.exit(main())
