"""Ten thousand clusters that heartbeat every 15 seconds: what they cost, and what other requests feel of it.

    python -m tests.bench.crowd [--clusters 10000] [--seconds 60] [--check]

A database is filled with running clusters, each with a scheduler and ten
workers; a gateway takes them all back (crowd_backend.py is their batch
system). One process then plays all schedulers as the published scheduler
plugin behaves: a new connection for each heartbeat, the head first and then the
body. Meanwhile users list their clusters, look at one of them, and ask for the
version, each over a kept connection, ten times a second together. `--check`
fails when the gateway uses more than half a core, the 99th percentile of the
other requests is above 50 ms, or a heartbeat is lost.
"""

import argparse
import base64
import math
import multiprocessing
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path

import httpcore
import orjson
import trio
from attrs import frozen

from gateway.clusters.certificate import new_cluster_certificate
from gateway.models import ClusterRecord, ClusterStatus, Role, SubmissionRecord
from gateway.store.keys import new_key
from gateway.store.writer import open_store
from tests.bench.api_gateways import cpu_seconds, resident_mib
from tests.bench.crowd_backend import job_ids
from tests.e2e.gateway_process import GatewayProcess, open_gateway

WORKERS = 10
CLUSTERS_OF_A_USER = 20
PERIOD = 15.0
#: Cores, and milliseconds.
CPU_LIMIT = 0.5
P99_LIMIT_MS = 50.0

ROOT = Path(__file__).parents[2]
CONFIG = """
import sys
sys.path.insert(0, {root!r})
from tests.bench.crowd_backend import CrowdBackend
c.DaskGateway.backend_class = CrowdBackend
c.Proxy.address = "127.0.0.1:0"
c.CrowdBackend.db_encrypt_keys = [{key!r}]
c.CrowdBackend.cluster_heartbeat_timeout = 60
"""


@frozen
class Latencies:
    """What a number of requests has taken, in milliseconds."""

    p50: float
    p99: float
    worst: float
    count: int

    @classmethod
    def of(cls, seconds: list[float]) -> "Latencies":
        """From single measurements."""
        ordered = sorted(1000 * value for value in seconds)
        return cls(statistics.median(ordered), ordered[math.ceil(len(ordered) * 0.99) - 1], ordered[-1], len(ordered))

    def __str__(self) -> str:
        return f"p50 {self.p50:.1f} ms, p99 {self.p99:.1f} ms, worst {self.worst:.1f} ms of {self.count}"


def name_of(number: int) -> str:
    """A cluster's name."""
    return f"{number:032x}"


def token_of(number: int) -> str:
    """A cluster's token."""
    return f"{number:064x}"


def user_of(number: int) -> str:
    """The user whose cluster this is."""
    return f"user{number // CLUSTERS_OF_A_USER}"


def addresses(number: int) -> dict[str, str]:
    """Where a cluster's scheduler is."""
    host = f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}"
    return {
        "scheduler_address": f"tls://{host}:8786",
        "dashboard_address": f"http://{host}:8787",
        "api_address": f"http://{host}:9000",
    }


async def fill(url: str, key: str, count: int) -> None:
    """Store `count` running clusters."""
    cert, private = new_cluster_certificate("bench")
    async with open_store(url, keys=[key]) as store:
        for begin in range(0, count, 500):
            records: list[ClusterRecord | SubmissionRecord] = []
            for number in range(begin, min(begin + 500, count)):
                name = name_of(number)
                records.append(
                    ClusterRecord(
                        name=name,
                        username=user_of(number),
                        token=token_of(number),
                        tls_cert=cert,
                        tls_key=private,
                        options={},
                        config={},
                        status=ClusterStatus.RUNNING,
                        count=WORKERS,
                        groups=1,
                        start_time=int(time.time() * 1000),
                        running_since=int(time.time() * 1000),
                        **addresses(number),
                    )
                )
                for role, group, size in ((Role.SCHEDULER, "scheduler", 1), (Role.WORKER, "w1", WORKERS)):
                    jobs = job_ids(name, role, group, size)
                    records.append(SubmissionRecord(cluster=name, group=group, role=role, count=size, jobs=jobs))
            await store.save(*records)


#: Head and body, as tornado's client sends them.
Request = tuple[bytes, bytes]


def heartbeat_request(number: int) -> Request:
    """The heartbeat of a cluster."""
    body = orjson.dumps(
        {
            **addresses(number),
            "count": WORKERS,
            "active_workers": [f"w1-{index}" for index in range(WORKERS)],
            "closing_workers": [],
            "closed_workers": [],
        }
    )
    return request_of(name_of(number), token_of(number), body)


def request_of(name: str, token: str, body: bytes) -> Request:
    """A heartbeat with this body."""
    head = (
        f"POST /api/v1/clusters/{name}/heartbeat HTTP/1.1\r\nConnection: close\r\nHost: gateway:8000\r\n"
        f"Authorization: token {token}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\nAccept-Encoding: gzip\r\n\r\n"
    )
    return head.encode(), body


async def _beat(port: int, request: Request, outcome: dict[str, list[float]]) -> None:
    begin = time.perf_counter()
    try:
        with trio.fail_after(20):
            stream = await trio.open_tcp_stream("127.0.0.1", port)
            async with stream:
                for part in request:
                    await stream.send_all(part)
                answer = b"".join([bytes(part) async for part in stream])
    except (OSError, trio.BrokenResourceError, trio.TooSlowError) as error:
        answer = repr(error).encode()
    kind = "answered" if answer.startswith(b"HTTP/1.1 200 ") else answer[:60].decode("latin-1")
    outcome.setdefault(kind, []).append(time.perf_counter() - begin)


async def _play_schedulers(port: int, requests: Sequence[Request], period: float, orders: Connection) -> None:
    outcome: dict[str, list[float]] = {}
    count = len(requests)
    async with trio.open_nursery() as nursery:
        begin = trio.current_time()
        beats = 0
        while not orders.poll():
            await trio.sleep_until(begin + beats * period / count)
            nursery.start_soon(_beat, port, requests[beats % count], outcome)
            beats += 1
            if beats == count:
                orders.send("all heard once")
                outcome.clear()
    orders.recv()
    orders.send(outcome)


def _play(port: int, requests: Sequence[Request], period: float, orders: Connection) -> None:
    trio.run(_play_schedulers, port, requests, period, orders)


@contextmanager
def schedulers(port: int, requests: Sequence[Request], period: float = PERIOD) -> Iterator[Connection]:
    """A process that sends each of these heartbeats once in `period` seconds, spread evenly.

    It says when each was sent once, and, to whatever it is sent, how long those since then took: a list of seconds
    for each kind of outcome.
    """
    ours, theirs = multiprocessing.Pipe()
    context = multiprocessing.get_context("fork")
    process = context.Process(target=_play, args=(port, requests, period, theirs), daemon=True)
    process.start()
    theirs.close()  # so that its end is seen
    try:
        yield ours
    finally:
        process.terminate()
        process.join()


def probe(url: str, clusters: list[tuple[str, str]], seconds: float, period: float = 0.1) -> dict[str, Latencies]:
    """What other requests take: by what is asked. `clusters` are pairs of a user and a name."""
    taken: dict[str, list[float]] = {"list": [], "report": [], "version": []}
    with httpcore.ConnectionPool(max_connections=3) as lists, httpcore.ConnectionPool() as others:
        cookies = {}
        for user, _ in clusters:
            basic = "Basic " + base64.b64encode(f"{user}:".encode()).decode()
            answer = others.request("GET", f"{url}/api/v1/options", headers=[("Authorization", basic)])
            cookies[user] = dict(answer.headers)[b"set-cookie"].decode().partition(";")[0]
        begin = time.monotonic()
        number = 0
        while (now := time.monotonic()) < begin + seconds:
            time.sleep(max(0, begin + number * period - now))
            user, name = clusters[number % len(clusters)]
            kind, pool, path = (
                ("list", lists, "/api/v1/clusters/"),
                ("report", others, f"/api/v1/clusters/{name}"),
                ("version", others, "/api/version"),
            )[number % 3]
            start = time.perf_counter()
            answer = pool.request("GET", url + path, headers=[("Cookie", cookies[user])])
            taken[kind].append(time.perf_counter() - start)
            assert answer.status == 200, answer.content
            number += 1
    return {kind: Latencies.of(values) for kind, values in taken.items()}


@contextmanager
def crowded_gateway(count: int, directory: Path) -> Iterator[GatewayProcess]:
    """A gateway that has taken `count` clusters back; prints what that took."""
    key = new_key()
    begin = time.monotonic()
    trio.run(fill, f"sqlite:///{directory}/dask_gateway.sqlite", key, count)
    print(f"filling the database    {time.monotonic() - begin:8.1f} s", flush=True)
    begin = time.monotonic()
    with open_gateway(
        directory, base=CONFIG.replace("{root!r}", repr(str(ROOT))).replace("{key!r}", repr(key)), timeout=300
    ) as house:
        print(f"start until it serves   {time.monotonic() - begin:8.1f} s", flush=True)
        yield house


def main() -> None:
    """Parse the arguments, measure, judge."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clusters", type=int, default=10_000)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--check", action="store_true")
    arguments = parser.parse_args()
    count = arguments.clusters
    with tempfile.TemporaryDirectory(prefix="bench-crowd-") as folder, crowded_gateway(count, Path(folder)) as house:
        pid = house.process.pid
        port = int(house.address.rpartition(":")[2])
        with schedulers(port, [heartbeat_request(number) for number in range(count)]) as played:
            assert played.recv() == "all heard once"
            print(f"CPU until all were heard{cpu_seconds(pid):8.1f} s", flush=True)
            before, begin = cpu_seconds(pid), time.monotonic()
            some = [(user_of(number), name_of(number)) for number in range(0, count, max(1, count // 50))]
            latencies = probe(house.url, some, arguments.seconds)
            cores = (cpu_seconds(pid) - before) / (time.monotonic() - begin)
            memory = resident_mib(pid)
            played.send("stop")
            outcome = played.recv()
        lost = {kind: len(values) for kind, values in outcome.items() if kind != "answered"}
    beats = Latencies.of(outcome["answered"])
    print(f"heartbeats              {beats}; lost: {lost or 'none'}")
    for kind, latency in latencies.items():
        print(f"{kind:24}{latency}")
    print(f"CPU                     {cores:8.2f} cores ({cores / (count / PERIOD) * 1e6:.0f} us a heartbeat)")
    print(f"resident                {memory:8.0f} MiB ({os.cpu_count()} cores here)")
    good = cores < CPU_LIMIT and not lost and all(latency.p99 < P99_LIMIT_MS for latency in latencies.values())
    if arguments.check and not good:
        sys.exit(1)


if __name__ == "__main__":
    main()
