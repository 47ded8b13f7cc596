"""What is told to a cluster's user."""

from gateway.events import KEPT, Event, Events


def test_the_newest_are_kept_in_order():
    events = Events()
    for number in range(KEPT + 5):
        assert events.add(Event(number, f"event {number}"))
    assert [event.time for event in events] == list(range(5, KEPT + 5))


def test_a_repetition_is_said_once():
    events = Events()
    assert events.add(Event(1, "waiting"))
    assert not events.add(Event(2, "waiting"))
    assert events.add(Event(3, "running"))
    assert events.add(Event(4, "waiting"))
    assert [event.time for event in events] == [1, 3, 4]
