"""Coverage-guided fuzzing of everything that strangers' bytes reach first.

    python tests/fuzz/run.py [TARGET ...] [--seconds 30]

Targets: hello (client_hello.py), introduction (proxy_protocol.py), headers
(headers.py, routes.py), request (a connection from its first byte through the
HTTP server and the dashboards, and a dashboard's answer back), http2 (the same
for a browser that speaks HTTP/2), frames (the same with frames of every type,
which are whole as a rule), simple (web/fast_parser.py). Without a name
all run, one after the other, for an equal share of the time. What is found is
written to the directory `findings` of the working directory. Needs atheris.
"""

import argparse
import contextlib
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import atheris
import hpack
from trio.testing import MockClock

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

with atheris.instrument_imports(
    include=[
        "gateway.proxy",
        "gateway.web.fast_parser",
        "gateway.web.fast_path",
        "gateway.web.hypercorn_patches",
        "gateway.web.http1_connection",
        "gateway.web.http2_connection",
        "gateway.web.http2_frames",
        "gateway.web.http_budget",
        "h2",
        "h11",
        "hyperframe",
        "wsproto",
    ]
):
    import structlog
    import trio

    from gateway import addresses
    from gateway.config.proxy import Proxy
    from gateway.log import RateLimitedLog
    from gateway.proxy import client_hello, proxy_protocol, routes
    from gateway.proxy.admission import Admission
    from gateway.proxy.dashboard import headers
    from gateway.proxy.dashboard.app import Dashboard
    from gateway.proxy.http import HttpHandler
    from gateway.web import http2_frames
    from gateway.web.router import Handler
    from gateway.web.server import PEER_PROTOCOL_ERRORS

from tests.proxy.dashboard.test_headers import check_cookie_is_below  # noqa: E402
from tests.support.hellos import openssl_hello, recorded  # noqa: E402
from tests.support.proxy_peers import NegotiatedStream, server_of  # noqa: E402
from tests.web.test_fast_parser import GET, POST, check_against_h11  # noqa: E402

Parser = Callable[[bytes], Any]
ORIGIN = headers.Origin(client="192.0.2.1", scheme="http", host=b"hpc.example", prefix="/clusters/abc", cluster="abc")


def check_parser(parse: Parser, bad: type[Exception], data: bytes) -> None:
    """An answer is never taken back when more bytes come, and a wish for more is for more."""
    whole = outcome(parse, bad, data)
    half = outcome(parse, bad, data[: len(data) // 2])
    if isinstance(whole, client_hello.NeedMoreData):
        assert whole.size > len(data)
    if not isinstance(half, client_hello.NeedMoreData):
        assert half == whole


def outcome(parse: Parser, bad: type[Exception], data: bytes) -> Any:
    try:
        return parse(data)
    except bad:
        return bad


def hello(data: bytes) -> None:
    check_parser(client_hello.parse_client_hello, client_hello.MalformedClientHello, data)


def introduction(data: bytes) -> None:
    check_parser(proxy_protocol.parse_proxy_header, proxy_protocol.MalformedProxyHeader, data)


def header_fields(data: bytes) -> None:
    lines = [line.partition(b":")[::2] for line in data.split(b"\n")]
    for name, _ in headers.request_headers(lines, ORIGIN):
        assert name != b"authorization"
        assert name != b"cookie" or b"dask-dashboard-abc." in data
    for name, value in headers.response_headers(lines, ORIGIN, b"10.0.0.1:8787"):
        if name == b"set-cookie":
            assert value.startswith(b"dask-dashboard-abc.")
            check_cookie_is_below(b"/clusters/abc", value)
    with contextlib.suppress(ValueError):
        addresses.parse_url(data.decode("latin1"))


class FuzzedDashboard(Dashboard):
    """Connects to a dashboard that says what the fuzzer wants."""

    answer = b""

    async def _connect(self, request: Any, address: Any) -> Any:
        ours, theirs = socket.socketpair()
        with contextlib.suppress(BlockingIOError):
            theirs.setblocking(False)
            theirs.send(self.answer)
        theirs.close()
        return trio.SocketStream(trio.socket.from_stdlib_socket(ours))


ANSWER = b"HTTP/1.1 302 Found\r\nLocation: /x\r\nSet-Cookie: a=1; Path=/\r\nContent-Length: 2\r\n\r\nok"
H2_BEGIN = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes((0, 0, 0, 4, 0, 0, 0, 0, 0))

table = routes.Routes()
table.add("abc", "tls://127.0.0.1:1", "http://127.0.0.1:1")
app = FuzzedDashboard(table, options=Proxy(dashboard_timeout=1))
faults: list[Exception] = []
#: Virtual seconds of all exchanges.
time_passed = [0.0]


async def watched(scope: Any, receive: Any, send: Any) -> None:
    """The HTTP server contains what the application raises; the fuzzer wants to know."""
    try:
        await app(scope, receive, send)
    except Exception as error:
        while isinstance(error, ExceptionGroup):
            error = error.exceptions[0]
        if not isinstance(
            error, PEER_PROTOCOL_ERRORS
        ):  # those are the peer's, and the server lets them end the exchange
            faults.append(error)
        raise


serve_http = server_of(watched, route=lambda scope: Handler(watched, scope, is_fast=scope["path"] == "/at-once")).serve


async def serve_http2(stream: Any) -> None:
    await serve_http(NegotiatedStream(stream))


def request(data: bytes) -> None:
    """The first two bytes say how much is the browser's, the rest is the dashboard's."""
    converse(data, serve_http)


def http2(data: bytes) -> None:
    """The same over HTTP/2; its beginning is always there."""
    converse(data[:2] + H2_BEGIN + data[2:], serve_http2, len(H2_BEGIN))


#: All that are known by name, ALTSVC, ORIGIN, PRIORITY_UPDATE, and some that nobody knows.
FRAME_TYPES = (*range(11), 12, 16, 0x77, 0xFF)


def frames(data: bytes) -> None:
    """Frames by four bytes each (type, flags, stream, size) and their payloads, all said by the browser."""
    said, rest = b"", data
    while rest:
        head, rest = rest[:4].ljust(4, b"\0"), rest[4:]
        payload, rest = rest[: head[3]], rest[head[3] :]
        said += frame(FRAME_TYPES[head[0] % len(FRAME_TYPES)], head[1], head[2] % 16, payload)
        if head[0] > 0xF0:  # many of a kind
            said += frame(FRAME_TYPES[head[0] % len(FRAME_TYPES)], head[1], head[2] % 16, payload) * 1000
    said = said[:0xFFFF]
    check_cutter(H2_BEGIN + said)
    converse(len(said).to_bytes(2, "big") + H2_BEGIN + said + ANSWER, serve_http2, len(H2_BEGIN))


def check_cutter(data: bytes) -> None:
    """What is handed on is what came, and however it comes it costs the same."""
    with contextlib.suppress(http2_frames.TooLargeFrame, http2_frames.TooMuchOfIt):
        parts = list(http2_frames.FrameCutter().cut(data))
        assert b"".join(part.data for part in parts) == data
        cutter, middle = http2_frames.FrameCutter(), len(data) // 2
        halves = [*cutter.cut(data[:middle]), *cutter.cut(data[middle:])]
        assert sum(part.cost for part in halves) == sum(part.cost for part in parts)


def converse(data: bytes, serve: Any, given: int = 0) -> None:
    cut = int.from_bytes(data[:2], "big") + given
    said, app.answer = data[2 : 2 + cut], data[2 + cut :]
    faults.clear()
    # All bytes are there from the beginning, so whoever waits then waits for a deadline. The server's budgets know of
    # the exchanges before, so time goes on where it was.
    clock = MockClock(autojump_threshold=0)
    clock.jump(time_passed[0])
    trio.run(exchange, said, serve, clock=clock)
    time_passed[0] = clock.current_time()
    if faults:
        raise faults[0]


async def exchange(said: bytes, serve: Any) -> None:
    client, server = socket.socketpair()
    handler = HttpHandler(serve, None, Proxy(), RateLimitedLog())
    with trio.fail_after(1000), client:  # virtual seconds: idle connections are kept for a while
        client.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            client.send(said)
        client.shutdown(socket.SHUT_WR)
        await handler.serve(server, Admission(Proxy()).enter("fuzz"), "192.0.2.1", tls=False)


def simple(data: bytes) -> None:
    """What the short way takes, h11 takes as the same request."""
    check_against_h11(data)


TARGETS: dict[str, Callable[[bytes], None]] = {
    "hello": hello,
    "introduction": introduction,
    "headers": header_fields,
    "request": request,
    "http2": http2,
    "frames": frames,
    "simple": simple,
}


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """A frame of HTTP/2 (RFC 9113, 4.1)."""
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + payload


def every_frame() -> list[tuple[int, int, int, bytes]]:
    """One of each type: index into `FRAME_TYPES`, flags, stream, payload."""
    setting = b"\x00\x04" + bytes(4)
    payloads = {0: b"ab", 2: bytes(5), 3: bytes(4), 4: setting, 5: bytes(5), 6: bytes(8), 7: bytes(8), 8: b"\0\0\0\x09"}
    found = []
    for index, kind in enumerate(FRAME_TYPES):
        stream = 0 if kind in (4, 6, 7) else 1
        found += [(index, 0, stream, payloads.get(kind, b"x")), (index + 0xF0, 1, stream, payloads.get(kind, b""))]
    return found


def seeds(target: str) -> list[bytes]:
    """Where the fuzzer begins."""
    page = b"GET /clusters/abc/status HTTP/1.1\r\nHost: x\r\nCookie: a=1; dask-gateway-x=2\r\n\r\n"
    upgrade = page[:-2] + (
        b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Protocol: bokeh, token\r\n\r\n"
    )
    post = page.replace(b"GET", b"POST")[:-2] + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
    answer = ANSWER
    encoder = hpack.Encoder()
    get, connect = (
        [(":method", "GET"), (":path", "/clusters/abc/status"), (":scheme", "https"), (":authority", "x")],
        [(":method", "CONNECT"), (":protocol", "websocket"), (":path", "/clusters/abc/ws"), (":scheme", "https")],
    )
    begun = [frame(1, 5, 1, encoder.encode(get)), frame(1, 4, 3, encoder.encode([*connect, (":authority", "x")]))]
    begun += [frame(0, 0, 3, b"\x81\x80\x00\x00\x00\x00"), frame(0, 1, 1, b"late"), frame(3, 0, 3, bytes(4))]
    sized = [len(said).to_bytes(2, "big") + said + answer for said in (page, upgrade, post)]
    return {
        "hello": [openssl_hello("daskgateway-abc"), *(data for _, data in recorded())],
        "introduction": [
            b"PROXY TCP4 192.0.2.7 10.0.0.1 1 2\r\n",
            b"\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c" + bytes(12),
        ],
        "headers": [b"Location:/status\nSet-Cookie:a=1; Path=/\nCookie:dask-gateway-a=1\nConnection:x\nx:y"],
        "request": sized,
        "http2": [len(said).to_bytes(2, "big") + said + answer for said in (begun[0], b"".join(begun))],
        "frames": [
            bytes((1, 4, 1, len(head))) + head + bytes((kind, flags, stream, len(payload))) + payload
            for head in (encoder.encode(get), encoder.encode([*connect, (":authority", "x")]))
            for kind, flags, stream, payload in every_frame()
        ],
        "simple": [GET + b"Cookie: a=1\r\n\r\nGET ", POST + b"Content-Length: 3\r\n\r\nabc"],
    }[target]


def fuzz(target: str, seconds: int) -> None:
    """Run one target in this process; atheris ends it."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    findings = Path("findings") / target
    corpus = findings / "corpus"
    corpus.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(seeds(target)):
        (corpus / f"seed-{number}").write_bytes(seed)
    options = [f"-max_total_time={seconds}", "-max_len=70000", f"-artifact_prefix={findings}/", "-timeout=20"]
    atheris.Setup([sys.argv[0], *options, "-print_final_stats=1", "-verbosity=0", str(corpus)], TARGETS[target])
    atheris.Fuzz()


def main() -> int:
    """One process for each target: a finding ends it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("targets", nargs="*", choices=[*TARGETS, []], default=[])
    parser.add_argument("--seconds", type=int, default=30)
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    names = options.targets or list(TARGETS)
    if options.here:
        fuzz(names[0], options.seconds)
    share = max(1, options.seconds // len(names))
    failed = []
    for name in names:
        print(f"==> {name}, {share} s", flush=True)
        command = [sys.executable, __file__, name, "--here", "--seconds", str(share)]
        if subprocess.run(command, check=False).returncode:
            failed.append(name)
    print("failed: " + ", ".join(failed) if failed else "nothing found")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
