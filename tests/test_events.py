"""What is told to a cluster's user."""

import structlog
from structlog.testing import capture_logs

from gateway.events import KEPT, Events


def messages(events):
    return [event.message for event in events]


def test_the_newest_are_kept_in_order():
    events = Events(structlog.get_logger())
    for number in range(KEPT + 5):
        events.tell(f"event {number}")
    assert messages(events) == [f"event {number}" for number in range(5, KEPT + 5)]
    times = [event.time for event in events]
    assert times == sorted(times)


def test_a_repetition_is_said_once():
    with capture_logs() as logged:
        events = Events(structlog.get_logger().bind(cluster="c0ffee"))
        for message in ("waiting", "waiting", "running", "waiting"):
            events.tell(message)
    assert messages(events) == ["waiting", "running", "waiting"]
    assert [entry["event_text"] for entry in logged] == messages(events)
    assert {entry["cluster"] for entry in logged} == {"c0ffee"}
