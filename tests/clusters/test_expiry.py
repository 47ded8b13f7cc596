"""Which clusters the clock stops, and what is said beforehand."""

from math import inf

import pytest

from gateway.clusters.expiry import LONGEST_NOTICE, Expiry
from gateway.clusters.reasons import span
from gateway.clusters.timing import Moment
from gateway.config.cluster import ClusterConfig

EPOCH = 1_000_000.0
HOUR = 3600.0


class Story:
    """A cluster's clocks, which are looked at when they want to be."""

    def __init__(self, now=0.0, running_since=None, **config):
        self.expiry = Expiry(ClusterConfig(**config), now, EPOCH, running_since)
        self.deaf_at = -inf
        self.told = []

    def look(self, now):
        """Why the cluster is to be stopped at this time, and when to look again."""
        moment = Moment(now)
        return self.expiry.check(moment, self.deaf_at, self.told), moment.wake_at


def test_without_options_nothing_ends():
    story = Story()
    story.expiry.reported(0.0)
    story.expiry.client(True, 0.0)
    story.expiry.client(False, 5.0)
    assert story.look(1e9) == ("", inf)
    assert story.told == []


def test_a_lifetime_begins_with_the_first_report_and_its_end_is_announced():
    story = Story(max_lifetime=8 * HOUR)
    assert story.look(5 * HOUR) == ("", inf)  # it waits in the queue
    assert story.expiry.reported(5 * HOUR) == story.expiry.reported(6 * HOUR) == (EPOCH + 5 * HOUR) * 1000
    assert story.look(6 * HOUR) == ("", 13 * HOUR - LONGEST_NOTICE)
    assert story.told == []
    assert story.look(13 * HOUR - LONGEST_NOTICE) == ("", 13 * HOUR)
    assert story.look(13 * HOUR - 1) == ("", 13 * HOUR)
    assert story.told == ["The cluster is stopped in 10 min: it may run for 8 h (max_lifetime)"]
    assert story.look(13 * HOUR)[0] == "it has run for 8 h, as long as it may (max_lifetime)"
    assert len(story.told) == 1


def test_a_short_time_has_a_short_notice():
    story = Story(max_lifetime=100.0)
    story.expiry.reported(0.0)
    assert story.look(0.0) == ("", 90.0)
    assert story.look(90.0) == ("", 100.0)
    assert story.told == ["The cluster is stopped in 10 s: it may run for 1 min 40 s (max_lifetime)"]


def test_a_lifetime_goes_on_over_restarts():
    story = Story(now=50.0, running_since=round((EPOCH - HOUR) * 1000), max_lifetime=2 * HOUR)
    assert story.expiry.reported(60.0) == (EPOCH - HOUR) * 1000
    assert story.look(60.0) == ("", HOUR - LONGEST_NOTICE)


def test_what_ended_while_the_gateway_was_away_is_announced_before():
    story = Story(now=50.0, running_since=round((EPOCH - 9 * HOUR) * 1000), max_lifetime=2 * HOUR)
    assert story.look(50.0) == ("", 50.0 + LONGEST_NOTICE)
    assert story.told == ["The cluster is stopped in 10 min: it may run for 2 h (max_lifetime)"]
    assert story.look(50.0 + LONGEST_NOTICE)[0]


def test_a_clock_that_was_set_back_meanwhile_grants_no_second_life():
    story = Story(now=50.0, running_since=round((EPOCH + 9 * HOUR) * 1000), max_lifetime=HOUR)
    assert story.look(60.0) == ("", 50.0 + HOUR - 360.0)


def test_a_client_is_waited_for_from_when_the_cluster_runs():
    story = Story(client_disconnect_timeout=1000.0)
    assert story.look(5000.0) == ("", inf)
    story.expiry.reported(5000.0)
    assert story.look(5000.0) == ("", 5900.0)
    assert story.look(5950.0) == ("", 6050.0)  # never without a notice
    assert story.told == [
        "The cluster is stopped in 1 min 40 s unless a client connects: it may be without one for 16 min 40 s"
        " (client_disconnect_timeout)"
    ]
    assert story.look(6050.0)[0] == "no client was connected to it for 16 min 40 s (client_disconnect_timeout)"


def test_a_client_that_comes_back_is_in_time():
    story = Story(client_disconnect_timeout=1000.0)
    story.expiry.reported(0.0)
    story.look(900.0)
    story.expiry.client(True, 950.0)
    assert story.look(99999.0) == ("", inf)
    story.expiry.client(False, 100000.0)
    assert story.look(100000.0) == ("", 100900.0)
    story.look(100900.0)
    assert len(story.told) == 2
    assert story.look(101000.0)[0]


def test_time_in_which_a_client_may_have_been_missed_does_not_count():
    story = Story(client_disconnect_timeout=1000.0)
    story.expiry.reported(0.0)
    assert story.look(900.0) == ("", 1000.0)
    story.deaf_at = 990.0
    assert story.look(1000.0) == ("", 1890.0)
    assert story.look(1890.0) == ("", 1990.0)
    assert story.look(1990.0)[0]


def test_nor_does_a_restart_count():
    story = Story(now=500.0, running_since=0, client_disconnect_timeout=1000.0)
    assert story.look(600.0) == ("", 1400.0)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.5, "0.5 s"),
        (59, "59 s"),
        (60, "1 min"),
        (90, "1 min 30 s"),
        (3600, "1 h"),
        (5400, "1 h 30 min"),
        (86400, "1 d"),
        (100_000, "1 d 4 h"),
        (7 * 86400, "7 d"),
    ],
)
def test_times_as_people_say_them(seconds, text):
    assert span(seconds) == text
