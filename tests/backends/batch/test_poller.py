"""The poller on a virtual clock, with a queue that a test plays."""

from itertools import pairwise

import pytest
import structlog
import trio
import trio.testing

from gateway.backends.base import ClusterRef
from gateway.backends.batch.dialect import SiteLimits, Status, StatusFailed
from gateway.backends.batch.poller import Poller, Queue
from gateway.backends.commands import Answer
from gateway.backends.pbs.dialect import PBS
from gateway.backends.slurm.dialect import Slurm
from gateway.backends.watch import WatchBoard
from gateway.config.cluster import ClusterConfig
from gateway.errors import BackendUnavailable
from gateway.models import JobId, JobReport, JobState

JOB = JobId("7")


class PlayedQueue:
    """Answers like squeue; `text` is what it prints, None means that it fails.

    scontrol knows the jobs in `known`; for others it says that there are none.
    """

    def __init__(self):
        self.dialect = Slurm()
        self.text = "7|RUNNING|None\n"
        self.stderr = ""
        self.known = {}
        self.asked = []

    async def status(self, jobs):
        await trio.lowlevel.checkpoint()
        self.asked.append((trio.current_time(), sorted(set(jobs.values()))))
        if self.text is None:
            raise StatusFailed("the controller is away")
        return self.dialect.parse_status(jobs, [Answer(0, self.text, self.stderr)])

    async def follow_up(self, status, known, turn):
        await trio.lowlevel.checkpoint()
        commands = self.dialect.follow_up(status, known, turn)
        return self.dialect.parse_follow_up(status, known, [(command, self.show(command[-1])) for command in commands])

    def show(self, job):
        if job not in self.known:
            return Answer(1, "", "slurm_load_jobs error: Invalid job id specified")
        return Answer(0, f"JobId={job} JobName=x\n   JobState={self.known[job]} Reason=None Dependency=(null)\n", "")


@pytest.fixture
def queue():
    return PlayedQueue()


@pytest.fixture
def board():
    return WatchBoard()


@pytest.fixture
async def poller(queue, board, nursery):
    poller = Poller(queue=queue, board=board, period=15, eager_period=2, limits=SiteLimits)
    nursery.start_soon(poller.run)
    return poller


def open_watch(board, user="alice", name="c1"):
    return board.open(ClusterRef(name=name, username=user, config=ClusterConfig()))


async def test_nothing_is_asked_while_nothing_is_watched(autojump_clock, poller, queue):
    await trio.sleep(100)
    assert queue.asked == []


async def test_one_question_a_period_for_all_clusters(autojump_clock, poller, queue, board):
    queue.text = "7|RUNNING|None\n8|RUNNING|None\n"
    with open_watch(board) as one, open_watch(board, "bob", "c2") as two:
        one.add(JOB)
        two.add(JobId("8"))
        await trio.sleep(100)
    assert {tuple(users) for _, users in queue.asked[1:]} == {("alice", "bob")}
    # The first question may have been asked before both clusters were there.
    periods = [round(later - earlier) for (earlier, _), (later, _) in pairwise(queue.asked[1:])]
    assert periods[-4:] == [15, 15, 15, 15]


async def test_looks_become_rarer_when_nobody_is_eager_any_more(autojump_clock, poller, queue, board):
    with open_watch(board) as watch:
        watch.add(JOB)
        watch.eager = True
        await trio.sleep(10)
        watch.eager = False
        await trio.sleep(60)
    periods = [round(later - earlier) for (earlier, _), (later, _) in pairwise(queue.asked)]
    assert periods[-6:] == [2, 4, 8, 15, 15, 15]


async def test_a_job_that_is_missed_is_looked_for_again_soon(autojump_clock, poller, queue, board):
    """It may have ended: the batch system forgets such jobs, here after a few seconds."""
    with open_watch(board) as watch:
        watch.add(JOB)
        await trio.sleep(100)
        queue.text = "CLUSTER: none\n"
        await watch.wait_changes()
        while watch.jobs[JOB].state is not JobState.GONE:
            await watch.wait_changes()
    (before, _), (last, _) = queue.asked[-2:]
    assert round(last - before) == 2


async def test_eager_clusters_are_asked_for_at_once_and_often(autojump_clock, poller, queue, board):
    await trio.testing.wait_all_tasks_blocked()
    with open_watch(board) as watch:
        await trio.sleep(5)
        watch.add(JOB)
        watch.eager = True
        start = trio.current_time()
        changes = await watch.wait_changes()
        assert changes[JOB].state is JobState.RUNNING
        assert trio.current_time() == start
        await trio.sleep(6.1)
    assert [time - start for time, _ in queue.asked] == [0, 2, 4, 6]


async def test_an_urgent_question_is_asked_at_once_but_not_endlessly(autojump_clock, poller, queue, board):
    with open_watch(board) as watch:
        watch.add(JOB)
        await trio.sleep(20)
        del queue.asked[:]
        start = trio.current_time()
        for _ in range(10):
            watch.poll_now()
            await trio.sleep(0.1)
        await trio.sleep(1)
    assert [round(time - start, 1) for time, _ in queue.asked] == [0, 0.5, 1.0]


async def test_a_failure_makes_jobs_unknown_and_nothing_is_lost(autojump_clock, poller, queue, board):
    with open_watch(board) as watch:
        watch.add(JOB)
        watch.eager = True
        await watch.wait_changes()
        queue.text = None
        del queue.asked[:]
        report = (await watch.wait_changes())[JOB]
        assert report.state is JobState.UNKNOWN
        assert report.reason == "Slurm does not answer: the controller is away."
        await trio.sleep(100)
        gaps = [later[0] - earlier[0] for earlier, later in pairwise(queue.asked)]
        assert gaps[:5] == [2, 4, 8, 15, 15]
        queue.text = "7|PENDING|Priority\n"
        assert (await watch.wait_changes())[JOB].state is JobState.QUEUED


async def test_a_job_that_vanishes_is_gone_after_two_looks(autojump_clock, poller, queue, board):
    with open_watch(board) as watch:
        watch.add(JOB)
        watch.eager = True
        await watch.wait_changes()
        queue.text = ""
        del queue.asked[:]
        report = (await watch.wait_changes())[JOB]
        assert (report.state, report.presumed) == (JobState.GONE, True)
        assert len(queue.asked) == 2
        queue.text = None
        await trio.sleep(30)
        assert watch.jobs[JOB] == report  # ignorance does not bring it back
        queue.text = "7|RUNNING|None\n"
        assert (await watch.wait_changes())[JOB].state is JobState.RUNNING  # but sight does
        queue.text = "7|FAILED|None\n"
        assert (await watch.wait_changes())[JOB].state is JobState.GONE
        del queue.asked[:]
        await trio.sleep(30)
    assert not queue.asked  # nothing is left to ask for


async def test_a_list_that_is_old_ends_no_job(autojump_clock, poller, queue, board):
    queue.text = ""  # a cache from before the submission
    queue.known = {"7": "RUNNING"}
    with open_watch(board) as watch:
        watch.add(JOB)
        watch.eager = True
        assert (await watch.wait_changes())[JOB].state is JobState.RUNNING
        await trio.sleep(45)
        assert watch.jobs[JOB].state is JobState.RUNNING
        queue.known = {"7": "FAILED"}
        assert (await watch.wait_changes())[JOB] == JobReport(JobState.GONE, "FAILED")


async def test_what_is_said_beside_answers_is_logged_once(autojump_clock, poller, queue, board):
    queue.stderr = "squeue: error: Ignoring obsolete FastSchedule=1 option."
    with structlog.testing.capture_logs() as lines, open_watch(board) as watch:
        watch.add(JOB)
        watch.eager = True
        for number in range(9):
            queue.stderr = f"squeue: error: Ignoring obsolete FastSchedule=1 option.\npid {number}: hello"
            await trio.sleep(2)
        assert watch.jobs[JOB].state is JobState.RUNNING
    remarks = [entry["line"] for entry in lines if "more than it was asked" in entry["event"]]
    assert len(remarks) == 2
    assert "FastSchedule" in remarks[0]


async def test_a_status_that_never_works_is_an_alarm(autojump_clock, poller, queue, board):
    queue.text = None
    with structlog.testing.capture_logs() as lines, open_watch(board) as watch:
        watch.add(JOB)
        await trio.sleep(50)
        assert not board.overdue
        assert not watch.jobs[JOB].overdue
        await trio.sleep(30)
        assert board.overdue == "Slurm does not answer: the controller is away."
        assert watch.jobs[JOB] == JobReport(JobState.UNKNOWN, board.overdue, overdue=True)
        await trio.sleep(300)
        queue.text = "7|RUNNING|None\n"
        await trio.sleep(30)
        assert not board.overdue
    alarms = [entry for entry in lines if entry["log_level"] == "error"]
    assert len(alarms) == 1
    assert "for minutes" in alarms[0]["event"]


async def test_a_job_that_was_added_during_the_question_is_not_missed(autojump_clock, queue, board, nursery):
    queue.text = ""
    gate = trio.Event()
    status = queue.status

    async def slow_status(jobs):
        answer = await status(jobs)
        await gate.wait()
        return answer

    queue.status = slow_status
    nursery.start_soon(Poller(queue=queue, board=board, period=15, eager_period=2).run)
    with open_watch(board) as watch:
        watch.add(JobId("1"))
        watch.eager = True
        await trio.sleep(1)
        watch.add(JOB)  # submitted after squeue was asked
        gate.set()
        queue.text = "7|PENDING|None\n"
        await trio.sleep(30)
        assert watch.jobs[JOB].state is JobState.QUEUED
        assert watch.jobs[JobId("1")].state is JobState.GONE


async def test_hidden_jobs_are_unknown(autojump_clock, queue, board, nursery):
    queue.text = ""
    site = SiteLimits(hides_jobs="hidden by the site")
    nursery.start_soon(Poller(queue=queue, board=board, period=15, eager_period=2, limits=lambda: site).run)
    with open_watch(board) as watch:
        watch.add(JOB)
        watch.eager = True
        assert (await watch.wait_changes())[JOB].reason == "hidden by the site"


# --- commands of the queue -------------------------------------------------------------------------------------------


def fake_folder(tmp_path, **programs):
    for name, text in programs.items():
        (tmp_path / name).write_text("#!/bin/sh\n" + text)
        (tmp_path / name).chmod(0o755)
    return Queue(dialect=Slurm(folder=str(tmp_path)), command_timeout=20, environment={"SLURM_CONF": "/site.conf"})


async def test_answers_come_from_the_commands(tmp_path):
    queue = fake_folder(tmp_path, squeue='echo "7|RUNNING|$SLURM_CONF"', scontrol='echo "MaxArraySize = 101"')
    assert (await queue.status({"7": "alice"})).reports == {"7": JobReport(JobState.RUNNING, "/site.conf")}
    assert (await queue.limits()).max_array_size == 101


async def test_commands_that_fail(tmp_path):
    queue = fake_folder(tmp_path, squeue="echo slurm is sad >&2; exit 1", scontrol="echo no >&2; exit 1")
    with pytest.raises(StatusFailed, match="slurm is sad"):
        await queue.status({"7": "alice"})
    with pytest.raises(BackendUnavailable, match="no"):
        await queue.limits()


async def test_a_command_that_is_missing(tmp_path):
    with pytest.raises(StatusFailed, match="cannot be run"):
        await fake_folder(tmp_path).status({"7": "alice"})


async def test_a_command_that_hangs_is_ended(tmp_path):
    queue = fake_folder(tmp_path, squeue="exec sleep 600")
    with pytest.raises(StatusFailed, match=r"squeue did not answer within 0.1 seconds"):
        await Queue(dialect=queue.dialect, command_timeout=0.1).status({"7": "alice"})


# --- questions that follow --------------------------------------------------------------------------------------------

MISSING = {JobId("7.pbs"): JobReport(JobState.RUNNING), JobId("8.pbs"): JobReport(JobState.RUNNING)}
ENDED = '{"Jobs": {"7.pbs": {"job_state": "F", "Exit_status": 3}}}'


async def followed_up(tmp_path, qstat, timeout=20.0):
    fake_folder(tmp_path, qstat=qstat)
    queue = Queue(dialect=PBS(folder=str(tmp_path)), command_timeout=timeout)
    return (await queue.follow_up(Status(reports={}), MISSING, 0)).reports


async def test_answers_to_further_questions_add_to_the_look(tmp_path):
    reports = await followed_up(tmp_path, f"echo '{ENDED}'")
    assert reports == {JobId("7.pbs"): JobReport(JobState.GONE, "exit code 3")}


async def test_further_questions_end_with_the_first_that_fails(tmp_path):
    assert await followed_up(tmp_path, "exec sleep 600", timeout=0.2) == {}
