"""TLS handshakes in turns.

A step of a handshake costs a millisecond of a core and cannot be interrupted.
If a thousand hellos come at once, everybody else would wait for a thousand of
them. So few are made in one round of trio's loop, fewer for one address, and
addresses take turns: who comes alone is not behind a crowd.
"""

from gateway.proxy.memory_budget import Pool

#: Steps in one round of the loop; an address has a quarter of them.
AT_ONCE = 8


class HandshakeTurns:
    """The turns of all connections together."""

    def __init__(self) -> None:
        self._pool = Pool(AT_ONCE)

    def of(self, address: str) -> "HandshakeTurn":
        """Return the turn of one connection from this address."""
        return HandshakeTurn(self._pool, address)


class HandshakeTurn:
    """A connection's leave to make one step."""

    def __init__(self, pool: Pool, address: str) -> None:
        self._pool = pool
        self._address = address
        self._taken = False

    async def take(self) -> None:
        """Wait for the turn. When cancelled, it is not taken."""
        await self._pool.reserve(self._address, 1)
        self._taken = True

    def give_back(self) -> None:
        """Let others have the turn, if it is taken."""
        if self._taken:
            self._taken = False
            self._pool.give_back(self._address, 1)
