"""What clusters hold, and what limits leave: tables, and a story of clusters that come, grow, shrink and go."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from gateway.backends.batch.options import JobQueueClusterConfig
from gateway.clusters.demand import WorkerLimit
from gateway.clusters.ledger import Ledger, LimitReached
from gateway.config.cluster import ClusterConfig
from gateway.config.limits import KINDS, GroupLimits, Limits, MemberLimits, TotalLimits, UserLimits
from gateway.errors import InvalidRequest

GIB = 2**30
SMALL = ClusterConfig(worker_cores=2, worker_memory="4 G", scheduler_cores=1, scheduler_memory="1 G")


def of_users(**limits):
    return Ledger(Limits(users=UserLimits(**limits)))


def a_cluster(ledger, user="alice", groups=(), config=SMALL, *, workers=0):
    account = ledger.account(user, groups, config)
    account.open()
    account.add_workers(workers)
    return account


def refusal(ledger, user="alice", groups=(), config=SMALL):
    """Why a further cluster is refused; it is counted nowhere."""
    account = ledger.account(user, groups, config)
    with pytest.raises(InvalidRequest) as caught:
        account.open()
    account.close()
    return str(caught.value)


# ---- creation


def test_a_cluster_more_than_a_user_may_have():
    ledger = of_users(max_clusters=2)
    first = a_cluster(ledger)
    a_cluster(ledger)
    a_cluster(ledger, "bob")
    assert refusal(ledger) == (
        "There is no room for another cluster: user alice may have 2 clusters (c.UserLimits.max_clusters) and has 2."
        " Stop one, and try again"
    )
    first.close()
    a_cluster(ledger)


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        (
            {"max_cores": 5},
            "user alice may have 5 cores (c.UserLimits.max_cores) and has 5; its scheduler takes 1."
            " Stop a cluster or some workers, and try again",
        ),
        (
            {"max_memory": "9 G"},
            "user alice may have 9 GiB of memory (c.UserLimits.max_memory) and has 9 GiB; its scheduler takes 1 GiB."
            " Stop a cluster or some workers, and try again",
        ),
        ({"max_clusters": 1}, "user alice may have 1 cluster (c.UserLimits.max_clusters) and has 1. Stop one"),
    ],
)
def test_schedulers_and_workers_count(limits, words):
    ledger = of_users(**limits)
    a_cluster(ledger, workers=2)
    assert words in refusal(ledger)


def test_what_can_never_be_had_is_no_matter_of_trying_again():
    ledger = of_users(max_memory="512 M")
    assert refusal(ledger).endswith(
        "user alice may have 0.5 GiB of memory (c.UserLimits.max_memory) and has 0 GiB; its scheduler takes 1 GiB."
        " Ask the administrators of this gateway"
    )
    assert "may have 0 clusters" in refusal(of_users(max_clusters=0))


def test_all_members_of_a_group_together():
    ledger = Ledger(Limits(groups=GroupLimits(max_clusters={"physics": 2}, max_cores={"students": 1})))
    a_cluster(ledger, "alice", ["physics"])
    a_cluster(ledger, "bob", ["physics", "others"])
    assert refusal(ledger, "carol", ["physics"]) == (
        "There is no room for another cluster: the members of group physics may have 2 clusters together"
        " (c.GroupLimits.max_clusters) and have 2. Try again when others have given some back"
    )
    a_cluster(ledger, "carol", ["others"])


def test_of_several_groups_each_must_have_room():
    ledger = Ledger(Limits(groups=GroupLimits(max_clusters={"a": 2, "b": 1})))
    both = a_cluster(ledger, "alice", ["a", "b"])
    assert "group b may have 1 cluster together" in refusal(ledger, "alice", ["b", "a"])
    a_cluster(ledger, "alice", ["a"])
    assert "group a may have 2 clusters together" in refusal(ledger, "bob", ["a"])
    both.close()
    a_cluster(ledger, "bob", ["b"])


def test_all_together():
    ledger = Ledger(Limits(total=TotalLimits(max_workers=3, max_clusters=2)))
    a_cluster(ledger, "alice")
    a_cluster(ledger, "bob", workers=3)
    assert "all users may have 2 clusters together (c.TotalLimits.max_clusters) and have 2" in refusal(ledger, "carol")


def test_members_of_groups_may_have_more_or_less_than_others():
    limits = Limits(
        users=UserLimits(max_clusters=1, max_cores=2),
        members=MemberLimits(max_clusters={"students": 0, "staff": 2, "heads": None}),
    )
    ledger = Ledger(limits)
    a_cluster(ledger, "alice")
    assert "(c.UserLimits.max_clusters)" in refusal(ledger, "alice")
    assert "(c.MemberLimits.max_clusters)" in refusal(ledger, "bob", ["students"])
    a_cluster(ledger, "carol", ["students", "staff"])  # the highest counts
    a_cluster(ledger, "carol", ["students", "staff"])
    assert "(c.UserLimits.max_cores)" in refusal(ledger, "carol", ["staff", "heads"])  # each limit by itself


def test_a_users_limits_follow_their_groups():
    ledger = Ledger(Limits(users=UserLimits(max_clusters=1), members=MemberLimits(max_clusters={"staff": 3})))
    a_cluster(ledger, "alice")
    a_cluster(ledger, "alice", ["staff"])
    assert "may have 1 cluster (c.UserLimits.max_clusters) and has 2" in refusal(ledger, "alice")


# ---- clusters that are about to end


def test_a_refusal_passes_when_what_is_in_the_way_is_about_to_end():
    ledger = of_users(max_clusters=1)
    first = a_cluster(ledger)
    woken = []
    second = ledger.account("alice", (), SMALL)
    second.wake = lambda: woken.append(True)
    with pytest.raises(LimitReached) as caught:
        second.open()
    assert not caught.value.passes
    first.ending = True
    with pytest.raises(LimitReached, match=r"and has 1 \(1 of these clusters is being stopped\)\. Stop one") as caught:
        second.open()
    assert caught.value.passes
    assert not woken
    first.close()
    assert woken
    second.open()


def test_it_does_not_pass_where_their_end_is_not_enough():
    ledger = Ledger(Limits(users=UserLimits(max_clusters=2), total=TotalLimits(max_cores=3)))
    for user in ("alice", "alice", "bob"):
        a_cluster(ledger, user).ending = user == "alice"
    with pytest.raises(LimitReached) as caught:
        ledger.account("alice", (), SMALL).open()
    assert caught.value.passes
    big = ClusterConfig(scheduler_cores=3)
    with pytest.raises(LimitReached, match=r"2 of these clusters are being stopped") as caught:
        ledger.account("alice", (), big).open()
    assert not caught.value.passes


def test_who_waited_in_vain_is_forgotten():
    ledger = of_users(max_clusters=1)
    first = a_cluster(ledger)
    first.ending = True
    second = ledger.account("alice", (), SMALL)
    second.wake = pytest.fail
    with pytest.raises(LimitReached):
        second.open()
    second.close()
    first.close()


# ---- workers


def test_workers_up_to_the_limit():
    ledger = of_users(max_cores=8)
    account = a_cluster(ledger)
    assert account.grant(2) == 2
    account.add_workers(2)
    assert account.grant(3) == 1
    account.add_workers(1)
    assert account.grant(3) == 0
    assert account.missing(3) == (0, "")
    assert account.missing(5) == (2, "user alice may have 8 cores (c.UserLimits.max_cores) and has 7")
    assert account.held == {"clusters": 1, "workers": 3, "cores": 7, "memory": 13 * GIB}


def test_without_limits_there_is_room_for_all():
    account = a_cluster(Ledger())
    assert account.grant(1000) == 1000
    assert account.missing(1000) == (0, "")
    assert account.worker_limit == WorkerLimit()


def test_all_processes_of_a_job_count():
    config = JobQueueClusterConfig(worker_processes=4, worker_cores=2, worker_memory="1 G", scheduler_memory="1 G")
    account = a_cluster(Ledger(), config=config, workers=2)
    assert account.held == {"clusters": 1, "workers": 2, "cores": 17, "memory": 9 * GIB}


def test_whoever_got_less_is_woken_once_by_what_is_given_back():
    ledger = Ledger(Limits(users=UserLimits(max_workers=4), total=TotalLimits(max_workers=5)))
    mine, other, others = a_cluster(ledger), a_cluster(ledger), a_cluster(ledger, "bob")
    woken = []
    other.wake = lambda: woken.append("other")
    mine.add_workers(3)
    others.add_workers(1)
    assert other.grant(2) == 1
    others.add_workers(-1)
    assert woken == []  # what is in the way is the user's own limit
    mine.add_workers(-1)
    mine.add_workers(-1)
    assert woken == ["other"]
    assert other.grant(2) == 2


def test_the_most_that_a_cluster_could_ever_have():
    limits = Limits(users=UserLimits(max_cores=8), total=TotalLimits(max_memory="11 G", max_clusters=9))
    ledger = Ledger(limits)
    assert a_cluster(ledger).worker_limit == WorkerLimit(2, "c.TotalLimits.max_memory")
    assert a_cluster(ledger, "bob", workers=2).worker_limit.most == 2  # whatever is held
    own = ClusterConfig(cluster_max_workers=1)
    assert ledger.account("carol", (), own).worker_limit == WorkerLimit(1, "cluster_max_workers")
    assert a_cluster(of_users(max_workers=0)).worker_limit == WorkerLimit(0, "c.UserLimits.max_workers")


# ---- restarts


def test_what_was_there_before_is_counted_and_stays():
    ledger = of_users(max_clusters=1, max_workers=1)
    before = [ledger.account("alice", (), SMALL) for _ in range(3)]
    for account in before:
        account.adopt()
        account.add_workers(2)
    assert "may have 1 cluster (c.UserLimits.max_clusters) and has 3" in refusal(ledger)
    assert before[0].grant(1) == 0
    before[0].close()
    before[1].close()
    before[2].add_workers(-1)
    assert before[2].grant(1) == 0
    before[2].add_workers(-1)
    assert before[2].grant(3) == 1
    assert "and has 1." in refusal(ledger)


# ---- a story

CONFIGS = (SMALL, ClusterConfig(), ClusterConfig(worker_cores=3, scheduler_cores=2, worker_memory="1 G"))
LIMITS = Limits(
    users=UserLimits(max_clusters=3, max_cores=12),
    members=MemberLimits(max_clusters={"staff": 4}, max_cores={"staff": None, "students": 6}),
    groups=GroupLimits(max_workers={"students": 5, "staff": 8}, max_memory={"staff": "40 G"}),
    total=TotalLimits(max_clusters=8, max_cores=30, max_memory="80 G", max_workers=20),
)
picks = st.integers(0, 99)


class LedgerStory(RuleBasedStateMachine):
    """Clusters of four users. What is granted is taken, as the machine does; who is woken asks again, or not."""

    groups = (("students",), ("staff",), ("students", "staff"), ())

    @initialize(before=st.lists(st.tuples(picks, picks, st.integers(0, 9)), max_size=4))
    def begin(self, before):
        self.ledger = Ledger(LIMITS)
        self.accounts = []
        self.short = set()  # who got less than wanted, and was not woken since
        for user, config, workers in before:
            account = self.account(user, config)
            account.adopt()
            account.add_workers(workers)
            self.accounts.append(account)

    def account(self, user, config):
        number = user % len(self.groups)
        account = self.ledger.account(f"user{number}", self.groups[number], CONFIGS[config % len(CONFIGS)])
        account.wake = lambda: self.short.discard(account)
        return account

    def excess(self):
        """By how much limits are exceeded, for each that is."""
        allowances = (*self.ledger._users.values(), *self.ledger._groups.values(), self.ledger._all)
        found = {}
        for allowance in allowances:
            for kind, limit in allowance.limits.items():
                found[allowance.holder, kind] = max(0, allowance.held[kind] - limit.most)
        return found

    @rule(user=picks, config=picks)
    def create(self, user, config):
        account, before = self.account(user, config), self.excess()
        try:
            account.open()
        except LimitReached as error:
            assert "may have" in str(error)
            account.close()
        else:
            self.accounts.append(account)
            assert all(excess <= before.get(which, 0) for which, excess in self.excess().items())

    @precondition(lambda self: self.accounts)
    @rule(pick=picks, wanted=st.integers(1, 12))
    def grow(self, pick, wanted):
        account, before = self.accounts[pick % len(self.accounts)], self.excess()
        missing, why = account.missing(account.workers + wanted)
        granted = account.grant(wanted)
        assert missing == wanted - granted
        assert bool(why) == bool(missing)
        account.add_workers(granted)
        assert all(excess <= before[which] for which, excess in self.excess().items())
        if granted < wanted:
            self.short.add(account)

    @precondition(lambda self: self.accounts)
    @rule(pick=picks, count=st.integers(1, 12))
    def shrink(self, pick, count):
        account = self.accounts[pick % len(self.accounts)]
        account.add_workers(-min(count, account.workers))

    @precondition(lambda self: self.accounts)
    @rule(pick=picks)
    def end(self, pick):
        account = self.accounts.pop(pick % len(self.accounts))
        self.short.discard(account)
        account.close()
        account.close()

    @invariant()
    def the_books_are_right(self):
        ledger = self.ledger
        of_users = {name: allowance.held for name, allowance in ledger._users.items()}
        sums = dict.fromkeys(KINDS, 0)
        for account in self.accounts:
            for kind in KINDS:
                sums[kind] += account.held[kind]
        assert ledger._all.held == sums
        for kind in KINDS:
            assert sum(held[kind] for held in of_users.values()) == sums[kind]
        assert all(allowance.accounts for allowance in ledger._users.values())

    @invariant()
    def nobody_waits_in_vain(self):
        for account in self.short:
            assert account.missing(account.workers + 1)[0] == 1


LedgerStory.TestCase.settings = settings(max_examples=60, stateful_step_count=40)
TestLedger = LedgerStory.TestCase
