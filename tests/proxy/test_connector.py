"""Connections to addresses that clusters name: names, addresses of this host, and what does not answer."""

import socket
import threading
from typing import Any

import pytest
import trio
import trio.testing

from gateway.proxy import dialer as dialer
from gateway.proxy import resolver
from gateway.proxy.destinations import Destinations
from gateway.proxy.dialer import Dialer, RefusedDestination, numeric_family
from gateway.proxy.resolver import KEPT, LOOK_UPS, MOST_NAMES, LookUpError, Resolver
from gateway.proxy.this_host import is_this_host
from tests.support.proxy_peers import LOCAL, echo, peer


class Names:
    """Stands for getaddrinfo: answers with `known`; a name in `slow` first waits for `over`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.known: dict[str, list[str] | Exception] = {}
        self.slow: set[str] = set()
        self.over = threading.Event()
        self.asked: list[str] = []
        self._real = socket.getaddrinfo
        monkeypatch.setattr(resolver.socket, "getaddrinfo", self.look_up)

    def look_up(self, host: str, port: int, *arguments: Any, **options: Any) -> list[Any]:
        if numeric_family(host):
            return self._real(host, port, *arguments, **options)
        self.asked.append(host)
        if host in self.slow:
            self.over.wait()
        known = self.known.get(host, [LOCAL])
        if isinstance(known, Exception):
            raise known
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in known]

    async def wait_asked(self, count: int) -> None:
        while len(self.asked) < count:
            await trio.lowlevel.checkpoint()


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Any:
    names = Names(monkeypatch)
    yield names
    names.over.set()


async def test_an_answer_is_known_for_some_seconds(names: Names, mock_clock: trio.testing.MockClock) -> None:
    resolves = Resolver()
    names.known["unknown"] = socket.gaierror(socket.EAI_NONAME, "nobody knows it")
    names.known["a..b"] = UnicodeError("label empty")
    for _ in range(2):
        assert await resolves.look_up("one", "node") == [(socket.AF_INET, (LOCAL, 0))]
        assert await resolves.look_up("other", "node") == [(socket.AF_INET, (LOCAL, 0))]
        for bad in ("unknown", "a..b"):
            with pytest.raises(LookUpError, match=bad):
                await resolves.look_up("one", bad)
    assert names.asked == ["node", "unknown", "a..b"]
    mock_clock.jump(KEPT)
    await resolves.look_up("one", "node")
    assert names.asked.count("node") == 2


async def test_what_is_known_is_bounded(names: Names, mock_clock: trio.testing.MockClock) -> None:
    names.known["many"] = [LOCAL] * 100
    resolves = Resolver()
    assert len(await resolves.look_up("r", "many")) == 8
    hosts = [f"node{number}" for number in range(MOST_NAMES + 1)]
    for host in (*hosts, hosts[-1], hosts[0]):
        await resolves.look_up("r", host)
    assert names.asked == ["many", *hosts, hosts[0]]
    assert len(resolves._known) == MOST_NAMES


async def test_a_route_has_one_look_up_at_a_time(names: Names) -> None:
    names.slow |= {"slow"}
    resolves, ended = Resolver(), []

    async def look_up(route: str, host: str) -> None:
        await resolves.look_up(route, host)
        ended.append((route, host))

    async with trio.open_nursery() as nursery:
        for host in ("slow", "slow", "elsewhere"):
            nursery.start_soon(look_up, "one", host)
            await trio.testing.wait_all_tasks_blocked()
            await names.wait_asked(1)
        await look_up("other", "elsewhere")
        assert names.asked == ["slow", "elsewhere"]
        assert ended == [("other", "elsewhere")]
        names.over.set()
    assert sorted(ended[1:]) == [("one", "elsewhere"), ("one", "slow"), ("one", "slow")]
    assert names.asked == ["slow", "elsewhere"]


async def test_whoever_gives_up_waiting_leaves_the_look_up_to_others(names: Names) -> None:
    names.slow |= {"slow"}
    resolves = Resolver()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(resolves.look_up, "one", "slow")
        await names.wait_asked(1)
        nursery.cancel_scope.cancel()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(resolves.look_up, "one", "slow")
        await trio.testing.wait_all_tasks_blocked()
        names.over.set()
    assert names.asked == ["slow"]


async def test_look_ups_wait_for_each_other_and_not_for_other_threads(names: Names) -> None:
    names.slow |= {f"slow-{n}" for n in range(LOOK_UPS + 1)}
    resolves = Resolver()
    async with trio.open_nursery() as nursery:
        for number in range(LOOK_UPS):
            nursery.start_soon(resolves.look_up, f"r{number}", f"slow-{number}")
        await names.wait_asked(LOOK_UPS)
        with trio.CancelScope() as scope:
            nursery.start_soon(resolves.look_up, "behind", "fast")
            async with trio.open_nursery() as waiting:
                waiting.start_soon(resolves.look_up, "last", f"slow-{LOOK_UPS}")
                waiting.start_soon(resolves.look_up, "last", "fast")
                await trio.testing.wait_all_tasks_blocked()
                assert await trio.to_thread.run_sync(lambda: "served") == "served"
                assert len(names.asked) == LOOK_UPS
                scope.cancel()
        assert "last" not in resolves._under_way
        names.over.set()
    assert names.asked[LOOK_UPS:] == ["fast"]


async def test_a_fault_of_ours_is_told_once(names: Names) -> None:
    names.known["node"] = ZeroDivisionError("ours")
    resolves = Resolver()
    with pytest.raises(RuntimeError) as caught:
        await resolves.look_up("r", "node")
    assert isinstance(caught.value.__cause__, ZeroDivisionError)
    del names.known["node"]
    assert await resolves.look_up("r", "node")


async def test_the_first_address_that_accepts(names: Names) -> None:
    names.known["node"] = ["127.0.0.2", LOCAL]
    async with peer(echo) as port, await Dialer().connect("r", ("node", port), 5) as stream:
        assert stream.socket.getpeername() == (LOCAL, port)


async def test_an_address_that_does_not_answer_leaves_time_for_the_next(names: Names, monkeypatch: Any) -> None:
    names.known["node"] = ["198.51.100.1", LOCAL]
    real = dialer._connect
    silent: list[Any] = []

    async def connect(family: int, target: Any) -> trio.SocketStream:
        if target[0] == "198.51.100.1":
            silent.append(target)
            await trio.sleep_forever()
        return await real(family, target)

    monkeypatch.setattr(dialer, "_connect", connect)
    async with peer(echo) as port, await Dialer().connect("r", ("node", port), 0.2) as stream:
        assert stream.socket.getpeername() == (LOCAL, port)
        assert len(silent) == 1
        names.known["silent"] = ["198.51.100.1"]
        with pytest.raises(TimeoutError):
            await Dialer().connect("r", ("silent", port), 0.01)


async def test_no_address_at_all(names: Names) -> None:
    names.known["node"] = []
    with pytest.raises(OSError, match="no address"):
        await Dialer().connect("r", ("node", 1), 5)


async def test_addresses_of_a_name_are_checked_one_by_one(names: Names) -> None:
    names.known["node"], names.known["bad"] = ["127.0.0.2", LOCAL], ["127.0.0.2"]
    careful = Dialer(Destinations(lambda address: False, networks=["127.0.0.1"]))
    assert careful.refusal("node", 1) == ""
    assert careful.refusal("127.0.0.2", 1)
    async with peer(echo) as port:
        async with await careful.connect("r", ("node", port), 5) as stream:
            assert stream.socket.getpeername() == (LOCAL, port)
        with pytest.raises(RefusedDestination, match="scheduler_networks"):
            await careful.connect("r", ("bad", port), 5)


def test_addresses_of_this_host() -> None:
    for ours in ("127.0.0.1", "127.1.2.3", "::1"):
        assert is_this_host(ours)
    for other in ("198.51.100.7", "2001:db8::7"):
        assert not is_this_host(other)


def test_the_kernel_says_why_not(monkeypatch: pytest.MonkeyPatch) -> None:
    class Netlink:
        code = 0

        def __init__(self, *_: Any) -> None:
            pass

        def __enter__(self) -> "Netlink":
            return self

        def __exit__(self, *_: Any) -> None:
            pass

        def send(self, data: bytes) -> None:
            pass

        def recv(self, size: int) -> bytes:
            return b"\x24\0\0\0\x02\0\0\0" + bytes(8) + (-self.code).to_bytes(4, "little", signed=True)

    monkeypatch.setattr("gateway.proxy.this_host.socket.socket", Netlink)
    Netlink.code = 101
    assert not is_this_host("10.0.0.1")
    Netlink.code = 1
    with pytest.raises(PermissionError):
        is_this_host("10.0.0.1")
