"""When patience with a row ends, and what a report or a heartbeat changes."""

from math import inf

import pytest

from gateway.clusters.lifecycle import RowEvent, RowState
from gateway.clusters.rows import Clock, Row, Table, deadline
from gateway.clusters.silence import Answer, Silence
from gateway.models import JobReport, JobState, Role, SubmissionRecord
from tests.support.fakes import RULES, rules_with

QUEUED, RUNNING, ENDING, UNKNOWN = (
    JobReport(s) for s in (JobState.QUEUED, JobState.RUNNING, JobState.ENDING, JobState.UNKNOWN)
)
OVERDUE = JobReport(JobState.UNKNOWN, "away", overdue=True)
PRESUMED = JobReport(JobState.GONE, "it has left the queue", presumed=True)
SUSPENDED = JobReport(JobState.RUNNING, suspended=True)

NEVER = (inf, Clock.OTHER)


def story(*happened, role=Role.SCHEDULER, requeue=True):
    """A row that was submitted at 0, and to which these things have happened: (time, what)."""
    name = "scheduler" if role is Role.SCHEDULER else "w1-0"
    row = Row(name=name, group=name.split("-")[0], role=role, state=RowState.QUEUED, since=0.0)
    for now, what in happened:
        if isinstance(what, JobReport):
            row.on_report(what, now, requeue=requeue)
        elif isinstance(what, RowEvent):
            row.apply(what, now)
        elif isinstance(what, Answer):
            row.silence = row.silence.after(what, now)
        else:
            row.on_heartbeat(now)
    return row


def ends(row, rules=RULES, *, requeue=True, deaf=-inf):
    return deadline(row, rules, requeue=requeue, deaf=deaf)


# ---- a scheduler

BEAT = "a heartbeat"


@pytest.mark.parametrize(
    ("happened", "end"),
    [
        # waiting in the queue is not starting
        ([(1000, QUEUED)], NEVER),
        # starting counts from when the job runs
        ([(500, RUNNING), (510, RUNNING)], (560, Clock.START)),
        ([(500, RUNNING), (520, UNKNOWN)], NEVER),
        # heartbeats push the deadline
        ([(10, BEAT)], (40, Clock.HEARTBEAT)),
        ([(10, BEAT), (12, RUNNING), (25, BEAT)], (55, Clock.HEARTBEAT)),
        ([(10, BEAT), (26, UNKNOWN)], NEVER),
        ([(10, BEAT), (26, UNKNOWN), (27, ENDING)], (40, Clock.HEARTBEAT)),
        # no clock runs while the job is suspended, and then it begins anew
        ([(10, SUSPENDED)], NEVER),
        ([(10, SUSPENDED), (500, RUNNING)], (560, Clock.START)),
        ([(10, BEAT), (20, SUSPENDED)], NEVER),
        ([(10, BEAT), (20, SUSPENDED), (30, UNKNOWN), (40, SUSPENDED)], NEVER),
        ([(10, BEAT), (20, SUSPENDED), (30, UNKNOWN), (500, RUNNING)], (530, Clock.HEARTBEAT)),
        ([(10, BEAT), (20, SUSPENDED), (500, QUEUED)], NEVER),
        # a job that is requeued starts again
        ([(10, RUNNING), (12, BEAT), (20, QUEUED)], NEVER),
        ([(10, RUNNING), (12, BEAT), (20, QUEUED), (30, RUNNING)], (90, Clock.START)),
        # a batch system that never answers does not stop the clocks for ever
        ([(1, UNKNOWN), (100, OVERDUE)], (160, Clock.START)),
        ([(1, UNKNOWN), (100, OVERDUE), (120, OVERDUE)], (160, Clock.START)),
        ([(10, RUNNING), (20, UNKNOWN), (400, OVERDUE)], (70, Clock.START)),
        ([(10, BEAT), (20, UNKNOWN), (400, OVERDUE)], (40, Clock.HEARTBEAT)),
        ([(1, QUEUED), (2, UNKNOWN), (400, OVERDUE)], NEVER),
        # one that is missed has until its next heartbeat is due
        ([(10, BEAT), (12, PRESUMED), (14, PRESUMED)], (32.5, Clock.MISSED)),
        ([(10, BEAT), (12, PRESUMED), (25, BEAT)], (55, Clock.HEARTBEAT)),
        ([(10, BEAT), (12, PRESUMED), (15, RUNNING)], (40, Clock.HEARTBEAT)),
        ([(10, BEAT), (12, PRESUMED), (15, UNKNOWN)], (32.5, Clock.MISSED)),
        ([(10, BEAT), (40, PRESUMED)], (40, Clock.MISSED)),
        # and one that has never reported has ended
        ([(1, QUEUED), (12, PRESUMED)], (12, Clock.MISSED)),
        # one that answers is alive; one that cannot be asked is asked again
        ([(10, BEAT), (45, Answer.SILENT), (60, Answer.HERE)], (90, Clock.HEARTBEAT)),
        ([(10, BEAT), (40, Answer.NOT_ASKED)], (55, Clock.HEARTBEAT)),
        ([(10, BEAT), (45, Answer.SILENT)], (60, Clock.HEARTBEAT)),
        ([(10, BEAT), (40, Answer.NOT_ASKED), (42, PRESUMED)], (55, Clock.MISSED)),
    ],
)
def test_patience_with_a_scheduler(happened, end):
    assert ends(story(*happened)) == end


def test_the_queue_can_have_a_limit():
    rules = rules_with(queue_timeout=100)
    assert ends(story(), rules) == (100, Clock.QUEUE)
    assert ends(story((90, UNKNOWN)), rules) == NEVER
    assert ends(story(role=Role.WORKER), rules) == NEVER


def test_a_heartbeat_is_missing_from_when_it_could_have_been_heard():
    row = story((10, BEAT))
    assert ends(row, deaf=5.0) == (40, Clock.HEARTBEAT)
    assert ends(row, deaf=25.0) == (55, Clock.HEARTBEAT)
    assert ends(story((10, BEAT), (12, PRESUMED)), deaf=25.0) == (47.5, Clock.MISSED)


def test_a_worker_is_overdue_from_when_it_could_have_been_heard_of():
    starting = story((5, RUNNING), role=Role.WORKER)
    assert ends(starting, deaf=30.0) == (65, Clock.START)
    assert ends(starting, deaf=50.0) == (80, Clock.START)
    lost = story((5, RUNNING), (10, RowEvent.CONNECTED), (20, RowEvent.DISCONNECTED), role=Role.WORKER)
    assert ends(lost, deaf=40.0) == (80, Clock.OTHER)
    assert ends(lost, deaf=70.0) == (100, Clock.OTHER)
    assert ends(lost, deaf=70.0, requeue=False) == (20, Clock.OTHER)


def test_what_is_news():
    row = story()
    assert row.on_heartbeat(1.0)
    assert not row.on_heartbeat(2.0)
    row.on_report(PRESUMED, 3.0, requeue=True)
    assert row.on_heartbeat(4.0)
    row.silence = Silence(polled=True)
    assert row.on_heartbeat(5.0)
    assert not row.on_heartbeat(6.0)


def test_an_open_question_is_outdated_by_a_report():
    row = story((10, BEAT))
    row.silence = Silence(asked=5.0, open=41.0)
    row.on_report(RUNNING, 42.0, requeue=True)
    assert row.silence == Silence(asked=5.0)


# ---- a worker


@pytest.mark.parametrize(
    ("happened", "requeue", "end"),
    [
        ([(5, QUEUED)], True, NEVER),
        ([(5, RUNNING)], True, (65, Clock.START)),
        ([(5, RUNNING), (10, UNKNOWN)], True, NEVER),
        ([(5, RUNNING), (10, SUSPENDED)], True, NEVER),
        ([(5, RUNNING), (10, SUSPENDED), (100, RUNNING)], True, (160, Clock.START)),
        ([(5, RUNNING), (6, RowEvent.CONNECTED)], True, NEVER),
        ([(6, RowEvent.CONNECTED), (9, RowEvent.DISCONNECTED)], True, (69, Clock.OTHER)),
        ([(6, RowEvent.CONNECTED), (9, RowEvent.DISCONNECTED)], False, (9, Clock.OTHER)),
        # it could not speak
        ([(6, RowEvent.CONNECTED), (7, SUSPENDED), (9, RowEvent.DISCONNECTED)], False, NEVER),
        (
            [(6, RowEvent.CONNECTED), (7, SUSPENDED), (9, RowEvent.DISCONNECTED), (50, RUNNING)],
            False,
            (50, Clock.OTHER),
        ),
        # an absence says nothing of one that is connected
        ([(6, RowEvent.CONNECTED), (7, PRESUMED)], True, NEVER),
        ([(6, RowEvent.CONNECTED), (7, PRESUMED), (9, RowEvent.CLOSING)], True, (7, Clock.MISSED)),
        ([(7, PRESUMED)], True, (7, Clock.MISSED)),
        # what was never heard of for minutes counts as started
        ([(5, OVERDUE)], True, (65, Clock.START)),
        ([(5, QUEUED), (9, OVERDUE)], True, NEVER),
    ],
)
def test_patience_with_a_worker(happened, requeue, end):
    assert ends(story(*happened, role=Role.WORKER, requeue=requeue), requeue=requeue) == end


def test_where_jobs_run_once_a_rerun_one_is_lost():
    assert story((2, RUNNING), (3, QUEUED), role=Role.WORKER, requeue=False).state is RowState.LOST
    assert story((3, QUEUED), role=Role.WORKER, requeue=False).state is RowState.QUEUED
    assert story((2, RUNNING), (3, QUEUED), role=Role.WORKER, requeue=True).state is RowState.QUEUED
    assert story((2, RUNNING), (3, QUEUED), role=Role.SCHEDULER, requeue=False).state is RowState.QUEUED


def test_a_look_that_is_older_than_the_connection():
    row = story((6, RowEvent.CONNECTED), (7, QUEUED), role=Role.WORKER)
    assert (row.state, row.waits) == (RowState.ACTIVE, True)


# ---- the table


def a_group(group="w1", count=2, jobs=None, role=Role.WORKER):
    return SubmissionRecord(cluster="c0ffee", group=group, role=role, count=count, jobs=jobs)


def test_rows_by_name_job_and_group():
    table = Table()
    assert table.scheduler is None
    table.add(a_group("scheduler", 1, ("1",), Role.SCHEDULER), RowState.ACTIVE, 0.0)
    table.add(a_group(), RowState.QUEUED, 0.0)
    assert table.scheduler is table.by_job["1"]
    assert table.states == {"w1-0": RowState.QUEUED, "w1-1": RowState.QUEUED}
    assert table.coming
    table.set_jobs("w1", ("7", "8"))
    assert [row.job for row in table.members("w1")] == ["7", "8"]
    table.by_job["8"].cancelled = True
    assert table.states["w1-1"] is RowState.ENDING
    table.remove(table.by_job["7"])
    assert not table.coming
    assert set(table.by_name) == {"scheduler", "w1-1"}
    assert set(table.by_job) == {"1", "8"}
    table.add(a_group("w2", 1), RowState.QUEUED, 0.0)
    table.remove(*table.members("w2"))
    assert [row.name for row in table.workers] == ["w1-1"]


def test_there_is_an_id_for_each_row():
    table = Table()
    table.add(a_group(), RowState.QUEUED, 0.0)
    with pytest.raises(ValueError, match="zip"):
        table.set_jobs("w1", ("7",))
