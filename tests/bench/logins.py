"""What others notice of somebody who guesses passwords, a thousand a second.

    python -m tests.bench.logins [--seconds 10] [--rate 1000] [--check]

The guesses come from one address, each over a connection of its own, by a process
that is `nice`, as strangers have processors of their own. Meanwhile
somebody at another address lists their clusters with a cookie, and somebody
else logs in with their password over a new connection, each fifty times a second. The same
is measured without guesses first. `--check` fails when the 99th percentile of either is
above 50 ms, or fewer guesses were made than asked for. (`tests/auth/test_chain.py`
has what becomes of the guesses.)
"""

import argparse
import multiprocessing
import os
import re
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection

import trio

from tests.bench.api_gateways import resident_mib
from tests.bench.crowd import Latencies
from tests.e2e.gateway_process import GatewayProcess, open_gateway
from tests.support.houses import basic
from tests.support.proxy_peers import connect

P99_LIMIT_MS = 50.0
PASSWORD = "correct horse"
CONFIG = f"c.SimpleAuthenticator.password = {PASSWORD!r}\n"
STRANGERS, FRIENDS = "127.0.0.2", "127.0.0.3"
#: The length of an answer's body, and the end of its head.
_LENGTH = re.compile(rb"(?is)\r\ncontent-length: (\d+).*?\r\n\r\n")
#: Seconds that whoever guesses waits for an answer.
PATIENCE = 1.0


def request(authorization: str = "", cookie: str = "") -> bytes:
    """A list of clusters, asked for with these credentials."""
    fields = [f"Authorization: {authorization}"] if authorization else [f"Cookie: {cookie}"]
    return "\r\n".join(("GET /api/v1/clusters/ HTTP/1.1", "Host: localhost", *fields, "\r\n")).encode()


async def answer_of(stream: trio.SocketStream) -> int:
    """The status of a whole answer; 0 when the connection was closed instead."""
    data = b""
    while (length := _LENGTH.search(data)) is None or len(data) < length.end() + int(length[1]):
        part = await stream.receive_some()
        if not part:
            return 0
        data += part
    return int(data[9:12])


async def guess(port: int, number: int, statuses: Counter[int]) -> None:
    """Guess once, over a new connection; 0: no answer came."""
    status = 0
    with trio.move_on_after(PATIENCE), suppress(OSError, trio.BrokenResourceError):
        async with await connect(("127.0.0.1", port), source=STRANGERS) as stream:
            await stream.send_all(request(basic(f"user{number % 7}", f"guess {number}")))
            status = await answer_of(stream)
    statuses[status] += 1


def guess_until_told(channel: Connection, port: int, rate: float) -> None:
    """The attacker's process: says how many guesses were answered, by status."""
    os.nice(10)
    statuses: Counter[int] = Counter()

    async def attack() -> None:
        async with trio.open_nursery() as nursery:
            begin, number = trio.current_time(), 0
            while not channel.poll():
                nursery.start_soon(guess, port, number, statuses)
                number += 1
                await trio.sleep_until(begin + number / rate)
            channel.recv()

    trio.run(attack)
    channel.send(statuses)


@contextmanager
def guesses(port: int, rate: float) -> Iterator[Counter[int]]:
    """Guesses as long as the body runs; what became of them is there afterwards."""
    statuses: Counter[int] = Counter()
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=guess_until_told, args=(theirs, port, rate))
    process.start()
    theirs.close()
    try:
        yield statuses
        ours.send("stop")
        statuses.update(ours.recv())
    finally:
        process.join(PATIENCE + 10)
        process.kill()


async def friends(port: int, cookie: str, seconds: float) -> dict[str, Latencies]:
    """How long others wait: by what they do."""
    taken: dict[str, list[float]] = {"list": [], "log in": []}

    async def every(period: float, kind: str, credentials: bytes) -> None:
        begin = trio.current_time()
        for number in range(int(seconds / period)):
            await trio.sleep_until(begin + number * period)
            start = time.perf_counter()
            async with await connect(("127.0.0.1", port), source=FRIENDS) as stream:
                await stream.send_all(credentials)
                assert await answer_of(stream) == 200
            taken[kind].append(time.perf_counter() - start)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(every, 0.02, "list", request(cookie=cookie))
        nursery.start_soon(every, 0.02, "log in", request(basic("bob", PASSWORD)))
    return {kind: Latencies.of(values) for kind, values in taken.items()}


def measure(gateway: GatewayProcess, seconds: float, rate: float) -> bool:
    """Without guesses and with them; whether the goals are reached."""
    port = int(gateway.url.rpartition(":")[2])
    cookie = gateway.session_cookie(password=PASSWORD)
    good = True
    for case in ("quiet", "beside guesses"):
        statuses: Counter[int] = Counter()
        if case == "quiet":
            latencies = trio.run(friends, port, cookie, seconds)
        else:
            with guesses(port, rate) as statuses:
                latencies = trio.run(friends, port, cookie, seconds)
            good &= statuses.total() >= 0.9 * rate * seconds and set(statuses) <= {0, 401, 429}
        memory = resident_mib(gateway.process.pid)
        print(f"{case}: {memory:.0f} MiB; guesses, by the status of their answers: {dict(statuses)}")
        for kind, latency in latencies.items():
            print(f"    {kind:12}{latency}")
            good &= latency.p99 <= P99_LIMIT_MS
    return good


def main() -> None:
    """Parse the arguments, measure, judge."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--rate", type=float, default=1000)
    parser.add_argument("--check", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-logins-") as folder, open_gateway(folder, CONFIG) as gateway:
        good = measure(gateway, arguments.seconds, arguments.rate)
    if arguments.check and not good:
        sys.exit(1)


if __name__ == "__main__":
    main()
