from itertools import product

import pytest

from gateway.clusters.lifecycle import (
    CLUSTER_TABLE,
    LIVE_STATES,
    WORKER_TABLE,
    ClusterEvent,
    WorkerEnding,
    WorkerEvent,
    WorkerState,
    ending_of,
    is_active,
    is_ended,
    next_cluster_status,
    next_worker_state,
)
from gateway.models import ClusterStatus


def test_a_cluster_lives_and_stops():
    status = ClusterStatus.PENDING
    story = []
    for event in (ClusterEvent.HEARTBEAT, ClusterEvent.HEARTBEAT, ClusterEvent.END, ClusterEvent.STOPPED_JOBS_GONE):
        status = next_cluster_status(status, event)
        story.append(status)
    assert story == ["RUNNING", "RUNNING", "STOPPING", "STOPPED"]


@pytest.mark.parametrize("event", ClusterEvent)
@pytest.mark.parametrize("status", [ClusterStatus.STOPPED, ClusterStatus.FAILED])
def test_nothing_happens_after_the_end(status, event):
    assert next_cluster_status(status, event) is status
    assert is_ended(status)
    assert not is_active(status)


def test_a_stopping_cluster_cannot_come_back():
    for event in (ClusterEvent.HEARTBEAT, ClusterEvent.END):
        assert next_cluster_status(ClusterStatus.STOPPING, event) is ClusterStatus.STOPPING
    assert next_cluster_status(ClusterStatus.STOPPING, ClusterEvent.FAILED_JOBS_GONE) is ClusterStatus.FAILED


def test_every_state_but_the_first_can_be_reached():
    assert set(CLUSTER_TABLE.values()) == set(ClusterStatus) - {ClusterStatus.PENDING}
    assert set(WORKER_TABLE.values()) == set(WorkerState) - {WorkerState.ADOPTED}


def test_every_worker_can_be_cancelled_but_once():
    for state in set(WorkerState) - {WorkerState.ENDING}:
        assert next_worker_state(state, WorkerEvent.CANCELLED) is WorkerState.ENDING
    for event in WorkerEvent:
        assert next_worker_state(WorkerState.ENDING, event) is WorkerState.ENDING


def test_what_is_not_in_the_table_changes_nothing():
    for state, event in product(WorkerState, WorkerEvent):
        if (state, event) not in WORKER_TABLE:
            assert next_worker_state(state, event) is state


@pytest.mark.parametrize(
    ("state", "ending"),
    [
        (WorkerState.ADOPTED, WorkerEnding.EXPECTED),
        (WorkerState.QUEUED, WorkerEnding.FAILED_START),
        (WorkerState.STARTING, WorkerEnding.FAILED_START),
        (WorkerState.ACTIVE, WorkerEnding.LOST),
        (WorkerState.CLOSING, WorkerEnding.EXPECTED),
        (WorkerState.LOST, WorkerEnding.EXPECTED),
        (WorkerState.ENDING, WorkerEnding.EXPECTED),
    ],
)
def test_what_the_end_of_a_job_means(state, ending):
    assert ending_of(state) is ending


def test_a_worker_that_leaves_is_not_counted():
    assert not LIVE_STATES & {WorkerState.CLOSING, WorkerState.LOST, WorkerState.ENDING}
