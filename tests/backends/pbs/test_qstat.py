"""States and ends of single jobs, as a real OpenPBS told them."""

import json
from pathlib import Path

import pytest

from gateway.backends.pbs.ids import array_of, by_array, ids_of, is_id
from gateway.backends.pbs.qstat import STATES, ending, exit_status, jobs_in, report, waiting
from gateway.models import JobReport, JobState

SAMPLES = Path(__file__).parents[2] / "data" / "pbs" / "samples"


def recorded_text():
    """Attributes from the recorded `-f` text of all states (which the gateway itself never reads)."""
    jobs = {}
    text = (SAMPLES / "qstat_x_f_mixed_states.txt").read_text().replace("\n\t", "")
    for paragraph in text.strip().split("\n\n"):
        head, *lines = paragraph.splitlines()
        pairs = (line.strip().split(" = ", 1) for line in lines)
        jobs[head.removeprefix("Job Id: ")] = dict(pairs)
    return {attributes["Job_Name"]: attributes for attributes in jobs.values()}


@pytest.mark.parametrize(
    ("name", "state", "reason"),
    [
        ("held", JobState.QUEUED, "held by its user"),
        ("queued", JobState.QUEUED, "Can Never Run: Insufficient amount of resource: ncpus (R: 999 A: 64 T: 64)"),
        ("running", JobState.RUNNING, ""),
        ("waiting", JobState.QUEUED, "not before Sun Nov 22 23:59:00 2026"),
        ("finished", JobState.GONE, "exit code 0, on node pbs"),
        ("failed", JobState.GONE, "exit code 1, on node pbs"),
        ("killed9", JobState.GONE, "killed by signal 9 (SIGKILL), on node pbs"),
        ("walltime", JobState.GONE, "its time was over (walltime) (Exit_status -29), on node pbs"),
        ("delheld", JobState.GONE, "deleted while it waited"),
        ("delrunning", JobState.GONE, "deleted by alice@pbs, killed by signal 15 (SIGTERM), on node pbs"),
        ("trapterm", JobState.GONE, "deleted by alice@pbs, killed by signal 9 (SIGKILL), on node pbs"),
        ("suspended", JobState.RUNNING, ""),
        ("depends", JobState.QUEUED, "held by PBS"),
        ("requeued", JobState.RUNNING, ""),
        ("arr", JobState.RUNNING, ""),
    ],
)
def test_recorded_states(name, state, reason):
    found = report(recorded_text()[name])
    assert (found.state, found.reason) == (state, reason)


def test_the_states_of_an_array():
    jobs = jobs_in((SAMPLES / "qstat_t_f_json_array.txt").read_text())
    assert [report(jobs[f"135[{index}].pbs"]).state for index in range(10)] == [JobState.GONE] * 3 + [
        JobState.RUNNING
    ] * 7
    assert report(jobs["135[].pbs"]).state is JobState.RUNNING


def test_more_states():
    assert report({"job_state": "E"}).state is JobState.ENDING
    assert report({"job_state": "T"}).state is JobState.QUEUED
    assert report({"job_state": "U"}) == report({"job_state": "S"}) == JobReport(JobState.RUNNING, suspended=True)
    assert report({}) == JobReport(JobState.RUNNING)
    assert report({"job_state": "M"}).state is JobState.UNKNOWN
    assert report({"job_state": "?"}).state is JobState.RUNNING
    assert set(STATES) == set("QHWTRSUBEFXM")


def test_reasons_to_wait():
    assert waiting({"job_state": "H", "Hold_Types": "us", "comment": "job held, too many failed attempts to run"}) == (
        "held by its user and by PBS; job held, too many failed attempts to run"
    )
    assert waiting({"job_state": "H", "Hold_Types": "?"}) == "held"
    assert waiting({"job_state": "W", "substate": 37}) == "its files could not be staged in"
    assert waiting({"job_state": "Q", "comment": "Job run at Sun Nov 22 at 08:28 on (pbs:ncpus=1)"}) == ""
    assert waiting({"job_state": "Q", "comment": 7}) == ""
    assert waiting({"job_state": "H", "Hold_Types": "u", "comment": "Subjob finished"}) == "held by its user"
    assert waiting({"job_state": "Q", "comment": "Job was sent for execution at Thu Nov 26 at 22:46 on (n1)"}) == ""


def test_ends():
    assert ending({}) == "ended; PBS does not say how"
    assert ending({"substate": 91, "Exit_status": 271}) == "deleted, killed by signal 15 (SIGTERM)"
    assert ending({"Exit_status": "3", "run_count": 2}) == "exit code 3, started 2 times"
    assert ending({"Exit_status": 1, "comment": "a hook said\nno"}) == "exit code 1, PBS says: a hook said no"
    assert ending({"Exit_status": True, "run_count": 1.5}) == "ended; PBS does not say how"
    assert (
        ending({"substate": 91, "comment": "Can Never Run: x"}) == "deleted while it waited, PBS says: Can Never Run: x"
    )


MADE_UP = {"job_state": "X", "substate": 70, "comment": "Subjob finished"}


@pytest.mark.parametrize("comment", ["Subjob finished", "Subjob failed", "Subjob terminated", "Subjob finished and x"])
@pytest.mark.parametrize("state", [{"job_state": "X", "substate": 70}, {"job_state": "F", "substate": 91}])
@pytest.mark.parametrize("code", [0, 1, 2, "1"])
def test_the_exit_code_of_a_record_that_pbs_made_up_is_not_believed(comment, state, code):
    """Seen: `exit 5`, then qdel of the array: Exit_status 1, that of the array."""
    ended = {**state, "comment": comment, "Exit_status": code}
    assert report(ended).reason == "PBS does not remember how it ended"
    assert report(ended).deleted, "with a history, only a qdel makes PBS forget"
    assert not report(ended, history=False).deleted, "without a history every end looks so"


@pytest.mark.parametrize("history", [False, True])
@pytest.mark.parametrize("substate", [10, 20, 70, 91])
def test_a_subjob_that_was_deleted_before_it_ran(history, substate):
    found = report({**MADE_UP, "substate": substate}, history=history)
    assert found == JobReport(JobState.GONE, "deleted while it waited", deleted=True)


def test_after_a_restart_the_array_itself_may_have_such_a_comment():
    found = report({"job_state": "F", "substate": 92, "comment": "Subjob finished", "Exit_status": 0, "array": "True"})
    assert not found.deleted
    assert found.reason.startswith("exit code 0")


@pytest.mark.parametrize(
    ("name", "deleted"),
    [
        ("delheld", True),
        ("delrunning", True),
        ("trapterm", True),
        ("finished", False),
        ("failed", False),
        ("killed9", False),
        ("walltime", False),
        ("running", False),
        ("held", False),
    ],
)
def test_who_was_deleted(name, deleted):
    assert report(recorded_text()[name]).deleted is deleted


def test_a_job_that_was_deleted_while_it_waited_to_be_run_again():
    """Seen after qrerun and qdel; its comment does not say by whom."""
    found = report(
        {
            "job_state": "X",
            "substate": 91,
            "run_count": 2,
            "Exit_status": -11,
            "comment": "Job run at Thu Nov 26 at 22:46 on (pbs:ncpus=1) and terminated",
        }
    )
    assert found.deleted
    assert found.reason == "deleted, it was to be run again (Exit_status -11), started 2 times"


def test_the_subjobs_of_a_held_array_wait_in_q():
    held = {"job_state": "Q", "Hold_Types": "u", "comment": "Job held by alice on Thu Nov 26 22:46:13 2026"}
    assert waiting(held) == "held by its user; Job held by alice on Thu Nov 26 22:46:13 2026"
    assert waiting({"job_state": "Q", "Hold_Types": "n"}) == ""


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (0, "exit code 0"),
        (3, "exit code 3"),
        (127, "environment activated"),
        (137, "exit code 137 (killed by signal 9 (SIGKILL))"),
        (254, "was it not found"),
        (255, "exit code 255"),
        (265, "killed by signal 9 (SIGKILL)"),
        (290, "killed by signal 34"),
        (-3, "could not be started"),
        (-11, "run again"),
        (-27, "more memory"),
        (-99, "Exit_status -99"),
    ],
)
def test_exit_codes(code, words):
    assert words in exit_status(code)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"Jobs": []}', '{"Jobs": {"7.pbs": 3}}', "[" * 100_000])
def test_answers_without_jobs(text):
    assert jobs_in(text) == {}


def test_bytes_that_are_no_text_and_numbers_that_were_strings():
    text = (SAMPLES / "qstat_f_json_numbers.txt").read_bytes().replace(b'"{"', b'"\xe9t\xe9"').decode(errors="replace")
    assert report(jobs_in(text)["40.pbs"]).reason == "held by its user"
    assert jobs_in((SAMPLES / "qstat_f_json_control_char.txt").read_text())
    assert json.loads((SAMPLES / "qstat_x_json_running_unknown.txt").read_text())["Jobs"].keys() == {"85.pbs"}


def test_ids():
    assert is_id("7[3].pbs01.cluster.example.org")
    assert not is_id("1280[100000000].*")
    assert not is_id("135")
    assert array_of("no id") is None
    assert ids_of("7.pbs", 1) == ("7.pbs",)
    assert by_array(["7.pbs", "8[10].pbs", "8[9].pbs"]) == (["7.pbs"], {"8[].pbs": ["8[10].pbs", "8[9].pbs"]})
