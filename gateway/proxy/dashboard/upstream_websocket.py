"""One websocket connection to a user's dashboard, over a stream that the caller owns.

wsproto knows the grammar; here are only the loops between it and the stream,
which keep three promises that trio-websocket cannot (docs/architecture.md):

- A message passes in pieces, as large as what is at hand, and is never held as
  a whole (proxy/memory_budget.py). Its size is limited all the same.
- Between any two events of the peer everybody else has a turn: a pong or an
  empty fragment costs it two bytes, and us a hundred microseconds.
- What is kept is bounded in bytes, however many fragments the bytes came in.

Pings are answered, pongs ignored, and no compression is offered.
"""

from typing import TypeAlias

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
from gateway.proxy.dashboard.upstream import UpstreamError
from gateway.proxy.memory_budget import LARGE, MemoryBudget, ReadSize

#: Bytes of the body of a refused handshake.
_MAX_REFUSAL = 65536
#: Bytes of the handshake that are parsed at once: wsproto does that without a pause.
_HANDSHAKE_CHUNK = 4096
#: Close code of a message that is too large (RFC 6455, 7.4.1).
_MESSAGE_TOO_BIG = 1009

#: A part of a message.
Piece: TypeAlias = TextMessage | BytesMessage


class WebsocketExchange:
    """A websocket connection to a dashboard. One task may send while another receives. To be closed in the end.

    No message may be larger than `max_size` bytes. `owner` is whose share of the budget the buffer is taken from.
    """

    def __init__(self, stream: trio.abc.Stream, max_size: int, budget: MemoryBudget, owner: str) -> None:
        self._stream = stream
        self._max_size = max_size
        self._passed = 0  # bytes of the message that is being received
        self._read_size = ReadSize(budget, owner)
        self._connection = wsproto.WSConnection(ConnectionType.CLIENT)
        self._events = self._connection.events()
        self._send_lock = trio.Lock()

    def close(self) -> None:
        """Give the buffer back: nothing is received any more. The stream stays the caller's to close."""
        self._read_size.close()

    async def open(self, target: str, headers: Headers, subprotocols: list[str]) -> AcceptConnection | RejectConnection:
        """Shake hands, and return the answer, also when it is a refusal (of status 200 or more).

        `headers` has a `host`, and none of the handshake's own. Raises `UpstreamError` when there is no such answer,
        and `h11.LocalProtocolError` when HTTP cannot say what is asked.
        """
        host = next(value for name, value in headers if name == b"host").decode("ascii", "replace")
        others = [(name, value) for name, value in headers if name != b"host"]
        await self.send(Request(host=host, target=target, extra_headers=others, subprotocols=subprotocols))
        event = await self._next_event()
        if isinstance(event, AcceptConnection) or (isinstance(event, RejectConnection) and event.status_code >= 200):
            return event
        raise UpstreamError("the dashboard did not answer the websocket handshake")

    async def rejection_body(self, rejected: RejectConnection) -> bytes:
        """Return the body that came with a refusal, of which no more than about 64 KiB; raises `UpstreamError`."""
        body = b""
        finished = not rejected.has_body
        while not finished and len(body) <= _MAX_REFUSAL:
            event = await self._next_event()
            if not isinstance(event, RejectData):
                break
            body += event.data
            finished = event.body_finished
        return body

    async def send(self, event: Event) -> None:
        """Send a piece of a message, or a close; raises `UpstreamError` when the dashboard is gone."""
        async with self._send_lock:
            try:
                await self._stream.send_all(self._connection.send(event))
            except (trio.BrokenResourceError, trio.ClosedResourceError, ProtocolError) as error:
                raise UpstreamError(f"the dashboard has closed the websocket: {error}") from error

    async def receive(self) -> Piece | CloseConnection:
        """Return the next piece of a message, or how the dashboard closed.

        A piece is as large as what is at hand, up to about `LARGE` bytes, and empty only at the end of a message.
        Raises `UpstreamError` when the dashboard is gone, and for a message that is too large, after a close that says
        so.
        """
        is_text, data = False, bytearray()  # not a list of fragments: there may be any number of small or empty ones
        while True:
            match await self._next_event(wait=not data):
                case TextMessage() | BytesMessage() as part:
                    is_text = isinstance(part, TextMessage)
                    data += part.data.encode() if isinstance(part, TextMessage) else part.data
                    await self._check_size(len(data))
                    if part.message_finished or len(data) >= LARGE:
                        return self._piece(is_text, data, finished=part.message_finished)
                case None:
                    return self._piece(is_text, data, finished=False)
                case Ping() as ping:
                    await self.send(ping.response())
                case Pong():
                    pass
                case CloseConnection() as close:
                    if self._connection.state is ConnectionState.REMOTE_CLOSING:
                        await self.send(close.response())
                    return close
                case _:
                    raise UpstreamError("the dashboard sent something that is no websocket message")

    async def _check_size(self, size: int) -> None:
        if self._passed + size > self._max_size:
            await self.send(CloseConnection(code=_MESSAGE_TOO_BIG))
            raise UpstreamError(f"the dashboard sent a websocket message of more than {self._max_size} bytes")

    def _piece(self, is_text: bool, data: bytearray, *, finished: bool) -> Piece:
        self._passed = 0 if finished else self._passed + len(data)
        # The fragments of a text end with whole characters, wherever its frames do: wsproto sees to it.
        if is_text:
            return TextMessage(data=data.decode(), message_finished=finished)
        return BytesMessage(data=bytes(data), message_finished=finished)

    async def _next_event(self, *, wait: bool = True) -> Event | None:
        """Return the next event; unless we are to `wait`, None when there is none at hand. Raises `UpstreamError`."""
        await trio.lowlevel.checkpoint()
        try:
            # One iterator until it is exhausted: wsproto parses as it is iterated.
            while (event := next(self._events, None)) is None:
                if not wait:
                    return None
                self._connection.receive_data(await self._read())
                self._events = self._connection.events()
        except (trio.BrokenResourceError, ProtocolError) as error:
            raise UpstreamError(f"the dashboard broke off: {error}") from error
        return event

    async def _read(self) -> bytes:
        shaking_hands = self._connection.state in (ConnectionState.CONNECTING, ConnectionState.REJECTING)
        data = bytes(await self._stream.receive_some(_HANDSHAKE_CHUNK if shaking_hands else self._read_size.now))
        if not data:
            raise UpstreamError("the dashboard closed the websocket's connection without a word")
        self._read_size.was(len(data))
        return data
