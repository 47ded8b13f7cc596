"""The public port on real sockets: what goes where, and how it ends."""

import gc
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import trio

from gateway.config.proxy import Proxy
from gateway.proxy.client_hello import parse_client_hello
from gateway.proxy.relay.relay import Relay
from gateway.proxy.routes import Routes
from tests.support.hellos import big_hello, openssl_hello, split
from tests.support.proxy_peers import (
    HELLO,
    LOCAL,
    connect,
    echo,
    gateways_tls,
    get,
    hello_app,
    http_server,
    is_ended,
    peer,
    public_port,
    receive_all,
    receive_exactly,
)

ALERT = b"\x15\x03"


def route_to(port: int, name: str = "abc") -> Routes:
    routes = Routes()
    routes.add(name, f"tls://{LOCAL}:{port}")
    return routes


@pytest.fixture
async def echo_port() -> AsyncIterator[int]:
    async with peer(echo) as port:
        yield port


async def test_a_cluster_is_reached_by_its_name(echo_port: int) -> None:
    async with public_port(route_to(echo_port)) as address, await connect(address) as client:
        await client.send_all(HELLO + b"more")
        assert await receive_exactly(client, len(HELLO) + 4) == HELLO + b"more"
        await client.send_all(b"x")
        assert await receive_exactly(client, 1) == b"x"
        await client.send_eof()
        assert await receive_all(client) == b""


async def test_nobody_is_careful_between_processes_of_one_host(echo_port: int) -> None:
    async with public_port(route_to(echo_port)) as address, await connect(address) as client:
        await client.send_all(HELLO)
        await receive_exactly(client, len(HELLO))
        (relay,) = (found for found in gc.get_objects() if isinstance(found, Relay) and found.open)
        for side in (relay.client, relay.upstream):
            assert side.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, 16).rstrip(b"\0") == b"reno"


async def test_a_name_is_compared_without_case(echo_port: int) -> None:
    hello = openssl_hello("DaskGateway-ABC")
    async with public_port(route_to(echo_port)) as address, await connect(address) as client:
        await client.send_all(hello)
        assert await receive_exactly(client, len(hello)) == hello


@pytest.mark.parametrize("cut", [1, 3, 5, 6, 40, len(HELLO) - 1])
async def test_a_hello_in_two_segments(echo_port: int, cut: int) -> None:
    async with public_port(route_to(echo_port)) as address, await connect(address) as client:
        await client.send_all(HELLO[:cut])
        await trio.testing.wait_all_tasks_blocked(0.01)
        await client.send_all(HELLO[cut:])
        assert await receive_exactly(client, len(HELLO)) == HELLO


async def test_a_hello_of_60_kib_in_many_records(echo_port: int) -> None:
    hello = split(big_hello(b"daskgateway-abc", 60000), [1, 2, 3, 100, 1000])
    async with public_port(route_to(echo_port)) as address, await connect(address) as client:
        for start in range(0, len(hello), 7000):
            await client.send_all(hello[start : start + 7000])
            await trio.testing.wait_all_tasks_blocked()
        assert await receive_exactly(client, len(hello)) == hello


async def test_a_hello_in_tiny_records_costs_few_looks(echo_port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    looks = 0

    def counted(*arguments: Any) -> Any:
        nonlocal looks
        looks += 1
        return parse_client_hello(*arguments)

    monkeypatch.setattr("gateway.proxy.detect.parse_client_hello", counted)
    hello = split(big_hello(b"daskgateway-abc", 1000), [1] * 1100)
    async with public_port(route_to(echo_port)) as address, await connect(address) as client:
        for start in range(0, len(hello), 12):
            await client.send_all(hello[start : start + 12])
            await trio.testing.wait_all_tasks_blocked()
        assert await receive_exactly(client, len(hello)) == hello
        assert looks < 60
    looks = 0
    async with public_port(route_to(echo_port)) as address, await connect(address) as client:
        await client.send_all(hello)
        assert await receive_exactly(client, len(hello)) == hello
        assert looks > len(hello) / 6 / 64  # it took several turns


async def test_a_client_that_has_said_much_and_ends_early_is_closed() -> None:
    hello = split(big_hello(b"daskgateway-abc", 1000), [1] * 1100)
    async with public_port(Routes()) as address, await connect(address) as client:
        await client.send_all(hello[:-1])
        await client.send_eof()
        assert await is_ended(client)


async def test_half_close_from_either_side() -> None:
    async def count(stream: trio.SocketStream) -> None:
        size = len(await receive_all(stream))
        await stream.send_all(f"{size}".encode())

    async def speak_first(stream: trio.SocketStream) -> None:
        await stream.send_all(b"all that I have to say")
        await stream.send_eof()
        heard.append(await receive_all(stream))
        done.set()

    heard: list[bytes] = []
    done = trio.Event()
    async with peer(count) as count_port, peer(speak_first) as first_port:
        async with public_port(route_to(count_port)) as address, await connect(address) as client:
            await client.send_all(HELLO + b"x" * 1_000_000)
            await client.send_eof()
            assert await receive_all(client) == f"{len(HELLO) + 1_000_000}".encode()
        async with public_port(route_to(first_port)) as address, await connect(address) as client:
            await client.send_all(HELLO)
            assert await receive_all(client) == b"all that I have to say"
            await client.send_all(b"but I go on")
            await client.send_eof()
            await done.wait()
    assert heard == [HELLO + b"but I go on"]


async def test_a_reset_by_the_client_reaches_the_scheduler(echo_port: int) -> None:
    ended: list[BaseException | bytes] = []
    done, opened = trio.Event(), trio.Event()

    async def listen(stream: trio.SocketStream) -> None:
        try:
            await receive_exactly(stream, len(HELLO))
            opened.set()
            ended.append(await stream.receive_some())
        except trio.BrokenResourceError as error:
            ended.append(error)
        done.set()

    async with peer(listen) as port, public_port(route_to(port)) as address:
        client = await connect(address)
        await client.send_all(HELLO)
        await opened.wait()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        await client.aclose()
        await done.wait()
    assert isinstance(ended[0], trio.BrokenResourceError)


async def test_a_reset_by_the_scheduler_reaches_the_client() -> None:
    async def reset(stream: trio.SocketStream) -> None:
        await receive_exactly(stream, len(HELLO))
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")

    async with peer(reset) as port, public_port(route_to(port)) as address, await connect(address) as client:
        await client.send_all(HELLO)
        with pytest.raises(trio.BrokenResourceError):
            await receive_all(client)


async def test_a_slow_reader_holds_back_the_writer() -> None:
    sent, chunk = 0, b"x" * 65536

    async def pour(stream: trio.SocketStream) -> None:
        nonlocal sent
        with suppress(trio.BrokenResourceError):  # the test has ended
            while True:
                await stream.send_all(chunk)
                sent += len(chunk)

    async with peer(pour) as port, public_port(route_to(port)) as address, await connect(address) as client:
        await client.send_all(HELLO)
        await client.receive_some(1)
        await trio.testing.wait_all_tasks_blocked(0.2)
        stood_at = sent
        assert 0 < stood_at < 100_000_000
        # It goes on when the reader does.
        await receive_exactly(client, stood_at + 10 * len(chunk))
        assert sent > stood_at


async def test_routes_that_go_away_end_their_connections(echo_port: int) -> None:
    routes = route_to(echo_port)
    routes.add("other", f"tls://{LOCAL}:{echo_port}")
    other_hello = openssl_hello("daskgateway-other")
    async with public_port(routes) as address, await connect(address) as client, await connect(address) as other:
        await client.send_all(HELLO)
        await receive_exactly(client, len(HELLO))
        await other.send_all(other_hello)
        await receive_exactly(other, len(other_hello))
        routes.remove("abc")
        assert await is_ended(client)
        await other.send_all(b"x")
        assert await receive_exactly(other, 1) == b"x"


@pytest.mark.parametrize("name", ["daskgateway-unknown", "localhost"])
async def test_an_unknown_name_gets_an_alert_at_once(name: str) -> None:
    context = ssl.create_default_context()
    async with public_port(Routes()) as address:
        client = trio.SSLStream(await connect(address), context, server_hostname=name)
        with pytest.raises(trio.BrokenResourceError) as caught:
            await client.do_handshake()
        await trio.aclose_forcefully(client)
    reason = getattr(caught.value.__cause__, "reason", "")
    assert reason == ("TLSV1_UNRECOGNIZED_NAME" if "daskgateway" in name else "SSLV3_ALERT_HANDSHAKE_FAILURE")


async def test_a_bad_hello_gets_an_alert() -> None:
    async with public_port(Routes()) as address, await connect(address) as client:
        await client.send_all(b"\x16\x03\x01\x00\x00")
        assert (await receive_all(client))[:2] == ALERT


async def test_http_and_https_on_one_port(echo_port: int, tmp_path: Path) -> None:
    server, client = gateways_tls(tmp_path)
    async with public_port(route_to(echo_port), serve_http=http_server(hello_app), ssl_context=server) as address:
        assert (await get(address)).endswith(b"http 0")
        assert (await get(address, context=client)).endswith(b"https 0")
        async with await connect(address) as scheduler:
            await scheduler.send_all(HELLO)
            assert await receive_exactly(scheduler, len(HELLO)) == HELLO


async def test_a_failed_handshake_harms_nobody(tmp_path: Path) -> None:
    server, client = gateways_tls(tmp_path)
    async with public_port(Routes(), serve_http=http_server(hello_app), ssl_context=server) as address:
        stranger = trio.SSLStream(await connect(address), ssl.create_default_context(), server_hostname="localhost")
        with pytest.raises(trio.BrokenResourceError):
            await stranger.do_handshake()
        await trio.aclose_forcefully(stranger)
        assert (await get(address, context=client)).endswith(b"https 0")


async def test_two_ports(echo_port: int) -> None:
    routes = route_to(echo_port)
    async with (
        public_port(routes, serve_http=http_server(hello_app), schedulers=False) as web,
        public_port(routes) as tcp,
    ):
        assert (await get(web)).endswith(b"http 0")
        with pytest.raises(trio.BrokenResourceError):
            await get(tcp)
        async with await connect(tcp) as client:
            await client.send_all(HELLO)
            assert await receive_exactly(client, len(HELLO)) == HELLO
        async with await connect(web) as client:
            await client.send_all(HELLO)
            assert (await receive_all(client))[:2] == ALERT


async def test_a_scheduler_that_does_not_answer_is_news() -> None:
    with socket.socket() as closed:
        closed.bind((LOCAL, 0))
        routes, told = route_to(closed.getsockname()[1]), []
        with routes.on_refused(told.append):
            async with public_port(routes) as address, await connect(address) as client:
                await client.send_all(HELLO)
                assert (await receive_all(client))[-1:] == b"\x50"  # internal_error
    assert told == ["abc"]


@pytest.mark.parametrize("said", [b"", HELLO[:1], HELLO[:100]])
async def test_a_client_that_goes_silent_is_closed(said: bytes) -> None:
    options = Proxy(first_byte_timeout=0.1, hello_timeout=0.1, shutdown_grace=0)
    async with public_port(Routes(), options=options) as address, await connect(address) as client:
        await client.send_all(said)
        assert await is_ended(client)


@pytest.mark.parametrize("said", [b"", HELLO[:1], HELLO[:100]])
async def test_a_client_that_ends_early_is_closed(said: bytes) -> None:
    async with public_port(Routes()) as address, await connect(address) as client:
        await client.send_all(said)
        await client.send_eof()
        assert await is_ended(client)


async def test_the_small_end_of_a_large_message_does_not_wait_for_more() -> None:
    """The scheduler answers with megabytes and a few bytes more, and keeps the connection open."""
    size = 12_000_007

    async def generous(stream: trio.SocketStream) -> None:
        await receive_exactly(stream, len(HELLO))
        for _ in range(3):
            await stream.send_all(bytes(size))
            await stream.receive_some(1)

    routes = Routes()
    async with peer(generous) as port:
        routes.add("abc", f"tls://{LOCAL}:{port}")
        async with public_port(routes) as address, await connect(address) as client:
            await client.send_all(HELLO)
            for _ in range(3):
                with trio.fail_after(30):
                    left = size
                    while left:
                        left -= len(await client.receive_some(1 << 20))
                await client.send_all(b"x")
