"""One HTTP/1.1 or websocket exchange with a user's dashboard or scheduler, over a stream that the caller owns.

h11 and wsproto know the grammar; here are only the loops between them and a
stream. Nothing is kept between exchanges: no pool, no cookies, so that nothing
of one user can turn up in another's request.

The peer is a user's program, and may send what costs it two bytes and us a
hundred microseconds, thousands at once: interim answers, pongs, empty
fragments. So what is kept is bounded in bytes, whatever the pieces are, and
between any two events everybody else has a turn. Messages of websockets pass
in pieces as well, so that none is ever held as a whole (proxy/memory_budget.py).
"""

from typing import TypeAlias

import h11
import trio
import wsproto
from wsproto.connection import ConnectionState, ConnectionType
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
from wsproto.utilities import ProtocolError

from gateway.proxy.dashboard.headers import Headers
from gateway.proxy.memory_budget import LARGE, MemoryBudget, ReadSize

#: Bytes of the body of a refused websocket.
_MAX_REFUSAL = 65536
_MAX_HEAD = 65536
#: Answers "please wait" (1xx) before the answer. Nobody sends more than a few.
_MOST_INTERIM = 16
#: Of a websocket's handshake so much is parsed at once: wsproto does that without a pause.
_HANDSHAKE_CHUNK = 4096


#: A part of a message.
Piece: TypeAlias = TextMessage | BytesMessage


class UpstreamError(Exception):
    """The dashboard closed, or answered with something that is not HTTP."""


class HttpExchange:
    """One request and its answer. One task may send while another receives. To be closed in the end, as the stream is.

    `owner` is whose share of the budget the answer's buffer is taken from; without a budget it has none.
    """

    def __init__(self, stream: trio.abc.Stream, budget: MemoryBudget | None = None, owner: str = "") -> None:
        self._stream = stream
        self._size = ReadSize(budget, owner)
        self._connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=_MAX_HEAD)
        self._interim = 0

    def close(self) -> None:
        """Nothing is received any more."""
        self._size.close()

    async def send(self, event: h11.Request | h11.Data | h11.EndOfMessage) -> None:
        """Send a part of the request. A peer that reads no more, or has gone wrong, is no error: `receive` says why.

        Raises `h11.LocalProtocolError` for what cannot be said in HTTP/1.1.
        """
        if self._connection.their_state is h11.ERROR:
            return
        try:
            await self._stream.send_all(self._connection.send(event) or b"")
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return

    async def receive(self) -> h11.Response | h11.Data | h11.EndOfMessage:
        """The next part of the answer, as soon as it is there; raises `UpstreamError`."""
        while True:
            await trio.lowlevel.checkpoint()
            try:
                event = self._connection.next_event()
                if event is h11.NEED_DATA:
                    data = bytes(await self._stream.receive_some(self._size.now))
                    self._size.was(len(data))
                    self._connection.receive_data(data)
                elif isinstance(event, h11.Response | h11.Data | h11.EndOfMessage):
                    return event
                elif isinstance(event, h11.InformationalResponse):
                    self._interim += 1
                    if self._interim > _MOST_INTERIM:
                        raise UpstreamError(f"it sent more than {_MOST_INTERIM} interim answers")
                else:
                    raise UpstreamError("it disconnected before its answer was complete")
            except (h11.RemoteProtocolError, trio.BrokenResourceError) as error:
                raise UpstreamError(f"it disconnected in the middle of its answer: {error}") from error


class WebsocketExchange:
    """A websocket connection to a dashboard. One task may send while another receives. To be closed in the end.

    No message may be larger than `max_size` bytes. `owner` is whose share of the budget the buffer is taken from.
    """

    def __init__(self, stream: trio.abc.Stream, max_size: int, budget: MemoryBudget, owner: str) -> None:
        self._stream = stream
        self._max_size = max_size
        self._passed = 0  # bytes of the message that is being received
        self._size = ReadSize(budget, owner)
        self._connection = wsproto.WSConnection(ConnectionType.CLIENT)
        self._events = self._connection.events()
        self._lock = trio.Lock()

    def close(self) -> None:
        """Nothing is received any more."""
        self._size.close()

    async def open(self, target: str, headers: Headers, subprotocols: list[str]) -> AcceptConnection | RejectConnection:
        """Shake hands; a refusal is returned as it came. Raises `UpstreamError`."""
        host = next(value for name, value in headers if name == b"host").decode("ascii", "replace")
        others = [(name, value) for name, value in headers if name != b"host"]
        await self.send(Request(host=host, target=target, extra_headers=others, subprotocols=subprotocols))
        event = await self._next()
        if isinstance(event, AcceptConnection) or (isinstance(event, RejectConnection) and event.status_code >= 200):
            return event
        raise UpstreamError("the dashboard did not answer the websocket handshake")

    async def rejection_body(self, rejected: RejectConnection) -> bytes:
        """The body that came with a refusal, as far as it fits."""
        body = b""
        finished = not rejected.has_body
        while not finished and len(body) <= _MAX_REFUSAL:
            event = await self._next()
            if not isinstance(event, RejectData):
                break
            body += event.data
            finished = event.body_finished
        return body

    async def send(self, event: Event) -> None:
        """Send a message or a close; raises `UpstreamError` when the dashboard is gone."""
        async with self._lock:
            try:
                await self._stream.send_all(self._connection.send(event))
            except (trio.BrokenResourceError, trio.ClosedResourceError, ProtocolError) as error:
                raise UpstreamError(f"the dashboard has closed the websocket: {error}") from error

    async def receive(self) -> Piece | CloseConnection:
        """The next piece of a message, or how the dashboard closed; raises `UpstreamError`.

        Pieces are as large as what is at hand, and empty ones come only at the end of a message.
        """
        text, piece = False, bytearray()  # not a list of fragments: there may be any number of small or empty ones
        while True:
            event = await self._next(wait=not piece)
            if isinstance(event, TextMessage | BytesMessage):
                text = isinstance(event, TextMessage)
                piece += event.data.encode() if isinstance(event, TextMessage) else event.data
                if self._passed + len(piece) > self._max_size:
                    await self.send(CloseConnection(code=1009))
                    raise UpstreamError(f"the dashboard sent a websocket message of more than {self._max_size} bytes")
                if event.message_finished or len(piece) >= LARGE:
                    return self._piece(text, piece, finished=event.message_finished)
            elif event is None:
                return self._piece(text, piece, finished=False)
            elif isinstance(event, Ping):
                await self.send(event.response())
            elif isinstance(event, CloseConnection):
                if self._connection.state is ConnectionState.REMOTE_CLOSING:
                    await self.send(event.response())
                return event
            elif not isinstance(event, Pong):
                raise UpstreamError("the dashboard sent something that is no websocket message")

    def _piece(self, text: bool, piece: bytearray, *, finished: bool) -> Piece:
        self._passed = 0 if finished else self._passed + len(piece)
        # The fragments of a text end with whole characters, wherever its frames do: wsproto sees to it.
        if text:
            return TextMessage(data=piece.decode(), message_finished=finished)
        return BytesMessage(data=bytes(piece), message_finished=finished)

    async def _next(self, *, wait: bool = True) -> Event | None:
        """The next event; unless we are to `wait`, None when there is none at hand."""
        await trio.lowlevel.checkpoint()
        while True:
            try:
                # One iterator until it is exhausted: wsproto parses as it is iterated.
                for event in self._events:
                    return event
                if not wait:
                    return None
                opening = self._connection.state in (ConnectionState.CONNECTING, ConnectionState.REJECTING)
                data = await self._stream.receive_some(_HANDSHAKE_CHUNK if opening else self._size.now)
                if not data:
                    raise UpstreamError("the dashboard closed the websocket's connection without a word")
                self._size.was(len(data))
                self._connection.receive_data(bytes(data))
                self._events = self._connection.events()
            except (trio.BrokenResourceError, ProtocolError) as error:
                raise UpstreamError(f"the dashboard broke off: {error}") from error
