"""An issuer whose keys change, that is away, or is somebody else by now."""

import ssl
from pathlib import Path

import pytest
import trio
import trio.testing
import trustme
from trio.testing import MockClock

from gateway.auth.http_json import Away, JsonClient, client_context
from gateway.auth.oidc.jwt import ASYMMETRIC, BadToken, SignedToken, read_token
from gateway.auth.oidc.published import Ages
from gateway.errors import BadGateway, TryAgainLater
from tests.support.fake_issuer import FakeIssuer
from tests.support.tokens import CLAIMS, EC, KEY_SET, OTHER_RSA, published, signed

TOKEN = read_token(signed(), ASYMMETRIC)
AGES = Ages(renewed=100, usable=1000, pause=10, patience=2)


def of_key(name: str) -> SignedToken:
    return read_token(signed(key=OTHER_RSA, header={"alg": "RS256", "kid": name, "typ": "at+jwt"}), ASYMMETRIC)


async def test_a_token_is_checked_without_asking_about_it(autojump_clock: MockClock) -> None:
    server = FakeIssuer()
    issuer = server.issuer()
    for _ in range(10):
        assert await issuer.claims(TOKEN) == CLAIMS
    assert [asked.target for asked in server.asked] == ["/.well-known/openid-configuration", "/keys"]
    await issuer.client.close()


async def test_a_new_key_is_found_at_once_and_strangers_do_not_make_it_ask(autojump_clock: MockClock) -> None:
    server = FakeIssuer()
    issuer = server.issuer(AGES)
    await issuer.claims(TOKEN)
    await trio.sleep(10)
    server.keys = {"keys": [*KEY_SET["keys"], published(OTHER_RSA, "new")]}
    assert await issuer.claims(of_key("new")) == CLAIMS
    for number in range(50):
        with pytest.raises(BadToken, match="does not publish"):
            await issuer.claims(of_key(f"made-up-{number}"))
    assert len(server.of("/keys")) == 2


async def test_a_key_that_is_withdrawn(autojump_clock: MockClock) -> None:
    server = FakeIssuer()
    issuer = server.issuer(AGES)
    await issuer.claims(TOKEN)
    server.keys = {"keys": [published(EC, "ec")]}
    await trio.sleep(100)
    with pytest.raises(BadToken, match="does not publish"):
        await issuer.claims(TOKEN)


async def test_an_issuer_that_is_away(autojump_clock: MockClock) -> None:
    server = FakeIssuer()
    issuer = server.issuer(AGES)
    server.refused = OSError("no route")
    with pytest.raises(Away, match="The site's login service does not answer"):
        await issuer.claims(TOKEN)
    server.refused = None
    await trio.sleep(10)
    assert await issuer.claims(TOKEN) == CLAIMS
    server.refused = OSError("no route")
    server.answers = {"/keys": None}
    await trio.sleep(500)
    assert await issuer.claims(TOKEN) == CLAIMS  # with the keys that are known
    await trio.sleep(10)
    with pytest.raises(Away):
        await issuer.claims(of_key("new"))  # which may be the issuer's
    await trio.sleep(500)
    with pytest.raises(Away):
        await issuer.claims(TOKEN)


@pytest.mark.parametrize(
    ("path", "answer", "error"),
    [
        ("/.well-known/openid-configuration", (404, {}), BadGateway),
        ("/.well-known/openid-configuration", (200, b"<html>"), BadGateway),
        ("/.well-known/openid-configuration", (503, {}), TryAgainLater),
        ("/.well-known/openid-configuration", (302, {}), BadGateway),
        ("/keys", (429, {}), TryAgainLater),
        ("/keys", (500, {}), BadGateway),
        ("/keys", (200, {"keys": []}), BadGateway),
        ("/keys", (200, []), BadGateway),
        ("/keys", b"no HTTP\r\n\r\n", BadGateway),
    ],
)
async def test_what_is_no_answer(autojump_clock: MockClock, path: str, answer: object, error: type[Exception]) -> None:
    server = FakeIssuer()
    server.answers = {path: answer}
    with pytest.raises(error):
        await server.issuer().claims(TOKEN)


async def test_somebody_else_answers(autojump_clock: MockClock) -> None:
    server = FakeIssuer()
    server.document["issuer"] = "https://evil.example"
    issuer = server.issuer()
    with pytest.raises(BadGateway, match=r"says that it is 'https://evil\.example'"):
        await issuer.metadata()
    assert server.of("/keys") == []


# ---- through a proxy


async def relay(source: trio.SocketStream, sink: trio.SocketStream) -> None:
    async for data in source:
        await sink.send_all(data)
    await sink.send_eof()


async def test_the_way_through_a_proxy(tmp_path: Path) -> None:
    """The proxy sees a name and a port, and nothing of what is said there."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("id.example").configure_cert(tls)
    seen: list[bytes] = []

    async def answer(stream: trio.SSLStream[trio.SocketStream]) -> None:
        await stream.receive_some()
        await stream.send_all(b'HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n{"a": 1}')

    async def pass_on(stream: trio.SocketStream) -> None:
        seen.append(await stream.receive_some())
        if b"id.example" not in seen[-1]:
            await stream.send_all(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
            return
        server = await trio.testing.open_stream_to_socket_listener(https[0].transport_listener)
        await stream.send_all(b"HTTP/1.1 200 Established\r\n\r\n")
        async with server, trio.open_nursery() as relaying:
            relaying.start_soon(relay, stream, server)
            relaying.start_soon(relay, server, stream)

    https = await trio.open_ssl_over_tcp_listeners(0, tls, host="127.0.0.1")
    plain = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, answer, https)
        nursery.start_soon(trio.serve_listeners, pass_on, plain)
        proxy = f"http://127.0.0.1:{plain[0].socket.getsockname()[1]}"
        client = JsonClient("The issuer", client_context(str(tmp_path / "ca.pem")), proxy=proxy)
        assert (await client.get("https://id.example/x")).json() == {"a": 1}
        with pytest.raises(Away, match="The issuer does not answer"):
            await client.get("https://other.example/x")
        await client.close()
        nursery.cancel_scope.cancel()
    assert [head.partition(b"\r\n")[0] for head in seen] == [
        b"CONNECT id.example:443 HTTP/1.1",
        b"CONNECT other.example:443 HTTP/1.1",
    ]
