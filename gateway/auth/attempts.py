"""Logins that may fail: held to a rate (failures.py), and logged once each when they do.

Those of one user at one address that are under way at once could all fail. So no more of them
are than may, and the others wait for their turn: nobody gets more guesses by sending them together,
and nobody with many programs that start together is refused.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from hashlib import sha256
from typing import Self

import trio
from attrs import define, field, frozen

from gateway import metrics
from gateway.auth.basic import basic_credentials, scheme_of
from gateway.auth.failures import Failures
from gateway.errors import TooManyFailures, TryAgainLater, Unauthorized
from gateway.log import RateLimitedLog
from gateway.user_text import one_line

#: Seconds that a login waits for its turn.
PATIENCE = 30.0


@frozen
class Attempt:
    """A login: by which scheme or method, as whom (empty: the credentials do not say), and from where.

    It counts as one of that user, unless it is `counted_as` one of something else.
    """

    @classmethod
    def by_header(cls, authorization: str, address: str) -> Self:
        """One with the credentials of a header: those without a name count by themselves.

        A program that tries the same old token for ever holds up nobody else at its address.
        """
        user = claimed(authorization)
        same = "" if user or not authorization else sha256(authorization.encode("utf-8", "replace")).hexdigest()[:32]
        return cls(scheme_of(authorization), user, address, same and f"credentials {same}")

    method: str
    user: str
    address: str
    counted_as: str = ""


@define(eq=False)
class _UnderWay:
    count: int = 0
    ended: trio.Event = field(factory=trio.Event)


class Attempts:
    """Counts those that fail, and logs them."""

    def __init__(self, failures: Failures, log: RateLimitedLog) -> None:
        self._failures = failures
        self._log = log
        self._under_way: dict[tuple[str, str], _UnderWay] = {}

    @asynccontextmanager
    async def turn(self, attempt: Attempt) -> AsyncIterator[None]:
        """While the body tries this login. Raises `TooManyFailures`, or `TryAgainLater` when its turn does not come."""
        key = _key(attempt), attempt.address
        if self._has_to_wait(attempt):
            with trio.move_on_after(PATIENCE) as waiting:
                while self._has_to_wait(attempt):
                    await self._under_way[key].ended.wait()
            if waiting.cancelled_caught:
                raise TryAgainLater("Many logins of this user are under way here: try again later")
        mine = self._under_way.setdefault(key, _UnderWay())
        mine.count += 1
        try:
            yield
        finally:
            mine.count -= 1
            mine.ended.set()
            mine.ended = trio.Event()
            if not mine.count:
                del self._under_way[key]

    def seconds_to_wait(self, attempt: Attempt) -> float:
        """How long no such login is tried any more; 0: it may be tried now."""
        return self._failures.seconds_to_wait(_key(attempt), attempt.address, trio.current_time())

    def _has_to_wait(self, attempt: Attempt) -> bool:
        """Whether as many like this are under way as may fail now. Raises `TooManyFailures` when none may."""
        self.check_rate(attempt)
        key = _key(attempt), attempt.address
        others = self._under_way.get(key)
        return others is not None and others.count >= self._failures.room(*key, trio.current_time())

    def check_rate(self, attempt: Attempt) -> None:
        """Let pass what may be tried now. Raises `TooManyFailures`."""
        seconds = self.seconds_to_wait(attempt)
        if seconds:
            whole = int(seconds) + 1
            metrics.SLOWED_LOGINS.inc()
            raise TooManyFailures(f"Too many logins have failed here: try again in {whole} seconds", seconds=whole)

    def has_failed(self, attempt: Attempt, error: Unauthorized) -> None:
        """Count a login that has failed, and log it."""
        self._failures.note(_key(attempt), attempt.address, trio.current_time())
        metrics.count_login(attempt.method, "refused")
        self._log.warning(
            "a login has failed",
            user=attempt.user or "unknown",
            method=attempt.method,
            address=attempt.address,
            reason=one_line(str(error)),
        )


def claimed(authorization: str) -> str:
    """The user whose name stands in the credentials, as it stands there; empty when none does."""
    credentials = basic_credentials(authorization)
    return credentials[0][:200] if credentials else ""


def _key(attempt: Attempt) -> str:
    return attempt.counted_as or attempt.user
