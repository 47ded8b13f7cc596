from itertools import product

import pytest

from gateway.clusters.lifecycle import (
    CLUSTER_TABLE,
    COMING_STATES,
    LIVE_STATES,
    ROW_TABLE,
    ClusterEvent,
    RowEvent,
    RowState,
    is_active,
    is_ended,
    next_cluster_status,
    next_row_state,
)
from gateway.models import ClusterStatus, Role

REQUEUED = (Role.SCHEDULER, RowState.ACTIVE, RowEvent.JOB_QUEUED)


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
    after = {state for state, _ in ROW_TABLE.values()}
    assert after == set(RowState) - {RowState.ADOPTED, RowState.ENDING}  # the latter is shown, never stored


def test_every_row_event_has_its_line():
    assert set(ROW_TABLE) == set(RowEvent)


def test_what_is_not_in_the_table_changes_nothing():
    for role, state, event in product(Role, RowState, RowEvent):
        after, before = ROW_TABLE[event]
        if state not in before and (role, state, event) != REQUEUED:
            assert next_row_state(role, state, event) is state
        else:
            assert next_row_state(role, state, event) is after


def test_only_a_scheduler_that_reports_can_be_seen_to_wait_again():
    assert next_row_state(*REQUEUED) is RowState.QUEUED
    assert next_row_state(Role.WORKER, RowState.ACTIVE, RowEvent.JOB_QUEUED) is RowState.ACTIVE


def test_only_who_connects_comes_back_from_gone():
    for role, event in product(Role, RowEvent):
        back = event is RowEvent.CONNECTED
        assert next_row_state(role, RowState.GONE, event) is (RowState.ACTIVE if back else RowState.GONE)


def test_whoever_connects_is_no_more_missed():
    """An absence says nothing of a worker whose scheduler is connected to it, or of a scheduler that reports."""
    for role in Role:
        assert next_row_state(role, RowState.ACTIVE, RowEvent.MISSED) is RowState.ACTIVE


def test_a_worker_that_leaves_is_not_counted():
    left = {RowState.CLOSING, RowState.LOST, RowState.FAILED, RowState.GONE, RowState.ENDING}
    assert not LIVE_STATES & left
    assert {RowState.ACTIVE} == LIVE_STATES - COMING_STATES
