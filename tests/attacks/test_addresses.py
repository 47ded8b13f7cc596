"""Heartbeats that name addresses which the gateway alone should reach: its own ports, and its host's services."""

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from tests.attacks.attacked import CLUSTERS, JSON, Attacked, ClusterOfUser, open_attacked, probe
from tests.support.hellos import openssl_hello
from tests.support.proxy_peers import connect, peer, receive_all

#: Spellings of addresses that lead to this host's loopback interface. The last ones pass for names until looked up.
LOOPBACK = [
    "127.0.0.1",
    "127.9.9.9",
    "0.0.0.0",
    "[::1]",
    "[::]",
    "[::ffff:127.0.0.1]",
    "localhost",
    "127.1",
    "2130706433",
]
INTERNAL_ERROR = b"\x50"  # the last byte of the alert
#: Where batch jobs reach the gateway.
EDGE = "edge.site"


def own_address() -> str:
    """An address of this host that is none of the loopback interface's."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            sock.connect(("192.0.2.99", 9))
        except OSError:
            pytest.skip("this host has no network")
        return str(sock.getsockname()[0])


class Service:
    """A service of the host that takes what comes from the host itself for its administrator."""

    def __init__(self) -> None:
        self.reached = 0

    async def __call__(self, stream: trio.SocketStream) -> None:
        self.reached += 1
        await stream.receive_some()
        await stream.send_all(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\nConnection: close\r\n\r\nsecret")


@asynccontextmanager
async def service() -> AsyncIterator[tuple[Service, int]]:
    """On all addresses of this host."""
    handler = Service()
    with socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True) as listener:
        port = listener.getsockname()[1]
        listener.setblocking(False)
        served = [trio.SocketListener(trio.socket.from_stdlib_socket(listener))]
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.serve_listeners, handler, served)
            yield handler, port
            nursery.cancel_scope.cancel()


async def use(cluster: ClusterOfUser, path: str = "x") -> tuple[Any, Any, bytes]:
    """All three ways to make the gateway connect: the dashboard, a message to the scheduler, a client's hello."""
    gateway = cluster.gateway
    page = await gateway.ask("GET", f"{cluster.dashboard}{path}")
    scaled = await gateway.ask(
        "POST", f"{CLUSTERS}{cluster.name}/scale", user=cluster.user, headers=[JSON], body=b'{"count": 1}'
    )
    async with await connect(("127.0.0.1", gateway.port)) as stream:
        await stream.send_all(openssl_hello(f"daskgateway-{cluster.name}"))
        await stream.send_eof()
        return page, scaled, await receive_all(stream)


async def check_nothing_is_connected_to(gateway: Attacked, address: str) -> None:
    """A heartbeat names it, and everybody uses that cluster."""
    cluster = await gateway.create("mallory")
    answer = await cluster.beat(scheduler=address, dashboard=address, api=address)
    if answer.status == 422:  # what is written in digits is refused at once, in words for everybody concerned
        assert "is not connected to" in answer.json["error"]
        events = await gateway.ask("GET", f"{CLUSTERS}{cluster.name}/events", user="mallory")
        assert answer.json["error"] in [event["message"] for event in events.json["events"]]
        page, scaled, hello = await use(cluster)
        assert (page.status, scaled.status, hello[-1:]) == (404, 409, b"\x70")
        return
    assert answer.status == 200
    page, scaled, hello = await use(cluster, "/".join([cluster.dashboard.strip("/")] * 3))
    assert page.status == 502
    assert b"This address is not connected to" in page.body
    assert (scaled.status, "does not take messages" in scaled.json["error"]) == (409, True)
    assert hello[-1:] == INTERNAL_ERROR


@pytest.mark.parametrize(
    ("listens_at", "host"),
    [
        *((":0", host) for host in LOOPBACK),
        *(("127.0.0.1:0", host) for host in LOOPBACK if host not in ("127.9.9.9", "[::1]", "[::]")),
    ],
)
async def test_our_own_port_is_never_connected_to(listens_at: str, host: str, tmp_path: Path) -> None:
    """Even where jobs are on this host. One hello would become as many as there may be, one GET as long as its path."""
    lines = [f"c.Proxy.address = {listens_at!r}", "c.Proxy.max_connections = 60", "c.Proxy.connect_timeout = 5"]
    async with open_attacked(tmp_path, *lines) as gateway:
        await check_nothing_is_connected_to(gateway, f"{host}:{gateway.port}")
        await probe(gateway)


async def test_nor_by_any_address_of_this_host_or_at_any_port_of_ours(tmp_path: Path) -> None:
    address = own_address()
    lines = ("c.Proxy.address = '0.0.0.0:0'", "c.Proxy.tcp_address = ':0'", "c.DaskGateway.address = ':0'")
    async with open_attacked(tmp_path, *lines) as gateway:
        for listeners in (gateway.ports.public, gateway.ports.schedulers, gateway.ports.private):
            cluster = await gateway.create("mallory")
            port = listeners[0].getsockname()[1]
            for host in (address, "127.0.0.1"):
                assert (
                    await cluster.beat(dashboard=f"{host}:{port}", scheduler=f"{host}:1", api=f"{host}:1")
                ).status == 422
        await probe(gateway)


@pytest.mark.parametrize("host", [*LOOPBACK, "OWN", "169.254.1.1", "[fe80::1]"])
async def test_where_jobs_run_elsewhere_this_host_is_not_connected_to(host: str, tmp_path: Path) -> None:
    async with open_attacked(tmp_path, default_host=EDGE) as gateway, service() as (handler, port):
        host = own_address() if host == "OWN" else host
        await check_nothing_is_connected_to(gateway, f"{host}:{port}")
        await probe(gateway)
        assert handler.reached == 0


async def test_a_name_is_checked_each_time_it_is_connected_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody looks it up when it is named: it has an innocent address then, and another one when it is used."""
    meanings = ["198.51.100.1"]
    looked_up = 0
    real = socket.getaddrinfo

    def look_up(host: Any, port: Any, *arguments: Any, **options: Any) -> Any:
        nonlocal looked_up
        if host == "rebound.example":
            looked_up += 1
            return real(meanings[0], port, *arguments, **options)
        return real(host, port, *arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    async with open_attacked(tmp_path, default_host=EDGE) as gateway, service() as (handler, port):
        cluster = await gateway.create("mallory")
        address = f"rebound.example:{port}"
        assert (await cluster.beat(scheduler=address, dashboard=address, api=address)).status == 200
        assert looked_up == 0
        meanings[:] = ["127.0.0.1"]
        page, scaled, hello = await use(cluster)
        assert looked_up > 0
        assert (page.status, scaled.status, hello[-1:]) == (502, 409, INTERNAL_ERROR)
        assert handler.reached == 0


@pytest.mark.parametrize(
    ("networks", "host", "reached"),
    [
        (["127.0.0.0/8"], "127.0.0.1", True),
        (["127.0.0.1"], "localhost", True),
        (["127.0.0.2"], "127.0.0.1", False),
        (["OWN/32"], "OWN", True),
        (["10.0.0.0/8", "127.0.0.0/8"], "OWN", False),
        (["0.0.0.0/0", "::/0"], "127.0.0.1", False),
        (["0.0.0.0/0", "::/0"], "localhost", False),
        (["0.0.0.0/0"], "OWN", False),
    ],
)
async def test_networks_that_are_listed(networks: list[str], host: str, reached: bool, tmp_path: Path) -> None:
    networks = [network.replace("OWN", own_address()) for network in networks]
    line = f"c.Proxy.scheduler_networks = {networks!r}"
    async with open_attacked(tmp_path, line, default_host=EDGE) as gateway, service() as (handler, port):
        address = f"{own_address() if host == 'OWN' else host}:{port}"
        cluster = await gateway.create()
        beat = await cluster.beat(scheduler=address, dashboard=address, api=address)
        page, scaled, _ = await use(cluster)
        if reached:
            assert (beat.status, page.status, page.body, scaled.status) == (200, 200, b"secret", 200)
            assert handler.reached == 3
        else:
            assert handler.reached == 0
            assert page.status in (404, 502)


async def test_by_way_of_another_server_it_comes_back_once(tmp_path: Path) -> None:
    """One that forwards to us, or another gateway of which the same user has a cluster."""
    async with open_attacked(tmp_path) as gateway:
        passed = 0

        async def forward(stream: trio.SocketStream) -> None:
            nonlocal passed
            passed += 1
            async with await connect(("127.0.0.1", gateway.port)) as there:
                await there.send_all(await stream.receive_some())
                await stream.send_all(await receive_all(there))

        async with peer(forward) as port:
            cluster = await gateway.create("mallory")
            assert (await cluster.beat(dashboard=f"127.0.0.1:{port}")).status == 200
            page = await gateway.ask("GET", f"{cluster.dashboard}{'/'.join([cluster.dashboard.strip('/')] * 20)}")
        assert (page.status, passed) == (508, 1)
        await probe(gateway)
