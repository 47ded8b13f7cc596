"""A connection as the HTTP server gets it: a trio stream whose end is certain.

The HTTP server below (hypercorn) sends within a shield and may wait for
applications after the connection has ended; either could keep a dead one for
ever. So the end of the stream, by either side, starts a last deadline for
whoever still works on it, and `abort` makes a blocked send fail.
"""

from contextlib import suppress
from typing import Any

import trio


class _Named:
    """The socket's own name, and the client's as it was introduced to us."""

    def __init__(self, sock: trio.socket.SocketType, client: str) -> None:
        self._socket = sock
        self._client = client
        self.family = trio.socket.AF_INET6 if ":" in client else trio.socket.AF_INET

    def getpeername(self) -> tuple[str, int]:
        return self._client, 0

    def getsockname(self) -> Any:
        name = self._socket.getsockname()
        return name if isinstance(name, tuple) else ("", 0)


class WebStream(trio.abc.HalfCloseableStream):
    """A `trio.SocketStream` in all that an HTTP server uses. `client` replaces the peer's name unless it is empty."""

    def __init__(self, stream: trio.SocketStream, client: str, linger: float) -> None:
        self._stream = stream
        self._linger = linger
        self.socket: Any = _Named(stream.socket, client) if client else stream.socket
        #: Around everything that works on this stream.
        self.scope = trio.CancelScope()

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """See trio. The HTTP server ends a stream (`send_eof`) on which it may be sending: that is a broken one."""
        try:
            await self._stream.send_all(data)
        except trio.BusyResourceError as error:
            raise trio.BrokenResourceError("the connection is being closed") from error

    async def wait_send_all_might_not_block(self) -> None:
        """See trio."""
        await self._stream.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """See trio; the client's end starts the last deadline as well, for HTTP knows no half-close."""
        try:
            data = await self._stream.receive_some(max_bytes)
        except trio.BrokenResourceError:
            self._end_soon()
            raise
        if not data:
            self._end_soon()
        return bytes(data)

    async def send_eof(self) -> None:
        """See trio."""
        await self._stream.send_eof()

    async def aclose(self) -> None:
        """Close; whoever works on this stream has `linger` seconds left."""
        self._end_soon()
        await self._stream.aclose()

    def _end_soon(self) -> None:
        self.scope.deadline = min(self.scope.deadline, trio.current_time() + self._linger)

    def abort(self) -> None:
        """Close at once, without waiting; sends and receives that wait fail."""
        self._stream.socket.close()
        self.scope.cancel()


#: What is thrown away of a peer's bytes after our last word, and for how many seconds.
_LINGER_BYTES = 1024 * 1024
_LINGER_SECONDS = 1.0


async def linger(stream: trio.abc.Stream) -> None:
    """End our direction and read on for a little: closing with bytes unread would make the peer lose our last ones."""
    bare = stream.transport_stream if isinstance(stream, trio.SSLStream) else stream
    if not isinstance(bare, trio.abc.HalfCloseableStream):
        return
    left = _LINGER_BYTES
    with (
        trio.move_on_after(_LINGER_SECONDS),
        suppress(trio.BrokenResourceError, trio.ClosedResourceError, trio.BusyResourceError),
    ):
        await bare.send_eof()
        while left > 0 and (data := await bare.receive_some(64 * 1024)):
            left -= len(data)
