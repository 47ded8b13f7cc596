"""A whole gateway to attack, in this process, on real sockets and a fake batch system.

Whatever is done to it, others go on: `probe` is called beside an attack, and once more when it is over. The gateway and
its attackers together stay below a bound of memory.
"""

import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import httpcore
import orjson
import trio
from attrs import Factory, define, field, frozen

from gateway.config.load import load
from gateway.proxy.listeners import Ports
from gateway.server.main import serve
from tests.attacks.memory import MEGABYTE, peak_growth
from tests.support.fakes import FakeDriver, fake_backend
from tests.support.hellos import openssl_hello
from tests.support.houses import basic, heartbeat
from tests.support.proxy_peers import connect, peer, receive_exactly

CLUSTERS = "/api/v1/clusters/"
JSON = ("Content-Type", "application/json")
#: What gateway and attackers may take beyond what they had at first.
MEMORY_BOUND = 64 * MEGABYTE


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
    """The gateway. `name` is its public host:port; with `tls`, of clients that trust it, it is asked by HTTPS.

    Beside the attack, `computations` of others are under way.
    """

    name: str
    ports: Ports
    driver: FakeDriver
    tls: ssl.SSLContext | None = None
    computations: "list[Computation]" = field(factory=list)

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


@define
class ClusterOfUser:
    """A user's cluster, whose scheduler says what a test wants."""

    gateway: Attacked
    name: str
    token: str
    user: str
    #: The path of its dashboard, below the link that opens it once it has one.
    dashboard: str = field(default=Factory(lambda self: f"/clusters/{self.name}/", takes_self=True))

    async def name_for(self, user: str) -> str:
        """The name by which this user reaches its scheduler."""
        answer = await self.gateway.ask("GET", CLUSTERS + self.name, user=user)
        assert answer.status == 200, answer.body
        return str(answer.json["name"])

    async def share(self, **names: list[str]) -> None:
        """Its owner shares it with these, and with nobody else."""
        path = f"{CLUSTERS}{self.name}/shares"
        answer = await self.gateway.ask("PUT", path, user=self.user, headers=[JSON], body=orjson.dumps(names))
        assert answer.status == 200, answer.body

    async def beat(self, **addresses: str) -> Answer:
        """A heartbeat with these addresses."""
        headers = [("Authorization", f"token {self.token}"), JSON]
        path = f"{CLUSTERS}{self.name}"
        body = heartbeat_body(**addresses)
        answer = await self.gateway.ask("POST", f"{path}/heartbeat", user=None, headers=headers, body=body)
        if answer.status == 200 and addresses.get("dashboard"):
            route = (await self.gateway.ask("GET", path, user=self.user)).json["dashboard_route"]
            self.dashboard = route.removesuffix("status")
        return answer


@frozen
class Computation:
    """What somebody else has under way meanwhile: a cluster, its scheduler, and a client that is connected to it."""

    cluster: ClusterOfUser
    address: str
    client: trio.SocketStream

    async def go_on(self) -> None:
        """Client and scheduler hear each other, the gateway hears the scheduler, and nobody has ended the cluster."""
        await self.client.send_all(b"task")
        assert await receive_exactly(self.client, 4) == b"task"
        assert (await self.cluster.beat(scheduler=self.address, api=self.address)).status == 200
        gateway = self.cluster.gateway
        report = await gateway.ask("GET", CLUSTERS + self.cluster.name, user=self.cluster.user)
        assert report.json["status"] == "RUNNING"


async def scheduler(stream: trio.SocketStream) -> None:
    """Sends back what its clients say, and answers when it is asked whether it is there."""
    async with stream:
        with suppress(trio.BrokenResourceError):
            async for data in stream:
                if data.startswith(b"GET "):
                    await stream.send_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                    return
                await stream.send_all(data)


@asynccontextmanager
async def open_computation(gateway: Attacked) -> AsyncIterator[Computation]:
    """A cluster of carol's, of which nobody else knows."""
    async with peer(scheduler) as port:
        cluster, address = await gateway.create("carol"), f"127.0.0.1:{port}"
        gateway.driver.run("scheduler")
        assert (await cluster.beat(scheduler=address, api=address)).status == 200
        hello = openssl_hello(f"daskgateway-{await cluster.name_for('carol')}")
        listener = (gateway.ports.schedulers or gateway.ports.public)[0]
        async with await connect(("127.0.0.1", listener.getsockname()[1])) as client:
            await client.send_all(hello)
            assert await receive_exactly(client, len(hello)) == hello
            yield Computation(cluster, address, client)


async def probe(gateway: Attacked) -> None:
    """Others go on: users are answered, and who computes computes."""
    assert await gateway.clusters("dave") == []
    for computation in gateway.computations:
        await computation.go_on()


@asynccontextmanager
async def open_attacked(
    folder: Path,
    *lines: str,
    default_host: str = "127.0.0.1",
    tls: ssl.SSLContext | None = None,
    computing: bool = True,
    memory_bound: int = MEMORY_BOUND,
) -> AsyncIterator[Attacked]:
    """A gateway with these lines of configuration; its jobs are on this host unless `default_host` is another.

    Somebody computes beside the attack, unless it is about who may ask at all (`computing` is False then).

    When the attack is over, others still go on, and this process has never held `memory_bound` bytes more than before.
    """
    file = folder / "config.py"
    file.write_text("\n".join((fake_backend(default_host), "c.Proxy.shutdown_grace = 0", *lines)))
    config = load(file)
    stop = trio.Event()
    async with trio.open_nursery() as nursery:
        ports = await nursery.start(partial(serve, config, wait_stop=stop.wait))
        try:
            gateway = Attacked(ports.name, ports, config.backend.driver, tls)
            async with AsyncExitStack() as stack:
                if computing and default_host == "127.0.0.1":  # else no scheduler that is here is connected to
                    gateway.computations.append(await stack.enter_async_context(open_computation(gateway)))
                with peak_growth() as growth:
                    yield gateway
                assert growth() < memory_bound, growth()
                if computing:
                    await probe(gateway)
        finally:
            stop.set()
