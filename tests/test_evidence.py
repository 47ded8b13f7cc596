"""What is believed after good and bad answers: nothing is GONE without evidence."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.backends.dialect import Status
from gateway.backends.evidence import Evidence, alive, forget_absences, judge, next_delay
from gateway.backends.slurm import Slurm
from gateway.models import JobReport, JobState

RUNNING = JobReport(JobState.RUNNING)
ENDED = JobReport(JobState.GONE, "CANCELLED")
JOBS = {"1": "alice"}
EMPTY = Status(reports={})
array_of = Slurm().array_of


def look(evidence, status, jobs=JOBS, **more):
    reports, evidence = judge(evidence, jobs, status, array_of, **more)
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
    evidence = forget_absences(evidence)  # a question without answer lies between
    assert look(evidence, EMPTY)[0] == {}


def test_an_array_s_end_is_the_end_of_elements_that_are_not_listed():
    status = Status(reports={"30": ENDED, "30_2": RUNNING})
    states, _ = look(Evidence(), status, {"30_1": "alice", "30_2": "alice", "31_0": "alice"})
    assert states == {"30_1": JobState.GONE, "30_2": JobState.RUNNING}


def test_an_array_that_goes_on_says_nothing_of_an_element():
    assert look(Evidence(), Status(reports={"30": RUNNING}), {"30_1": "alice"})[0] == {}


def test_jobs_of_a_doubtful_user_are_unknown_however_long_they_are_absent():
    _, evidence = look(Evidence(), Status(reports={"1": RUNNING}))
    doubtful = Status(reports={}, doubtful_users=frozenset({"alice"}))
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
    ("eager", "failures", "delay"),
    [
        (True, 0, 2),
        (False, 0, 15),
        (True, 1, 2),
        (False, 1, 2),
        (True, 2, 4),
        (True, 3, 8),
        (True, 9, 15),
        (False, 99, 15),
    ],
)
def test_the_next_look(eager, failures, delay):
    assert next_delay(eager=eager, failures=failures, period=15, eager_period=2) == delay


def test_who_is_alive():
    assert alive([("1", RUNNING), ("2", ENDED)]) == ["1"]
