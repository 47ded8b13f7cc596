"""A log that strangers cannot flood: each kind of line at most once a second."""

from typing import Any

import structlog
import trio

_log = structlog.get_logger()


class HushedLog:
    """Writes a line with `info` or `warning`, and says in the next of its kind how many were left out."""

    def __init__(self, seconds: float = 1.0) -> None:
        self._seconds = seconds
        self._next: dict[str, float] = {}
        self._left_out: dict[str, int] = {}

    def info(self, event: str, **fields: Any) -> None:
        """Something a client did, or met."""
        if self._due(event, fields):
            _log.info(event, **fields)

    def warning(self, event: str, **fields: Any) -> None:
        """Something an administrator should know."""
        if self._due(event, fields):
            _log.warning(event, **fields)

    def _due(self, event: str, fields: dict[str, Any]) -> bool:
        now = trio.current_time()
        if now < self._next.get(event, 0.0):
            self._left_out[event] = self._left_out.get(event, 0) + 1
            return False
        self._next[event] = now + self._seconds
        if left_out := self._left_out.pop(event, 0):
            fields["like_this_before"] = left_out
        return True
