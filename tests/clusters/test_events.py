"""What is told to a cluster's user."""

import structlog
from structlog.testing import capture_logs

from gateway.clusters.events import KEPT, Events, time_ms


def test_the_newest_are_kept_in_order():
    events = Events(structlog.get_logger())
    before = time_ms()
    for number in range(KEPT + 5):
        events.record_event(f"event {number}")
    assert [event.message for event in events] == [f"event {number}" for number in range(5, KEPT + 5)]
    assert all(before <= event.time <= time_ms() for event in events)


def test_a_repetition_is_said_once_to_the_user_and_to_the_log():
    with capture_logs() as logs:
        events = Events(structlog.get_logger().bind(cluster="c0ffee"))
        for message in ("waiting", "waiting", "running", "waiting"):
            events.record_event(message)
    assert [event.message for event in events] == ["waiting", "running", "waiting"]
    assert [line["event_text"] for line in logs] == ["waiting", "running", "waiting"]
    assert all(line["cluster"] == "c0ffee" for line in logs)
