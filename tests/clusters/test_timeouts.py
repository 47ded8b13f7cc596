from math import inf

from gateway.clusters.timeouts import Answer, Clock, Limits, SchedulerClock
from gateway.models import JobReport, JobState

LIMITS = Limits(start=60, heartbeat=30, heartbeat_period=15, worker_start=60)
QUEUED, RUNNING, ENDING, UNKNOWN = (
    JobReport(s) for s in (JobState.QUEUED, JobState.RUNNING, JobState.ENDING, JobState.UNKNOWN)
)


def test_waiting_in_the_queue_is_not_starting():
    assert SchedulerClock(0.0).reported(QUEUED, 1000.0).deadline(LIMITS) == (inf, Clock.QUEUE)


def test_the_queue_can_have_a_limit():
    limits = Limits(queue=100, start=60, heartbeat=30, heartbeat_period=15, worker_start=60)
    clock = SchedulerClock(5.0)
    assert clock.deadline(limits) == (105.0, Clock.QUEUE)
    assert clock.reported(UNKNOWN, 90.0).deadline(limits) == (inf, Clock.QUEUE)


def test_starting_counts_from_when_the_job_runs():
    clock = SchedulerClock(0.0).reported(RUNNING, 500.0).reported(RUNNING, 510.0)
    assert clock.deadline(LIMITS) == (560.0, Clock.START)
    assert clock.reported(UNKNOWN, 520.0).deadline(LIMITS) == (inf, Clock.START)
    assert clock.late(LIMITS) == inf


def test_heartbeats_push_the_deadline():
    clock = SchedulerClock(0.0).heard(10.0)
    assert clock.deadline(LIMITS) == (40.0, Clock.HEARTBEAT)
    clock = clock.reported(RUNNING, 12.0).heard(25.0)
    assert clock.deadline(LIMITS) == (55.0, Clock.HEARTBEAT)
    assert clock.late(LIMITS) == 25.0 + 22.5
    assert clock.reported(UNKNOWN, 26.0).deadline(LIMITS) == (inf, Clock.HEARTBEAT)
    assert clock.reported(UNKNOWN, 26.0).reported(ENDING, 27.0).deadline(LIMITS) == (55.0, Clock.HEARTBEAT)


def test_no_clock_runs_while_the_job_is_suspended():
    suspended = JobReport(JobState.RUNNING, suspended=True)
    started = SchedulerClock(0.0).reported(suspended, 10.0)
    assert started.deadline(LIMITS) == (inf, Clock.START)
    assert started.reported(RUNNING, 500.0).deadline(LIMITS) == (560.0, Clock.START)
    heard = SchedulerClock(0.0).heard(10.0).reported(suspended, 20.0)
    assert heard.deadline(LIMITS) == (inf, Clock.HEARTBEAT)
    assert heard.reported(UNKNOWN, 30.0).reported(suspended, 40.0).deadline(LIMITS) == (inf, Clock.HEARTBEAT)
    assert heard.reported(UNKNOWN, 30.0).reported(RUNNING, 500.0).deadline(LIMITS) == (530.0, Clock.HEARTBEAT)
    assert heard.reported(QUEUED, 500.0) == SchedulerClock(500.0, seen=True)


def test_a_requeued_job_starts_again():
    clock = SchedulerClock(0.0).reported(RUNNING, 10.0).heard(12.0).reported(QUEUED, 20.0)
    assert clock == SchedulerClock(20.0, seen=True)


OVERDUE = JobReport(JobState.UNKNOWN, "away", overdue=True)
PRESUMED = JobReport(JobState.GONE, "it has left the queue", presumed=True)


def test_a_batch_system_that_never_answers_does_not_stop_the_clocks_for_ever():
    clock = SchedulerClock(0.0).reported(UNKNOWN, 1.0).reported(OVERDUE, 100.0)
    assert clock.deadline(LIMITS) == (160.0, Clock.START)
    assert clock.reported(OVERDUE, 120.0).deadline(LIMITS) == (160.0, Clock.START)
    started = SchedulerClock(0.0).reported(RUNNING, 10.0).reported(UNKNOWN, 20.0).reported(OVERDUE, 400.0)
    assert started.deadline(LIMITS) == (70.0, Clock.START)
    heard = SchedulerClock(0.0).heard(10.0).reported(UNKNOWN, 20.0).reported(OVERDUE, 400.0)
    assert heard.deadline(LIMITS) == (40.0, Clock.HEARTBEAT)


def test_what_waits_goes_on_waiting_while_the_batch_system_is_away():
    clock = SchedulerClock(0.0).reported(QUEUED, 1.0).reported(UNKNOWN, 2.0).reported(OVERDUE, 400.0)
    assert clock.deadline(LIMITS) == (inf, Clock.QUEUE)


def test_a_missed_scheduler_has_until_its_next_heartbeat_is_due():
    clock = SchedulerClock(0.0).heard(10.0).reported(PRESUMED, 12.0).reported(PRESUMED, 14.0)
    assert clock.deadline(LIMITS) == (10.0 + 22.5, Clock.MISSED)
    assert clock.heard(25.0).deadline(LIMITS) == (55.0, Clock.HEARTBEAT)
    assert clock.reported(RUNNING, 15.0).deadline(LIMITS) == (40.0, Clock.HEARTBEAT)
    assert clock.reported(UNKNOWN, 15.0).deadline(LIMITS) == (32.5, Clock.MISSED)
    late = SchedulerClock(0.0).heard(10.0).reported(PRESUMED, 40.0)
    assert late.deadline(LIMITS) == (40.0, Clock.MISSED)


def test_a_missed_scheduler_that_never_reported_is_gone():
    clock = SchedulerClock(0.0).reported(QUEUED, 1.0).reported(PRESUMED, 12.0)
    assert clock.deadline(LIMITS) == (12.0, Clock.MISSED)


# --- silence is no evidence -------------------------------------------------------------------------------------------

ASKING = Limits(start=60, heartbeat=30, heartbeat_period=15, worker_start=60, unreachable=20)


def test_a_heartbeat_is_missing_from_when_it_could_have_been_heard():
    clock = SchedulerClock(0.0).heard(10.0)
    starting = SchedulerClock(0.0).reported(RUNNING, 10.0)
    assert starting.deadline(LIMITS, 40.0) == (70.0, Clock.START)
    assert starting.deadline(LIMITS, 50.0) == (80.0, Clock.START)
    assert clock.deadline(LIMITS, 5.0) == (40.0, Clock.HEARTBEAT)
    assert clock.deadline(LIMITS, 25.0) == (55.0, Clock.HEARTBEAT)
    assert not clock.is_excused(LIMITS, 39.0, 25.0)
    assert clock.is_excused(LIMITS, 40.0, 25.0)
    assert not clock.is_excused(LIMITS, 55.0, 25.0)
    assert not SchedulerClock(0.0).is_excused(LIMITS, 40.0, 25.0)
    missed = clock.reported(PRESUMED, 12.0)
    assert missed.deadline(LIMITS, 25.0) == (47.5, Clock.MISSED)
    assert not missed.is_excused(LIMITS, 41.0, 25.0)


def test_a_scheduler_that_answers_lives():
    clock = SchedulerClock(0.0).heard(10.0).told(Answer.SILENT, 45.0).told(Answer.HERE, 60.0)
    assert not clock.is_over(Clock.HEARTBEAT, Answer.HERE, LIMITS)
    assert clock.deadline(LIMITS) == (90.0, Clock.HEARTBEAT)
    assert clock.heard(70.0) == SchedulerClock(0.0).heard(10.0).heard(70.0)
    again = clock.told(Answer.SILENT, 95.0)
    assert (again.unanswered, again.unanswered_since) == (1, 95.0)


def test_a_port_that_refuses_is_evidence():
    clock = SchedulerClock(0.0).heard(10.0).told(Answer.REFUSED, 40.0)
    assert clock.is_over(Clock.HEARTBEAT, Answer.REFUSED, LIMITS)


def test_no_answer_again_and_again_is_evidence():
    clock = SchedulerClock(0.0).heard(10.0).told(Answer.SILENT, 45.0)
    assert clock.deadline(ASKING) == (55.0, Clock.HEARTBEAT)
    clock = clock.told(Answer.SILENT, 60.0)
    assert not clock.is_over(Clock.HEARTBEAT, Answer.SILENT, ASKING)
    assert clock.told(Answer.SILENT, 65.0).is_over(Clock.HEARTBEAT, Answer.SILENT, ASKING)
    assert not clock.told(Answer.SILENT, 64.0).is_over(Clock.HEARTBEAT, Answer.SILENT, ASKING)
    late = SchedulerClock(0.0).heard(10.0).told(Answer.SILENT, 45.0).told(Answer.SILENT, 1000.0)
    assert not late.is_over(Clock.HEARTBEAT, Answer.SILENT, ASKING)


def test_what_was_not_answered_while_nobody_could_be_heard_does_not_count():
    clock = SchedulerClock(0.0).heard(10.0).told(Answer.SILENT, 45.0).told(Answer.SILENT, 60.0)
    clock = clock.told(Answer.SILENT, 75.0, deaf=50.0)
    assert (clock.unanswered, clock.unanswered_since) == (1, 75.0)


def test_what_could_not_be_asked_is_asked_again():
    clock = SchedulerClock(0.0).heard(10.0).told(Answer.NOT_ASKED, 40.0)
    assert not clock.is_over(Clock.HEARTBEAT, Answer.NOT_ASKED, LIMITS)
    assert not clock.is_over(Clock.MISSED, Answer.NOT_ASKED, LIMITS)
    assert clock.deadline(ASKING) == (50.0, Clock.HEARTBEAT)
    assert clock.reported(PRESUMED, 42.0).deadline(ASKING) == (50.0, Clock.MISSED)


def test_absence_and_no_answer_are_evidence():
    clock = SchedulerClock(0.0).heard(10.0).reported(PRESUMED, 12.0).told(Answer.SILENT, 35.0)
    assert clock.is_over(Clock.MISSED, Answer.SILENT, LIMITS)
