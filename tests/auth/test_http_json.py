"""Asking others over HTTP: what they may do instead of answering."""

import socket
import ssl
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path

import httpcore
import pytest
import trio
import trustme
from trio.testing import MockClock

from gateway.auth.http_json import Answer, Away, JsonClient, Network, client_context, reason_of
from gateway.errors import BadGateway
from tests.support.fake_http import FakeServer

URL = "http://hub.example/hub/api/user"
#: Spares reading the authorities of this machine, which takes longer than a test.
NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def a_client(server: FakeServer, **more: float) -> JsonClient:
    return JsonClient("The Hub", NO_TLS, network=server, **more)  # type: ignore[arg-type]


async def test_an_answer() -> None:
    server = FakeServer(lambda asked: (200, {"name": "alice"}))
    client = a_client(server)
    answer = await client.get(URL, {"Authorization": "token t"})
    assert (answer.status, answer.json()) == (200, {"name": "alice"})
    asked = server.asked[0]
    assert (asked.method, asked.target, asked.headers["authorization"]) == ("GET", "/hub/api/user", "token t")
    assert asked.headers["accept-encoding"] == "identity"
    assert server.connections == [("hub.example", 80)]


async def test_one_connection_is_used_again() -> None:
    server = FakeServer(lambda asked: (200, {}))
    client = a_client(server)
    for _ in range(3):
        await client.get(URL)
    assert (len(server.asked), len(server.connections)) == (3, 1)
    await client.close()


async def test_a_form() -> None:
    server = FakeServer(lambda asked: (200, {}))
    await a_client(server).post_form(URL, {"code": "a&b=c", "client_secret": "ä"})
    asked = server.asked[0]
    assert (asked.method, asked.form) == ("POST", {"code": "a&b=c", "client_secret": "ä"})
    assert asked.headers["content-type"] == "application/x-www-form-urlencoded"


@pytest.mark.parametrize("content", [b"", b"<html>", b"[1]", b"null", b'"x"', b"\xff", b"[" * 5000])
async def test_what_is_no_object_is_no_answer(content: bytes) -> None:
    answer = await a_client(FakeServer(lambda asked: (200, content))).get(URL)
    with pytest.raises(BadGateway, match="The Hub has answered, but not with a JSON object"):
        answer.json()


async def test_redirects_are_answers() -> None:
    server = FakeServer(lambda asked: b"HTTP/1.1 302 Found\r\nLocation: http://evil/\r\nContent-Length: 0\r\n\r\n")
    assert (await a_client(server).get(URL)).status == 302
    assert len(server.asked) == 1


async def test_an_idle_connection_that_was_closed_is_made_anew(autojump_clock: MockClock) -> None:
    answers: list[object] = [(200, {}), httpcore.ReadError("reset"), (200, {}), httpcore.ReadError("reset")]
    client = a_client(FakeServer(lambda asked: answers.pop(0)))
    await client.get(URL)
    assert (await client.get(URL)).status == 200  # the server has closed it
    with pytest.raises(Away):
        await client.post_form(URL, {})  # a code can be redeemed once
    assert not answers


def test_the_reason_lies_at_the_bottom() -> None:
    error = httpcore.ConnectError("outer")
    error.__cause__ = ExceptionGroup("several", [ConnectionRefusedError(111, "Connection refused")])
    assert reason_of(error) == "Connection refused"
    untrusted = ssl.SSLCertVerificationError()
    untrusted.verify_message = "self-signed certificate"
    error.__cause__ = untrusted
    assert reason_of(error) == "its certificate is not trusted: self-signed certificate"
    assert reason_of(TimeoutError()) == "TimeoutError"


async def test_silence_has_an_end(autojump_clock: MockClock) -> None:
    client = a_client(FakeServer(lambda asked: None), deadline=3.0)
    with pytest.raises(Away, match=r"^The Hub does not answer, so that nobody can say who you are; please try again"):
        await client.get(URL)
    assert trio.current_time() == pytest.approx(3.0)


async def test_many_that_wait_have_one_deadline_each(autojump_clock: MockClock) -> None:
    client = a_client(FakeServer(lambda asked: None), deadline=3.0)
    given_up = []

    async def ask() -> None:
        with pytest.raises(Away):
            await client.get(URL)
        given_up.append(trio.current_time())

    async with trio.open_nursery() as nursery:
        for _ in range(50):
            nursery.start_soon(ask)
    assert given_up == [pytest.approx(3.0)] * 50


async def test_a_slow_drip_has_an_end(autojump_clock: MockClock) -> None:
    """Each byte in time, the whole never: what httpcore's own timeouts allow."""

    class Drip(httpcore.AsyncNetworkStream):
        async def write(self, buffer: bytes, timeout: float | None = None) -> None:
            await trio.lowlevel.checkpoint()

        async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
            await trio.sleep(1)
            return b"HTTP/1.1 103 Early Hints\r\n\r\n"

        async def aclose(self) -> None:
            await trio.lowlevel.checkpoint()

        def get_extra_info(self, info: str) -> None:
            return None

    class Server(FakeServer):
        async def connect_tcp(self, *arguments: object, **more: object) -> httpcore.AsyncNetworkStream:
            await trio.lowlevel.checkpoint()
            return Drip()

    with pytest.raises(Away):
        await a_client(Server(lambda asked: None), deadline=3.0).get(URL)
    assert trio.current_time() == pytest.approx(3.0)


@pytest.mark.parametrize("error", [httpcore.ConnectError("no"), httpcore.ConnectTimeout("late")])
async def test_nobody_there(error: Exception) -> None:
    server = FakeServer(lambda asked: (200, {}))
    server.refused = error
    with pytest.raises(Away):
        await a_client(server).get(URL)


async def test_an_endless_answer_is_cut_short() -> None:
    server = FakeServer(lambda asked: (200, b"x" * 2000))
    with pytest.raises(BadGateway, match="more than 1000 bytes"):
        await a_client(server, most_bytes=1000).get(URL)


@pytest.mark.parametrize("said", [b"SSH-2.0-OpenSSH_9.2\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n"])
async def test_what_does_not_speak_http(said: bytes) -> None:
    with pytest.raises(BadGateway, match="does not speak HTTP"):
        await a_client(FakeServer(lambda asked: said)).get(URL)


def test_no_secret_in_what_is_printed() -> None:
    assert "s3cret" not in repr(Answer("x", 200, b'{"access_token": "s3cret"}'))


# ---- with real sockets


@asynccontextmanager
async def listening(handler: Callable[[trio.SocketStream], Awaitable[None]]) -> AsyncIterator[int]:
    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(partial(trio.serve_tcp, handler, 0, host="127.0.0.1"))
        yield listeners[0].socket.getsockname()[1]
        nursery.cancel_scope.cancel()


async def _ok(stream: trio.abc.Stream) -> None:
    if await stream.receive_some():
        await stream.send_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}")


async def test_a_name_is_looked_up() -> None:
    async with listening(_ok) as port:
        client = JsonClient("The Hub")
        assert (await client.get(f"http://localhost:{port}/")).status == 200
        with pytest.raises(Away):
            await client.get(f"http://a..b:{port}/")
        await client.close()


async def test_each_address_of_a_name_is_tried() -> None:
    async with listening(_ok) as port:
        client = JsonClient("The Hub", NO_TLS, network=Network(lambda host, port: ["127.0.0.2", "127.0.0.1"]))
        assert (await client.get(f"http://hub.example:{port}/")).status == 200
        await client.close()


async def test_a_name_without_an_address() -> None:
    def look_up(host: str, port: int) -> list[str]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    with pytest.raises(Away):
        await JsonClient("The Hub", NO_TLS, network=Network(look_up)).get("http://hub.example/")


async def test_a_name_server_that_hangs_takes_no_threads_of_others() -> None:
    answers = threading.Event()

    def look_up(host: str, port: int) -> list[str]:
        answers.wait()
        return ["127.0.0.1"]

    client = JsonClient("The Hub", NO_TLS, network=Network(look_up), deadline=0.05)
    async with trio.open_nursery() as nursery:
        for _ in range(8):
            nursery.start_soon(_away, client)
    assert trio.to_thread.current_default_thread_limiter().borrowed_tokens == 0
    answers.set()


async def _away(client: JsonClient) -> None:
    with pytest.raises(Away):
        await client.get("http://hub.example/")


async def test_a_refused_connection(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))  # and does not listen
        url = f"http://127.0.0.1:{free.getsockname()[1]}/"
        with pytest.raises(Away):
            await JsonClient("The Hub", NO_TLS).get(url)
    said = capsys.readouterr().out
    assert "Connection refused" in said
    assert url in said


async def test_certificates_are_checked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    authority = trustme.CA()
    server, theirs = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH), authority.issue_cert("localhost")
    theirs.configure_cert(server)
    authority.configure_trust(server)
    server.verify_mode = ssl.CERT_REQUIRED
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    own = authority.issue_cert("gateway.example")
    own.private_key_and_cert_chain_pem.write_to_path(tmp_path / "own.pem")

    async def serve(stream: trio.SocketStream) -> None:
        secure = trio.SSLStream(stream, server, server_side=True, https_compatible=True)
        with suppress(trio.BrokenResourceError):
            await _ok(secure)

    async with listening(serve) as port:
        good = JsonClient("The Hub", client_context(str(tmp_path / "ca.pem"), str(tmp_path / "own.pem")))
        assert (await good.get(f"https://localhost:{port}/")).status == 200
        with pytest.raises(Away):  # of another name
            await good.get(f"https://127.0.0.1:{port}/")
        assert "its certificate is not trusted: IP address mismatch" in capsys.readouterr().out
        with pytest.raises(Away):  # of an unknown authority
            await JsonClient("The Hub").get(f"https://localhost:{port}/")
        assert "its certificate is not trusted: " in capsys.readouterr().out
        await good.close()


def test_files_that_are_no_certificates(tmp_path: Path) -> None:
    file = tmp_path / "file.pem"
    for path in (str(file), str(tmp_path / "missing.pem")):
        file.write_text("nothing")
        with pytest.raises(OSError):
            client_context(path)
        with pytest.raises(OSError):
            client_context("", path)


def test_an_encrypted_key_asks_nobody(tmp_path: Path) -> None:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(b"x")
    )
    authority = trustme.CA()
    (tmp_path / "key.pem").write_bytes(key)
    authority.cert_pem.write_to_path(tmp_path / "cert.pem")
    with pytest.raises(ssl.SSLError, match="encrypted"):
        client_context("", str(tmp_path / "cert.pem"), str(tmp_path / "key.pem"))
