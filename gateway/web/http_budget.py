"""How much that leads to nothing a connection may send: a budget for each second, and one over all of them.

What costs its sender a few bytes and this process a dozen microseconds comes
in many kinds: frames of HTTP/2 and websockets, chunks, TLS records, requests
that are refused. Whoever reads them counts them here, in one unit: the cost of
a small frame. `spend` is False when a connection has used up its own budget,
and then its reader ends it.

All connections together have a budget as well. While it is used up, those that
have sent much of late are not read from (`pause`), and what they still send is
taken from what they have left: nothing is added to it. Who sends little goes
on as before, and so nobody is delayed by others for what they have not done.
"""

from typing import Final, Protocol

import trio

from gateway.proxy.token_bucket import TokenBucket

#: Units per second, and what may come at once before that holds. A browser that moves a slider sends some hundreds.
RATE: Final = 500.0
BURST: Final = 1000.0
#: The same for all connections together: less than a tenth of a core, as frames go; a quarter, if each is a chunk.
ALL_RATE: Final = 3000.0
ALL_BURST: Final = 6000.0
#: What a connection may send in any case, however busy others are.
LIGHT_RATE: Final = 50.0
LIGHT_BURST: Final = 200.0
#: What a refused request costs.
REFUSAL: Final = 8
#: What a message of a websocket costs that is a small one, but is carried to a dashboard.
SMALL_MESSAGE: Final = 2
#: A piece with so many bytes or more is no small one.
SMALL: Final = 256
#: So many bytes that were sent earn one unit: the acknowledgements for them.
_BYTES_PER_UNIT: Final = 512


class SharedBudget:
    """The budget of all connections of a server together."""

    def __init__(self) -> None:
        self._bucket: TokenBucket | None = None  # made when there is a clock

    @property
    def bucket(self) -> TokenBucket:
        """Filled at the first use."""
        if self._bucket is None:
            self._bucket = TokenBucket(ALL_RATE, ALL_BURST)
        return self._bucket


class Budget:
    """The budget of one connection."""

    def __init__(self, shared: SharedBudget) -> None:
        self._all = shared.bucket
        self._own = TokenBucket(RATE, BURST)
        self._light = TokenBucket(LIGHT_RATE, LIGHT_BURST)
        #: True from the first `spend` on that was too much.
        self.exhausted = False

    def spend(self, units: float) -> bool:
        """False when the connection has sent too much, then and from then on."""
        if units:
            if self._all.add(-units) < 0:
                self._own.skip()
            self._light.add(-units)
            if self._own.add(-units) < 0:
                self.exhausted = True
        return not self.exhausted

    def earn(self, sent: int) -> None:
        """So many bytes were sent, which a peer acknowledges."""
        for bucket in (self._own, self._light):
            bucket.add(sent / _BYTES_PER_UNIT)

    async def turn(self) -> None:
        """Let others have a turn, and `pause`."""
        await trio.lowlevel.checkpoint()
        await self.pause()

    async def pause(self) -> None:
        """Wait for as long as all together have sent too much, if this connection has sent much. May return at once."""
        while self._light.add(0) < 0 and (seconds := self._all.seconds_to_fill()) > 0:  # noqa: ASYNC110 (time is waited for)
            await trio.sleep(seconds)


class Budgeted(Protocol):
    """What is called for each request of one connection."""

    budget: Budget
