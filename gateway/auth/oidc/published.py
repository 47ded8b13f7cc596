"""Something that a server publishes, and that changes now and then: asked for again when it is old, one at a time.

While the server is away, what it has published holds for a while longer, and
nobody waits long for news of it. Whoever needs what is there now (a key that was
not there before) waits for it, but strangers who claim to do so do not make
the gateway ask more than once in `pause` seconds.
"""

from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

import trio
from attrs import frozen

from gateway.errors import BadGateway, TryAgainLater

T = TypeVar("T")


@frozen
class Ages:
    """Seconds: when it is asked for again, how long it may serve, between two questions, how long to wait for news."""

    renewed: float = 3600.0
    usable: float = 24 * 3600.0
    pause: float = 10.0
    patience: float = 2.0


class Published(Generic[T]):
    """`ask` fetches it, and raises `TryAgainLater` or `BadGateway`."""

    def __init__(self, ask: Callable[[], Awaitable[T]], ages: Ages | None = None) -> None:
        self._ask = ask
        self._ages = ages or Ages()
        self._value: T | None = None
        self._since = self._next = float("-inf")
        self._error: TryAgainLater | BadGateway | None = None
        self._asking = trio.Lock()

    async def get(self) -> T:
        """What was published last, as far as is known. Raises what `ask` raises when nothing is known."""
        value = self._usable()
        if value is None:
            return await self.get_now()
        if self._age() >= self._ages.renewed and self._may_ask() and not self._asking.locked():
            async with self._asking:
                with trio.move_on_after(self._ages.patience):
                    await self._renew()
                self._next = max(self._next, trio.current_time() + self._ages.pause)
        return self._usable() or value

    async def get_now(self) -> T:
        """What is published now, or was at most `pause` seconds ago. Raises what `ask` raises."""
        async with self._asking:
            if self._may_ask():
                await self._renew()
        if self._error is not None:
            raise type(self._error)(str(self._error))  # another one each time: an error grows with each place it passes
        value = self._usable()
        assert value is not None
        return value

    async def _renew(self) -> None:
        try:
            self._value = await self._ask()
        except (TryAgainLater, BadGateway) as error:
            self._error = error
        else:
            self._error, self._since = None, trio.current_time()
        self._next = trio.current_time() + self._ages.pause

    def _may_ask(self) -> bool:
        return trio.current_time() >= self._next

    def _age(self) -> float:
        return trio.current_time() - self._since

    def _usable(self) -> T | None:
        return self._value if self._age() < self._ages.usable else None
