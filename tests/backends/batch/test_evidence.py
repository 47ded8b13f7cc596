"""What is believed after good and bad answers: nothing is GONE without evidence."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.backends.batch.dialect import Status
from gateway.backends.batch.evidence import (
    ABSENCES_UNKNOWN,
    OVERDUE_NEVER_SEEN,
    OVERDUE_SEEN,
    Evidence,
    infer_states,
    next_delay,
    no_answer,
)
from gateway.backends.slurm.dialect import Slurm
from gateway.models import JobReport, JobState, alive

RUNNING = JobReport(JobState.RUNNING)
ENDED = JobReport(JobState.GONE, "CANCELLED")
JOBS = {"1": "alice"}
EMPTY = Status(reports={}, nonexistent=frozenset({"1"}))  # it was asked for by its id as well
NOT_LISTED = Status(reports={})
PRESUMED = JobReport(
    JobState.GONE, "it has left the queue, and the batch system does not remember how it ended", presumed=True
)
array_of = Slurm().array_of


def look(evidence, status, jobs=JOBS, **more):
    reports, evidence = infer_states(evidence, jobs, status, array_of, **{"now": 0.0, **more})
    return {job: report.state for job, report in reports.items()}, evidence


def test_what_is_listed_is_reported():
    assert look(Evidence(), Status(reports={"1": RUNNING, "2": RUNNING}))[0] == {"1": JobState.RUNNING}


def test_a_job_that_was_seen_is_gone_after_two_absences():
    _, evidence = look(Evidence(), Status(reports={"1": RUNNING}))
    states, evidence = look(evidence, EMPTY)
    assert states == {}
    states, evidence = look(evidence, EMPTY)
    assert states == {"1": JobState.GONE}


def test_a_job_that_was_never_seen_is_gone_after_three():
    evidence = Evidence()
    for _ in range(2):
        states, evidence = look(evidence, EMPTY)
        assert states == {}
    assert look(evidence, EMPTY)[0] == {"1": JobState.GONE}


def test_absences_count_only_in_a_row():
    _, evidence = look(Evidence(), Status(reports={"1": RUNNING}))
    _, evidence = look(evidence, EMPTY)
    _, evidence = look(evidence, Status(reports={"1": RUNNING}))
    states, evidence = look(evidence, EMPTY)
    assert states == {}
    _, evidence = no_answer(evidence, JOBS, "away", now=0)  # a question without answer lies between
    assert look(evidence, EMPTY)[0] == {}


def test_what_is_missed_is_only_presumed_to_be_gone():
    _, evidence = look(Evidence(), Status(reports={"1": RUNNING}))
    _, evidence = look(evidence, EMPTY)
    reports, evidence = infer_states(evidence, JOBS, EMPTY, array_of, now=0)
    assert reports == {"1": PRESUMED}
    assert look(evidence, Status(reports={"1": RUNNING}))[0] == {"1": JobState.RUNNING}


def test_absence_from_a_list_alone_is_no_evidence():
    evidence = Evidence()
    for _ in range(9):
        states, evidence = look(evidence, NOT_LISTED)
        assert states.get("1") is not JobState.GONE
    _, evidence = look(evidence, EMPTY)
    _, evidence = look(evidence, NOT_LISTED)  # it was not its turn to be asked for
    _, evidence = look(evidence, EMPTY)
    assert look(evidence, EMPTY)[0] == {"1": JobState.GONE}


def test_of_a_job_that_was_cancelled_absence_is_enough():
    _, evidence = look(Evidence(), Status(reports={"1": RUNNING}), cancelled={"1"})
    _, evidence = look(evidence, NOT_LISTED, cancelled={"1"})
    assert look(evidence, NOT_LISTED, cancelled={"1"})[0] == {"1": JobState.GONE}


def test_what_is_absent_and_cannot_be_asked_for_is_unknown_after_a_while():
    evidence, states = Evidence(), {}
    for looks in range(1, 9):
        assert states == ({"1": JobState.UNKNOWN} if looks > ABSENCES_UNKNOWN else {})
        states, evidence = look(evidence, NOT_LISTED)
    assert look(evidence, Status(reports={"1": RUNNING}))[1] == Evidence(seen=frozenset({"1"}))


def test_an_array_s_end_is_the_end_of_elements_that_are_not_listed():
    status = Status(reports={"30": ENDED, "30_2": RUNNING})
    states, _ = look(Evidence(), status, {"30_1": "alice", "30_2": "alice", "31_0": "alice"})
    assert states == {"30_1": JobState.GONE, "30_2": JobState.RUNNING}


def test_an_array_that_goes_on_says_nothing_of_an_element():
    assert look(Evidence(), Status(reports={"30": RUNNING}), {"30_1": "alice"})[0] == {}


def test_a_state_that_is_unknown_is_no_sight_of_the_job():
    hidden = JobReport(JobState.UNKNOWN, "hidden")
    states, evidence = look(Evidence(), Status(reports={"1": hidden}))
    assert states == {"1": JobState.UNKNOWN}
    assert not evidence.seen


@pytest.mark.parametrize(("seen", "seconds"), [(False, OVERDUE_NEVER_SEEN), (True, OVERDUE_SEEN)])
def test_what_is_unknown_for_minutes_is_overdue(seen, seconds):
    evidence = Evidence()
    if seen:
        _, evidence = look(evidence, Status(reports={"1": RUNNING}))
    doubtful = Status(reports={}, doubtful={"1": "no such user"})
    for now, overdue in ((100, False), (100 + seconds - 1, False), (100 + seconds, True)):
        reports, evidence = no_answer(evidence, JOBS, "away", now=now)
        assert reports == {"1": JobReport(JobState.UNKNOWN, "away", overdue=overdue)}
        reports, evidence = infer_states(evidence, JOBS, doubtful, array_of, now=now)
        assert reports == {"1": JobReport(JobState.UNKNOWN, "no such user", overdue=overdue)}
    _, evidence = look(evidence, Status(reports={"1": RUNNING}))  # heard of again
    reports, _ = no_answer(evidence, JOBS, "away", now=1000)
    assert not reports["1"].overdue


def test_jobs_of_a_doubtful_user_are_unknown_however_long_they_are_absent():
    _, evidence = look(Evidence(), Status(reports={"1": RUNNING}))
    doubtful = Status(reports={}, doubtful={"1": "alice has no account"}, nonexistent=frozenset({"1"}))
    for _ in range(5):
        states, evidence = look(evidence, doubtful)
        assert states == {"1": JobState.UNKNOWN}
    assert look(evidence, EMPTY)[0] == {}


def test_where_jobs_are_hidden_only_a_job_that_was_seen_can_be_missed():
    evidence = Evidence()
    for _ in range(5):
        states, evidence = look(evidence, EMPTY, hides_jobs="hidden")
        assert states == {"1": JobState.UNKNOWN}
    _, evidence = look(evidence, Status(reports={"1": RUNNING}), hides_jobs="hidden")
    _, evidence = look(evidence, EMPTY, hides_jobs="hidden")
    assert look(evidence, EMPTY, hides_jobs="hidden")[0] == {"1": JobState.GONE}


@given(st.lists(st.booleans(), max_size=8))
def test_no_single_absence_ends_a_job(listed):
    evidence, states, missing = Evidence(), {}, 0
    for there in listed:
        states, evidence = look(evidence, Status(reports={"1": RUNNING}) if there else EMPTY)
        missing = 0 if there else missing + 1
        assert (states.get("1") is JobState.GONE) <= (missing >= 2)


@pytest.mark.parametrize(
    ("calm", "failures", "delay"),
    [
        (0, 0, 2),
        (1, 0, 4),
        (2, 0, 8),
        (3, 0, 15),
        (99, 0, 15),
        (0, 1, 2),
        (5, 1, 2),
        (0, 2, 4),
        (0, 3, 8),
        (0, 9, 15),
        (5, 99, 15),
    ],
)
def test_the_next_look(calm, failures, delay):
    assert next_delay(calm=calm, failures=failures, period=15, eager_period=2) == delay


def test_a_job_that_is_missed_is_looked_for_again_soon():
    evidence = look(Evidence(), Status(reports={"1": RUNNING}))[1]
    assert not evidence.suspicious
    evidence = look(evidence, EMPTY)[1]
    assert evidence.suspicious
    states, evidence = look(evidence, EMPTY)
    assert states["1"] is JobState.GONE
    assert not evidence.suspicious  # however often its heartbeats refute it


def test_who_is_alive():
    assert alive([("1", RUNNING), ("2", ENDED), ("3", PRESUMED)]) == ["1", "3"]
