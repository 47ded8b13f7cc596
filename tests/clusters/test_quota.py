"""How many clusters users may have, and how much they may say about them."""

import pytest

from gateway.clusters.quota import OPTIONS_LIMIT, OPTIONS_LIMIT_OF_USER, Limits, Quota, stored_size
from gateway.errors import InvalidRequest


def test_a_user_has_so_many():
    quota = Quota(Limits(2, 10))
    for _ in range(2):
        quota.ask("alice", 10)
    with pytest.raises(
        InvalidRequest, match=r"You have 2 clusters.* may have 2 \(c\.DBBackendBase\.clusters_per_user\)"
    ):
        quota.ask("alice", 10)
    quota.ask("bob", 10)
    quota.give_back("alice", 10)
    quota.ask("alice", 10)


def test_what_was_there_before_counts_and_stays():
    quota = Quota(Limits(2, 10))
    for _ in range(5):
        quota.add("alice", 10)
    for _ in range(4):
        with pytest.raises(InvalidRequest):
            quota.ask("alice", 10)
        quota.give_back("alice", 10)
    quota.ask("alice", 10)


def test_all_users_have_so_many():
    quota = Quota(Limits(2, 3))
    for user in ("alice", "bob", "carol"):
        quota.ask(user, 10)
    with pytest.raises(InvalidRequest, match=r"3 clusters of all users.*c\.DBBackendBase\.max_clusters"):
        quota.ask("dave", 10)
    quota.give_back("bob", 10)
    quota.ask("dave", 10)


def test_options_have_a_size():
    quota = Quota(Limits(1000, 1000))
    with pytest.raises(InvalidRequest, match=rf"take up {OPTIONS_LIMIT + 1} bytes; a cluster may have {OPTIONS_LIMIT}"):
        quota.ask("alice", OPTIONS_LIMIT + 1)
    for _ in range(OPTIONS_LIMIT_OF_USER // OPTIONS_LIMIT):
        quota.ask("alice", OPTIONS_LIMIT)
    with pytest.raises(InvalidRequest, match=f"would take up {OPTIONS_LIMIT_OF_USER + 2} bytes"):
        quota.ask("alice", 2)
    quota.ask("bob", 2)
    quota.give_back("alice", OPTIONS_LIMIT)
    quota.ask("alice", 2)


def test_the_size_is_that_of_what_is_stored():
    assert stored_size({}) == 2
    assert stored_size({"a": "ä"}) == len('{"a": "\\u00e4"}')
