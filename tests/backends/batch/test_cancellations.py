"""Cancels that insist."""

from math import inf

from gateway.backends.base import ClusterRef
from gateway.backends.batch.cancellations import PATIENCE, REPEATS, Endings
from gateway.config.cluster import ClusterConfig
from gateway.models import JobId, JobReport, JobState

JOB = JobId("7.pbs")
RUNNING = {JOB: JobReport(JobState.RUNNING)}


def a_cluster(name="c1"):
    return ClusterRef(name=name, username="alice", config=ClusterConfig())


def test_nothing_is_due_when_nothing_was_cancelled():
    assert Endings().next_due == inf
    assert Endings().take_due(100, {}) == []


def test_a_job_that_stays_is_cancelled_again_but_not_for_ever():
    endings, now, repeats = Endings(), 0.0, 0
    endings.cancelled(a_cluster(), [JOB], now)
    assert endings.take_due(PATIENCE - 1, RUNNING) == []
    while (now := endings.next_due) < inf:
        for cluster, jobs in endings.take_due(now, RUNNING):
            endings.cancelled(cluster, jobs, now)
            repeats += 1
    assert repeats == REPEATS


def test_jobs_that_are_gone_or_not_watched_are_forgotten():
    endings = Endings()
    endings.cancelled(a_cluster(), [JOB, JobId("8.pbs")], 0)
    assert endings.take_due(1, {JOB: JobReport(JobState.GONE)}) == []
    assert endings.next_due == inf


def test_nothing_is_done_while_a_job_ends_or_nothing_is_known():
    for state in (JobState.UNKNOWN, JobState.ENDING):
        endings = Endings()
        endings.cancelled(a_cluster(), [JOB], 0)
        assert endings.take_due(PATIENCE, {JOB: JobReport(state)}) == []
        assert endings.next_due == 2 * PATIENCE
        assert endings.take_due(2 * PATIENCE, RUNNING) == [(a_cluster(), [JOB])]


def test_a_cancel_that_failed_is_tried_again_later():
    endings = Endings()
    endings.cancelled(a_cluster(), [JOB], 0)
    assert endings.take_due(PATIENCE, RUNNING)
    assert endings.take_due(2 * PATIENCE, RUNNING)


def test_hopeless_jobs_are_due_at_once_and_only_once():
    endings = Endings()
    endings.hopeless(a_cluster(), JOB, 10)
    assert endings.take_due(10, RUNNING) == [(a_cluster(), [JOB])]
    endings.cancelled(a_cluster(), [JOB], 10)
    endings.hopeless(a_cluster(), JOB, 11)
    assert endings.next_due == 10 + PATIENCE


def test_clusters_are_cancelled_each_for_itself():
    endings, other = Endings(), JobId("8.pbs")
    endings.cancelled(a_cluster(), [JOB], 0)
    endings.cancelled(a_cluster("c2"), [other], 0)
    reports = {**RUNNING, other: JobReport(JobState.QUEUED)}
    assert endings.take_due(PATIENCE, reports) == [(a_cluster(), [JOB]), (a_cluster("c2"), [other])]
