"""Jobs that say with their heartbeats as much as they can."""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import orjson
import pytest
import trio
import trio.lowlevel

from gateway.clusters import heartbeat
from gateway.clusters.heartbeat_body import WINDOW, HeartbeatBody
from gateway.web.heartbeat_route import BODY_LIMIT, KEPT
from tests.attacks.attacked import Attacked, ClusterOfUser, heartbeat_body, open_attacked, probe
from tests.attacks.memory import MEGABYTE, memory
from tests.support.proxy_peers import connect, receive_all


def head(cluster: ClusterOfUser, size: int, *, close: bool = False) -> bytes:
    path = f"/api/v1/clusters/{cluster.name}/heartbeat"
    return (
        f"POST {path} HTTP/1.1\r\nHost: {cluster.gateway.name}\r\nAuthorization: token {cluster.token}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {size}\r\n"
        f"Connection: {'close' if close else 'keep-alive'}\r\n\r\n"
    ).encode()


async def beat(cluster: ClusterOfUser, body: bytes) -> int:
    """Send a heartbeat, whether it is read or not; the answer's status, 0 when the connection was cut meanwhile."""
    answer = b"- 0"
    async with await connect(("127.0.0.1", cluster.gateway.port)) as stream, trio.open_nursery() as nursery:
        nursery.start_soon(send_anyway, stream, head(cluster, len(body), close=True) + body)
        with suppress(trio.BrokenResourceError):
            answer = await receive_all(stream)
        nursery.cancel_scope.cancel()
    return int(answer.split(b" ", 2)[1])


async def send_anyway(stream: trio.SocketStream, data: bytes) -> None:
    with suppress(trio.BrokenResourceError):
        await stream.send_all(data)


def long_list(closed: list[Any]) -> bytes:
    return heartbeat_body(closed_workers=closed)


class Watched(trio.abc.Instrument):
    """What is scanned and parsed between two turns of everybody else."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.parsed = 0
        self.scanned = 0
        self._now = 0
        loads, take = orjson.loads, HeartbeatBody.take

        class Json:
            JSONDecodeError = orjson.JSONDecodeError

            @staticmethod
            def loads(body: bytes) -> Any:
                self.parsed = max(self.parsed, len(body))
                return loads(body)

        def watched(body: HeartbeatBody, part: bytes) -> None:
            self._now += len(part)
            self.scanned = max(self.scanned, self._now)
            take(body, part)

        monkeypatch.setattr(heartbeat, "orjson", Json)
        monkeypatch.setattr(HeartbeatBody, "take", watched)

    def before_task_step(self, task: Any) -> None:
        self._now = 0


BODIES: dict[str, Callable[[], bytes]] = {
    "names": lambda: long_list([f"w{number}" for number in range(800_000)]),
    "empty names": lambda: long_list([""] * 2_700_000),
    "lists": lambda: long_list([[]] * 2_700_000),
    "active": lambda: heartbeat_body(active_workers=[f"w{number}" for number in range(700_000)]),
    "one name": lambda: long_list(["w" * 8_000_000]),
    "backslashes": lambda: long_list(["\\" * 4_000_000]),
    "an address": lambda: heartbeat_body(api="a" * 8_000_000),
    "another field": lambda: heartbeat_body(**{"else": [{}] * 2_000_000}),
}


@pytest.mark.parametrize("kind", BODIES)
async def test_large_heartbeats_are_dealt_with_in_small_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    body = BODIES[kind]()
    assert len(body) <= BODY_LIMIT
    async with open_attacked(tmp_path) as gateway:
        clusters = [await gateway.create("mallory") for _ in range(4)]
        watched = Watched(monkeypatch)
        trio.lowlevel.add_instrument(watched)
        answers: list[int] = []

        async def attack(cluster: ClusterOfUser) -> None:
            answers.append(await beat(cluster, body))

        try:
            async with trio.open_nursery() as nursery:
                for cluster in clusters:
                    nursery.start_soon(attack, cluster)
                await probe(gateway)
        finally:
            trio.lowlevel.remove_instrument(watched)
        assert set(answers) <= {0, 200, 413, 422}
        assert watched.scanned <= WINDOW
        assert watched.parsed <= KEPT


async def test_an_honest_cluster_that_has_had_half_a_million_workers(tmp_path: Path) -> None:
    async with open_attacked(tmp_path) as gateway:
        cluster = await gateway.create()
        body = long_list([f"w{number}-0" for number in range(500_000)])
        for _ in range(3):
            assert await beat(cluster, body) == 200
        assert (await gateway.ask("GET", f"/api/v1/clusters/{cluster.name}")).json["status"] == "RUNNING"


async def hold(
    gateway: Attacked, cluster: ClusterOfUser, body: bytes, task_status: Any = trio.TASK_STATUS_IGNORED
) -> None:
    """A heartbeat that is never finished."""
    async with await connect(("127.0.0.1", gateway.port)) as stream:
        await stream.send_all(head(cluster, len(body) + 1) + body)
        task_status.started()
        await receive_all(stream)


async def test_unfinished_heartbeats_are_not_held(tmp_path: Path) -> None:
    async with open_attacked(tmp_path) as gateway:
        clusters = [await gateway.create("mallory") for _ in range(16)]
        body = long_list(["w" * 20] * 300_000)[: 6 * MEGABYTE]
        before = memory()
        async with trio.open_nursery() as nursery:
            for cluster in clusters:
                await nursery.start(hold, gateway, cluster, body)
            await probe(gateway)
            assert memory() - before < 48 * MEGABYTE  # not 96
            nursery.cancel_scope.cancel()


async def test_a_cluster_has_one_heartbeat_at_a_time(tmp_path: Path) -> None:
    async with open_attacked(tmp_path) as gateway:
        cluster = await gateway.create("mallory")
        answers = []
        async with await connect(("127.0.0.1", gateway.port)) as older:
            await older.send_all(head(cluster, 100) + b"{")
            await gateway.clusters("alice")
            async with await connect(("127.0.0.1", gateway.port)) as newer:
                await newer.send_all(head(cluster, 100) + b"{")
                answers.append(await receive_all(older))
                # Once it is here, nobody waits for those that are not.
                assert await beat(cluster, long_list([])) == 200
                answers.append(await receive_all(newer))
        assert [answer.split(b" ", 2)[1] for answer in answers] == [b"409", b"409"]
        assert all(b"A newer heartbeat of this cluster" in answer for answer in answers)
