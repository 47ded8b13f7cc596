"""How much of what a peer has sent is dealt with while nobody else has a turn: counted, not timed."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import h11
import pytest
import trio
import wsproto.connection


class Steps(trio.abc.Instrument):
    """Counts events of HTTP and websockets within one step of a task. `most` is the largest number so far."""

    def __init__(self) -> None:
        self.most = 0
        self.total = 0
        self._now = 0

    def before_task_step(self, task: Any) -> None:
        self._now = 0

    def count(self) -> None:
        self.total += 1
        self._now += 1
        self.most = max(self.most, self._now)


@contextmanager
def counted_steps(monkeypatch: pytest.MonkeyPatch) -> Iterator[Steps]:
    """While entered, everything that h11 and wsproto parse is counted."""
    steps = Steps()
    next_event = h11.Connection.next_event
    events = wsproto.connection.Connection.events

    def counted_next_event(self: h11.Connection) -> Any:
        event = next_event(self)
        if event is not h11.NEED_DATA and event is not h11.PAUSED:
            steps.count()
        return event

    def counted_events(self: wsproto.connection.Connection) -> Iterator[Any]:
        for event in events(self):
            steps.count()
            yield event

    monkeypatch.setattr(h11.Connection, "next_event", counted_next_event)
    monkeypatch.setattr(wsproto.connection.Connection, "events", counted_events)
    trio.lowlevel.add_instrument(steps)
    try:
        yield steps
    finally:
        trio.lowlevel.remove_instrument(steps)
