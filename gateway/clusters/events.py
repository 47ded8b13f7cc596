"""What happened to a cluster, in sentences for its user: the newest hundred.

The published client knows nothing of events; they are read, or followed, at
`GET /api/v1/clusters/{name}/events`, and the important ones also reach the
user as warnings and as the reason of a failure. Each is a line in the log.
"""

import time
from collections import deque
from collections.abc import Iterator
from typing import Any

from attrs import frozen

from gateway.clusters.changes import ChangeNotifier
from gateway.clusters.told import Told

#: Older events are forgotten.
KEPT = 100


@frozen
class Event:
    """One sentence. `time` is in milliseconds since the epoch, `number` counts the events of this list from 1 on."""

    time: int
    message: str
    number: int


class Events:
    """The newest events of a cluster, the oldest first."""

    def __init__(self, log: Any) -> None:
        """`log` is a structlog logger that already knows the cluster."""
        self._log = log
        self._events: deque[Event] = deque(maxlen=KEPT)
        self.began = time_ms()
        """Tells this list from that of the same cluster before a restart: in milliseconds since the epoch."""
        self.changes = ChangeNotifier()
        self.over = False
        """True when no event will follow."""

    def __iter__(self) -> Iterator[Event]:
        return iter(self._events)

    def record_event(self, message: str) -> None:
        """Something happened, for the user and for the log; what repeats the newest event is left out."""
        last = self._events[-1] if self._events else Event(0, "", 0)
        if last.message == message:
            return
        self._events.append(Event(time_ms(), str(message), last.number + 1))
        about = {"job": message.job} if isinstance(message, Told) and message.job else {}
        self._log.info("cluster event", event_text=str(message), **about)
        self.changes.notify()

    def since(self, number: int) -> list[Event]:
        """Return the events after this one, as far as they are known."""
        return [event for event in self._events if event.number > number]

    def close(self) -> None:
        """No event will follow."""
        self.over = True
        self.changes.notify()


def time_ms() -> int:
    """The wall clock as records have it: milliseconds since the epoch."""
    return int(time.time() * 1000)
