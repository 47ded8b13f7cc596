"""How much of what a peer has sent is dealt with while nobody else has a turn: counted, not timed."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import h2.connection
import h11
import pytest
import trio
import wsproto.connection

from gateway.web.http_budget import BURST, RATE


class Steps(trio.abc.Instrument):
    """Counts what is parsed within one step of a task. `most` is the largest number so far."""

    def __init__(self) -> None:
        self.most = 0
        self.total = 0
        self._now = 0
        self._begun = trio.current_time()

    def before_task_step(self, task: Any) -> None:
        self._now = 0

    def budget_of(self, connections: int, part: int) -> float:
        """What so many connections may have had parsed so far, each within its budget and a part more.

        Some is left for those who send nothing that is counted, and are parsed all the same.
        """
        seconds = trio.current_time() - self._begun
        return connections * (1.2 * (BURST + RATE * seconds) + part)

    def count(self) -> None:
        self.total += 1
        self._now += 1
        self.most = max(self.most, self._now)


@contextmanager
def counted_steps(monkeypatch: pytest.MonkeyPatch) -> Iterator[Steps]:
    """While entered, everything that h11, wsproto and h2 as a server parse is counted."""
    steps = Steps()
    next_event = h11.Connection.next_event
    events = wsproto.connection.Connection.events
    receive_frame = h2.connection.H2Connection._receive_frame

    def counted_receive_frame(self: h2.connection.H2Connection, frame: Any) -> Any:
        if not self.config.client_side:
            steps.count()
        return receive_frame(self, frame)

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
    monkeypatch.setattr(h2.connection.H2Connection, "_receive_frame", counted_receive_frame)
    trio.lowlevel.add_instrument(steps)
    try:
        yield steps
    finally:
        trio.lowlevel.remove_instrument(steps)
