"""A whole gateway to attack, in this process, on real sockets and a fake batch system."""

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import httpcore
import orjson
import trio
from attrs import frozen

from gateway.config.load import load
from gateway.main import serve
from gateway.proxy.listeners import Ports
from tests.support.fakes import FakeDriver, fake_backend
from tests.support.houses import basic, heartbeat

CLUSTERS = "/api/v1/clusters/"
JSON = ("Content-Type", "application/json")


@frozen
class Answer:
    status: int
    headers: list[tuple[str, str]]
    body: bytes

    @property
    def json(self) -> Any:
        return orjson.loads(self.body)

    def all(self, name: str) -> list[str]:
        """The values of a header."""
        return [value for key, value in self.headers if key == name]


@frozen
class Attacked:
    """The gateway. `name` is its public host:port; with `tls`, of clients that trust it, it is asked by HTTPS."""

    name: str
    ports: Ports
    driver: FakeDriver
    tls: ssl.SSLContext | None = None

    @property
    def port(self) -> int:
        return int(self.name.rpartition(":")[2])

    async def ask(
        self,
        method: str,
        path: str,
        *,
        user: str | None = "alice",
        headers: Any = (),
        body: bytes = b"",
        host: str = "",
    ) -> Answer:
        """One request, by the public port."""
        headers = [("Host", host or self.name), ("Connection", "close"), *headers]
        if user is not None:
            headers.append(("Authorization", basic(user)))
        url = f"https://localhost:{self.port}{path}" if self.tls else f"http://{self.name}{path}"
        async with httpcore.AsyncConnectionPool(ssl_context=self.tls) as pool:
            answer = await pool.request(method, url, headers=headers, content=body)
            names = [(name.decode().lower(), value.decode("latin-1")) for name, value in answer.headers]
            return Answer(answer.status, names, answer.content)

    async def clusters(self, user: str = "alice") -> list[str]:
        """The names of a user's clusters."""
        answer = await self.ask("GET", CLUSTERS, user=user)
        assert answer.status == 200, answer.body
        return list(answer.json)

    async def create(self, user: str = "alice") -> "ClusterOfUser":
        """A new cluster, before its first heartbeat."""
        answer = await self.ask("POST", CLUSTERS, user=user, headers=[JSON], body=b"{}")
        assert answer.status == 201, answer.body
        name = answer.json["name"]
        while True:
            for spec in self.driver.submissions:
                if spec.cluster.name == name:
                    return ClusterOfUser(self, name, spec.secrets["DASK_GATEWAY_API_TOKEN"], user)
            await self.driver.wait_submissions(len(self.driver.submissions) + 1)


def heartbeat_body(
    *, scheduler: str = "127.0.0.1:1", dashboard: str = "", api: str = "127.0.0.1:1", **fields: Any
) -> bytes:
    """The body of a heartbeat with these addresses (host:port), and with these fields in the place of usual ones."""
    addresses = {
        "scheduler_address": f"tls://{scheduler}",
        "dashboard_address": dashboard and f"http://{dashboard}",
        "api_address": f"http://{api}",
    }
    return orjson.dumps(heartbeat(**(addresses | fields)))


@frozen
class ClusterOfUser:
    """A user's cluster, whose scheduler says what a test wants."""

    gateway: Attacked
    name: str
    token: str
    user: str

    @property
    def dashboard(self) -> str:
        """The path of its dashboard."""
        return f"/clusters/{self.name}/"

    async def beat(self, **addresses: str) -> Answer:
        """A heartbeat with these addresses."""
        headers = [("Authorization", f"token {self.token}"), JSON]
        path = f"{CLUSTERS}{self.name}/heartbeat"
        return await self.gateway.ask("POST", path, user=None, headers=headers, body=heartbeat_body(**addresses))


async def probe(gateway: Attacked) -> None:
    """Other users go on."""
    assert await gateway.clusters("bob") == []


@asynccontextmanager
async def open_attacked(
    folder: Path, *lines: str, default_host: str = "127.0.0.1", tls: ssl.SSLContext | None = None
) -> AsyncIterator[Attacked]:
    """A gateway with these lines of configuration; its jobs are on this host unless `default_host` is another."""
    file = folder / "config.py"
    file.write_text("\n".join((fake_backend(default_host), "c.Proxy.shutdown_grace = 0", *lines)))
    config = load(file)
    stop = trio.Event()
    async with trio.open_nursery() as nursery:
        ports = await nursery.start(partial(serve, config, wait_stop=stop.wait))
        try:
            yield Attacked(ports.name, ports, config.backend.driver, tls)
        finally:
            stop.set()
