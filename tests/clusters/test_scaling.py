from hypothesis import given
from hypothesis import strategies as st

from gateway.clusters.lifecycle import LIVE_STATES, WorkerState
from gateway.clusters.scaling import Demand, Plan, plan, restart_delay

Q, S, A, C, L, E = (
    WorkerState.QUEUED,
    WorkerState.STARTING,
    WorkerState.ACTIVE,
    WorkerState.CLOSING,
    WorkerState.LOST,
    WorkerState.ENDING,
)


def workers(*states):
    return {f"w1-{index}": state for index, state in enumerate(states)}


def test_missing_workers_are_started():
    assert plan(3, workers(A), None) == Plan(start=2)


def test_never_above_the_limit():
    assert plan(30, workers(A), 5) == Plan(start=4)


def test_youngest_queued_go_first_then_starting():
    assert plan(2, workers(A, S, Q, Q, S), None).cancel == ("w1-3", "w1-2", "w1-4")


def test_connected_workers_are_the_schedulers_to_retire():
    assert plan(0, workers(A, A, C), None) == Plan()


def test_a_lost_worker_is_cancelled_and_replaced():
    assert plan(2, workers(A, L), None) == Plan(start=1, cancel=("w1-1",))
    assert plan(0, workers(Q, L), None) == Plan(cancel=("w1-1", "w1-0"))


def test_leaving_workers_are_replaced_but_not_cancelled():
    assert plan(1, workers(C, E), None) == Plan(start=1)


@given(
    wanted=st.integers(0, 30),
    states=st.lists(st.sampled_from(list(WorkerState)), max_size=30),
    limit=st.none() | st.integers(0, 20),
)
def test_a_plan_never_overshoots(wanted, states, limit):
    have = workers(*states)
    made = plan(wanted, have, limit)
    live = [name for name, state in have.items() if state in LIVE_STATES]
    target = wanted if limit is None else min(wanted, limit)
    assert len(live) + made.start <= max(target, len(live))
    cancelled = [name for name in made.cancel if name in live]
    assert len(cancelled) <= max(0, len(live) - target)
    assert all(have[name] not in (A, C, E) for name in made.cancel)
    assert not (made.start and cancelled)


def test_a_late_heartbeat_does_not_undo_what_a_user_asked():
    demand = Demand().ask(20, until=25.0)
    assert demand.count == 20
    assert demand.hear(0, now=10.0) == demand
    confirmed = demand.hear(20, now=11.0)
    assert confirmed.hear(5, now=12.0).count == 5


def test_fewer_workers_wait_for_the_schedulers_word():
    demand = Demand(20).ask(3, until=25.0)
    assert demand.count == 20
    assert demand.hear(20, now=10.0).count == 20
    assert demand.hear(3, now=11.0) == Demand(3)


def test_a_users_word_does_not_hold_for_ever():
    assert Demand().ask(20, until=25.0).hear(0, now=25.0) == Demand(0)


def test_adaptive_scaling_frees_the_scheduler():
    demand = Demand().ask(20, until=25.0).free()
    assert demand.count == 20
    assert demand.hear(3, now=10.0) == Demand(3)


def test_delays_double_up_to_the_maximum():
    assert [restart_delay(n, 0.1, 300) for n in (0, 1, 2, 3)] == [0, 0.1, 0.2, 0.4]
    assert restart_delay(1000, 0.1, 300) == 300
