"""Malformed input on the public port: each gets its proper status or a close, and the next good request is served."""

from pathlib import Path
from typing import Any

import pytest
import trio
from structlog.testing import capture_logs

from gateway.config.proxy import Proxy
from gateway.proxy.dashboard.app import Dashboard
from gateway.proxy.routes import Routes
from gateway.web.server import HttpServer
from tests.support.hellos import openssl_hello
from tests.support.houses import open_house
from tests.support.proxy_peers import (
    HELLO,
    LOCAL,
    connect,
    echo,
    gateways_tls,
    get,
    hello_app,
    peer,
    public_port,
    server_of,
)

UPGRADE = (
    b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
)
POST = b"POST / HTTP/1.1\r\nHost: x\r\n"
H2 = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"
CLOSE = b""

#: name → (what is sent, how the answer begins; an empty one is a close)
MALFORMED: dict[str, tuple[bytes, bytes | tuple[bytes, ...]]] = {
    "chunk size that is no number": (
        POST + b"Transfer-Encoding: chunked\r\n\r\nzz\r\nhello\r\n0\r\n\r\n",
        b"HTTP/1.1 400",
    ),
    "chunk without its end": (POST + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhelloXX0\r\n\r\n", b"HTTP/1.1 400"),
    "chunk size of 30 digits": (POST + b"Transfer-Encoding: chunked\r\n\r\n" + b"f" * 30 + b"\r\n", b"HTTP/1.1 400"),
    "chunked body cut short": (POST + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhel", (b"HTTP/1.1 400", CLOSE)),
    "websocket upgrade with a trailing byte": (UPGRADE + b"\r\nx", (b"HTTP/1.1 400", b"HTTP/1.1 101", CLOSE)),
    "websocket upgrade without a key": (UPGRADE.replace(b"Sec-WebSocket-Key", b"X") + b"\r\n", b"HTTP/1.1 400"),
    "websocket of an unknown version": (UPGRADE.replace(b"13", b"99") + b"\r\n", b"HTTP/1.1 4"),
    "websocket frame with reserved bits": (UPGRADE + b"\r\n", b"HTTP/1.1 101"),
    "oversized header": (b"GET / HTTP/1.1\r\nHost: x\r\nA: " + b"a" * 100_000 + b"\r\n\r\n", b"HTTP/1.1 431"),
    "header without a colon": (b"GET / HTTP/1.1\r\nHost: x\r\nnonsense\r\n\r\n", b"HTTP/1.1 400"),
    "header with a control character": (b"GET / HTTP/1.1\r\nHost: x\r\nA: b\x00c\r\n\r\n", b"HTTP/1.1 400"),
    "space before the colon": (b"GET / HTTP/1.1\r\nHost: x\r\nA : b\r\n\r\n", b"HTTP/1.1 400"),
    "two hosts": (b"GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", b"HTTP/1.1 400"),
    "no host": (b"GET / HTTP/1.1\r\n\r\n", b"HTTP/1.1 400"),
    "two content lengths": (POST + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabc", b"HTTP/1.1 400"),
    "negative content length": (POST + b"Content-Length: -1\r\n\r\n", b"HTTP/1.1 400"),
    "content length that is no number": (POST + b"Content-Length: two\r\n\r\n", b"HTTP/1.1 400"),
    "unknown transfer encoding": (POST + b"Transfer-Encoding: gzip\r\n\r\n", b"HTTP/1.1 501"),
    "body shorter than promised": (POST + b"Content-Length: 100\r\n\r\nabc", (b"HTTP/1.1 400", CLOSE)),
    "target without a path": (b"GET ? HTTP/1.1\r\nHost: x\r\n\r\n", b"HTTP/1.1"),
    "target that is a query": (b"GET ?a=b HTTP/1.1\r\nHost: x\r\n\r\n", b"HTTP/1.1"),
    "no HTTP version": (b"GET /\r\n\r\n", b"HTTP/1.1 400"),
    "unknown HTTP version": (b"GET / HTTP/9.9\r\nHost: x\r\n\r\n", b"HTTP/1.1 505"),
    "target with a space": (b"GET /a b HTTP/1.1\r\nHost: x\r\n\r\n", b"HTTP/1.1 400"),
    "target that is not ASCII": (b"GET /\xff HTTP/1.1\r\nHost: x\r\n\r\n", b"HTTP/1.1 400"),
    "binary": (bytes(range(256)) * 20, (b"HTTP/1.1 400", CLOSE)),
    "only line ends": (b"\r\n" * 5000, (b"HTTP/1.1 4", CLOSE)),
    "nothing at all": (b"", CLOSE),
    "the HTTP/2 preface and garbage": (
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\xff" * 100,
        (b"HTTP/1.1 505", CLOSE),
    ),
    "an h2c upgrade with bad settings": (
        b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
        b"HTTP2-Settings: !\r\n\r\n",
        (b"HTTP/1.1", CLOSE),
    ),
    "an h2c upgrade that says no more": (
        b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
        b"HTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n",
        b"HTTP/1.1 200",
    ),
    "HTTP/2 with a frame of the wrong size": (
        H2 + b"\x00\x00\x05\x06\x00\x00\x00\x00\x00hello",
        (b"HTTP/1.1 505", CLOSE),
    ),
    "HTTP/2 with a frame of 16 MiB": (H2 + b"\xff\xff\xff\x00\x00\x00\x00\x00\x01", (b"HTTP/1.1 505", CLOSE)),
    "HTTP/2 with headers that do not decode": (
        H2 + b"\x00\x00\x04\x01\x05\x00\x00\x00\x01\xff\xff\xff\xff",
        (b"HTTP/1.1 505", CLOSE),
    ),
    "HTTP/2 with data for no stream": (H2 + b"\x00\x00\x01\x00\x00\x00\x00\x00\x07x", (b"HTTP/1.1 505", CLOSE)),
    "HTTP/2 with an endless continuation": (
        H2 + b"\x00\x00\x01\x01\x00\x00\x00\x00\x01\x82" + b"\x00\x00\x01\x09\x00\x00\x00\x00\x01\x84" * 500,
        (b"HTTP/1.1 505", CLOSE),
    ),
    "HTTP/2 with a stream of number 0": (H2 + b"\x00\x00\x01\x01\x05\x00\x00\x00\x00\x82", (b"HTTP/1.1 505", CLOSE)),
    "pipelined garbage": (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n\x01\x02\x03", b"HTTP/1.1 200"),
    "hello cut short": (HELLO[:50], CLOSE),
    "hello in an unknown version": (b"\x16\x09\x01\x00\x05\x01\x00\x00\x01\x00", b"\x15\x03"),
    "hello with a wrong length": (HELLO[:6] + b"\x00\x00\x09" + HELLO[9:], b"\x15\x03"),
    "hello of 16 MiB": (b"\x16\x03\x01\x40\x00\x01\xff\xff\xff" + b"x" * 100, b"\x15\x03"),
    "hello record that is too long": (b"\x16\x03\x01\xff\xff\x01", b"\x15\x03"),
    "hello for an unknown cluster": (openssl_hello("daskgateway-nobody"), b"\x15\x03\x01\x00\x02\x02\x70"),
    "a TLS alert in place of a hello": (b"\x15\x03\x01\x00\x02\x02\x28", (b"HTTP/1.1 400", CLOSE)),
    "a hello of SSL 2": (b"\x80\x2e\x01\x03\x01\x00\x15\x00\x00\x00\x10" + b"x" * 40, (b"HTTP/1.1 400", CLOSE)),
    "an SSH client": (b"SSH-2.0-OpenSSH_9.2\r\n", (b"HTTP/1.1 400", CLOSE)),
    "a proxy request": (b"CONNECT other:443 HTTP/1.1\r\nHost: other:443\r\n\r\n", b"HTTP/1.1"),
    "frame after the upgrade: reserved opcode": (UPGRADE + b"\r\n", b"HTTP/1.1 101"),
    "frame after the upgrade: not masked": (UPGRADE + b"\r\n", b"HTTP/1.1 101"),
    "frame after the upgrade: a ping of 200 bytes": (UPGRADE + b"\r\n", b"HTTP/1.1 101"),
    "frame after the upgrade: text that is no UTF-8": (UPGRADE + b"\r\n", b"HTTP/1.1 101"),
    "frame after the upgrade: of 2**63 bytes": (UPGRADE + b"\r\n", b"HTTP/1.1 101"),
    "frame after the upgrade: a close of one byte": (UPGRADE + b"\r\n", b"HTTP/1.1 101"),
    "a method of 10,000 letters": (b"A" * 10_000 + b" / HTTP/1.1\r\nHost: x\r\n\r\n", (b"HTTP/1.1", CLOSE)),
    "a target of 100,000 letters": (b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", b"HTTP/1.1 4"),
    "five thousand headers": (
        b"GET / HTTP/1.1\r\nHost: x\r\n" + b"".join(b"A%d: b\r\n" % n for n in range(5000)) + b"\r\n",
        (b"HTTP/1.1", CLOSE),
    ),
}


#: name → what follows once the server has agreed to a websocket
FRAMES = {
    "websocket frame with reserved bits": b"\xf1\x80\x00\x00\x00\x00",
    "frame after the upgrade: reserved opcode": b"\x83\x80\x00\x00\x00\x00",
    "frame after the upgrade: not masked": b"\x81\x05hello",
    "frame after the upgrade: a ping of 200 bytes": b"\x89\xfe\x00\xc8\x00\x00\x00\x00" + b"x" * 200,
    "frame after the upgrade: text that is no UTF-8": b"\x81\x82\x00\x00\x00\x00\xff\xff",
    "frame after the upgrade: of 2**63 bytes": b"\x82\xff\xff\xff\xff\xff\xff\xff\xff\xff\x00\x00\x00\x00",
    "frame after the upgrade: a close of one byte": b"\x88\x81\x00\x00\x00\x00x",
}


#: What is wrong is known at once, and not because it takes too long.
PATIENT = Proxy(first_byte_timeout=1000, hello_timeout=1000, head_timeout=1000, shutdown_grace=0)


def patient_server(app: Any, **options: Any) -> HttpServer:
    return server_of(app, head_timeout=PATIENT.head_timeout, **options)


async def answer_to(address: object, data: bytes, frame: bytes = b"") -> bytes:
    stream = await connect(address)
    answer = b""
    async with stream:
        try:
            await stream.send_all(data)
            if frame:
                answer = bytes(await stream.receive_some())
                await stream.send_all(frame)
            await stream.send_eof()
            async for piece in stream:
                answer += piece
        except trio.BrokenResourceError:
            pass
    return answer


@pytest.mark.parametrize("case", MALFORMED)
async def test_malformed_input_harms_nobody(case: str) -> None:
    data, expected = MALFORMED[case]
    async with peer(echo) as port:
        routes = Routes()
        routes.add("abc", f"tls://{LOCAL}:{port}")
        async with public_port(routes, serve_http=patient_server(hello_app).serve, options=PATIENT) as address:
            with trio.fail_after(30):
                answer = await answer_to(address, data, FRAMES.get(case, b""))
            wanted = expected if isinstance(expected, tuple) else (expected,)
            assert any(answer.startswith(start) if start else not answer for start in wanted), answer[:200]
            assert (await get(address)).endswith(b"http 0")


@pytest.mark.parametrize("case", MALFORMED)
async def test_malformed_input_on_the_whole_gateway(case: str, caplog: pytest.LogCaptureFixture) -> None:
    data, expected = MALFORMED[case]
    wanted = set(expected) if isinstance(expected, tuple) else {expected}
    if any(start.startswith(b"HTTP/1.1") for start in wanted):
        # The gateway may refuse for another reason (nothing is there, or a redirect), and reset what it did not read.
        wanted |= {b"HTTP/1.1 303", b"HTTP/1.1 4", CLOSE}
    async with open_house(dashboards=Dashboard(Routes())) as house:
        server = patient_server(house.app, route=house.app.route)
        async with public_port(Routes(), serve_http=server.serve, options=PATIENT) as address:
            for target in (b"/", b"/api/v1/clusters/", b"/clusters/abc/status/ws"):
                with capture_logs() as logs, trio.fail_after(30):
                    sent = data.replace(b" / HTTP", b" " + target + b" HTTP")
                    answer = await answer_to(address, sent, FRAMES.get(case, b""))
                assert any(answer.startswith(start) if start else not answer for start in wanted), answer[:200]
                assert answer[:12] not in (b"HTTP/1.1 500", b"HTTP/1.1 502", b"HTTP/1.1 503", b"HTTP/1.1 504"), answer[
                    :200
                ]
                assert not [line for line in logs if line["log_level"] == "error" or "exc_info" in line]
                with trio.fail_after(30):
                    good = await answer_to(address, b"GET /api/health HTTP/1.1\r\nHost: x\r\n\r\n")
                assert good.startswith(b"HTTP/1.1 200")
    assert not [record for record in caplog.records if record.name == "hypercorn.error"]


@pytest.mark.parametrize(
    "data", [HELLO[:200], b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00", openssl_hello("a.example") + b"\xff" * 500]
)
async def test_malformed_tls_where_tls_is_served(data: bytes, tmp_path: Path) -> None:
    context, _ = gateways_tls(tmp_path)
    serve = patient_server(hello_app).serve
    async with public_port(Routes(), serve_http=serve, ssl_context=context, options=PATIENT) as address:
        with trio.fail_after(30):
            answer = await answer_to(address, data)
        assert not answer.startswith(b"HTTP")
        assert (await get(address)).endswith(b"http 0")
