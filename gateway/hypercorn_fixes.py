"""Where hypercorn 0.18 offers more to strangers than this server wants to give; importing this takes it back.

None of it can be configured, so it is replaced here, in one place (tests/test_http_server.py holds it to this):

- permessage-deflate is accepted from whoever offers it, as browsers do. Ten megabytes for a dashboard would be
  compressed in the one thread that carries everybody's bytes, for most of a second.
- HTTP/2 without TLS, which no browser speaks, has no deadline: hypercorn stops its idle timer at the preface and
  never starts it again. An upgrade to it is ignored; a preface ends the connection.
"""

from typing import Any

from hypercorn.protocol import h11, ws_stream


class _PlainHandshake(ws_stream.Handshake):
    """A websocket handshake that has heard of no extensions."""

    def __init__(self, headers: list[tuple[bytes, bytes]], http_version: str) -> None:
        super().__init__([item for item in headers if item[0].lower() != b"sec-websocket-extensions"], http_version)


async def _stay(protocol: h11.H11Protocol, event: Any) -> None:
    """HTTP/1.1 it is. Raises what ends the connection of a client that goes on in HTTP/2."""
    if event.method == b"PRI":
        raise ConnectionAbortedError("HTTP/2 without TLS")


ws_stream.Handshake = _PlainHandshake  # type: ignore[misc]
h11.H11Protocol._check_protocol = _stay  # type: ignore[assignment, method-assign]
