"""Where hypercorn 0.18 offers more to strangers than this server wants to give; importing this takes it back.

None of it can be configured, so it is replaced here, in one place (tests/test_http_server.py holds it to this):

- permessage-deflate is accepted from whoever offers it, as browsers do. Ten megabytes for a dashboard would be
  compressed in the one thread that carries everybody's bytes, for most of a second.
- HTTP/2 without TLS, which no browser speaks, has no deadline: hypercorn stops its idle timer at the preface and
  never starts it again. An upgrade to it is ignored; a preface ends the connection.
- Over HTTP/2, a piece of a body that comes when its request has been answered already is a KeyError, which ends the
  connection, and with it everything else that a browser does on it. Such pieces are thrown away.
- Of a websocket's bytes it parses up to 64 KiB without a pause, which are ten thousand empty fragments: a third of a
  second in which nobody else is served. They are parsed in small parts.
- A websocket's messages are collected, and handed on as a whole. An app that accepts one with `pieces` gets them, and
  may send them, in pieces: a message of ASGI with `more` says that there is more of it. Their size is still limited.
- Whoever asks by HTTP/2 and cancels at once (CVE-2023-44487) has work done for nothing, as often as they like. A
  connection on which that happens very often is closed.
"""

from collections import deque
from typing import Any, Final

import hypercorn.protocol
import trio
from h2.errors import ErrorCodes
from h2.events import DataReceived, Event, StreamReset
from hypercorn.events import Closed
from hypercorn.protocol import events as hypercorn_events
from hypercorn.protocol import h2, h11, ws_stream
from hypercorn.protocol.events import Body, Data, StreamClosed
from wsproto.connection import ConnectionState
from wsproto.events import BytesMessage, CloseConnection, Message, Ping, TextMessage
from wsproto.frame_protocol import CloseReason

#: A browser that leaves a page cancels a few dozen requests.
CANCELS_PER_SECOND: Final = 100
#: Bytes of a websocket that are parsed at once.
WEBSOCKET_PART: Final = 4096


class _PlainHandshake(ws_stream.Handshake):
    """A websocket handshake that has heard of no extensions."""

    def __init__(self, headers: list[tuple[bytes, bytes]], http_version: str) -> None:
        super().__init__([item for item in headers if item[0].lower() != b"sec-websocket-extensions"], http_version)


class _PausingWebsocket(ws_stream.WSStream):
    """A websocket that gives others a turn, and holds no more of a message than has just come."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._pieces = False
        self._passed = 0  # of the message that is coming in

    async def handle(self, event: hypercorn_events.Event) -> None:
        if isinstance(event, Body | Data) and self.handshake.accepted and not self.closed:
            for start in range(0, len(event.data), WEBSOCKET_PART):
                await super().handle(type(event)(event.stream_id, event.data[start : start + WEBSOCKET_PART]))
                await trio.lowlevel.checkpoint()
            if self._pieces and self.buffer.length:
                await self._pass_on(more=True)
        else:
            await super().handle(event)

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


async def _stay(protocol: h11.H11Protocol, event: Any) -> None:
    """HTTP/1.1 it is. Raises what ends the connection of a client that goes on in HTTP/2."""
    if event.method == b"PRI":
        raise ConnectionAbortedError("HTTP/2 without TLS")


class _Http2Protocol(h2.H2Protocol):
    """One HTTP/2 connection."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._cancelled: deque[float] = deque(maxlen=CANCELS_PER_SECOND)

    async def _handle_events(self, events: list[Event]) -> None:
        for event in events:
            if isinstance(event, DataReceived) and event.stream_id not in self.streams:
                self.connection.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            elif isinstance(event, StreamReset) and self._cancels_too_often():
                self.connection.close_connection(ErrorCodes.ENHANCE_YOUR_CALM)
                await self._flush()
                await self.send(Closed())
                return
            else:
                await super()._handle_events([event])
        await self._flush()

    def _cancels_too_often(self) -> bool:
        now = trio.current_time()
        self._cancelled.append(now)
        return len(self._cancelled) == CANCELS_PER_SECOND and now - self._cancelled[0] < 1.0


hypercorn.protocol.H2Protocol = _Http2Protocol  # type: ignore[attr-defined]
ws_stream.Handshake = _PlainHandshake  # type: ignore[misc]
h11.H11Protocol._check_protocol = _stay  # type: ignore[assignment, method-assign]
h11.WSStream = _PausingWebsocket  # type: ignore[attr-defined]
h2.WSStream = _PausingWebsocket  # type: ignore[attr-defined]
