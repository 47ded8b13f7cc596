"""How often a login may fail: nobody guesses for long, and nobody is held back by what another does elsewhere."""

from hypothesis import given
from hypothesis import strategies as st

from gateway.auth.failures import Failures, Limit

TIMES = st.lists(st.floats(0, 20), max_size=80)


def limited(**limits: Limit) -> Failures:
    return Failures(**{"of_user": Limit(3, 10.0), "of_address": Limit(5, 1.0), "most_keys": 50, **limits})  # type: ignore[arg-type]


def test_a_burst_then_one_at_a_time() -> None:
    failures = limited()
    for _ in range(3):
        assert failures.seconds_to_wait("ann", "here", 0.0) == 0
        failures.note("ann", "here", 0.0)
    assert failures.seconds_to_wait("ann", "here", 0.0) == 10
    assert failures.seconds_to_wait("ann", "here", 9.0) == 1
    assert failures.seconds_to_wait("ann", "here", 10.0) == 0
    failures.note("ann", "here", 10.0)
    assert failures.seconds_to_wait("ann", "here", 10.0) == 10
    assert failures.seconds_to_wait("ann", "here", 40.0) == 0


def test_others_are_not_held_back() -> None:
    failures = limited()
    for _ in range(3):
        failures.note("ann", "here", 0.0)
    assert failures.seconds_to_wait("bob", "here", 0.0) == 0
    assert failures.seconds_to_wait("ann", "there", 0.0) == 0
    assert failures.seconds_to_wait("", "here", 0.0) == 0


def test_an_address_has_a_limit_of_its_own() -> None:
    failures = limited()
    for number in range(5):
        failures.note(f"user{number}", "here", 0.0)
    assert failures.seconds_to_wait("somebody-else", "here", 0.0) == 1
    assert failures.seconds_to_wait("", "here", 0.0) == 1
    assert failures.seconds_to_wait("somebody-else", "there", 0.0) == 0
    for _ in range(5):
        failures.note("", "there", 0.0)
    assert failures.seconds_to_wait("", "there", 0.0) == 1


def test_how_many_may_still_fail() -> None:
    failures = limited()
    assert failures.room("ann", "here", 0.0) == 3
    failures.note("ann", "here", 0.0)
    assert failures.room("ann", "here", 0.0) == 2
    assert failures.room("ann", "here", 9.9) == 2
    assert failures.room("ann", "here", 10.0) == 3
    assert failures.room("", "here", 0.0) == 4
    for _ in range(9):
        failures.note("", "here", 0.0)
    assert failures.room("bob", "here", 0.0) == 0


@given(TIMES)
def test_no_more_than_the_limit_whatever_the_times(times: list[float]) -> None:
    failures, tried = limited(), []
    for now in sorted(times):
        if not failures.seconds_to_wait("ann", "here", now):
            failures.note("ann", "here", now)
            tried.append(now)
    for begin in tried:
        assert sum(begin <= time < begin + 10 for time in tried) <= 4


@given(st.integers(0, 200))
def test_what_is_remembered_is_bounded(addresses: int) -> None:
    failures = limited(most_keys=50)
    for number in range(addresses):
        failures.note("ann", f"address {number}", 0.0)
    assert len(failures._paid) <= 50
    if addresses:
        assert f"address {addresses - 1}" in failures._paid
