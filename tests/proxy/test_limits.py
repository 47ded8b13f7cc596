"""The public port under pressure: limits, scarcity, fronting proxies, and how it stops."""

import errno
import os
import socket
import struct
import threading
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import trio
from attrs import evolve

from gateway.config.proxy import Proxy
from gateway.proxy import resolver
from gateway.proxy.listeners import open_listeners
from gateway.proxy.port import PublicPort
from gateway.proxy.routes import Routes
from gateway.proxy.serving import serve_public
from gateway.proxy.traffic import Traffic
from tests.proxy.test_malformed import FRAMES, MALFORMED, answer_to
from tests.support.hellos import openssl_hello, split
from tests.support.proxy_peers import (
    HELLO,
    LIMITS,
    LOCAL,
    connect,
    echo,
    first_ended,
    get,
    heard_until_end,
    hello_app,
    http_server,
    is_ended,
    peer,
    public_port,
    receive_all,
    receive_exactly,
    server_of,
)


def route_to(port: int, host: str = LOCAL) -> Routes:
    routes = Routes()
    routes.add("abc", f"tls://{host}:{port}")
    return routes


async def relayed(address: Any) -> trio.SocketStream:
    client = await connect(address)
    await client.send_all(HELLO)
    assert await receive_exactly(client, len(HELLO)) == HELLO
    return client


async def is_refused(address: Any) -> bool:
    """Whether a client that asks for a cluster hears nothing but the end."""
    client = await connect(address)
    with suppress(trio.BrokenResourceError):  # closed before it has asked
        await client.send_all(HELLO)
    return await is_ended(client)


async def test_the_number_of_connections_is_limited_in_total_and_by_address() -> None:
    for options in (
        Proxy(max_connections=2, shutdown_grace=0),
        Proxy(max_connections_per_address=2, shutdown_grace=0),
    ):
        async with peer(echo) as port, public_port(route_to(port), options=options) as address:
            one, two = await relayed(address), await relayed(address)
            assert await is_refused(address)
            await one.aclose()
            async with two, await _eventually(address):
                pass


async def _eventually(address: Any) -> trio.SocketStream:
    """A relayed connection, as soon as the one that has been closed is known to be."""
    while True:
        client = await connect(address)
        with suppress(trio.BrokenResourceError):
            await client.send_all(HELLO)
            if first := await client.receive_some(1):
                assert first + await receive_exactly(client, len(HELLO) - 1) == HELLO
                return client
        await client.aclose()


async def test_of_those_that_have_not_asked_for_anything_the_oldest_makes_room() -> None:
    options = Proxy(max_undecided=2, shutdown_grace=0)
    async with peer(echo) as port, public_port(route_to(port), options=options) as address:
        one, two = await connect(address), await connect(address)
        await two.send_all(HELLO[:10])
        await trio.testing.wait_all_tasks_blocked(0.02)
        async with one, two, await connect(address) as three:
            assert await is_ended(one)
            await two.send_all(HELLO[10:])
            await receive_exactly(two, len(HELLO))
            async with await relayed(address):
                await three.send_all(HELLO)
                await receive_exactly(three, len(HELLO))


async def test_kept_connections_make_room() -> None:
    options = Proxy(max_connections=4, shutdown_grace=0)
    request = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"

    async def ask(stream: trio.SocketStream) -> None:
        data = b""
        await stream.send_all(request)
        while not data.endswith(b"http 0"):
            piece = await stream.receive_some()
            assert piece
            data += piece

    async with public_port(Routes(), serve_http=http_server(hello_app), options=options) as address:
        kept = [await connect(address) for _ in range(4)]
        for stream in (*kept, kept[0]):  # so the second one is idle for longest
            await ask(stream)
        await trio.testing.wait_all_tasks_blocked(0.02)
        assert (await get(address)).endswith(b"http 0")
        assert await is_ended(kept.pop(1))
        for stream in kept:
            await ask(stream)
            await stream.aclose()


async def test_relays_of_one_address_make_room_for_another_s() -> None:
    options = Proxy(max_connections=8, shutdown_grace=0)
    async with peer(echo) as port, public_port(route_to(port), options=options) as address:
        many = [await relayed(address) for _ in range(7)]
        async with await connect(address) as client:
            await client.send_all(HELLO)  # the eighth place is for those who are not relayed
            assert (await receive_all(client))[-1:] == b"\x50"
        async with await connect(address, source="127.0.0.2") as other:
            await other.send_all(HELLO)
            assert await receive_exactly(other, len(HELLO)) == HELLO
        assert await is_ended(many.pop())
        for stream in many:  # those that have been there for longer
            await stream.send_all(b"x")
            assert await receive_exactly(stream, 1) == b"x"
            await stream.aclose()


@pytest.mark.parametrize("by_name", [False, True])
async def test_connections_that_wait_for_their_scheduler_make_room(
    monkeypatch: pytest.MonkeyPatch, by_name: bool
) -> None:
    over, token = threading.Event(), trio.lowlevel.current_trio_token()
    asked = trio.Event()

    def hang(*_: Any, **__: Any) -> Any:
        token.run_sync_soon(asked.set)
        over.wait()
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (LOCAL, 1))]

    listener, queue = full_listener()
    options = Proxy(max_connections=8, shutdown_grace=0)
    with listener:
        full = f"tls://{'node.example' if by_name else LOCAL}:{listener.getsockname()[1]}"
        routes = Routes()
        routes.add("abc", full)
        async with peer(echo) as port, public_port(routes, options=options) as address:
            if by_name:
                monkeypatch.setattr(resolver.socket, "getaddrinfo", hang)
            many = [await connect(address) for _ in range(7)]
            for stream in many:
                await stream.send_all(HELLO)
            await trio.testing.wait_all_tasks_blocked(0.02)
            routes.add("other", f"tls://{LOCAL}:{port}")
            async with await connect(address, source="127.0.0.2") as other:
                hello = openssl_hello("daskgateway-other")
                await other.send_all(hello)
                assert await receive_exactly(other, len(hello)) == hello
                many.remove(await first_ended(many))
                over.set()
                await trio.testing.wait_all_tasks_blocked(0.02)
                await other.send_all(b"x")
                assert await receive_exactly(other, 1) == b"x"
            for stream in many:
                await stream.aclose()
    for sock in queue:
        sock.close()


async def test_a_web_connection_that_makes_room_before_its_task_has_begun() -> None:
    """All three arrive in one turn of the loop, and only then tasks have theirs."""
    options = Proxy(max_connections=2, shutdown_grace=0)
    sockets = [socket.socket() for _ in range(3)]
    async with public_port(Routes(), serve_http=http_server(hello_app), options=options) as address:
        for sock in sockets:  # no await between these
            sock.connect(address)
            sock.send(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        first, *others = [trio.SocketStream(trio.socket.from_stdlib_socket(sock)) for sock in sockets]
        assert await is_ended(first)
        for stream in others:
            async with stream:
                assert (await receive_all(stream)).endswith(b"http 0")


async def test_without_file_descriptors_the_port_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    failures = [OSError(errno.EMFILE, "Too many open files"), ConnectionAbortedError(errno.ECONNABORTED, "gone")]
    accept = socket.socket.accept

    def scarce(self: socket.socket) -> Any:
        if failures:
            raise failures.pop(0)
        return accept(self)

    monkeypatch.setattr(socket.socket, "accept", scarce)
    async with peer(echo) as port, public_port(route_to(port)) as address, await relayed(address):
        assert not failures


async def test_without_file_descriptors_the_silent_make_room(monkeypatch: pytest.MonkeyPatch) -> None:
    failures: list[OSError] = []
    accept = socket.socket.accept

    def scarce(self: socket.socket) -> Any:
        if failures:
            raise failures.pop()
        return accept(self)

    monkeypatch.setattr(socket.socket, "accept", scarce)
    missed: list[str] = []
    options = Proxy(first_byte_timeout=1000, shutdown_grace=0)
    async with peer(echo) as port, public_port(route_to(port), missed=missed.append, options=options) as address:
        silent = await connect(address)
        await trio.testing.wait_all_tasks_blocked(0.02)
        failures.append(OSError(errno.EMFILE, "Too many open files"))
        async with await relayed(address):
            assert await is_ended(silent)
    assert "connections could not be accepted" in missed


async def test_without_file_descriptors_for_a_scheduler_the_client_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def scarce(*_: Any) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    async with peer(echo) as port, public_port(route_to(port)) as address, await connect(address) as client:
        monkeypatch.setattr("gateway.proxy.connector.socket", SimpleNamespace(**vars(socket) | {"socket": scarce}))
        await client.send_all(HELLO)
        assert (await receive_all(client))[-1:] == b"\x50"
        monkeypatch.undo()
        async with await relayed(address):
            pass


async def test_a_scheduler_known_by_name() -> None:
    async with peer(echo) as port, public_port(route_to(port, "localhost")) as address, await relayed(address):
        pass


def known_at(monkeypatch: pytest.MonkeyPatch, *entries: tuple[int, str]) -> None:
    """Every name has these addresses."""

    def look_up(_: str, port: int, **__: Any) -> list[Any]:
        return [(family, socket.SOCK_STREAM, 6, "", (host, port)) for family, host in entries]

    monkeypatch.setattr(resolver.socket, "getaddrinfo", look_up)


async def test_a_scheduler_at_one_of_the_addresses_of_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    async with peer(echo) as port, public_port(route_to(port, "node.example")) as address:
        known_at(
            monkeypatch,
            (socket.AF_PPPOX, "::1"),  # a family that this machine has not
            (socket.AF_INET6, "::1"),  # where nobody listens
            (socket.AF_INET, "127.0.0.2"),
            (socket.AF_INET, LOCAL),
        )
        async with await relayed(address):
            pass


async def test_a_name_with_addresses_at_which_nobody_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    listener, queue = full_listener()
    options, told = Proxy(connect_timeout=0.1, shutdown_grace=0), []
    with listener:
        routes = route_to(listener.getsockname()[1], "node.example")
        with routes.on_refused(told.append):
            async with public_port(routes, options=options) as address, await connect(address) as client:
                known_at(monkeypatch, (socket.AF_INET, LOCAL), (socket.AF_INET, "127.0.0.2"))
                await client.send_all(HELLO)
                assert (await receive_all(client))[-1:] == b"\x50"
    assert told == ["abc"]
    for sock in queue:
        sock.close()


async def test_a_name_that_nobody_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: Any, **__: Any) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    async with public_port(route_to(1, "nowhere.invalid")) as address, await connect(address) as client:
        monkeypatch.setattr(resolver.socket, "getaddrinfo", unknown)
        await client.send_all(HELLO)
        assert (await receive_all(client))[-1:] == b"\x50"


@pytest.mark.parametrize("leads_elsewhere", [False, True])
async def test_a_route_that_goes_away_while_its_name_is_looked_up(
    monkeypatch: pytest.MonkeyPatch, leads_elsewhere: bool
) -> None:
    asked, answered = trio.Event(), threading.Event()
    token = trio.lowlevel.current_trio_token()

    def look_up(_: str, port: int, **__: Any) -> list[Any]:
        token.run_sync_soon(asked.set)
        answered.wait()
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (LOCAL, port))]

    async with peer(echo) as port:
        routes = route_to(port, "node.example")
        async with public_port(routes) as address, await connect(address) as client:
            monkeypatch.setattr(resolver.socket, "getaddrinfo", look_up)
            await client.send_all(HELLO)
            await asked.wait()
            if leads_elsewhere:
                routes.add("abc", f"tls://{LOCAL}:1")
            else:
                routes.remove("abc")
            answered.set()
            assert (await receive_all(client))[-1:] == b"\x50"


async def test_a_fault_of_ours_in_a_look_up_costs_one_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    def faulty(*_: Any, **__: Any) -> None:
        raise RuntimeError("a fault of ours")

    async with peer(echo) as port, public_port(route_to(port, "localhost")) as address:
        with monkeypatch.context() as broken:
            broken.setattr(resolver.socket, "getaddrinfo", faulty)
            assert await is_refused(address)
        async with await relayed(address):
            pass


async def test_a_stop_during_a_look_up_closes_the_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    asked, stopped = trio.Event(), threading.Event()
    token = trio.lowlevel.current_trio_token()

    def never(*_: Any, **__: Any) -> list[Any]:
        token.run_sync_soon(asked.set)
        stopped.wait()
        return []

    async with public_port(route_to(1, "node.example")) as address:
        client = await connect(address)
        monkeypatch.setattr(resolver.socket, "getaddrinfo", never)
        await client.send_all(HELLO)
        await asked.wait()
    assert await is_ended(client)
    stopped.set()


def full_listener() -> tuple[socket.socket, list[socket.socket]]:
    """A listener whose queue is full: further connections stay half-open."""
    listener = socket.socket()
    listener.bind((LOCAL, 0))
    listener.listen(0)
    queue = []
    for _ in range(2):
        sock = socket.socket()
        sock.setblocking(False)
        sock.connect_ex(listener.getsockname())
        queue.append(sock)
    return listener, queue


async def test_a_scheduler_that_is_silent_is_given_up() -> None:
    listener, queue = full_listener()
    options = Proxy(connect_timeout=0.1, shutdown_grace=0)
    with listener:
        public = public_port(route_to(listener.getsockname()[1]), options=options)
        async with public as address, await connect(address) as client:
            await client.send_all(HELLO)
            assert (await receive_all(client))[-1:] == b"\x50"
    for sock in queue:
        sock.close()


async def test_a_route_that_goes_away_while_it_is_dialled() -> None:
    listener, queue = full_listener()
    with listener:
        routes = route_to(listener.getsockname()[1])
        async with public_port(routes) as address, await connect(address) as client:
            await client.send_all(HELLO)
            await trio.testing.wait_all_tasks_blocked(0.05)
            routes.remove("abc")
            assert (await receive_all(client))[-1:] == b"\x50"
    for sock in queue:
        sock.close()


async def test_traffic_is_counted_by_cluster() -> None:
    async with peer(echo) as port, trio.open_nursery() as nursery:
        routes = route_to(port)
        (listener,) = await open_listeners("127.0.0.1:0")
        options = {"routes": routes, "serve_http": None, "options": Proxy(shutdown_grace=0)}
        public: PublicPort = await nursery.start(partial(serve_public, [listener], **options))
        assert public.traffic("abc") == public.traffic("unknown") == Traffic()
        async with await relayed(listener.getsockname()), await relayed(listener.getsockname()) as second:
            await second.send_all(b"x" * 1000)
            await receive_exactly(second, 1000)
            traffic = public.traffic("abc")
            assert (traffic.connections, traffic.total_connections) == (2, 2)
            assert traffic.bytes_to_clients == 2 * len(HELLO) + 1000
            assert abs(traffic.bytes_to_scheduler - traffic.bytes_to_clients) <= 4
            await second.send_eof()
            await receive_all(second)
            after = public.traffic("abc")
            assert (after.connections, after.total_connections) == (1, 2)
            assert 0 <= after.bytes_to_clients - traffic.bytes_to_clients <= 2  # the end counts
            routes.remove("abc")
            assert public.traffic("abc") == Traffic()
        nursery.cancel_scope.cancel()
        listener.close()


async def test_traffic_of_all_names_of_a_cluster_counts_and_stays_when_one_ends() -> None:
    async with peer(echo) as port, trio.open_nursery() as nursery:
        routes = Routes()
        for name in ("abc", "abc-two"):
            routes.add(name, f"tls://{LOCAL}:{port}", cluster="abc")
        (listener,) = await open_listeners("127.0.0.1:0")
        options = {"routes": routes, "serve_http": None, "options": Proxy(shutdown_grace=0)}
        public: PublicPort = await nursery.start(partial(serve_public, [listener], **options))
        address, hello = listener.getsockname(), openssl_hello("daskgateway-abc-two")
        async with await relayed(address) as first, await connect(address) as second:
            await second.send_all(hello)
            await receive_exactly(second, len(hello))
            assert public.traffic("abc").connections == 2
            routes.remove("abc-two")
            assert await is_ended(second)
            await first.send_all(b"x")
            assert await receive_exactly(first, 1) == b"x"
            left = public.traffic("abc")
            assert (left.connections, left.total_connections) == (1, 2)
            assert left.bytes_to_clients >= len(HELLO) + len(hello)
        nursery.cancel_scope.cancel()
        listener.close()


async def test_the_first_and_the_last_client_of_a_cluster_are_told() -> None:
    async with peer(echo) as port, trio.open_nursery() as nursery:
        routes = Routes()
        for name in ("abc", "abc-two"):
            routes.add(name, f"tls://{LOCAL}:{port}", cluster="abc")
        (listener,) = await open_listeners("127.0.0.1:0")
        options = {"routes": routes, "serve_http": None, "options": Proxy(shutdown_grace=0)}
        await nursery.start(partial(serve_public, [listener], **options))
        told: list[tuple[str, bool]] = []
        with routes.on_client(lambda name, connected: told.append((name, connected))):
            address, hello = listener.getsockname(), openssl_hello("daskgateway-abc-two")
            async with await relayed(address), await connect(address) as second:
                await second.send_all(hello)
                await receive_exactly(second, len(hello))
                assert told == [("abc", True)]
                await second.send_eof()
                await receive_all(second)
                assert told == [("abc", True)]
                routes.add("abc", f"tls://{LOCAL}:9", cluster="abc")  # its scheduler is elsewhere now
                assert told == [("abc", True), ("abc", False)]
        nursery.cancel_scope.cancel()
        listener.close()


# --- beside the slow and the malformed ------------------------------------------------------------------------------

HEAD = b"POST / HTTP/1.1\r\nHost: x\r\n"
#: What is said slowly, and how the answer to it ends.
SLOW = {
    "in the hello": (HELLO, HELLO),
    "in a hello of tiny records": (TINY := split(HELLO, [1] * 2000), TINY),
    "in the head": (HEAD + b"A: b\r\n" * 100 + b"\r\n", b"http 0"),
    "in the body": (HEAD + b"Content-Length: 1000\r\n\r\n" + b"x" * 1000, b"http 1000"),
}
CLIENTS = 100
#: Turns that tasks of this process may have, client and server together, until a good client has both its answers while
#: so many others have said a byte each, or are being told what is wrong: a few dozen for each of them.
TURNS = 50 * CLIENTS
#: Nobody is ended for being slow.
PATIENT = Proxy(first_byte_timeout=1000, hello_timeout=1000, head_timeout=1000, shutdown_grace=0)


class Turns(trio.abc.Instrument):
    """Counts the turns of all tasks."""

    def __init__(self) -> None:
        self.count = 0

    def before_task_step(self, task: Any) -> None:
        self.count += 1


async def turns_until_served(address: Any) -> int:
    """How many turns it takes until a good client has asked for a page and for its scheduler, and has both."""
    turns = Turns()
    trio.lowlevel.add_instrument(turns)
    try:
        assert (await get(address)).endswith(b"http 0")
        await (await relayed(address)).aclose()
    finally:
        trio.lowlevel.remove_instrument(turns)
    return turns.count


@asynccontextmanager
async def patient_port() -> AsyncIterator[Any]:
    """A port behind which there are a page and a scheduler, and that lets everybody take their time."""
    serve = server_of(hello_app, head_timeout=PATIENT.head_timeout).serve
    async with peer(echo) as port, public_port(route_to(port), serve_http=serve, options=PATIENT) as address:
        yield address


@pytest.mark.parametrize("where", [*SLOW, "in all of it"])
async def test_slow_clients_delay_nobody(where: str) -> None:
    """A hundred say a byte now and then. Each is heard to its end all the same."""
    stories = [SLOW[where]] if where in SLOW else list(SLOW.values())
    async with patient_port() as address, AsyncExitStack() as stack:
        slow = []
        for number in range(CLIENTS):
            said, answer = stories[number % len(stories)]
            stream = await stack.enter_async_context(await connect(address))
            # They stand somewhere in the middle from the beginning, so that all parts of it are dwelt upon.
            begun = (len(said) - 20) * number // CLIENTS
            await stream.send_all(said[:begun])
            slow.append((stream, said[begun:], answer))
        for byte in range(10):
            for stream, left, _ in slow:
                await stream.send_all(left[byte : byte + 1])
            assert await turns_until_served(address) < TURNS
        for stream, left, answer in slow:
            await stream.send_all(left[10:])
            heard = b""
            while not heard.endswith(answer):
                piece = await stream.receive_some()
                assert piece, heard
                heard += piece


async def test_malformed_input_delays_nobody() -> None:
    async with patient_port() as address, trio.open_nursery() as nursery:
        for _ in range(2):
            for case, (data, _) in MALFORMED.items():
                nursery.start_soon(answer_to, address, data, FRAMES.get(case, b""))
            for _ in range(10):
                assert await turns_until_served(address) < TURNS


# --- proxies in front -----------------------------------------------------------------------------------------------


async def peer_name_app(scope: Any, receive: Any, send: Any) -> None:
    body = repr(scope["client"]).encode()
    headers = [(b"content-length", b"%d" % len(body)), (b"connection", b"close")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def get_through_proxy(address: Any, header: bytes) -> bytes:
    async with await connect(address) as client:
        await client.send_all(header + b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        return await receive_all(client)


async def test_a_trusted_proxy_introduces_its_clients() -> None:
    serve = http_server(peer_name_app)
    async with peer(echo) as port:
        trusted = public_port(route_to(port), serve_http=serve, options=evolve(LIMITS, trusted_proxies=(LOCAL,)))
        async with trusted as address:
            header = b"PROXY TCP4 192.0.2.7 10.0.0.1 1 2\r\n"
            assert (await get_through_proxy(address, header)).endswith(b"('192.0.2.7', 0)")
            assert b"('127.0.0.1', " in await get_through_proxy(address, b"PROXY UNKNOWN\r\n")
            assert not (await get_through_proxy(address, b"")).startswith(b"HTTP")
            async with await connect(address) as client:
                await client.send_all(header[:20])
                await trio.testing.wait_all_tasks_blocked(0.01)
                await client.send_all(header[20:] + HELLO)
                assert await receive_exactly(client, len(HELLO)) == HELLO


async def test_a_stranger_cannot_introduce_itself() -> None:
    async with public_port(Routes(), serve_http=http_server(peer_name_app)) as address:
        answer = await get_through_proxy(address, b"PROXY TCP4 192.0.2.7 10.0.0.1 1 2\r\n")
        assert answer.startswith(b"HTTP/1.1 400")


async def test_clients_behind_a_proxy_are_limited_one_by_one() -> None:
    options = Proxy(max_connections_per_address=1, trusted_proxies=("127.0.0.0/8",), shutdown_grace=0)
    header = b"PROXY TCP4 192.0.2.%d 10.0.0.1 1 2\r\n"
    async with peer(echo) as port:
        behind = public_port(route_to(port), options=options)
        async with behind as address, await connect(address) as one:
            await one.send_all(header % 1 + HELLO)
            await receive_exactly(one, len(HELLO))
            same = await connect(address)
            await same.send_all(header % 1 + HELLO)
            assert await is_ended(same)
            async with await connect(address) as two:
                await two.send_all(header % 2 + HELLO)
                await receive_exactly(two, len(HELLO))


async def test_a_unix_socket_for_a_server_in_front(tmp_path: Path) -> None:
    path = f"unix:{tmp_path / 'gateway'}"
    serve = http_server(peer_name_app)
    async with peer(echo) as port, public_port(route_to(port), serve_http=serve, address=path) as address:
        assert b"200" in await get_through_proxy(address, b"")
        async with await relayed(address) as client:
            await client.send_all(b"x" * 500_000)
            await receive_exactly(client, 500_000)
            await client.send_eof()
            assert await receive_all(client) == b""
    introduced = public_port(
        Routes(), serve_http=serve, address=path, options=evolve(LIMITS, trusted_proxies=("unix",))
    )
    async with introduced as address:
        answer = await get_through_proxy(address, b"PROXY TCP6 2001:db8::1 ::1 1 2\r\n")
        assert answer.endswith(b"('2001:db8::1', 0)")


# --- stopping -------------------------------------------------------------------------------------------------------


async def test_a_stop_lets_open_connections_end_by_themselves() -> None:
    (listener,) = await open_listeners("127.0.0.1:0")
    address = listener.getsockname()
    async with peer(echo) as port, trio.open_nursery() as outer:
        async with trio.open_nursery() as nursery:
            options = {"routes": route_to(port), "serve_http": None, "options": Proxy(shutdown_grace=60)}
            await nursery.start(partial(serve_public, [listener], **options))
            client = await relayed(address)

            async def use_it() -> None:
                await client.send_all(b"after the stop")
                assert await receive_exactly(client, 14) == b"after the stop"
                await client.send_eof()
                assert await receive_all(client) == b""
                await client.aclose()

            nursery.cancel_scope.cancel()
            outer.start_soon(use_it)
        listener.close()
        with pytest.raises(OSError, match="refused"):
            await connect(address)


async def test_a_stop_ends_what_does_not_end() -> None:
    async def blocked(scope: Any, receive: Any, send: Any) -> None:
        """Sends without end to a client that does not read: the HTTP server cannot be cancelled in it."""
        await send({"type": "http.response.start", "status": 200, "headers": []})
        while True:
            await send({"type": "http.response.body", "body": b"x" * 1_000_000, "more_body": True})

    options = Proxy(shutdown_grace=0.05)
    async with peer(echo) as port:
        with trio.fail_after(30):
            serve = http_server(blocked)
            async with public_port(route_to(port), serve_http=serve, options=options) as address:
                client = await relayed(address)
                web = await connect(address)
                await web.send_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
                await web.receive_some(100)
        with pytest.raises(trio.BrokenResourceError):
            await receive_all(client)
        await client.aclose()
        await web.aclose()


async def test_an_application_that_outlives_its_connection_is_ended() -> None:
    entered, ended = trio.Event(), trio.Event()

    async def stubborn(scope: Any, receive: Any, send: Any) -> None:
        entered.set()
        try:
            await trio.sleep_forever()
        finally:
            ended.set()

    async with public_port(Routes(), serve_http=http_server(stubborn)) as address:
        async with await connect(address) as client:
            await client.send_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            await entered.wait()
        with trio.fail_after(30):
            await ended.wait()


async def test_nothing_is_left_open() -> None:
    before = len(os.listdir("/proc/self/fd"))
    async with peer(echo) as port:
        async with public_port(route_to(port), serve_http=http_server(hello_app)) as address:
            clients = [await relayed(address) for _ in range(5)]
            assert (await get(address)).endswith(b"http 0")
            async with await connect(address) as silent, await connect(address) as partial_hello:
                await partial_hello.send_all(HELLO[:10])
                await silent.send_eof()
            for client in clients[:2]:
                await client.send_all(b"x" * 300_000)
                await receive_exactly(client, 300_000)
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                await client.aclose()
        for client in clients:
            await client.aclose()
    assert len(os.listdir("/proc/self/fd")) == before


async def test_a_fault_of_ours_costs_one_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    def faulty(*_: Any) -> None:
        monkeypatch.undo()
        raise RuntimeError("a fault of ours")

    async with peer(echo) as port, public_port(route_to(port)) as address, await relayed(address) as client:
        for name, relayed_before in (
            ("detect.parse_client_hello", b""),
            ("relay.relay.Side.carry_bulk", HELLO),
            ("port.PublicPort._serve_tls", b""),
        ):
            monkeypatch.setattr(f"gateway.proxy.{name}", faulty)
            async with await connect(address) as victim:
                await victim.send_all(HELLO)
                assert await receive_exactly(victim, len(relayed_before)) == relayed_before
                with suppress(trio.BrokenResourceError):
                    await victim.send_all(b"x" * 65536)
                assert len(await heard_until_end(victim)) <= (65535 if relayed_before else 0)
            await client.send_all(b"x")
            assert await receive_exactly(client, 1) == b"x"
