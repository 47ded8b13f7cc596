"""Clusters whose addresses are names of which no name server says anything for long."""

import socket
import threading
from pathlib import Path
from typing import Any

import pytest
import trio

from tests.attacks.attacked import Attacked, ClusterOfUser, open_attacked, probe
from tests.support.hellos import openssl_hello
from tests.support.proxy_peers import connect, receive_all

CLUSTERS_OF_ONE, CONNECTIONS = 12, 4  # more look-ups than trio has threads (40), if each had one


class SlowNames:
    """Names below .slow.example have no answer before `over` is set."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.over = threading.Event()
        self.asked: list[str] = []
        self._real = socket.getaddrinfo
        self._changed = trio.Event()
        self._token = trio.lowlevel.current_trio_token()
        monkeypatch.setattr(socket, "getaddrinfo", self.look_up)

    def look_up(self, host: Any, port: Any, *arguments: Any, **options: Any) -> Any:
        if str(host).endswith(".slow.example"):
            self.asked.append(host)
            self._token.run_sync_soon(self._tell)
            self.over.wait()
            raise socket.gaierror(socket.EAI_AGAIN, "no answer")
        return self._real(host, port, *arguments, **options)

    def _tell(self) -> None:
        self._changed.set()
        self._changed = trio.Event()

    async def wait_asked(self, count: int) -> None:
        while len(self.asked) < count:
            await self._changed.wait()


async def say_hello(gateway: Attacked, cluster: ClusterOfUser, task_status: Any = trio.TASK_STATUS_IGNORED) -> None:
    """A client of the cluster that waits for its scheduler."""
    async with await connect(("127.0.0.1", gateway.port)) as stream:
        await stream.send_all(openssl_hello(f"daskgateway-{cluster.name}"))
        task_status.started()
        await receive_all(stream)


async def test_slow_names_do_not_hold_other_users_submissions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_attacked(tmp_path, "c.Proxy.connect_timeout = 600", "c.Proxy.dashboard_timeout = 600") as gateway:
        clusters = [await gateway.create("mallory") for _ in range(CLUSTERS_OF_ONE)]
        names = SlowNames(monkeypatch)
        try:
            for number, cluster in enumerate(clusters):
                address = f"n{number}.slow.example:1"
                assert (await cluster.beat(scheduler=address, dashboard=address, api=address)).status == 200
            async with trio.open_nursery() as nursery:
                for cluster in clusters * CONNECTIONS:
                    await nursery.start(say_hello, gateway, cluster)
                await names.wait_asked(CLUSTERS_OF_ONE)
                with trio.fail_after(60):  # or never, before the names have their answers
                    for user in ("alice", "bob"):  # the probe: it needs threads
                        await gateway.create(user)
                    await probe(gateway)
                # A cluster that says it has moved gets no second look-up while the first one is under way.
                await clusters[0].beat(scheduler="moved.slow.example:1", api="moved.slow.example:1")
                await nursery.start(say_hello, gateway, clusters[0])
                await gateway.clusters()
                asked = list(names.asked)
                nursery.cancel_scope.cancel()
            assert len(asked) == len(set(asked)) == CLUSTERS_OF_ONE
        finally:
            names.over.set()
