"""Where hypercorn 0.18 offers more to strangers than this server wants to give; importing this takes it back.

None of it can be configured, so it is replaced here, in one place (tests/test_http_server.py holds it to this):

- permessage-deflate is accepted from whoever offers it, as browsers do. Ten megabytes for a dashboard would be
  compressed in the one thread that carries everybody's bytes, for most of a second.
- HTTP/2 without TLS, which no browser speaks, has no deadline: hypercorn stops its idle timer at the preface and
  never starts it again. An upgrade to it is ignored; a preface ends the connection.
- Of a websocket's bytes it parses up to 64 KiB without a pause, which are ten thousand empty fragments: a third of a
  second in which nobody else is served. They are parsed in small parts.
- What is done about HTTP/2 is in http2_connection.py.
"""

from typing import Any, Final

import hypercorn.protocol
import trio
from hypercorn.protocol import events as hypercorn_events
from hypercorn.protocol import h2, h11, ws_stream
from hypercorn.protocol.events import Body, Data

from gateway.http2_connection import AnswerBuffer, Http2Connection

#: Bytes of a websocket that are parsed at once.
WEBSOCKET_PART: Final = 4096


class _PlainHandshake(ws_stream.Handshake):
    """A websocket handshake that has heard of no extensions."""

    def __init__(self, headers: list[tuple[bytes, bytes]], http_version: str) -> None:
        super().__init__([item for item in headers if item[0].lower() != b"sec-websocket-extensions"], http_version)


class _PausingWebsocket(ws_stream.WSStream):
    """A websocket that gives others a turn."""

    async def handle(self, event: hypercorn_events.Event) -> None:
        if not isinstance(event, Body | Data) or len(event.data) <= WEBSOCKET_PART:
            await super().handle(event)
            return
        for start in range(0, len(event.data), WEBSOCKET_PART):
            part = event.data[start : start + WEBSOCKET_PART]
            await super().handle(type(event)(stream_id=event.stream_id, data=part))
            await trio.lowlevel.checkpoint()


async def _stay(protocol: h11.H11Protocol, event: Any) -> None:
    """HTTP/1.1 it is. Raises what ends the connection of a client that goes on in HTTP/2."""
    if event.method == b"PRI":
        raise ConnectionAbortedError("HTTP/2 without TLS")


hypercorn.protocol.H2Protocol = Http2Connection  # type: ignore[attr-defined]
ws_stream.Handshake = _PlainHandshake  # type: ignore[misc]
h11.H11Protocol._check_protocol = _stay  # type: ignore[assignment, method-assign]
h11.WSStream = _PausingWebsocket  # type: ignore[attr-defined]
h2.WSStream = _PausingWebsocket  # type: ignore[attr-defined]
h2.StreamBuffer = AnswerBuffer  # type: ignore[misc]
