"""One HTTP/1.1 connection: hypercorn's, with a budget for what leads to nothing, and without what is ambiguous.

hypercorn 0.18 and h11 take chunks of one byte as long as they come, and read
some requests in a way that another server in front of this one may not share:

- `Transfer-Encoding` beside `Content-Length` says of one body that it ends in two places (RFC 9112, 6.1). Refused: 400,
  and the connection is closed, for nobody knows what the bytes behind it are.
- HTTP/9.9 is no version that this server knows: 505. HTTP/2 without TLS, which no browser speaks, has no deadline:
  hypercorn stops its idle timer at the preface and never starts it again. It is a 505 as well, and an upgrade to it is
  ignored.
- What comes behind the last request is an error at once, even while the answer to it is being sent, which is then cut
  off. It is looked at when the answer is complete.
- Small pieces of a body cost what small frames do (http_budget.py). Too many: 429, and the connection is closed.
- A request may be answered before it has come to its end: it is malformed, or nobody wants its body. The connection is
  then closed; were it done at once, the kernel would tell a client that goes on sending that it is broken, and many
  would never read the answer. What still comes is read for a while (RFC 9112, 9.6).
"""

from typing import Any, Protocol, cast

import h11
from hypercorn.events import Closed, RawData
from hypercorn.events import Event as ConnectionEvent
from hypercorn.protocol import h11 as hypercorn_h11

from gateway.web.http_budget import SMALL, Budget, Budgeted

_ANSWERING = (h11.SEND_RESPONSE, h11.SEND_BODY)
_Event = h11.Event | type[h11.NEED_DATA] | type[h11.PAUSED]


class Lingering(Budgeted, Protocol):
    """The same, of a connection that may be closed while its client is still sending."""

    def answered_early(self) -> None:
        """Note that the client is still sending what has been answered."""
        ...


class _Parser(h11.Connection):
    """h11's parser, which says no to more."""

    def __init__(self, max_incomplete_event_size: int, budget: Budget) -> None:
        super().__init__(h11.SERVER, max_incomplete_event_size=max_incomplete_event_size)
        self._budget = budget

    def next_event(self) -> _Event:
        """See h11."""
        if self.their_state is h11.MUST_CLOSE and self.our_state in _ANSWERING and self.trailing_data[0]:
            return h11.PAUSED
        try:
            event = super().next_event()
        except h11.RemoteProtocolError as error:
            # h11 raises it from a frame that has it as a variable, and so makes a cycle of it that would stay for
            # ever if the garbage collector set it aside while the connection lingers (gc_pauses.py).
            raise error.with_traceback(None)  # noqa: B904
        if isinstance(event, h11.Request):
            self._check(event)
        elif isinstance(event, h11.Data) and len(event.data) < SMALL and not self._budget.spend(1):
            self._refuse("too many small pieces of a body", 429)
        return event

    def _check(self, request: h11.Request) -> None:
        if not request.http_version.startswith(b"1."):
            self._refuse("an unknown version of HTTP", 505)
        names = {name for name, _ in request.headers}
        if b"transfer-encoding" in names and (b"content-length" in names or request.http_version < b"1.1"):
            self._refuse("a body that ends in two places", 400)

    def _refuse(self, reason: str, status: int) -> None:
        self._process_error(self.their_role)  # what h11 does before it raises: whatever the app still sends is dropped
        raise h11.RemoteProtocolError(reason, error_status_hint=status)


class Http1Connection(hypercorn_h11.H11Protocol):
    """Takes the place of hypercorn's class of one connection."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._connected = cast("Lingering", self.app)
        self._budget = self._connected.budget
        self.connection = _Parser(self.config.h11_max_incomplete_size, self._budget)

    async def handle(self, event: ConnectionEvent) -> None:
        """See hypercorn."""
        if isinstance(event, RawData) and event.data:
            await self._budget.pause()
            if self._budget.exhausted:  # by reads of a few bytes each, or by requests that were refused
                if self.connection.our_state in (h11.IDLE, h11.SEND_RESPONSE):
                    await self._send_error_response(429)
                await self.send(Closed())
                return
        await super().handle(event)

    async def _send_error_response(self, status_code: int) -> None:
        """See hypercorn."""
        self._connected.answered_early()
        await super()._send_error_response(status_code)

    async def _maybe_recycle(self) -> None:
        """See hypercorn."""
        if self.connection.their_state is h11.SEND_BODY:
            self._connected.answered_early()
        await super()._maybe_recycle()

    async def _check_protocol(self, event: h11.Request) -> None:
        """It is HTTP/1.1, whatever the request would like to upgrade to."""
