"""Root's policy for the launcher daemon, as values."""

import pytest

from gateway.backends.launcher.policy import Policy


def a_policy(*lines):
    policy = Policy()
    for line in lines:
        name, _, value = line.partition("=")
        policy.read(name, value)
    return policy


def test_nothing_is_allowed_unless_it_is_said():
    policy = a_policy()
    assert "names users or groups" in policy.refusal("alice", 1000, [])
    assert (policy.gateway, policy.no_new_privileges) == ("", True)


def test_lists_may_have_several_lines_and_separators():
    policy = a_policy("users=alice bob", "users=carol,dave", "groups=", "groups=a , b")
    assert policy.users == ("alice", "bob", "carol", "dave")
    assert policy.groups == ("a", "b")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("gateway=", "must be the name or the number of an account"),
        ("gateway=a b", "must be the name or the number"),
        ("minimum_uid=0", "must be a number from 1 on, not '0'"),
        ("minimum_uid=-1", "must be a number"),
        ("minimum_uid=1k", "must be a number"),
        ("no_new_privileges=true", "must be yes or no, not 'true'"),
        ("user=alice", "there is no 'user' in .policy.; there are gateway, users, groups"),
    ],
)
def test_mistakes(line, words):
    with pytest.raises(ValueError, match=words):
        a_policy(line)


@pytest.mark.parametrize(
    ("name", "uid", "groups", "words"),
    [
        ("alice", 1000, [], ""),
        ("alice", 999, [], "the uid 999 is below the minimum_uid 1000"),
        ("alice", 0, ["staff"], "not run as root"),
        ("bob", 1000, ["staff"], ""),
        ("bob", 1000, [], "add bob to the group staff or students, or to the users that root has listed"),
    ],
)
def test_as_whom(name, uid, groups, words):
    policy = a_policy("users=alice", "groups=staff students")
    assert words in policy.refusal(name, uid, groups)
    assert bool(policy.refusal(name, uid, groups)) is bool(words)


def test_what_a_refusal_advises_is_there():
    assert a_policy("users=alice").refusal("bob", 1000, []).endswith("add bob to the users that root has listed")
    assert a_policy("groups=staff").refusal("bob", 1000, []).endswith("add bob to the group staff")


def test_other_bounds():
    policy = a_policy("minimum_uid=500", "no_new_privileges=no", "gateway=997")
    assert "below the minimum_uid 500" in a_policy("users=x", "minimum_uid=500").refusal("x", 499, [])
    assert (policy.no_new_privileges, policy.gateway) == (False, "997")
    assert a_policy("no_new_privileges=yes").no_new_privileges


def test_commands():
    assert not a_policy().forbids("qsub")
    policy = a_policy("commands=sbatch scancel")
    assert [policy.forbids(command) for command in ("sbatch", "scancel", "qsub")] == [False, False, True]
