"""Where hypercorn 0.18 offers more to strangers than this server wants to give; importing this takes it back.

None of it can be configured, so it is replaced here, in one place (tests/test_http_server.py holds it to this):

- Connections are of the classes in http1_connection.py and http2_connection.py, which say what is done about each.
- permessage-deflate is accepted from whoever offers it, as browsers do. Ten megabytes for a dashboard would be
  compressed in the one thread that carries everybody's bytes, for most of a second.
- Of a websocket's bytes it parses up to 64 KiB without a pause, which are ten thousand empty fragments: a third of a
  second in which nobody else is served. They are parsed in small parts, and small frames have a budget
  (http_budget.py). Whoever exceeds it is told so by a close with the code 1008, "policy violation".
"""

from collections.abc import Generator
from typing import Final, cast

import hypercorn.protocol
import wsproto.connection
from hypercorn.protocol import events as hypercorn_events
from hypercorn.protocol import h2, h11, ws_stream
from hypercorn.protocol.events import Body, Data, StreamClosed
from wsproto.events import CloseConnection, Event, Message
from wsproto.frame_protocol import CloseReason

from gateway.http1_connection import Http1Connection
from gateway.http2_connection import AnswerBuffer, Http2Connection
from gateway.http_budget import SMALL, SMALL_MESSAGE, Budgeted

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


class _PausingWebsocket(ws_stream.WSStream):
    """A websocket that gives others a turn."""

    async def handle(self, event: hypercorn_events.Event) -> None:
        if not isinstance(event, Body | Data):
            await super().handle(event)
            return
        budget = cast("Budgeted", self.app).budget
        for start in range(0, len(event.data), WEBSOCKET_PART):
            if start:
                await budget.turn()
            part = event.data[start : start + WEBSOCKET_PART]
            await super().handle(type(event)(stream_id=event.stream_id, data=part))
            if self.closed or not self.handshake.accepted:
                return
            connection = cast("_CountingWebsocket", self.connection)
            cost, connection.cost = connection.cost, 0
            if not budget.spend(cost):
                await self._send_wsproto_event(CloseConnection(CloseReason.POLICY_VIOLATION, "too many small frames"))
                await self.send(StreamClosed(stream_id=self.stream_id))
                return


hypercorn.protocol.H11Protocol = Http1Connection  # type: ignore[attr-defined]
hypercorn.protocol.H2Protocol = Http2Connection  # type: ignore[attr-defined]
ws_stream.Connection = _CountingWebsocket  # type: ignore[attr-defined]
ws_stream.Handshake = _PlainHandshake  # type: ignore[misc]
h11.WSStream = _PausingWebsocket  # type: ignore[attr-defined]
h2.WSStream = _PausingWebsocket  # type: ignore[attr-defined]
h2.StreamBuffer = AnswerBuffer  # type: ignore[misc]
