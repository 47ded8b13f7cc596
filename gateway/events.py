"""What happened to a cluster, in sentences for its user: the newest hundred.

The published client knows nothing of events; they are read at
`GET /api/v1/clusters/{name}/events`, and the important ones also reach the
user as warnings and as the reason of a failure.
"""

from collections import deque
from collections.abc import Iterator

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

    def __init__(self) -> None:
        self._events: deque[Event] = deque(maxlen=KEPT)

    def __iter__(self) -> Iterator[Event]:
        return iter(self._events)

    def add(self, event: Event) -> bool:
        """Remember an event; False (and forgotten) when it repeats the newest one."""
        if self._events and self._events[-1].message == event.message:
            return False
        self._events.append(event)
        return True
