import pytest

from gateway.clusters.heartbeat import Heartbeat
from gateway.clusters.lifecycle import WorkerEnding, WorkerEvent, WorkerState
from gateway.clusters.workers import Workers
from gateway.models import JobId, JobReport, JobState


def heartbeat(active=(), closing=(), closed=()):
    return Heartbeat("tls://h:1", "", "http://h:2", 0, frozenset(active), frozenset(closing), list(closed))


@pytest.fixture
def workers():
    group = Workers()
    group.submit("w1", 2, now=1.0)
    group.submitted("w1", [JobId("7_0"), JobId("7_1")])
    return group


def test_a_worker_from_submission_to_end(workers):
    assert workers.states == {"w1-0": WorkerState.QUEUED, "w1-1": WorkerState.QUEUED}
    assert workers.coming
    workers.report(JobId("7_0"), JobReport(JobState.QUEUED, "Resources"), 2.0)
    assert workers.waiting() == (1, "Resources")
    workers.report(JobId("7_0"), JobReport(JobState.RUNNING), 3.0)
    assert workers.next_overdue(60) == 63.0
    assert workers.overdue(60, 62.9) == []
    assert [worker.name for worker in workers.overdue(60, 63.0)] == ["w1-0"]
    workers.hear(heartbeat(active=["w1-0", "w1-1"]), 4.0)
    assert not workers.coming
    assert workers.count(WorkerState.ACTIVE) == 2
    assert workers.next_overdue(60) == float("inf")
    workers.hear(heartbeat(active=["w1-1"], closing=["w1-0"]), 5.0)
    worker, ending = workers.report(JobId("7_0"), JobReport(JobState.GONE), 6.0)
    assert (worker.name, ending) == ("w1-0", WorkerEnding.EXPECTED)
    assert [worker.job for worker in workers] == ["7_1"]
    assert workers.groups() == {"w1"}
    assert workers.report(JobId("7_0"), JobReport(JobState.GONE), 7.0) is None


def test_failed_starts_in_a_row(workers):
    assert workers.report(JobId("7_0"), JobReport(JobState.GONE), 2.0)[1] is WorkerEnding.FAILED_START
    assert workers.failed_starts == 1
    workers.hear(heartbeat(active=["w1-1"]), 3.0)
    assert workers.failed_starts == 0
    assert workers.report(JobId("7_1"), JobReport(JobState.GONE), 4.0)[1] is WorkerEnding.LOST
    assert workers.failed_starts == 0
    assert len(workers) == 0


def test_ending_and_unknown_change_no_state(workers):
    for state in (JobState.ENDING, JobState.UNKNOWN):
        assert workers.report(JobId("7_0"), JobReport(state), 2.0) is None
    assert workers.states["w1-0"] is WorkerState.QUEUED


def test_a_requeued_worker_waits_again(workers):
    workers.report(JobId("7_0"), JobReport(JobState.RUNNING), 2.0)
    workers.report(JobId("7_0"), JobReport(JobState.QUEUED), 3.0)
    assert workers.states["w1-0"] is WorkerState.QUEUED
    assert workers.waiting() == (1, "")  # a job array of PBS that has begun gives no reasons


def test_where_jobs_run_once_a_rerun_one_is_lost(workers):
    workers.report(JobId("7_0"), JobReport(JobState.RUNNING), 2.0, requeue=False)
    for job in ("7_0", "7_1"):
        assert workers.report(JobId(job), JobReport(JobState.QUEUED), 3.0, requeue=False) is None
    assert workers.states == {"w1-0": WorkerState.LOST, "w1-1": WorkerState.QUEUED}


def test_a_job_that_somebody_deletes_is_no_failed_start(workers):
    deleted = JobReport(JobState.GONE, "CANCELLED", deleted=True)
    assert workers.report(JobId("7_0"), deleted, 2.0)[1] is WorkerEnding.DELETED
    workers.hear(heartbeat(active=["w1-1"]), 3.0)
    assert workers.report(JobId("7_1"), deleted, 4.0)[1] is WorkerEnding.LOST
    assert workers.failed_starts == 0


PRESUMED = JobReport(JobState.GONE, "it has left the queue", presumed=True)


def test_a_connected_worker_s_job_is_not_gone_because_it_is_missed(workers):
    workers.hear(heartbeat(active=["w1-0"]), 2.0)
    assert workers.report(JobId("7_0"), PRESUMED, 3.0) is None
    assert workers.report(JobId("7_1"), PRESUMED, 3.0)[1] is WorkerEnding.VANISHED
    assert workers.failed_starts == 0
    assert workers.missed() == []
    workers.hear(heartbeat(active=["w1-0"]), 4.0)
    assert workers.states == {"w1-0": WorkerState.ACTIVE}
    workers.hear(heartbeat(), 5.0)
    assert workers.missed() == [("7_0", PRESUMED)]
    workers.report(JobId("7_0"), JobReport(JobState.RUNNING), 6.0)  # it is listed again
    assert workers.missed() == []


def test_a_job_that_was_seen_and_is_missed_has_failed_to_start(workers):
    workers.report(JobId("7_0"), JobReport(JobState.QUEUED), 2.0)
    assert workers.report(JobId("7_0"), PRESUMED, 3.0)[1] is WorkerEnding.FAILED_START


def test_a_missed_job_has_ended_once_its_worker_is_gone_as_well(workers):
    workers.hear(heartbeat(active=["w1-0"]), 2.0)
    workers.report(JobId("7_0"), PRESUMED, 3.0)
    workers.hear(heartbeat(closing=["w1-0"]), 4.0)
    ((job, report),) = workers.missed()
    assert workers.report(job, report, 5.0)[1] is WorkerEnding.EXPECTED


def test_what_was_never_heard_of_for_minutes_counts_as_started(workers):
    workers.report(JobId("7_0"), JobReport(JobState.QUEUED, "Priority"), 2.0)
    for report in (JobReport(JobState.UNKNOWN, "away"), JobReport(JobState.UNKNOWN, "away", overdue=True)):
        for job in ("7_0", "7_1"):
            workers.report(JobId(job), report, 100.0)
    assert workers.states == {"w1-0": WorkerState.QUEUED, "w1-1": WorkerState.STARTING}
    assert workers.next_overdue(60) == 160.0


def test_adopted_workers_end_without_blame():
    workers = Workers()
    workers.adopt("w5", 2, 0.0)
    workers.submitted("w5", [JobId("9_0"), JobId("9_1")])
    assert workers.report(JobId("9_0"), JobReport(JobState.GONE), 1.0)[1] is WorkerEnding.EXPECTED
    workers.report(JobId("9_1"), JobReport(JobState.RUNNING), 1.0)
    assert workers.states == {"w5-1": WorkerState.STARTING}
    assert workers.failed_starts == 0


def test_a_group_that_never_was(workers):
    workers.submit("w2", 3, 2.0)
    assert len(workers) == 5
    workers.drop_group("w2")
    assert workers.groups() == {"w1"}
    assert [worker.name for worker in workers.named(["w1-1", "w2-0"])] == ["w1-1"]
    assert {worker.job: worker.name for worker in workers}["7_1"] == "w1-1"


def test_cancelled(workers):
    for worker in workers:
        workers.apply(worker, WorkerEvent.CANCELLED, 2.0)
    assert set(workers.states.values()) == {WorkerState.ENDING}
