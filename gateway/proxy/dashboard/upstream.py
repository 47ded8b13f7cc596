"""One HTTP/1.1 exchange with a user's dashboard or scheduler, over a stream that the caller owns.

h11 knows the grammar; here is only the loop between it and the stream. Nothing
is kept between exchanges: no pool, no cookies, so that nothing of one user can
turn up in another's request.

The peer is a user's program, and may send what costs it some bytes and us a
hundred microseconds, thousands at once: tiny chunks, interim answers. So
between any two events everybody else has a turn, and the latter are counted.
"""

import h11
import trio

from gateway.proxy.memory_budget import MemoryBudget, ReadSize

#: Bytes of the head of an answer.
_MAX_HEAD = 65536
#: Answers "please wait" (1xx) before the answer. Nobody sends more than a few.
_MAX_INTERIM = 16


class UpstreamError(Exception):
    """The dashboard closed, or answered with something that is not HTTP."""


class HttpExchange:
    """One request and its answer. One task may send while another receives. To be closed in the end, as the stream is.

    `owner` is whose share of the budget the answer's buffer is taken from; without a budget it has none.
    """

    def __init__(self, stream: trio.abc.Stream, budget: MemoryBudget | None = None, owner: str = "") -> None:
        self._stream = stream
        self._read_size = ReadSize(budget, owner)
        self._connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=_MAX_HEAD)
        self._interim = 0

    def close(self) -> None:
        """Give the buffer back: nothing is received any more. The stream stays the caller's to close."""
        self._read_size.close()

    async def send(self, event: h11.Request | h11.Data | h11.EndOfMessage) -> None:
        """Send a part of the request. A peer that reads no more, or has gone wrong, is no error: `receive` says why.

        Raises `h11.LocalProtocolError` for what HTTP/1.1 cannot say.
        """
        if self._connection.their_state is h11.ERROR:
            return
        try:
            await self._stream.send_all(self._connection.send(event) or b"")
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return

    async def receive(self) -> h11.Response | h11.Data | h11.EndOfMessage:
        """Return the next part of the answer, as soon as it is there; raises `UpstreamError`."""
        while True:
            await trio.lowlevel.checkpoint()
            try:
                event = self._connection.next_event()
                if event is h11.NEED_DATA:
                    data = bytes(await self._stream.receive_some(self._read_size.now))
                    self._read_size.was(len(data))
                    self._connection.receive_data(data)
                elif isinstance(event, h11.Response | h11.Data | h11.EndOfMessage):
                    return event
                elif isinstance(event, h11.InformationalResponse):
                    self._interim += 1
                    if self._interim > _MAX_INTERIM:
                        raise UpstreamError(f"it sent more than {_MAX_INTERIM} interim answers")
                else:
                    raise UpstreamError("it disconnected before its answer was complete")
            except (h11.RemoteProtocolError, trio.BrokenResourceError) as error:
                raise UpstreamError(f"it disconnected in the middle of its answer: {error}") from error
