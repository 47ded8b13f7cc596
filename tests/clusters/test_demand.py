from hypothesis import given
from hypothesis import strategies as st

from gateway.clusters.demand import Demand, Plan, WorkerLimit, limited_count, limited_range, own_limit, plan
from gateway.clusters.lifecycle import LIVE_STATES, RowState
from gateway.config.cluster import ClusterConfig

Q, S, A, C, L, E, F, G = (
    RowState.QUEUED,
    RowState.STARTING,
    RowState.ACTIVE,
    RowState.CLOSING,
    RowState.LOST,
    RowState.ENDING,
    RowState.FAILED,
    RowState.GONE,
)


def workers(*states):
    return {f"w1-{index}": state for index, state in enumerate(states)}


def test_missing_workers_are_started():
    assert plan(3, workers(A), None) == Plan(start=2)


def test_never_above_the_limit():
    assert plan(30, workers(A), 5) == Plan(start=4)


def test_lost_ones_go_first_then_the_youngest_queued_then_starting():
    assert plan(2, workers(A, S, Q, Q, S), None).cancel == {"w1-3", "w1-2", "w1-4"}
    assert plan(3, workers(A, S, Q, Q, S), None).cancel == {"w1-3", "w1-2"}
    assert plan(4, workers(A, S, Q, Q, S), None).cancel == {"w1-3"}
    assert plan(2, workers(A, L, Q, S), None).cancel == {"w1-1", "w1-2"}
    assert plan(3, workers(A, L, Q, S), None).cancel == {"w1-1"}


def test_connected_workers_are_the_schedulers_to_retire():
    assert plan(0, workers(A, A, C), None) == Plan()


def test_one_that_is_of_no_more_use_is_cancelled_and_replaced():
    for useless in (F, G):
        assert plan(2, workers(A, useless), None) == Plan(start=1, cancel=frozenset({"w1-1"}))
        assert plan(0, workers(Q, useless), None) == Plan(cancel=frozenset({"w1-1", "w1-0"}))


def test_a_lost_one_may_come_back():
    assert plan(2, workers(A, L), None) == Plan()


def test_leaving_workers_are_replaced_but_not_cancelled():
    assert plan(1, workers(C, E), None) == Plan(start=1)


@given(
    wanted=st.integers(0, 30),
    states=st.lists(st.sampled_from(list(RowState)), max_size=30),
    limit=st.none() | st.integers(0, 20),
)
def test_a_plan_never_overshoots(wanted, states, limit):
    have = workers(*states)
    made = plan(wanted, have, limit)
    live = [name for name, state in have.items() if state in LIVE_STATES | {L}]
    target = wanted if limit is None else min(wanted, limit)
    assert len(live) + made.start <= max(target, len(live))
    cancelled = [name for name in made.cancel if name in live]
    assert len(cancelled) <= max(0, len(live) - target)
    assert all(have[name] not in (A, C, E) for name in made.cancel)
    assert not (made.start and cancelled)


def test_a_late_heartbeat_does_not_undo_what_a_user_asked():
    demand = Demand().requested(20, until=25.0)
    assert demand.count == 20
    assert demand.confirmed(0, now=10.0) == demand
    confirmed = demand.confirmed(20, now=11.0)
    assert confirmed.confirmed(5, now=12.0).count == 5


def test_fewer_workers_wait_for_the_schedulers_word():
    demand = Demand(20).requested(3, until=25.0)
    assert demand.count == 20
    assert demand.confirmed(20, now=10.0).count == 20
    assert demand.confirmed(3, now=11.0) == Demand(3)


def test_a_users_word_does_not_hold_for_ever():
    assert Demand().requested(20, until=25.0).confirmed(0, now=25.0) == Demand(0)


def test_adaptive_scaling_frees_the_scheduler():
    demand = Demand().requested(20, until=25.0).adaptive()
    assert demand.count == 20
    assert demand.confirmed(3, now=10.0) == Demand(3)


def test_a_user_gets_no_more_than_the_limit():
    assert limited_count(3, WorkerLimit()) == limited_count(3, WorkerLimit(3)) == (3, "")
    assert limited_count(4, WorkerLimit(3, "cluster_max_cores")) == (
        3,
        "Scale request of 4 workers would exceed resource limit of 3 workers (cluster_max_cores). "
        "Scaling to 3 instead.",
    )


def test_the_limit_that_a_clusters_options_set_is_named():
    config = ClusterConfig(cluster_max_workers=5, cluster_max_cores=4)
    assert own_limit(config) == WorkerLimit(3, "cluster_max_cores")
    assert own_limit(ClusterConfig()) == WorkerLimit(None, "")

    class Sites(ClusterConfig):
        max_workers = 2

    assert own_limit(Sites(cluster_max_workers=5)) == WorkerLimit(2, "")


def test_a_user_s_bounds_are_kept_within_the_limit():
    three = WorkerLimit(3)
    assert limited_range(1, None, WorkerLimit()) == (1, None, "")
    assert limited_range(None, None, three) == (0, 3, "")
    assert limited_range(1, 3, three) == (1, 3, "")
    low, high, message = limited_range(1, 4, three)
    assert (low, high) == (1, 3)
    assert message == (
        "Adapt with `maximum=4, minimum=1` workers would exceed resource limit of 3 workers. "
        "Using `maximum=3, minimum=1` instead."
    )
    assert limited_range(4, None, three)[:2] == (3, 3)
