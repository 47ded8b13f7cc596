"""Links that open a dashboard: whose, which one's, until when, and by which key."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.proxy.dashboard.links import Link, Links

WEEK = 7 * 24 * 3600
NOW = 1_790_000_000.5
LINKS = Links([b"k" * 32], WEEK)


def test_a_link_is_for_one_cluster_of_one_user() -> None:
    segment = LINKS.make("c0ffee", "alice", NOW)
    assert LINKS.check(segment, "c0ffee", "alice", NOW) is Link.FRESH
    assert LINKS.check(segment, "c0ffed", "alice", NOW) is Link.FALSE
    assert LINKS.check(segment, "c0ffee", "mallory", NOW) is Link.FALSE
    # Nor does one name run on into the other.
    assert LINKS.check(LINKS.make("ab", "c", NOW), "a", "bc", NOW) is Link.FALSE


def test_what_it_looks_like() -> None:
    segment = LINKS.make("c0ffee", "alice", NOW)
    mark, expiry, mac = segment[0], segment[1:].partition(".")[0], segment.partition(".")[2]
    assert (mark, len(mac)) == ("~", 24)
    assert NOW + WEEK * 7 / 8 <= int(expiry) <= NOW + WEEK


@given(st.floats(0, 4e9), st.integers(60, 10**8))
def test_it_lives_as_long_as_it_should(now: float, max_age: int) -> None:
    links = Links([b"k"], max_age)
    segment = links.make("c", "u", now)
    assert links.check(segment, "c", "u", now) is Link.FRESH
    assert links.check(segment, "c", "u", now + max_age * 0.49 - max_age / 8 - 1) is Link.FRESH
    assert links.check(segment, "c", "u", now + max_age * 0.86 - 1) in (Link.FRESH, Link.AGEING)
    assert links.check(segment, "c", "u", now + max_age) is Link.EXPIRED


def test_it_ages_before_it_ends() -> None:
    segment = LINKS.make("c", "u", NOW)
    expiry = int(segment[1:].partition(".")[0])
    found = [LINKS.check(segment, "c", "u", expiry - left) for left in (WEEK / 2, WEEK / 2 - 1, 1, 0, -WEEK)]
    assert found == [Link.FRESH, Link.AGEING, Link.AGEING, Link.EXPIRED, Link.EXPIRED]
    assert [link.holds for link in found] == [True, True, True, False, False]


def test_it_stays_the_same_for_a_while() -> None:
    """A list that is asked for every few seconds shows one text, and browsers keep what they have fetched below it."""
    day = [LINKS.make("c", "u", NOW + second) for second in range(0, 86400, 60)]
    assert len(set(day)) <= 3


def test_keys_that_are_replaced() -> None:
    old, new, other = b"o" * 32, b"n" * 32, b"x" * 32
    by_old = Links([old], WEEK).make("c", "u", NOW)
    replaced = Links([new, old], WEEK)
    assert replaced.check(by_old, "c", "u", NOW) is Link.FRESH
    assert replaced.make("c", "u", NOW) == Links([new], WEEK).make("c", "u", NOW) != by_old
    assert Links([new, other], WEEK).check(by_old, "c", "u", NOW) is Link.FALSE


@pytest.mark.parametrize(
    "segment",
    [
        "~",
        "~1",
        "~.",
        "~1790000000",
        "~1790000000.",
        "~x.abc",
        "~-1.abc",
        "~١٧٩٠٠٠٠٠٠٠." + "a" * 24,
        "status",
        "~\udcff",
    ],
)
def test_what_is_none(segment: str) -> None:
    assert LINKS.check(segment, "c", "u", NOW) is Link.FALSE
    assert LINKS.check("", "c", "u", NOW) is Link.NONE


def test_every_change_shows() -> None:
    segment = LINKS.make("c", "u", NOW)
    for index in range(len(segment)):
        for char in "0A-_=~%":
            changed = segment[:index] + char + segment[index + 1 :]
            assert changed == segment or LINKS.check(changed, "c", "u", NOW) is Link.FALSE
        assert LINKS.check(segment[:index] + segment[index + 1 :], "c", "u", NOW) is not Link.FRESH
    assert LINKS.check(segment.replace("~", "~0"), "c", "u", NOW) is Link.FALSE
    assert LINKS.check(segment + "=", "c", "u", NOW) is Link.FALSE
