"""What a websocket to a dashboard promises, on streams in memory: pieces, limits, answers."""

import pytest
import trio
import trio.testing
import wsproto
from wsproto.connection import ConnectionType
from wsproto.events import (
    AcceptConnection,
    BytesMessage,
    CloseConnection,
    Event,
    Ping,
    Pong,
    RejectConnection,
    RejectData,
    Request,
    TextMessage,
)

from gateway.proxy.dashboard.upstream import UpstreamError
from gateway.proxy.dashboard.upstream_websocket import WebsocketExchange
from gateway.proxy.memory_budget import LARGE, SMALL, MemoryBudget

HEADERS = [(b"host", b"dashboard.example"), (b"cookie", b"a=b")]
MAX_SIZE = 10 * LARGE


class Server:
    """The dashboard's end."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self.stream = stream
        self.connection = wsproto.WSConnection(ConnectionType.SERVER)
        self.events = self.connection.events()

    async def hear(self) -> Event:
        while True:
            for event in self.events:
                return event
            self.connection.receive_data(bytes(await self.stream.receive_some()))
            self.events = self.connection.events()

    async def say(self, *events: Event) -> None:
        for event in events:
            await self.stream.send_all(self.connection.send(event))


def ends(max_size: int = MAX_SIZE) -> tuple[WebsocketExchange, Server]:
    """Both ends of a connection on which nothing was said."""
    ours, theirs = trio.testing.memory_stream_pair()
    return WebsocketExchange(ours, max_size, MemoryBudget(), "cluster abc"), Server(theirs)


async def opened(max_size: int = MAX_SIZE) -> tuple[WebsocketExchange, Server]:
    exchange, server = ends(max_size)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(exchange.open, "/ws", HEADERS, [])
        await server.hear()
        await server.say(AcceptConnection())
    return exchange, server


async def test_the_handshake_offers_subprotocols_and_no_extension() -> None:
    exchange, server = ends()
    async with trio.open_nursery() as nursery:

        async def accept() -> None:
            request = await server.hear()
            assert isinstance(request, Request)
            assert (request.host, request.target) == ("dashboard.example", "/ws?x=1")
            assert request.subprotocols == ["bokeh", "other"]
            assert request.extensions == []
            assert (b"cookie", b"a=b") in request.extra_headers
            await server.say(AcceptConnection(subprotocol="bokeh"))

        nursery.start_soon(accept)
        answer = await exchange.open("/ws?x=1", HEADERS, ["bokeh", "other"])
    assert isinstance(answer, AcceptConnection)
    assert answer.subprotocol == "bokeh"


@pytest.mark.parametrize(("body", "least", "most"), [(b"", 0, 0), (b"no", 2, 2), (b"x" * 300_000, 65536, 200_000)])
async def test_of_a_refusal_s_body_no_more_is_read_than_fits(body: bytes, least: int, most: int) -> None:
    exchange, server = ends()
    async with trio.open_nursery() as nursery:

        async def refuse() -> None:
            await server.hear()
            await server.say(RejectConnection(status_code=403, headers=[], has_body=True))
            pieces = [body[start : start + 50_000] for start in range(0, len(body), 50_000)] or [b""]
            for piece in pieces:
                await server.say(RejectData(data=piece, body_finished=False))
            await server.say(RejectData(data=b"", body_finished=True))

        nursery.start_soon(refuse)
        answer = await exchange.open("/ws", HEADERS, [])
        assert isinstance(answer, RejectConnection)
        assert answer.status_code == 403
        assert least <= len(await exchange.rejection_body(answer)) <= most


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 100 Continue\r\n\r\n", b"SSH-2.0\r\n\r\n"])
async def test_what_is_no_answer_to_a_handshake(answer: bytes) -> None:
    exchange, server = ends()
    await server.stream.send_all(answer)
    await server.stream.send_eof()
    with pytest.raises(UpstreamError):
        await exchange.open("/ws", HEADERS, [])


async def test_a_message_passes_before_its_end_has_come() -> None:
    exchange, server = await opened()
    await server.say(BytesMessage(data=b"first", message_finished=False))
    assert await exchange.receive() == BytesMessage(data=b"first", message_finished=False)
    await server.say(BytesMessage(data=b"last"))
    assert await exchange.receive() == BytesMessage(data=b"last")


async def test_what_is_at_hand_is_one_piece_however_it_was_cut() -> None:
    exchange, server = await opened()
    fragments = [BytesMessage(data=data, message_finished=False) for data in (b"a", b"", b"b", b"", b"c")]
    await server.say(*fragments, BytesMessage(data=b"d"))
    assert await exchange.receive() == BytesMessage(data=b"abcd")


async def test_no_piece_is_much_larger_than_a_buffer() -> None:
    exchange, server = await opened()
    await server.say(BytesMessage(data=bytes(MAX_SIZE)))
    sizes: list[int] = []
    finished = False
    while not finished:
        piece = await exchange.receive()
        assert isinstance(piece, BytesMessage)
        sizes.append(len(piece.data))
        finished = piece.message_finished
    assert sum(sizes) == MAX_SIZE
    assert max(sizes) < 2 * LARGE
    assert len(sizes) > 5


async def test_pieces_of_a_text_end_with_whole_characters() -> None:
    exchange, server = await opened()
    text = "😀" * SMALL
    await server.say(TextMessage(data=text))
    heard = ""
    finished = False
    while not finished:
        piece = await exchange.receive()
        assert isinstance(piece, TextMessage)
        heard += piece.data
        finished = piece.message_finished
    assert heard == text


@pytest.mark.parametrize("fragments", [1, 7])
async def test_a_message_that_is_too_large_is_refused_and_one_as_large_as_allowed_is_not(fragments: int) -> None:
    exchange, server = await opened(max_size=7000)
    part = bytes(7000 // fragments)
    allowed = [BytesMessage(data=part, message_finished=number == fragments - 1) for number in range(fragments)]
    for _ in range(2):  # the limit is for each message
        await server.say(*allowed)
        size, finished = 0, False
        while not finished:
            piece = await exchange.receive()
            assert isinstance(piece, BytesMessage)
            size, finished = size + len(piece.data), piece.message_finished
        assert size == 7000
    await server.say(*(BytesMessage(data=event.data, message_finished=False) for event in allowed))
    await server.say(BytesMessage(data=b"x"))
    with pytest.raises(UpstreamError, match="more than 7000 bytes"):
        while True:
            await exchange.receive()
    close = await server.hear()
    assert isinstance(close, CloseConnection)
    assert close.code == 1009


async def test_pings_are_answered_and_pongs_are_not_passed_on() -> None:
    exchange, server = await opened()
    await server.say(
        BytesMessage(data=b"a", message_finished=False), Ping(payload=b"p"), Pong(), BytesMessage(data=b"b")
    )
    assert await exchange.receive() == BytesMessage(data=b"ab")
    assert await server.hear() == Pong(payload=b"p")


async def test_a_close_is_answered() -> None:
    exchange, server = await opened()
    await server.say(CloseConnection(code=1001, reason="bye"))
    assert await exchange.receive() == CloseConnection(code=1001, reason="bye")
    assert await server.hear() == CloseConnection(code=1001, reason="bye")


async def test_messages_of_the_browser_arrive_as_they_are_sent() -> None:
    exchange, server = await opened()
    await exchange.send(TextMessage(data="he", message_finished=False))
    await exchange.send(TextMessage(data="llo"))
    assert await server.hear() == TextMessage(data="he", frame_finished=True, message_finished=False)
    assert await server.hear() == TextMessage(data="llo", frame_finished=True, message_finished=True)


async def test_a_dashboard_that_is_gone_can_be_told_nothing() -> None:
    exchange, server = await opened()
    await server.stream.aclose()
    with pytest.raises(UpstreamError, match="without a word"):
        await exchange.receive()
    with pytest.raises(UpstreamError, match="has closed the websocket"):
        await exchange.send(TextMessage(data="x"))


async def test_what_is_no_frame_ends_it_with_the_code_of_a_protocol_error() -> None:
    exchange, server = await opened()
    await server.stream.send_all(b"\xff\xff")
    close = await exchange.receive()
    assert isinstance(close, CloseConnection)
    assert close.code == 1002


async def test_the_buffer_is_given_back() -> None:
    ours, theirs = trio.testing.memory_stream_pair()
    budget = MemoryBudget()
    free = budget.buffers.free
    exchange, server = WebsocketExchange(ours, MAX_SIZE, budget, "cluster abc"), Server(theirs)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(exchange.open, "/ws", HEADERS, [])
        await server.hear()
        await server.say(AcceptConnection())
    await server.say(BytesMessage(data=bytes(MAX_SIZE)))
    await exchange.receive()
    await exchange.receive()
    assert budget.buffers.free < free
    exchange.close()
    exchange.close()
    assert budget.buffers.free == free
