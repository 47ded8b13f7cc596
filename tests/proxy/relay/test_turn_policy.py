"""The policy of turns, by tables: what has happened, and what the loop does next."""

from typing import Final

import pytest

from gateway.proxy.relay.turn_policy import (
    BUSY_POLL_SECONDS,
    COMPANY_SECONDS,
    LONG_TURN,
    SHORT_TURN,
    SLICE_SECONDS,
    SMALL_TURN,
    Turn,
    TurnPolicy,
)

#: Times in a slice, and after it.
SHORT: Final = SLICE_SECONDS / 10
LONG: Final = 2 * SLICE_SECONDS


def awake(at: float = 100.0) -> TurnPolicy:
    policy = TurnPolicy()
    policy.woke(at)
    return policy


def with_company(at: float = 100.0) -> TurnPolicy:
    """Other tasks have had work at that time, when a slice begins."""
    policy = awake(at - LONG)
    assert policy.turn_ended(at - SLICE_SECONDS / 2, latency_sensitive=False)
    assert not policy.yielded(at + LONG, others_ran=True)
    assert not policy.idle_otherwise
    policy.woke(at)
    return policy


@pytest.mark.parametrize(
    ("turn", "watchers", "fraction"),
    [
        (LONG_TURN, 1, 1.0),
        (LONG_TURN, 4, 0.25),
        (SHORT_TURN, 1, 0.0),
        (SMALL_TURN, 4, 0.0),
    ],
)
def test_a_long_turn_is_shared_and_the_others_give_the_least(turn: Turn, watchers: int, fraction: float) -> None:
    assert turn.slice_fraction(watchers) == fraction


@pytest.mark.parametrize(
    ("company", "since_small", "turn"),
    [
        (False, None, LONG_TURN),
        (False, 0.0, SHORT_TURN),
        (False, 0.9 * COMPANY_SECONDS, SHORT_TURN),
        (False, 1.1 * COMPANY_SECONDS, LONG_TURN),
        (True, None, SMALL_TURN),
        (True, 0.0, SMALL_TURN),
    ],
)
def test_a_turn_is_as_long_as_those_allow_who_wait_for_it(company: bool, since_small: float | None, turn: Turn) -> None:
    policy = with_company() if company else awake()
    policy.turn_ended(100.0, latency_sensitive=since_small is not None)
    assert policy.begin_turn(100.0 + (since_small or 0.0)) == turn


@pytest.mark.parametrize(
    ("company", "worked", "yields"),
    [
        (False, SHORT, False),
        (False, SLICE_SECONDS / 2, False),
        (False, LONG, True),
        (True, SHORT, True),
        (True, LONG, True),
    ],
)
def test_the_loop_yields_after_a_slice_and_to_those_who_wait_after_each_turn(
    company: bool, worked: float, yields: bool
) -> None:
    policy = with_company() if company else awake()
    assert policy.turn_ended(100.0 + worked, latency_sensitive=False) == yields


def test_a_slice_is_of_many_turns_and_begins_anew_after_it() -> None:
    policy = awake(at=0.0)
    assert not policy.turn_ended(0.6 * SLICE_SECONDS, latency_sensitive=False)
    assert policy.turn_ended(1.2 * SLICE_SECONDS, latency_sensitive=False)
    assert not policy.yielded(1.3 * SLICE_SECONDS, others_ran=False)
    assert not policy.turn_ended(2.2 * SLICE_SECONDS, latency_sensitive=False)


@pytest.mark.parametrize(
    ("after", "others_ran", "again"),
    [
        (0.0, False, False),
        (0.5 * LONG, False, False),
        (0.5 * LONG, True, True),
        (0.9 * LONG, True, True),
        (1.1 * LONG, True, False),
    ],
)
def test_other_tasks_get_as_much_time_as_the_slice_took_if_they_use_it(
    after: float, others_ran: bool, again: bool
) -> None:
    policy = awake(at=0.0)
    assert policy.turn_ended(LONG, latency_sensitive=False)
    assert policy.yielded(LONG + after, others_ran) == again


@pytest.mark.parametrize(
    ("later", "idle"), [(0.0, False), (0.9 * COMPANY_SECONDS, False), (1.1 * COMPANY_SECONDS, True)]
)
def test_others_are_thought_to_have_work_for_some_time_after_their_last(later: float, idle: bool) -> None:
    policy = awake(at=0.0)
    assert policy.turn_ended(LONG, latency_sensitive=False)
    assert policy.yielded(LONG, others_ran=True)
    policy.yielded(LONG + later, others_ran=False)
    assert policy.idle_otherwise == idle


@pytest.mark.parametrize(
    ("slept", "moved_small", "idle_for", "sleeps"),
    [
        # A lone request and its answer: the loop had slept for a moment, so it polls for the next one.
        (0.5 * BUSY_POLL_SECONDS, True, 0.5 * BUSY_POLL_SECONDS, False),
        (0.5 * BUSY_POLL_SECONDS, True, 1.5 * BUSY_POLL_SECONDS, True),
        # Streams, and rare messages, are not polled for.
        (0.5 * BUSY_POLL_SECONDS, False, 0.5 * BUSY_POLL_SECONDS, True),
        (1.5 * BUSY_POLL_SECONDS, True, 0.5 * BUSY_POLL_SECONDS, True),
        (3600.0, True, 0.5 * BUSY_POLL_SECONDS, True),
    ],
)
def test_the_loop_sleeps_unless_an_answer_may_come_at_once(
    slept: float, moved_small: bool, idle_for: float, sleeps: bool
) -> None:
    policy = awake(at=0.0)
    assert policy.nothing_ready(1.0)
    policy.woke(1.0 + slept)
    ended = 1.0 + slept + SHORT
    policy.turn_ended(ended, latency_sensitive=moved_small)
    assert policy.nothing_ready(ended + idle_for) == sleeps


def test_the_loop_does_not_poll_before_it_has_slept_for_the_first_time() -> None:
    policy = awake(at=0.0)
    policy.turn_ended(SHORT, latency_sensitive=True)
    assert policy.nothing_ready(SHORT + 0.1 * BUSY_POLL_SECONDS)


def test_after_a_sleep_the_slice_begins_anew() -> None:
    policy = awake(at=0.0)
    policy.turn_ended(0.9 * SLICE_SECONDS, latency_sensitive=False)
    assert policy.nothing_ready(0.95 * SLICE_SECONDS)
    policy.woke(1.0)
    assert not policy.turn_ended(1.0 + 0.9 * SLICE_SECONDS, latency_sensitive=False)
