"""The small parts of the public port, each by itself."""

import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio
import trio.testing
import trustme
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import StartError
from gateway.log import RateLimitedLog
from gateway.proxy.admission import Trust
from gateway.proxy.certificate import ReloadingContext
from gateway.proxy.client_hello import NeedMoreData
from gateway.proxy.deadlines import Deadlines
from gateway.proxy.listeners import open_listeners
from gateway.proxy.proxy_protocol import MalformedProxyHeader, ProxyHeader, parse_proxy_header
from gateway.proxy.sockets import expect_life, hurry_within_host, raise_file_limit
from gateway.proxy.traffic import Traffic
from tests.support.proxy_peers import HELLO, connect, echo, get, peer, receive_all, receive_exactly

# --- trust ----------------------------------------------------------------------------------------------------------


def test_trust_in_addresses_networks_and_unix() -> None:
    assert "10.0.0.1" not in Trust([])
    trust = Trust(["10.0.0.1", "192.168.0.0/16", "fd00::/8", "unix"])
    for address in ("10.0.0.1", "192.168.7.7", "fd00::1", "unix"):
        assert address in trust
    for address in ("10.0.0.2", "::1"):
        assert address not in trust
    assert "unix" not in Trust(["10.0.0.1"])
    assert "unix" in Trust(["unix"])
    with pytest.raises(ValueError, match="nonsense"):
        Trust(["nonsense"])


# --- PROXY protocol -------------------------------------------------------------------------------------------------

V2 = b"\r\n\r\n\x00\r\nQUIT\n"
V4 = bytes([192, 0, 2, 7, 10, 0, 0, 1]) + b"\x01\x02\x03\x04"
V6 = bytes(15) + b"\x01" + bytes(15) + b"\x02" + b"\x01\x02\x03\x04"
HEADERS = [
    (b"PROXY TCP4 192.0.2.7 10.0.0.1 1 2\r\n", "192.0.2.7"),
    (b"PROXY TCP6 2001:db8::1 ::1 1 2\r\n", "2001:db8::1"),
    (b"PROXY UNKNOWN\r\n", ""),
    (b"PROXY UNKNOWN ff:f::1 ::2 1 2\r\n", ""),
    (V2 + b"\x21\x11\x00\x0c" + V4, "192.0.2.7"),
    (V2 + b"\x21\x21\x00\x24" + V6, "::1"),
    (V2 + b"\x21\x11\x00\x10" + V4 + b"\x04\x00\x01x", "192.0.2.7"),
    (V2 + b"\x20\x00\x00\x00", ""),
    (V2 + b"\x21\x31\x00\x02ab", ""),
]


@pytest.mark.parametrize(("header", "client"), HEADERS)
def test_proxy_headers_and_every_prefix(header: bytes, client: str) -> None:
    assert parse_proxy_header(header + b"GET /") == ProxyHeader(len(header), client)
    for size in range(len(header)):
        answer = parse_proxy_header(header[:size])
        assert isinstance(answer, NeedMoreData)
        assert size < answer.size <= len(header)


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\n",
        b"PROXY TCP4 192.0.2.7\r\n",
        b"PROXY \r\n",
        b"PROXY UDP4 192.0.2.7 10.0.0.1 1 2\r\n",
        b"PROXY TCP4 localhost 10.0.0.1 1 2\r\n",
        b"PROXY TCP4 " + b"1" * 100,
        V2 + b"\x31\x11\x00\x0c" + V4,
        V2 + b"\x21\x11\x00\x02ab",
        V2 + b"\x21\x11\xff\xff" + V4,
    ],
)
def test_bad_proxy_headers(data: bytes) -> None:
    with pytest.raises(MalformedProxyHeader):
        parse_proxy_header(data)


@given(st.sampled_from([b"", b"PROXY ", V2, V2 + b"\x21\x11"]), st.binary(max_size=120))
def test_any_bytes_have_an_answer(start: bytes, data: bytes) -> None:
    try:
        assert isinstance(parse_proxy_header(start + data), ProxyHeader | NeedMoreData)
    except MalformedProxyHeader:
        return


# --- deadlines ------------------------------------------------------------------------------------------------------


async def test_deadlines_expire_in_order_and_spare_what_is_settled(autojump_clock: trio.testing.MockClock) -> None:
    expired: list[tuple[str, float]] = []
    deadlines: Deadlines[str] = Deadlines(10, lambda item: expired.append((item, trio.current_time() - start)))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(deadlines.run)
        start = trio.current_time()
        deadlines.add("a")
        deadlines.add("b")
        await trio.sleep(4)
        deadlines.add("c")
        deadlines.add("a")
        deadlines.discard("b")
        deadlines.discard("unknown")
        await trio.sleep(20)
        deadlines.add("d")
        assert len(deadlines) == 1
        await trio.sleep(20)
        nursery.cancel_scope.cancel()
    assert expired == [("c", 14), ("a", 14), ("d", 34)]


# --- log ------------------------------------------------------------------------------------------------------------


async def test_lines_of_a_kind_come_once_a_second(
    autojump_clock: trio.testing.MockClock, capsys: pytest.CaptureFixture[str]
) -> None:
    log = RateLimitedLog()
    for _ in range(5):
        log.info("something happened", number=1)
    log.warning("something else")
    await trio.sleep(1)
    log.info("something happened", number=2)
    log.info("something happened", number=3)
    lines = capsys.readouterr().out
    assert lines.count("something happened") == 2
    assert lines.count("something else") == 1
    assert "like_this_before=4" in lines


# --- listeners ------------------------------------------------------------------------------------------------------


async def accepts(listener: socket.socket, family: int, address: object) -> bool:
    async with await open_stream(family, address):
        listener.accept()[0].close()
    return True


async def open_stream(family: int, address: object) -> trio.SocketStream:
    sock = trio.socket.socket(family)
    await sock.connect(address)
    return trio.SocketStream(sock)


async def test_a_port_on_all_addresses_takes_ipv4_and_ipv6() -> None:
    (listener,) = await open_listeners(":0")
    with listener:
        port = listener.getsockname()[1]
        assert await accepts(listener, socket.AF_INET, ("127.0.0.1", port))
        assert await accepts(listener, socket.AF_INET6, ("::1", port))


async def test_without_ipv6_a_port_is_ipv4(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "has_dualstack_ipv6", lambda: False)
    (listener,) = await open_listeners(":0")
    with listener:
        assert listener.family == socket.AF_INET


async def test_a_name_may_mean_several_addresses_and_one_port(monkeypatch: pytest.MonkeyPatch) -> None:
    async def both(*_: object, **__: object) -> list[tuple[object, ...]]:
        return [(socket.AF_INET, 1, 6, "", ("127.0.0.1", 0)), (socket.AF_INET6, 1, 6, "", ("::1", 0, 0, 0))]

    monkeypatch.setattr(trio.socket, "getaddrinfo", both)
    listeners = await open_listeners("localhost:0")
    try:
        assert len({listener.getsockname()[1] for listener in listeners}) == 1
        with pytest.raises(StartError, match="localhost"):
            await open_listeners(f"localhost:{listeners[0].getsockname()[1]}")
    finally:
        for listener in listeners:
            listener.close()


async def test_a_unix_socket_replaces_a_stale_one_only(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    (listener,) = await open_listeners(f"unix:{path}")
    with listener:
        assert await accepts(listener, socket.AF_UNIX, str(path))
        with pytest.raises(StartError, match="another server"):
            await open_listeners(f"unix:{path}")
    (again,) = await open_listeners(f"unix:{path}")
    again.close()
    (tmp_path / "file").write_text("precious")
    with pytest.raises(StartError, match="no socket"):
        await open_listeners(f"unix:{tmp_path / 'file'}")
    with pytest.raises(StartError):
        await open_listeners(f"unix:{tmp_path / 'missing' / 'socket'}")


async def test_inherited_sockets() -> None:
    with socket.create_server(("127.0.0.1", 0)) as given, socket.socket() as other:
        (listener,) = await open_listeners(f"fd://{given.fileno()}")
        with listener:
            assert listener.getsockname() == given.getsockname()
        with pytest.raises(StartError, match="no listening socket"):
            await open_listeners(f"fd://{other.fileno()}")
        with pytest.raises(StartError, match="no sockets"):
            await open_listeners("systemd")


@pytest.mark.parametrize("address", ["", "host", "host:port", ":99999", "http://host:1", "fd://x", "a@b:1"])
async def test_addresses_that_are_none(address: str) -> None:
    with pytest.raises(StartError, match="cannot listen at"):
        await open_listeners(address)


# --- certificates ---------------------------------------------------------------------------------------------------


def test_a_renewed_certificate_is_used_and_a_broken_one_is_not(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    authority = trustme.CA()
    path = tmp_path / "cert.pem"

    def make() -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(path)
        return context

    with pytest.raises(OSError, match="No such file"):
        ReloadingContext(make, str(path))
    authority.issue_cert("a").private_key_and_cert_chain_pem.write_to_path(path)
    contexts = ReloadingContext(make, str(path))
    first = contexts()
    assert contexts() is first
    path.write_text("half a certificate")
    assert contexts() is first
    assert "certificate not reloaded" in capsys.readouterr().out
    path.unlink()
    assert contexts() is first
    authority.issue_cert("b").private_key_and_cert_chain_pem.write_to_path(path)
    assert contexts() is not first


# --- traffic --------------------------------------------------------------------------------------------------------


def test_the_kernel_counts_bytes() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.create_connection(listener.getsockname()) as ours:
        theirs, _ = listener.accept()
        with theirs:
            ours.sendall(b"x" * 1000)
            theirs.recv(1000, socket.MSG_WAITALL)
            theirs.sendall(b"x" * 500)
            ours.recv(500, socket.MSG_WAITALL)
            past = Traffic(total_connections=3, bytes_to_clients=1000)
            now = past.with_open([ours])
            later = now.with_open([])
    assert (now.connections, now.total_connections) == (1, 3)
    assert now.bytes_to_clients == 1500
    assert 1000 <= now.bytes_to_scheduler <= 1002  # the handshake counts
    assert past.with_open([]).idle_seconds is None
    assert now.idle_seconds is not None
    assert later.connections == 0
    assert later.last_active == now.last_active  # known beyond the last connection


def test_sockets_without_counts_count_nothing() -> None:
    class Short:
        def getsockopt(self, *_: int) -> bytes:
            return bytes(20)

    traffic = Traffic()
    traffic.count(Short())  # type: ignore[arg-type]
    assert traffic == Traffic()


def test_the_limit_of_open_files_is_raised_as_far_as_it_goes() -> None:
    assert raise_file_limit() >= 256


# --- the proxy alone ------------------------------------------------------------------------------------------------


async def run_proxy(*words: str) -> trio.Process:
    command = [sys.executable, "-m", "gateway.proxy", *words]
    return await trio.lowlevel.open_process(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


@pytest.fixture(params=[signal.SIG_IGN, signal.default_int_handler], ids=["ignored", "heard"])
def interrupts(request: pytest.FixtureRequest) -> Iterator[None]:
    """What a child finds for SIGINT: a shell's background jobs find it ignored."""
    before = signal.signal(signal.SIGINT, request.param)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interrupts")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_the_proxy_alone(number: signal.Signals) -> None:
    async with peer(echo) as port:
        routes = ("--route", f"abc=127.0.0.1:{port}", "--dashboard", "abc=127.0.0.1:1")
        process = await run_proxy("--address", "127.0.0.1:0", *routes)
        assert process.stdout
        assert process.stderr
        line = b""
        while not line.endswith(b"\n"):
            line += await process.stdout.receive_some() or b"(ended)\n"
        address = ("127.0.0.1", int(line.decode().rsplit(", ", 1)[1].rstrip(")\n")))
        async with await connect(address) as client:
            await client.send_all(HELLO)
            assert await receive_exactly(client, len(HELLO)) == HELLO
        assert b"502" in await get(address, "/clusters/abc/status")
        process.send_signal(number)
        assert await process.wait() == 0
        await process.stdout.aclose()
        await process.stderr.aclose()


@pytest.mark.parametrize(
    ("words", "text"),
    [(("--route", "abc"), b"NAME=HOST:PORT"), (("--address", "nonsense"), b"cannot listen at 'nonsense'")],
)
async def test_the_proxy_alone_explains_mistakes(words: tuple[str, ...], text: bytes) -> None:
    process = await run_proxy(*words)
    assert process.stdout
    assert process.stderr
    assert text in await receive_all(process.stderr)
    assert await process.wait() in (1, 2)
    await process.stdout.aclose()
    await process.stderr.aclose()


def test_dead_peers_are_given_up_by_the_kernel() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        expect_life(listener, 90)
        with socket.create_connection(listener.getsockname()), listener.accept()[0] as accepted:
            assert accepted.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
            wanted = {"TCP_NODELAY": 1, "TCP_KEEPIDLE": 30, "TCP_KEEPINTVL": 10, "TCP_USER_TIMEOUT": 90_000}
            options = {name: accepted.getsockopt(socket.IPPROTO_TCP, getattr(socket, name)) for name in wanted}
    assert options == wanted  # what is set on a listener is inherited


@pytest.mark.parametrize(
    ("family", "client", "within"),
    [
        (socket.AF_INET, "127.0.0.1", True),
        (socket.AF_INET, "127.0.0.2", False),
        (socket.AF_INET6, "::1", True),
    ],
)
def test_within_a_host_nobody_is_careful(family: socket.AddressFamily, client: str, within: bool) -> None:
    def algorithm(sock: socket.socket) -> bytes:
        return sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, 16).rstrip(b"\0")

    with socket.create_server(("127.0.0.1" if family == socket.AF_INET else "::1", 0), family=family) as listener:
        usual = algorithm(listener)
        with socket.create_connection(listener.getsockname()[:2], source_address=(client, 0)) as sock:
            hurry_within_host(sock)
            assert algorithm(sock) == (b"reno" if within else usual)


def test_what_is_no_tcp_or_has_gone_is_left_alone() -> None:
    with socket.socket(socket.AF_UNIX) as sock:
        hurry_within_host(sock)
    with socket.socket() as sock:
        hurry_within_host(sock)
