"""A port that is full, or that hears nothing for other reasons, ends no cluster and keeps nobody out."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from time import perf_counter

import orjson
import pytest
import trio
from attrs import define, field

from gateway.clusters.hearing import STALL
from tests.attacks.attacked import CLUSTERS, Attacked, ClusterOfUser, heartbeat_body, open_attacked
from tests.support.hellos import openssl_hello
from tests.support.proxy_peers import connect, echo, peer, receive_exactly

#: Schedulers are missed soon, and then asked.
IMPATIENT = (
    "c.FakeBackend.cluster_heartbeat_period = 0.1",
    "c.FakeBackend.cluster_heartbeat_timeout = 0.3",
    "c.FakeBackend.cluster_unreachable_timeout = 1",
)


@define
class Scheduler:
    """Counts how often it is asked whether it is there. `addresses` is what its heartbeats say."""

    addresses: dict[str, str] = field(factory=dict)
    asked: int = 0
    _changed: trio.Event = field(factory=trio.Event)

    async def serve(self, stream: trio.SocketStream) -> None:
        async with stream:
            data = b""
            while b"\r\n\r\n" not in data:
                piece = await stream.receive_some()
                if not piece:
                    return
                data += piece
            assert data.startswith(b"GET /api/health HTTP/1.1\r\n")
            self.asked += 1
            self._changed.set()
            self._changed = trio.Event()
            await stream.send_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    async def wait_asked(self, count: int) -> None:
        """Wait until it was asked so many times more."""
        count += self.asked
        while self.asked < count:
            await self._changed.wait()


@asynccontextmanager
async def running_cluster(gateway: Attacked) -> AsyncIterator[tuple[ClusterOfUser, Scheduler]]:
    """A cluster that has sent a heartbeat, and its scheduler, which is asked at its real port."""
    scheduler = Scheduler()
    async with peer(scheduler.serve) as api, peer(echo) as comm:
        cluster = await gateway.create("alice")
        gateway.driver.run("scheduler")
        scheduler.addresses |= {"scheduler": f"127.0.0.1:{comm}", "api": f"127.0.0.1:{api}"}
        assert (await cluster.beat(**scheduler.addresses)).status == 200
        yield cluster, scheduler


async def told(gateway: Attacked, cluster: ClusterOfUser) -> list[str]:
    """The events of a cluster."""
    answer = await gateway.ask("GET", f"{CLUSTERS}{cluster.name}/events", user=cluster.user)
    assert answer.status == 200
    return [event["message"] for event in orjson.loads(answer.body)["events"]]


async def status_of(gateway: Attacked, cluster: ClusterOfUser) -> str:
    return str((await gateway.ask("GET", CLUSTERS + cluster.name, user=cluster.user)).json["status"])


async def test_silence_alone_ends_no_cluster(tmp_path: Path) -> None:
    async with open_attacked(tmp_path, *IMPATIENT) as gateway, running_cluster(gateway) as (cluster, scheduler):
        await scheduler.wait_asked(4)
        assert await status_of(gateway, cluster) == "RUNNING"
        assert any("but it answers when it is asked" in event for event in await told(gateway, cluster))
        assert gateway.driver.cancelled == []


async def test_nor_does_a_loop_that_stood_still(tmp_path: Path) -> None:
    """Heartbeats wait in the kernel while the gateway is busy, for longer than they may be missing."""
    async with open_attacked(tmp_path, *IMPATIENT) as gateway, running_cluster(gateway) as (cluster, scheduler):
        end = perf_counter() + STALL + 0.2
        while perf_counter() < end:
            pass
        await scheduler.wait_asked(1)
        excuses = [event for event in await told(gateway, cluster) if "the gateway was busy for" in event]
        assert excuses
        assert await status_of(gateway, cluster) == "RUNNING"


async def test_a_scheduler_that_has_died_without_its_job_fails(tmp_path: Path) -> None:
    async with open_attacked(tmp_path, *IMPATIENT) as gateway:
        async with running_cluster(gateway) as (cluster, _):
            pass
        # now the ports are closed
        await gateway.driver.wait_until(lambda: bool(gateway.driver.cleaned))
        why = [event for event in await told(gateway, cluster) if event.startswith("Failed: ")]
        assert "and its port refuses" in why[0]


# --- full -------------------------------------------------------------------------------------------------------------

#: So that a few hundred connections are more than there is room for.
SMALL = ("c.Proxy.max_connections = 64", "c.Proxy.max_undecided = 32")
MANY = 200
REQUEST = b"GET /api/health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"


class Strangers:
    """Connections that nobody closes but the gateway."""

    def __init__(self, gateway: Attacked, host: str) -> None:
        self._address = ("127.0.0.1", gateway.port)
        self._host = host
        self._open: list[trio.SocketStream] = []

    async def come(self, count: int, says: bytes) -> None:
        """So many more, each of which says this and waits for an answer if it is a whole request."""
        for _ in range(count):
            stream = await connect(self._address, source=self._host)
            self._open.append(stream)
            with suppress(trio.BrokenResourceError):
                await stream.send_all(says)
                if says.endswith(b"\r\n\r\n"):
                    await stream.receive_some()

    async def go(self) -> None:
        for stream in self._open:
            await trio.aclose_forcefully(stream)


@asynccontextmanager
async def strangers(gateway: Attacked, host: str) -> AsyncIterator[Strangers]:
    """Strangers at one address."""
    found = Strangers(gateway, host)
    try:
        yield found
    finally:
        await found.go()


@pytest.mark.parametrize(
    "says",
    [b"", b"\x16\x03\x01\x02", b"GET / HT", REQUEST, b"POST /api/v1/clusters/ HTTP/1.1\r\nContent-Length: 9\r\n\r\n"],
    ids=["silent", "in the hello", "in the head", "kept", "in the body"],
)
@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2"], ids=["at the jobs' address", "elsewhere"])
async def test_a_full_port_takes_others(says: bytes, host: str, tmp_path: Path) -> None:
    """Whoever fills the port makes room: users are answered, heartbeats are heard, clients reach their scheduler."""
    async with (
        open_attacked(tmp_path, *SMALL) as gateway,
        running_cluster(gateway) as (cluster, scheduler),
        strangers(gateway, host) as many,
    ):
        for _ in range(MANY // 20):
            await many.come(20, says)
            assert await gateway.clusters("alice") == [cluster.name]
            assert (await cluster.beat(**scheduler.addresses)).status == 200
        hello = openssl_hello(f"daskgateway-{cluster.name}")
        async with await connect(("127.0.0.1", gateway.port)) as client:
            await client.send_all(hello)
            assert await receive_exactly(client, len(hello)) == hello
            await many.come(MANY, says)  # nor is a client's connection ended for them
            await client.send_all(b"x")
            assert await receive_exactly(client, 1) == b"x"
        assert await status_of(gateway, cluster) == "RUNNING"


async def test_a_port_that_had_to_end_some_ends_no_cluster(tmp_path: Path) -> None:
    """While strangers keep it full, a scheduler that is not heard of and refuses may have been missed."""
    quick = ("c.FakeBackend.cluster_heartbeat_period = 0.4", "c.FakeBackend.cluster_heartbeat_timeout = 1")
    async with open_attacked(tmp_path, *SMALL, *quick) as gateway, strangers(gateway, "127.0.0.2") as many:
        async with running_cluster(gateway) as (cluster, _):
            await many.come(MANY, b"")
        while not any("may have missed some" in event for event in await told(gateway, cluster)):
            await many.come(1, b"")
        assert await status_of(gateway, cluster) == "RUNNING"
        await gateway.driver.wait_until(lambda: bool(gateway.driver.cleaned))  # when they have left it alone


@pytest.mark.parametrize("before", [b"", b"GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n"], ids=["short way", "general way"])
async def test_a_job_s_kept_connection_is_not_ended_for_strangers(before: bytes, tmp_path: Path) -> None:
    """Even when the job is at the address that has most."""
    async with (
        open_attacked(tmp_path, *SMALL) as gateway,
        running_cluster(gateway) as (cluster, scheduler),
        await connect(("127.0.0.1", gateway.port)) as job,
        strangers(gateway, "127.0.0.1") as many,
    ):
        body = heartbeat_body(**scheduler.addresses)
        beat = (
            f"POST {CLUSTERS}{cluster.name}/heartbeat HTTP/1.1\r\nHost: x\r\nAuthorization: token {cluster.token}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        ).encode() + body
        if before:
            await job.send_all(before)
            while not (await job.receive_some()).endswith(b"}"):
                pass
        for _ in range(3):
            await job.send_all(beat)
            assert (await job.receive_some()).startswith(b"HTTP/1.1 200 ")
            await many.come(MANY // 2, REQUEST)
