"""Cancels that insist."""

from math import inf

from gateway.backends.base import ClusterRef
from gateway.backends.batch.cancellations import REPEATS, TIMEOUT, PendingCancels
from gateway.config.cluster import ClusterConfig
from gateway.models import JobId, JobReport, JobState

JOB = JobId("7.pbs")
RUNNING = {JOB: JobReport(JobState.RUNNING)}


def a_cluster(name="c1"):
    return ClusterRef(name=name, username="alice", config=ClusterConfig())


def test_nothing_is_due_when_nothing_was_cancelled():
    assert PendingCancels().next_due == inf
    assert PendingCancels().take_due(100, {}) == []


def test_a_job_that_stays_is_cancelled_again_but_not_for_ever():
    pending, now, repeats = PendingCancels(), 0.0, 0
    pending.cancelled(a_cluster(), [JOB], now)
    assert pending.take_due(TIMEOUT - 1, RUNNING) == []
    while (now := pending.next_due) < inf:
        for cluster, jobs in pending.take_due(now, RUNNING):
            pending.cancelled(cluster, jobs, now)
            repeats += 1
    assert repeats == REPEATS


def test_jobs_that_are_gone_or_not_watched_are_forgotten():
    pending = PendingCancels()
    pending.cancelled(a_cluster(), [JOB, JobId("8.pbs")], 0)
    assert pending.take_due(1, {JOB: JobReport(JobState.GONE)}) == []
    assert pending.next_due == inf


def test_nothing_is_done_while_a_job_ends_or_nothing_is_known():
    for state in (JobState.UNKNOWN, JobState.ENDING):
        pending = PendingCancels()
        pending.cancelled(a_cluster(), [JOB], 0)
        assert pending.take_due(TIMEOUT, {JOB: JobReport(state)}) == []
        assert pending.next_due == 2 * TIMEOUT
        assert pending.take_due(2 * TIMEOUT, RUNNING) == [(a_cluster(), [JOB])]


def test_a_cancel_that_failed_is_tried_again_later():
    pending = PendingCancels()
    pending.cancelled(a_cluster(), [JOB], 0)
    assert pending.take_due(TIMEOUT, RUNNING)
    assert pending.take_due(2 * TIMEOUT, RUNNING)


def test_hopeless_jobs_are_due_at_once_and_only_once():
    pending = PendingCancels()
    pending.hopeless(a_cluster(), JOB, 10)
    assert pending.take_due(10, RUNNING) == [(a_cluster(), [JOB])]
    pending.cancelled(a_cluster(), [JOB], 10)
    pending.hopeless(a_cluster(), JOB, 11)
    assert pending.next_due == 10 + TIMEOUT


def test_clusters_are_cancelled_each_for_itself():
    pending, other = PendingCancels(), JobId("8.pbs")
    pending.cancelled(a_cluster(), [JOB], 0)
    pending.cancelled(a_cluster("c2"), [other], 0)
    reports = {**RUNNING, other: JobReport(JobState.QUEUED)}
    assert pending.take_due(TIMEOUT, reports) == [(a_cluster(), [JOB]), (a_cluster("c2"), [other])]
