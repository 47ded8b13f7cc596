"""The public port under load: memory, and what a good client notices.

    python -m tests.bench.load [--relays 10000] [--dashboards 200] [--check]

One after the other, with everything before it still open:

- relays: that many connections to schedulers, idle; resident memory of the proxy
- dashboards: that many dashboard websockets that get a message four times a second; memory, frames per second
- connects: 1,000 connections per second beside them; latencies
- slow clients: 300 that dribble a hello, a head or a body; latencies of a dashboard's page beside them alone

gcc is needed. The number of relays is cut to what the limit of open files allows.
"""

import argparse
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import trio
from trio_websocket import wrap_client_stream

from tests.bench.crowd import Latencies
from tests.bench.dashboards import single_pages
from tests.bench.proxies import Proxy, compile_tools, our_proxy, process, raise_file_limit
from tests.support.hellos import openssl_hello

HELLO = openssl_hello("daskgateway-abc")
CONNECTS_PER_SECOND = 1000
#: Each at most so much.
GOALS = {
    "resident MiB": 300.0,
    "connects per second too few": 0.01 * CONNECTS_PER_SECOND,
    "page max ms beside slow clients": 100.0,
}


async def open_stream(port: int) -> trio.SocketStream:
    return await trio.open_tcp_stream("127.0.0.1", port)


@asynccontextmanager
async def websockets(port: int, count: int, frames: list[int]) -> AsyncIterator[None]:
    async def watch(task_status: Any = trio.TASK_STATUS_IGNORED) -> None:
        async with await open_stream(port) as stream, trio.open_nursery() as nursery:
            socket = await wrap_client_stream(nursery, stream, "x", "/clusters/abc/ws?size=2000&rate=4")
            task_status.started()
            while True:
                await socket.get_message()
                frames[0] += 1

    async with trio.open_nursery() as nursery:
        for _ in range(count):
            await nursery.start(watch)
        yield
        nursery.cancel_scope.cancel()


async def dribble(port: int, words: bytes) -> None:
    async with await open_stream(port) as stream:
        for byte in words:
            await stream.send_all(bytes([byte]))
            await trio.sleep(0.05)
        await trio.sleep_forever()


def _share(proxy: Proxy, before: float, start: float) -> float:
    return (proxy.cpu() - before) / (trio.current_time() - start)


async def measure(options: argparse.Namespace, proxy: Proxy, load: Path, hello: Path, found: dict[str, float]) -> None:
    """All steps."""

    def words(text: str) -> dict[str, float]:
        return {key: float(value) for key, value in (word.split("=") for word in text.split())}

    async def run_load(*command: str) -> dict[str, float]:
        # The load yields to what is measured: on few cores its own hunger would be all that one sees.
        words_of_command = ["nice", "-n", "15", str(load), str(proxy.port), str(hello), *command]
        done = await trio.run_process(words_of_command, capture_stdout=True)
        return words(done.stdout.decode())

    async with AsyncExitStack() as stack:
        nursery = await stack.enter_async_context(trio.open_nursery())
        print(f"{'empty':34}{proxy.resident() / 1024:9.1f} MiB")
        holders = stack.enter_context(ExitStack())
        for part in range(0, options.relays, 5000):
            count = min(5000, options.relays - part)
            command = [load, proxy.port, hello, "hold", count]
            held = holders.enter_context(process(*command, stdin=subprocess.PIPE, stdout=subprocess.PIPE))
            print(f"{'relays open':34}{held.stdout.readline().strip()}")
        print(f"{'with the relays':34}{proxy.resident() / 1024:9.1f} MiB")
        frames = [0]
        await stack.enter_async_context(websockets(proxy.port, options.dashboards, frames))
        frames[0], before, start = 0, proxy.cpu(), trio.current_time()
        await trio.sleep(5)
        rate = frames[0] / 5
        print(f"{'dashboard frames per second':34}{rate:9.0f}  CPU {_share(proxy, before, start):.0%} of a core")
        before, start = proxy.cpu(), trio.current_time()
        connects = await run_load("rate", str(5 * CONNECTS_PER_SECOND), str(CONNECTS_PER_SECOND))
        found["connects per second too few"] = CONNECTS_PER_SECOND - connects["rate"]
        line = f"{connects['rate']:9.0f}  p50 {connects['p50']:.0f} us  p99 {connects['p99']:.0f} us"
        print(f"{'connects per second beside them':34}{line}  CPU {_share(proxy, before, start):.0%} of a core")
        found["resident MiB"] = proxy.resident() / 1024
        print(f"{'resident with everything':34}{found['resident MiB']:9.1f} MiB")
    async with trio.open_nursery() as nursery:
        head = b"GET / HTTP/1.1\r\nHost: x\r\n" + b"A: b\r\n" * 500
        for said in (
            HELLO,
            head,
            b"POST /clusters/abc/x HTTP/1.1\r\nHost: x\r\nContent-Length: 9999\r\n\r\n" + b"x" * 5000,
        ):
            for _ in range(100):
                nursery.start_soon(dribble, proxy.port, said)
        await trio.sleep(1)
        took = Latencies.of(await single_pages(proxy.port, 200, "abc"))
        nursery.cancel_scope.cancel()
    found["page max ms beside slow clients"] = took.worst
    print(f"{'page beside 300 slow clients':34}p50 {took.p50:6.1f} ms  max {took.worst:6.1f} ms")


def main() -> int:
    """Run, print, judge."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--relays", type=int, default=10_000)
    parser.add_argument("--dashboards", type=int, default=200)
    parser.add_argument("--check", action="store_true", help="exit with 1 when a goal is missed")
    options = parser.parse_args()
    hard = raise_file_limit(4 * (options.relays + options.dashboards) + 4096)
    most = (hard - 4 * options.dashboards - 500) // 2  # a relay is two descriptors, a dashboard two, and some more
    if options.relays > most:
        print(f"open files are limited to {hard}: {most} relays in place of {options.relays}")
        options.relays = most
    found: dict[str, float] = {}
    with ExitStack() as stack:
        work = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        compile_tools(work)
        hello = work / "hello"
        hello.write_bytes(HELLO)
        backend = stack.enter_context(
            process("nice", "-n", "15", work / "backend", 0, len(HELLO), stdout=subprocess.PIPE)
        )
        target = int(backend.stdout.readline())
        child = process(sys.executable, "-m", "tests.bench.dashboard_backend", stdout=subprocess.PIPE)
        pages_port = int(stack.enter_context(child).stdout.readline())
        proxy = stack.enter_context(our_proxy({"abc": target}, {"abc": pages_port}))
        trio.run(measure, options, proxy, work / "load", hello, found)
    missed = [f"{name}: {value:.1f}, goal {GOALS[name]}" for name, value in found.items() if value > GOALS[name]]
    print("\n".join(["", "goals missed:", *missed]) if missed else "\nall goals reached")
    return 1 if missed and options.check else 0


if __name__ == "__main__":
    sys.exit(main())
