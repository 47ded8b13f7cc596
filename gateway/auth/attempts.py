"""Logins that fail: held to a rate (failures.py), and logged once each."""

import trio
from attrs import frozen

from gateway.auth.basic import basic_credentials
from gateway.auth.failures import Failures
from gateway.errors import TooManyFailures, Unauthorized
from gateway.log import RateLimitedLog
from gateway.user_text import one_line


@frozen
class Attempt:
    """A login: by which scheme or method, as whom (empty: the credentials do not say), and from where.

    It counts as one of that user, unless it is `counted_as` one of something else.
    """

    method: str
    user: str
    address: str
    counted_as: str = ""


class Attempts:
    """Counts those that fail, and logs them."""

    def __init__(self, failures: Failures, log: RateLimitedLog) -> None:
        self._failures = failures
        self._log = log

    def seconds_to_wait(self, attempt: Attempt) -> float:
        """How long no such login is tried any more; 0: it may be tried now."""
        return self._failures.seconds_to_wait(_key(attempt), attempt.address, trio.current_time())

    def check_rate(self, attempt: Attempt) -> None:
        """Let pass what may be tried now. Raises `TooManyFailures`."""
        seconds = self.seconds_to_wait(attempt)
        if seconds:
            whole = int(seconds) + 1
            raise TooManyFailures(f"Too many logins have failed here: try again in {whole} seconds", seconds=whole)

    def has_failed(self, attempt: Attempt, error: Unauthorized) -> None:
        """Count a login that has failed, and log it."""
        self._failures.note(_key(attempt), attempt.address, trio.current_time())
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
