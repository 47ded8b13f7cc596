"""A port that is full, or that hears nothing for other reasons, ends no cluster and keeps nobody out."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import orjson
import pytest
import trio
from attrs import define, field

from tests.attacks.attacked import CLUSTERS, Attacked, ClusterOfUser, open_attacked
from tests.proxy_peers import echo, peer

#: Schedulers are missed soon, and then asked.
IMPATIENT = (
    "c.FakeBackend.cluster_heartbeat_period = 0.1",
    "c.FakeBackend.cluster_heartbeat_timeout = 0.3",
    "c.FakeBackend.cluster_unreachable_timeout = 1",
)


@define
class Scheduler:
    """Counts how often it is asked whether it is there, and answers for as long as it is `alive`."""

    port: int = 0
    asked: int = 0
    alive: bool = True
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
            if not self.alive:
                await trio.sleep_forever()
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
        assert (await cluster.beat(scheduler=f"127.0.0.1:{comm}", api=f"127.0.0.1:{api}")).status == 200
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


@pytest.mark.parametrize("hangs", [True, False])
async def test_a_scheduler_that_has_died_without_its_job_fails(
    hangs: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.scheduler_client.ATTEMPT_DEADLINE", 0.1)
    async with open_attacked(tmp_path, *IMPATIENT) as gateway:
        async with running_cluster(gateway) as (cluster, scheduler):
            if hangs:
                scheduler.alive = False
                await scheduler.wait_asked(3)
                await gateway.driver.wait_until(lambda: bool(gateway.driver.cleaned))
        # now the ports are closed
        await gateway.driver.wait_until(lambda: bool(gateway.driver.cleaned))
        why = [event for event in await told(gateway, cluster) if event.startswith("Failed: ")]
        assert ("and it does not answer" if hangs else "and its port refuses") in why[0]
