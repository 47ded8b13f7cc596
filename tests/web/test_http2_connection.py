"""HTTP/2 as browsers speak it, over TLS through the public port."""

from collections import defaultdict
from contextlib import asynccontextmanager

import h2.config
import h2.connection
import h2.errors
import h2.events
import pytest
import trio

from gateway.proxy.routes import Routes
from gateway.web.asgi import answer
from gateway.web.http2_connection import CANCELS_PER_SECOND
from tests.support.proxy_peers import connect, gateways_tls, public_port, server_of


async def app(scope, receive, send):
    """Answers at once, without a look at the body; below /never it does not."""
    if scope["path"].startswith("/never"):
        while (await receive())["type"] != "http.disconnect":
            pass
        return
    await answer(send, 200, scope["path"].encode())


@pytest.fixture
def contexts(tmp_path):
    server, client = gateways_tls(tmp_path)
    client.set_alpn_protocols(["h2"])
    return server, client


class Browser:
    """One connection."""

    def __init__(self, stream):
        self.stream = stream
        self.connection = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
        self.bodies = defaultdict(bytes)
        self.ended = set()
        self.goodbye = None

    async def flush(self):
        await self.stream.send_all(self.connection.data_to_send())

    async def ask(self, method, path, *, body_follows=False):
        """Send the head of a request; returns the stream's number."""
        number = self.connection.get_next_available_stream_id()
        head = [(":method", method), (":path", path), (":scheme", "https"), (":authority", "localhost")]
        self.connection.send_headers(number, head, end_stream=not body_follows)
        await self.flush()
        return number

    async def until(self, done):
        """Read until `done()`, or the end of the connection."""
        while not done():
            try:
                data = await self.stream.receive_some()
            except trio.BrokenResourceError:
                data = b""
            if not data:
                return
            for event in self.connection.receive_data(data):
                if isinstance(event, h2.events.DataReceived):
                    self.bodies[event.stream_id] += event.data
                    self.connection.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                elif isinstance(event, h2.events.StreamEnded):
                    self.ended.add(event.stream_id)
                elif isinstance(event, h2.events.ConnectionTerminated):
                    self.goodbye = event.error_code
            await self.flush()

    async def get(self, path):
        number = await self.ask("GET", path)
        await self.until(lambda: number in self.ended)
        return self.bodies[number].decode()


@asynccontextmanager
async def browser(address, context):
    async with trio.SSLStream(await connect(address), context, server_hostname="localhost") as stream:
        await stream.do_handshake()
        assert stream.selected_alpn_protocol() == "h2"
        browser = Browser(stream)
        browser.connection.initiate_connection()
        await browser.flush()
        with trio.fail_after(30):
            yield browser


@pytest.fixture
async def address(contexts):
    async with public_port(Routes(), serve_http=server_of(app).serve, ssl_context=contexts[0]) as address:
        yield address


async def test_many_requests_at_once_on_one_connection(address, contexts):
    async with browser(address, contexts[1]) as one:
        numbers = [await one.ask("GET", f"/{number}") for number in range(20)]
        await one.until(lambda: one.ended >= set(numbers))
        assert [one.bodies[number].decode() for number in numbers] == [f"/{number}" for number in range(20)]


async def test_a_body_that_comes_after_its_answer_ends_nothing_else(address, contexts):
    async with browser(address, contexts[1]) as one:
        waiting = await one.ask("POST", "/never", body_follows=True)
        upload = await one.ask("POST", "/upload", body_follows=True)
        await one.until(lambda: upload in one.ended)
        for _ in range(10):
            one.connection.send_data(upload, b"x" * 5000)
        one.connection.end_stream(upload)
        await one.flush()
        assert await one.get("/after") == "/after"
        assert waiting not in one.ended


async def test_a_late_body_gives_the_window_of_the_connection_back(address, contexts):
    """Else no room would be left for others after a while."""
    async with browser(address, contexts[1]) as one:
        for _ in range(5):
            upload = await one.ask("POST", "/upload", body_follows=True)
            await one.until(lambda upload=upload: upload in one.ended)
            for _ in range(4):
                one.connection.send_data(upload, b"x" * 10_000)
            assert one.connection.outbound_flow_control_window < 30_000
            await one.flush()
            await one.until(lambda: one.connection.outbound_flow_control_window > 60_000)
            assert one.connection.outbound_flow_control_window > 60_000


async def test_who_only_asks_and_cancels_is_told_to_calm_down(address, contexts):
    async with browser(address, contexts[1]) as good, browser(address, contexts[1]) as bad:
        for _ in range(CANCELS_PER_SECOND):
            number = bad.connection.get_next_available_stream_id()
            head = [(":method", "GET"), (":path", "/never"), (":scheme", "https"), (":authority", "localhost")]
            bad.connection.send_headers(number, head, end_stream=True)
            bad.connection.reset_stream(number)
        await bad.flush()
        await bad.until(lambda: bad.goodbye is not None)
        assert bad.goodbye == h2.errors.ErrorCodes.ENHANCE_YOUR_CALM
        assert await good.get("/still") == "/still"


async def test_some_cancelled_requests_are_nothing_special(address, contexts):
    async with browser(address, contexts[1]) as one:
        for _ in range(CANCELS_PER_SECOND // 2):
            number = await one.ask("GET", "/never")
            one.connection.reset_stream(number)
            await one.flush()
        assert await one.get("/after") == "/after"
