"""What happened to a cluster, in sentences for its user: the newest hundred.

The published client knows nothing of events; they are read at
`GET /api/v1/clusters/{name}/events`, and the important ones also reach the
user as warnings and as the reason of a failure.
"""

import time
from collections import deque
from collections.abc import Iterator
from typing import Any

from attrs import frozen

#: Older events are forgotten.
KEPT = 100


@frozen
class Event:
    """One sentence. `time` is in milliseconds since the epoch."""

    time: int
    message: str


class Events:
    """The newest events of a cluster, the oldest first."""

    def __init__(self, log: Any) -> None:
        """`log` is a structlog logger that already knows the cluster."""
        self._log = log
        self._events: deque[Event] = deque(maxlen=KEPT)

    def __iter__(self) -> Iterator[Event]:
        return iter(self._events)

    def record_event(self, message: str) -> None:
        """Something happened, for the user and for the log; what repeats the newest event is left out."""
        if self._events and self._events[-1].message == message:
            return
        self._events.append(Event(time_ms(), message))
        self._log.info("cluster event", event_text=message)


def time_ms() -> int:
    """The wall clock as records have it: milliseconds since the epoch."""
    return int(time.time() * 1000)
