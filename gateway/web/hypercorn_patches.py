"""Where hypercorn 0.18 offers more to strangers than this server wants to give; importing this takes it back.

None of it can be configured, so it is replaced here, in one place (tests/web/test_server.py holds it to this):

- Connections are of the classes in http1_connection.py and http2_connection.py, which say what is done about each.
- permessage-deflate is accepted from whoever offers it, as browsers do. Ten megabytes for a dashboard would be
  compressed in the one thread that carries everybody's bytes, for most of a second.
- Of a websocket's bytes it parses up to 64 KiB without a pause, which are ten thousand empty fragments: a third of a
  second in which nobody else is served. They are parsed in small parts, and small frames have a budget
  (http_budget.py). Whoever exceeds it is told so by a close with the code 1008, "policy violation".
- A websocket's messages are collected, and handed on as a whole. An app that accepts one with `pieces` gets them, and
  may send them, in pieces: a message of ASGI with `more` says that there is more of it. Their size is still limited.
"""

from collections.abc import Generator
from typing import Any, Final, cast

import hypercorn.protocol
import wsproto.connection
from hypercorn.protocol import events as hypercorn_events
from hypercorn.protocol import h2, h11, ws_stream
from hypercorn.protocol.events import Body, Data, StreamClosed
from wsproto.connection import ConnectionState
from wsproto.events import BytesMessage, CloseConnection, Event, Message, Ping, TextMessage
from wsproto.frame_protocol import CloseReason

from gateway.web.http1_connection import Http1Connection
from gateway.web.http2_connection import AnswerBuffer, Http2Connection
from gateway.web.http_budget import SMALL, SMALL_MESSAGE, Budgeted

#: Bytes of a websocket that are parsed at once.
WEBSOCKET_PART: Final = 4096


class _PlainHandshake(ws_stream.Handshake):
    """A websocket handshake that has heard of no extensions."""

    def __init__(self, headers: list[tuple[bytes, bytes]], http_version: str) -> None:
        super().__init__([item for item in headers if item[0].lower() != b"sec-websocket-extensions"], http_version)


class _CountingWebsocket(wsproto.connection.Connection):
    """The grammar of a websocket, which counts small frames."""

    #: What frames that carried little have cost, since somebody has asked last.
    cost = 0

    def events(self) -> Generator[Event, None, None]:
        """See wsproto."""
        for event in super().events():
            if not isinstance(event, Message):
                self.cost += 1
            elif len(event.data) < SMALL:
                self.cost += SMALL_MESSAGE if event.message_finished else 1
            yield event

    def end(self) -> None:
        """Break the cycle by which it would hold itself, with a parser that waits for more; nothing more is parsed."""
        self._proto._parse_more = (None for _ in ())  # gc_pauses.py does not look for cycles very often


class _PausingWebsocket(ws_stream.WSStream):
    """A websocket that gives others a turn, and holds no more of a message than has just come."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._pieces = False
        self._passed = 0  # of the message that is coming in

    async def handle(self, event: hypercorn_events.Event) -> None:
        if not isinstance(event, Body | Data) or self.closed or not self.handshake.accepted:
            await super().handle(event)
            if isinstance(event, StreamClosed) and self.handshake.accepted:  # else there is no connection yet
                cast("_CountingWebsocket", self.connection).end()
            return
        budget = cast("Budgeted", self.app).budget
        for start in range(0, len(event.data), WEBSOCKET_PART):
            if start:
                await budget.turn()
            await super().handle(type(event)(event.stream_id, event.data[start : start + WEBSOCKET_PART]))
            if self._is_closed():
                return
            connection = cast("_CountingWebsocket", self.connection)
            cost, connection.cost = connection.cost, 0
            if not budget.spend(cost):
                await self._send_wsproto_event(CloseConnection(CloseReason.POLICY_VIOLATION, "too many small frames"))
                await self.send(StreamClosed(stream_id=self.stream_id))
                return
        if self._pieces and self.buffer.length:
            await self._pass_on(more=True)

    def _is_closed(self) -> bool:
        return self.closed

    async def _handle_events(self) -> None:
        for event in self.connection.events():
            if isinstance(event, Message):
                await self._take(event)
            elif isinstance(event, Ping):
                await self._send_wsproto_event(event.response())
            elif isinstance(event, CloseConnection):
                if self.connection.state == ConnectionState.REMOTE_CLOSING:
                    await self._send_wsproto_event(event.response())
                await self.send(StreamClosed(stream_id=self.stream_id))

    async def _take(self, event: Message[Any]) -> None:
        if self._passed + self.buffer.length + len(event.data) > self.config.websocket_max_message_size:
            self.buffer.clear()
            self._passed = self.config.websocket_max_message_size + 1  # nothing more is passed on
            await self._send_wsproto_event(CloseConnection(code=CloseReason.MESSAGE_TOO_BIG))
            return
        self.buffer.extend(event)
        if event.message_finished:
            await self._pass_on(more=False)

    async def _pass_on(self, *, more: bool) -> None:
        """Hand on what has come of a message."""
        if self.app_put is None or self.closed:
            return
        message = self.buffer.to_message()
        if more:
            message["more"] = True
        self._passed = self._passed + self.buffer.length if more else 0
        self.buffer.clear()
        await self.app_put(message)

    async def app_send(self, message: Any) -> None:
        """See hypercorn; `pieces` and `more` are ours."""
        if message is not None and message["type"] == "websocket.accept":
            self._pieces = message.get("pieces", False)
        if message is None or message["type"] != "websocket.send" or not message.get("more", False):
            await super().app_send(message)
        elif not self.closed and self.state == ws_stream.ASGIWebsocketState.CONNECTED:
            data = message.get("bytes")
            if data is None:
                await self._send_wsproto_event(TextMessage(data=message["text"], message_finished=False))
            else:
                await self._send_wsproto_event(BytesMessage(data=data, message_finished=False))


hypercorn.protocol.H11Protocol = Http1Connection  # type: ignore[attr-defined]
hypercorn.protocol.H2Protocol = Http2Connection  # type: ignore[attr-defined]
ws_stream.Connection = _CountingWebsocket  # type: ignore[attr-defined]
ws_stream.Handshake = _PlainHandshake  # type: ignore[misc]
h11.WSStream = _PausingWebsocket  # type: ignore[attr-defined]
h2.WSStream = _PausingWebsocket  # type: ignore[attr-defined]
h2.StreamBuffer = AnswerBuffer  # type: ignore[misc]
