"""Dashboards through the public port, with a real server in front and real sockets behind."""

from base64 import b64encode
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from hashlib import sha1
from typing import Any

import h11
import pytest
import trio
from trio_websocket import ConnectionClosed, WebSocketConnection, wrap_client_stream

from gateway.config.proxy import Proxy
from gateway.models import User
from gateway.proxy.dashboard.app import Dashboard
from gateway.proxy.dashboard.guard import Guard, People
from gateway.proxy.routes import Routes
from tests.support.proxy_peers import LOCAL, connect, http_server, peer, public_port, receive_all, server_of


class Recorder:
    """A dashboard that speaks raw HTTP: remembers what it was asked, answers what it is told."""

    def __init__(self, answer: bytes = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok") -> None:
        self.answer = answer
        self.asked: list[bytes] = []

    async def __call__(self, stream: trio.SocketStream) -> None:
        data = b""
        while b"\r\n\r\n" not in data:
            data += await stream.receive_some()
        if b"chunked" in data:
            while not data.endswith(b"0\r\n\r\n"):
                data += await stream.receive_some()
        self.asked.append(data)
        await stream.send_all(self.answer)


@asynccontextmanager
async def dashboard(
    handler: Callable[[trio.SocketStream], Any],
    *,
    root_path: str = "",
    options: Proxy | None = None,
    guard: Guard | None = None,
) -> AsyncIterator[Any]:
    """The public address below which the handler is the dashboard of cluster abc."""
    routes = Routes()
    app = Dashboard(routes, options=options, guard=guard)

    async def below_prefix(scope: Any, receive: Any, send: Any) -> None:
        scope["root_path"] = root_path
        await app(scope, receive, send)

    async with peer(handler) as port:
        routes.add("abc", f"tls://{LOCAL}:1", f"http://{LOCAL}:{port}")
        async with public_port(routes, serve_http=server_of(below_prefix).serve) as address:
            yield address


async def ask(address: Any, request: bytes) -> tuple[h11.Response, bytes]:
    async with await connect(address) as stream:
        await stream.send_all(request)
        client = h11.Connection(h11.CLIENT)
        client.send(h11.Request(method=request.split()[0], target="/", headers=[("host", "x")]))
        client.receive_data(await receive_all(stream))
        client.receive_data(b"")
    response, body = client.next_event(), b""
    assert isinstance(response, h11.Response)
    while isinstance(event := client.next_event(), h11.Data):
        body += event.data
    return response, body


def get(path: str, *headers: str) -> bytes:
    lines = [f"GET {path} HTTP/1.1", "Host: hpc.example", "Connection: close", *headers, "", ""]
    return "\r\n".join(lines).encode()


async def test_a_page_with_its_query_and_what_the_dashboard_is_told() -> None:
    recorder = Recorder()
    async with dashboard(recorder) as address:
        request = get(
            "/clusters/abc/a%2Fb?x=1%20",
            "Cookie: dask-dashboard-abc.a=1; dask-gateway-u=2; b=3",
            "Authorization: x",
            "X-Forwarded-For: 9",
        )
        response, body = await ask(address, request)
    assert (response.status_code, body) == (200, b"ok")
    (asked,) = recorder.asked
    via = next(line for line in asked.split(b"\r\n") if line.startswith(b"via: 1.1 gateway-"))
    assert asked == (
        b"GET /a%2Fb?x=1%20 HTTP/1.1\r\nhost: hpc.example\r\ncookie: a=1\r\n"
        + via
        + b"\r\nx-forwarded-for: 127.0.0.1\r\n"
        b"x-forwarded-host: hpc.example\r\nx-forwarded-proto: http\r\nx-forwarded-prefix: /clusters/abc\r\n"
        b"connection: close\r\n\r\n"
    )


async def test_redirects_and_cookies_stay_below_the_cluster() -> None:
    recorder = Recorder(
        b"HTTP/1.1 302 Found\r\nLocation: /status\r\nSet-Cookie: a=1; Path=/\r\nContent-Length: 0\r\n\r\n"
    )
    async with dashboard(recorder, root_path="/gw") as address:
        response, _ = await ask(address, get("/clusters/abc/"))
    assert response.status_code == 302
    assert dict(response.headers)[b"location"] == b"/gw/clusters/abc/status"
    assert dict(response.headers)[b"set-cookie"] == b"dask-dashboard-abc.a=1; Path=/gw/clusters/abc/"


# ---- with a guard at the door (test_guard.py has what it says)


def never(user: User, cluster: str) -> bool:
    return False


PEOPLE = People(user_of=lambda scope: None, person_of={"abc": "alice"}.get, may_see=never, may_come=never)


def guard_of(**options: Any) -> tuple[Guard, str]:
    """A guard, and the path of a link that holds, without a slash at its end."""
    guard = Guard(Proxy(prefix="/gw", **options), PEOPLE, keys=(b"k",))
    return guard, guard.route("abc", "alice").removesuffix("/status")


async def test_a_link_is_a_part_of_the_dashboards_own_prefix() -> None:
    recorder = Recorder(
        b"HTTP/1.1 302 Found\r\nLocation: /status\r\nSet-Cookie: a=1; Path=/\r\nContent-Length: 0\r\n\r\n"
    )
    guard, path = guard_of()
    async with dashboard(recorder, root_path="/gw", guard=guard) as address:
        response, _ = await ask(address, get(f"{path}/x", "Origin: null"))
        bare, _ = await ask(address, get(f"{path}?y"))
    headers = dict(response.headers)
    assert headers[b"location"].decode() == f"/gw{path}/status"
    assert headers[b"set-cookie"].decode() == f"dask-dashboard-abc.a=1; Path=/gw{path}/"
    (asked,) = recorder.asked
    assert asked.startswith(b"GET /x HTTP/1.1\r\n")
    assert f"x-forwarded-prefix: /gw{path}\r\n".encode() in asked
    assert b"origin: http://hpc.example\r\n" in asked
    assert (bare.status_code, dict(bare.headers)[b"location"].decode()) == (307, f"/gw{path}/?y")


@pytest.mark.parametrize(
    "path", ["/clusters/abc/status", "/clusters/abc/~1.a/status", "/clusters/abc", "/clusters/abc/~"]
)
async def test_without_a_link_nothing_reaches_a_dashboard(path: str) -> None:
    recorder = Recorder()
    async with dashboard(recorder, guard=guard_of()[0]) as address:
        response, body = await ask(address, get(path))
        assert (response.status_code, dict(response.headers)[b"cache-control"]) == (403, b"no-store")
        assert b"<p>" in body
        assert dict(response.headers)[b"content-security-policy"].startswith(b"sandbox")
        assert dict(response.headers)[b"referrer-policy"] == b"no-referrer"
        async with await connect(address) as stream:
            head = get(path, *UPGRADE).replace(b"Connection: close", b"Connection: Upgrade")
            await stream.send_all(head)
            assert (await stream.receive_some()).startswith(b"HTTP/1.1 403")
    assert recorder.asked == []


async def test_a_dashboard_on_a_host_of_its_own_runs_in_no_sandbox() -> None:
    recorder = Recorder()
    guard, path = guard_of(dashboard_host="*.dash.example", host_names=("hpc.example",))
    async with dashboard(recorder, guard=guard) as address:
        moved, _ = await ask(address, get(f"{path}/status"))
        location = dict(moved.headers)[b"location"].decode()
        assert (moved.status_code, location) == (307, f"//abc.dash.example{path.removeprefix('/clusters/abc')}/status")
        own = get(location.removeprefix("//abc.dash.example")).replace(b"hpc.example", b"abc.dash.example:80")
        response, body = await ask(address, own)
    headers = dict(response.headers)
    assert (response.status_code, body) == (200, b"ok")
    assert b"content-security-policy" not in headers
    assert (headers[b"referrer-policy"], headers[b"x-content-type-options"]) == (b"no-referrer", b"nosniff")
    assert b"host: abc.dash.example:80\r\n" in recorder.asked[0]
    assert f"x-forwarded-prefix: {path.removeprefix('/clusters/abc')}\r\n".encode() in recorder.asked[0]


async def test_the_bare_path_gets_its_slash() -> None:
    async with dashboard(Recorder()) as address:
        response, _ = await ask(address, get("/clusters/abc?x=1"))
    assert response.status_code == 307
    assert dict(response.headers)[b"location"] == b"/clusters/abc/?x=1"


async def test_a_chunked_body_is_passed_on_as_it_arrives() -> None:
    recorder = Recorder()
    request = b"POST /clusters/abc/x HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
    async with dashboard(recorder) as address:
        _, body = await ask(address, request + b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n")
    assert body == b"ok"
    assert recorder.asked[0].count(b"\r\n3\r\nabc\r\n") == 1


async def test_a_body_with_a_length() -> None:
    async def measure(stream: trio.SocketStream) -> None:
        data = b""
        while not data.endswith(b"abcde"):
            data += await stream.receive_some()
        assert b"content-length: 5" in data.lower()
        await stream.send_all(b"HTTP/1.1 200 OK\r\n\r\nuntil close")

    async with dashboard(measure) as address:
        request = b"POST /clusters/abc/x HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 5\r\n\r\nabcde"
        _, body = await ask(address, request)
    assert body == b"until close"


async def test_an_answer_is_passed_on_before_it_is_complete() -> None:
    seen = trio.Event()

    async def drip(stream: trio.SocketStream) -> None:
        await stream.receive_some()
        await stream.send_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n")
        await seen.wait()
        await stream.send_all(b"4\r\nlast\r\n0\r\n\r\n")

    async with dashboard(drip) as address, await connect(address) as stream:
        await stream.send_all(get("/clusters/abc/stream"))
        data = b""
        while b"first" not in data:
            data += await stream.receive_some()
        assert b"last" not in data
        seen.set()
        assert b"last" in await receive_all(stream)


async def test_a_browser_that_goes_away_ends_the_exchange() -> None:
    asked, ended = trio.Event(), trio.Event()

    async def wait(stream: trio.SocketStream) -> None:
        await stream.receive_some()
        asked.set()
        await receive_all(stream)
        ended.set()

    async with dashboard(wait) as address:
        async with await connect(address) as stream:
            await stream.send_all(get("/clusters/abc/forever"))
            await asked.wait()
        with trio.fail_after(30):
            await ended.wait()


async def test_an_unknown_cluster_has_a_page() -> None:
    async with dashboard(Recorder()) as address:
        response, body = await ask(address, get("/clusters/%3Cnobody%3E/status"))
    assert response.status_code == 404
    assert b"No such cluster" in body
    assert b"&lt;nobody&gt;" in body


async def test_a_dashboard_that_is_down_has_a_page() -> None:
    routes, told = Routes(), []
    async with peer(Recorder()) as port:
        pass
    routes.add("abc", f"tls://{LOCAL}:1", f"http://{LOCAL}:{port}")
    with routes.on_refused(told.append):
        async with public_port(routes, serve_http=http_server(Dashboard(routes))) as address:
            response, body = await ask(address, get("/clusters/abc/status"))
    assert response.status_code == 502
    assert "“abc” cannot be reached" in body.decode()
    assert told == ["abc"]


@pytest.mark.parametrize(
    "answer", [b"", b"nonsense\r\n\r\n", b"HTTP/1.1 101 Switching\r\n\r\n", b"HTTP/1.1 100 Continue\r\n\r\n"]
)
async def test_an_answer_that_is_none_is_a_502(answer: bytes) -> None:
    async with dashboard(Recorder(answer and answer + b"\r\n\r\n")) as address:
        response, _ = await ask(address, get("/clusters/abc/status"))
    assert response.status_code == 502


async def test_a_dashboard_that_is_slow_has_a_page() -> None:
    async def never(stream: trio.SocketStream) -> None:
        await receive_all(stream)

    async with dashboard(never, options=Proxy(dashboard_timeout=0.1)) as address:
        response, body = await ask(address, get("/clusters/abc/status"))
    assert response.status_code == 504
    assert b"too slow" in body


async def test_an_answer_cut_short_is_seen_as_such() -> None:
    async with dashboard(Recorder(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")) as address:
        with pytest.raises(h11.RemoteProtocolError):
            await ask(address, get("/clusters/abc/status"))


# --- websockets -----------------------------------------------------------------------------------------------------


async def websocket_echo(scope: Any, receive: Any, send: Any) -> None:
    """Takes the second subprotocol, tells what it saw, echoes until "bye"."""
    await receive()
    if scope["path"] == "/refused":
        await send({"type": "websocket.http.response.start", "status": 403, "headers": [(b"x-why", b"no")]})
        await send({"type": "websocket.http.response.body", "body": b"not here"})
        return
    await send({"type": "websocket.accept", "subprotocol": (scope["subprotocols"] or [None])[-1]})
    headers = dict(scope["headers"])
    await send({"type": "websocket.send", "text": f"{scope['path']} {headers.get(b'cookie')} {headers[b'host']}"})
    while (message := await receive())["type"] == "websocket.receive":
        if message.get("text") == "bye":
            await send({"type": "websocket.close", "code": 4001, "reason": "as you like"})
            return
        await send({"type": "websocket.send", "text": message.get("text"), "bytes": message.get("bytes")})


@asynccontextmanager
async def browser(address: Any, path: str, **options: Any) -> AsyncIterator[WebSocketConnection]:
    """A websocket over a stream that is closed whoever hangs up first."""
    async with await connect(address) as stream, trio.open_nursery() as nursery:
        yield await wrap_client_stream(nursery, stream, f"{LOCAL}:{address[1]}", path, **options)
        nursery.cancel_scope.cancel()


async def test_a_websocket_with_subprotocol_and_cookies() -> None:
    serve = http_server(websocket_echo)
    async with dashboard(serve) as address:
        headers = [(b"cookie", b"dask-gateway-x=1; dask-dashboard-abc.a=1; b=2")]
        async with browser(address, "/clusters/abc/ws?x", subprotocols=["bokeh", "token"], extra_headers=headers) as ws:
            assert ws.subprotocol == "token"
            assert await ws.get_message() == f"/ws b'a=1' b'{LOCAL}:{address[1]}'"
            for message in ("text", b"binary", b"", "", "ü" * 100_000, b"x" * 700_000):
                await ws.send_message(message)
                assert await ws.get_message() == message


async def test_a_close_by_the_dashboard_reaches_the_browser() -> None:
    server = dashboard(http_server(websocket_echo))
    async with server as address, browser(address, "/clusters/abc/ws") as ws:
        await ws.get_message()
        await ws.send_message("bye")
        with pytest.raises(ConnectionClosed) as caught:
            await ws.get_message()
    assert (caught.value.reason.code, caught.value.reason.reason) == (4001, "as you like")


async def stalls(send: Callable[[bytes], Any], piece: bytes) -> int:
    """How many bytes can be sent to somebody who does not read."""
    sent = 0

    async def pour() -> None:
        nonlocal sent
        while True:
            await send(piece)
            sent += len(piece)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(pour)
        await trio.testing.wait_all_tasks_blocked(0.2)
        nursery.cancel_scope.cancel()
    return sent


MESSAGE = 8 * 1024 * 1024


async def test_a_dashboard_that_does_not_read_a_websocket_is_owed_few_messages() -> None:
    async def deaf(stream: trio.SocketStream) -> None:
        await accept_websocket(stream)
        await trio.sleep_forever()

    async with dashboard(deaf) as address, await connect(address) as stream:
        head = get("/clusters/abc/ws", *UPGRADE).replace(b"Connection: close", b"Connection: Upgrade")
        await stream.send_all(head)
        assert b" 101 " in await stream.receive_some()
        frame = b"\x82\xff" + MESSAGE.to_bytes(8, "big") + bytes(4 + MESSAGE)
        assert await stalls(stream.send_all, frame) < 8 * MESSAGE  # in the kernel, in the queue, and under way


async def test_a_browser_that_does_not_read_a_websocket_is_owed_few_messages() -> None:
    sent: list[int] = []
    done = trio.Event()

    async def flood(stream: trio.SocketStream) -> None:
        await accept_websocket(stream)
        sent.append(await stalls(stream.send_all, b"\x82\x7f" + MESSAGE.to_bytes(8, "big") + bytes(MESSAGE)))
        done.set()

    async with dashboard(flood) as address, await connect(address) as stream:
        head = get("/clusters/abc/ws", *UPGRADE).replace(b"Connection: close", b"Connection: Upgrade")
        await stream.send_all(head)
        await done.wait()
    assert sent[0] < 6 * MESSAGE


UPGRADE = ("Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==")


@pytest.mark.parametrize(
    ("path", "status", "text"),
    [("/clusters/abc/refused", 403, b"not here"), ("/clusters/nobody/ws", 404, b"No such cluster")],
)
async def test_a_refused_websocket(path: str, status: int, text: bytes) -> None:
    request = get(path, *UPGRADE).replace(b"Connection: close", b"Connection: Upgrade")
    async with dashboard(http_server(websocket_echo)) as address:
        response, body = await ask(address, request)
    assert response.status_code == status
    assert text in body


async def test_a_dashboard_that_vanishes_closes_the_websocket() -> None:
    gone = trio.Event()

    async def vanish(stream: trio.SocketStream) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(http_server(websocket_echo), stream)
            await gone.wait()
            nursery.cancel_scope.cancel()

    async with dashboard(vanish) as address, browser(address, "/clusters/abc/ws") as ws:
        await ws.get_message()
        gone.set()
        with pytest.raises(ConnectionClosed) as caught:
            await ws.get_message()
    assert caught.value.reason.code == 1001


async def test_a_browser_that_reads_nothing_holds_its_dashboard_back_and_delays_nobody() -> None:
    sent: list[int] = []
    stalled = trio.Event()

    async def pages(stream: trio.SocketStream) -> None:
        head = await stream.receive_some()
        if b"GET /endless" not in head:
            await stream.send_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            return
        await stream.send_all(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n")
        sent.append(await stalls(stream.send_all, bytes(65536)))
        stalled.set()
        await trio.sleep_forever()

    async with dashboard(pages) as address, await connect(address) as slow:
        await slow.send_all(get("/clusters/abc/endless"))
        with trio.fail_after(30):
            await stalled.wait()
            assert (await ask(address, get("/clusters/abc/x")))[1] == b"ok"
    assert sent[0] < 32 * 1024 * 1024  # what two connections keep in the kernel


# --- without a server in front: what HTTP/2 may say, and what servers may lack ---------------------------------------


async def run_app(app: Dashboard, scope: dict[str, Any], *messages: dict[str, Any]) -> list[dict[str, Any]]:
    """What the application sends for these messages; then the browser stays connected and silent."""
    sent: list[dict[str, Any]] = []
    waiting = list(messages)

    async def receive() -> dict[str, Any]:
        if not waiting:
            await trio.sleep_forever()
        return waiting.pop(0)

    async def send(message: Any) -> None:
        sent.append(message)

    defaults = {
        "headers": [(b":authority", b"hpc.example")],
        "http_version": "2",
        "query_string": b"",
        "extensions": {},
    }
    await app({**defaults, **scope}, receive, send)
    return sent


@asynccontextmanager
async def application(handler: Callable[[trio.SocketStream], Any], **limits: Any) -> AsyncIterator[Dashboard]:
    routes = Routes()
    async with peer(handler) as port:
        routes.add("abc", f"tls://{LOCAL}:1", f"http://{LOCAL}:{port}")
        yield Dashboard(routes, options=Proxy(**limits))


def http_scope(**more: Any) -> dict[str, Any]:
    return {"type": "http", "path": "/clusters/abc/x", "raw_path": b"/clusters/abc/x", "method": "POST", **more}


async def test_an_http2_body_needs_no_header() -> None:
    recorder = Recorder()
    async with application(recorder) as app:
        parts = ({"type": "http.request", "body": b"abc", "more_body": True}, {"type": "http.request", "body": b"de"})
        sent = await run_app(app, http_scope(), *parts)
    assert sent[0]["status"] == 200
    assert recorder.asked[0].startswith(b"POST /x HTTP/1.1\r\nhost: hpc.example\r\n")
    assert recorder.asked[0].endswith(
        b"transfer-encoding: chunked\r\nconnection: close\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
    )


async def test_an_http2_request_without_a_body() -> None:
    recorder = Recorder()
    async with application(recorder) as app:
        sent = await run_app(app, http_scope(method="GET"), {"type": "http.request", "body": b""})
    assert [message["type"] for message in sent] == ["http.response.start", "http.response.body", "http.response.body"]
    assert b"transfer-encoding" not in recorder.asked[0]


async def test_a_request_that_http11_cannot_say() -> None:
    async with application(Recorder()) as app:
        scope = http_scope(headers=[(b"host", b"x"), (b"bad name", b"x")])
        sent = await run_app(app, scope, {"type": "http.request", "body": b""})
    assert sent[0]["status"] == 400
    assert b"Bad request" in sent[1]["body"]


async def test_a_body_longer_than_was_said_is_not_passed_on() -> None:
    async def never(stream: trio.SocketStream) -> None:
        await receive_all(stream)

    async with application(never) as app:
        scope = http_scope(headers=[(b"host", b"x"), (b"content-length", b"1")])
        assert await run_app(app, scope, {"type": "http.request", "body": b"abc"}) == []


async def test_an_answer_before_the_body_is_complete() -> None:
    async def hasty(stream: trio.SocketStream) -> None:
        await stream.receive_some()
        await stream.send_all(b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 413 No\r\nContent-Length: 0\r\n\r\n")

    async with application(hasty) as app:
        sent = await run_app(app, http_scope(), {"type": "http.request", "body": b"abc", "more_body": True})
    assert sent[0]["status"] == 413


WEBSOCKET = {"type": "websocket", "path": "/clusters/abc/ws", "subprotocols": []}
CONNECT = {"type": "websocket.connect"}


async def test_a_server_that_cannot_refuse_closes() -> None:
    async with application(Recorder()) as app:
        sent = await run_app(app, {**WEBSOCKET, "path": "/clusters/nobody/ws"}, CONNECT)
    assert sent == [{"type": "websocket.close", "code": 1000}]


@pytest.mark.parametrize("answer", [b"", b"nonsense\r\n\r\n", b"HTTP/1.1 101 Switching\r\n\r\n"])
async def test_a_handshake_that_fails_is_a_502(answer: bytes) -> None:
    extensions: dict[str, Any] = {"websocket.http.response": {}}
    async with application(Recorder(answer)) as app:
        sent = await run_app(app, {**WEBSOCKET, "extensions": extensions}, CONNECT)
    assert sent[0]["status"] == 502


async def test_a_handshake_that_takes_too_long_is_a_504() -> None:
    async def never(stream: trio.SocketStream) -> None:
        await receive_all(stream)

    async with application(never, dashboard_timeout=0.1) as app:
        sent = await run_app(app, {**WEBSOCKET, "extensions": {"websocket.http.response": {}}}, CONNECT)
    assert sent[0]["status"] == 504


async def accept_websocket(stream: trio.SocketStream) -> None:
    data = b""
    while b"\r\n\r\n" not in data:
        data += await stream.receive_some()
    key = next(line.split(b": ")[1] for line in data.split(b"\r\n") if line.lower().startswith(b"sec-websocket-key"))
    accept = b64encode(sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())
    head = b"HTTP/1.1 101 Ok\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: " + accept
    await stream.send_all(head + b"\r\n\r\n")


@pytest.mark.parametrize(
    ("frames", "ending"),
    [
        (b"\x01\x02he\x80\x03llo" + b"\x88\x02\x03\xe8", 1000),  # a message in two pieces, a proper close
        (b"\x89\x01x\x8a\x01x\x88\x00", 1000),  # ping, pong, a close without a code
        (b"\x82\x7f\x00\x00\x00\x00\x00\x01\x00\x00" + bytes(65536), 1001),  # larger than allowed
        (b"\xff\xff", 1002),  # no frame at all
    ],
)
async def test_frames_of_a_dashboard(frames: bytes, ending: int) -> None:
    async def speak(stream: trio.SocketStream) -> None:
        await accept_websocket(stream)
        await stream.send_all(frames)
        await stream.send_eof()
        await receive_all(stream)

    async with application(speak, websocket_message_size=1024) as app:
        sent = await run_app(app, WEBSOCKET, CONNECT)
    assert sent[0]["type"] == "websocket.accept"
    assert sent[-1]["type"] == "websocket.close"
    assert sent[-1]["code"] == ending
    if b"he" in frames:
        assert sent[1] == {"type": "websocket.send", "text": "hello"}


@pytest.mark.parametrize(("code", "seen"), [(1000, b"\x03\xe8"), (1006, b"\x03\xe9"), (None, b"\x03\xe8")])
async def test_a_browser_that_closes_is_told_to_the_dashboard(code: int | None, seen: bytes) -> None:
    heard: list[bytes] = []

    async def listen(stream: trio.SocketStream) -> None:
        await accept_websocket(stream)
        heard.append(await receive_all(stream))
        done.set()

    done = trio.Event()
    async with application(listen) as app:
        sent = await run_app(app, WEBSOCKET, CONNECT, {"type": "websocket.disconnect", "code": code})
        assert [message["type"] for message in sent] == ["websocket.accept"]
        await done.wait()
    masked, mask = heard[0][6:8], heard[0][2:6]
    assert bytes(byte ^ key for byte, key in zip(masked, mask, strict=False)) == seen
