"""Server-sent events: answers that go on for as long as something happens and somebody listens.

As the HTML standard has them (section 9.2), so a browser's EventSource can
follow them, and `curl -N`. Each event has an id; whoever comes back sends the
last one (Last-Event-ID) and misses nothing that is still known. An answer ends
by itself after a while, so that whoever follows for days proves now and then
who they are; and at once when the gateway stops.
"""

from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from functools import partial
from typing import Any, Protocol

import orjson
import trio
from attrs import frozen
from quart import Response

from gateway.errors import GatewayError, TryAgainLater

#: Answers of this kind that one user may have open.
MOST = 20
#: Seconds of silence after which a comment is sent, so that whoever is between does not take the connection for dead.
PERIOD = 15.0
#: Seconds after which an answer ends, so that its listener asks again.
LIFETIME = 900.0


@frozen
class Sent:
    """One event. `data` is sent as JSON, `kind` is empty for what is simply news."""

    data: Any
    id: str = ""
    kind: str = ""

    def __bytes__(self) -> bytes:
        named = f"id: {self.id}\n" if self.id else ""
        typed = f"event: {self.kind}\n" if self.kind else ""
        return f"{named}{typed}data: ".encode() + orjson.dumps(self.data) + b"\n\n"


#: The last event of what is over: a browser that is told nothing would ask again for ever.
END = Sent({}, kind="end")


class Source(Protocol):
    """What is listened to. `over` says that `take` will find nothing any more."""

    over: bool

    async def take(self) -> Sequence[Sent]:
        """What is new since the last call. Raises `GatewayError` when there is nothing to be had (any more)."""
        ...

    async def wait(self) -> None:
        """Wait until there may be something new."""
        ...


class EventStreams:
    """All answers of this kind that are under way."""

    def __init__(self) -> None:
        self._open: Counter[str] = Counter()
        self._ending = trio.Event()

    def answer(self, listener: str, source: Source) -> Response:
        """The answer to a user who listens. Raises `TryAgainLater` when they have too many of them."""
        if self._open[listener] >= MOST:
            raise TryAgainLater(f"User {listener} follows {MOST} events or logs already; please end one of these")
        headers = {"X-Accel-Buffering": "no"}  # nginx would hold events back
        return Response(self._send(listener, source), content_type="text/event-stream", headers=headers)

    @property
    def open(self) -> int:
        """How many there are."""
        return self._open.total()

    def end(self) -> None:
        """End all of them: the gateway stops."""
        self._ending.set()

    async def _send(self, listener: str, source: Source) -> AsyncIterator[bytes]:
        self._open[listener] += 1
        try:
            ends_at = trio.current_time() + LIFETIME
            yield b": these are events as they happen\n\n"
            while not self._ending.is_set() and trio.current_time() < ends_at:
                try:
                    news = await source.take()
                except GatewayError as error:
                    yield bytes(Sent({"error": str(error)}, kind="error"))
                    return
                for event in news:
                    yield bytes(event)
                if source.over:
                    yield bytes(END)
                    return
                if not await self._heard(source.wait):
                    yield b": nothing yet\n\n"
        finally:
            self._open[listener] -= 1
            if not self._open[listener]:
                del self._open[listener]

    async def _heard(self, wait: Callable[[], Awaitable[None]]) -> bool:
        """Wait for news, or for the end; whether there may be some."""
        with trio.move_on_after(PERIOD) as period:
            async with trio.open_nursery() as nursery:
                for either in (wait, self._ending.wait):
                    nursery.start_soon(partial(_then_cancel, either, nursery.cancel_scope))
        return not period.cancelled_caught


async def _then_cancel(wait: Callable[[], Awaitable[None]], others: trio.CancelScope) -> None:
    await wait()
    others.cancel()
