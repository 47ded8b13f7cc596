"""The driver with Slurm's dialect, on a virtual clock; launcher and queue are played by the test."""

import json
import os.path
from collections import Counter, deque
from functools import partial
from pathlib import Path

import pytest
import trio
import trio.testing
from attrs import evolve

from gateway.backends.base import ClusterRef, JobSpec
from gateway.backends.batch.cancellations import REPEATS, TIMEOUT
from gateway.backends.batch.dialect import SiteLimits, StatusFailed
from gateway.backends.batch.driver import BatchDriver, open_batch_driver
from gateway.backends.batch.poller import Queue
from gateway.backends.batch.script import PROFILE_HINT
from gateway.backends.commands import Answer
from gateway.backends.log_tail import READ_BYTES
from gateway.backends.pbs.backend import PBSBackend, PBSClusterConfig
from gateway.backends.pbs.dialect import PBS
from gateway.backends.slurm.backend import SlurmBackend, SlurmClusterConfig
from gateway.backends.slurm.dialect import Slurm
from gateway.backends.tracebacks import STARTED
from gateway.config.cluster import ClusterConfig
from gateway.errors import AnswerLost, BackendUnavailable, JobRefused, QueueFull
from gateway.models import JobId, JobReport, JobState, Role

TOKEN = "0123456789abcdef"
DOWN = "sbatch: error: Batch job submission failed: Unable to contact slurm controller (connect failure)"


class PlayedLauncher:
    """Remembers requests; answers with what is next in `answers`."""

    def __init__(self):
        self.requests = []
        self.answers = deque()
        self.busy = self.most_busy = 0
        self.hangs = ""  # a user whose launcher is stopped
        self.gate = trio.Event()
        self.gate.set()

    async def request(self, username, request, *, seconds):
        self.requests.append({"user": username, "seconds": seconds, **request})
        self.busy += 1
        self.most_busy = max(self.busy, self.most_busy)
        try:
            await self.gate.wait()
            if username == self.hangs:
                await trio.sleep_forever()
        finally:
            self.busy -= 1
        answer = (
            self.answers.popleft() if self.answers else {"returncode": 0, "stdout": "4711\n", "stderr": "", "kept": 0}
        )
        if isinstance(answer, Exception):
            raise answer
        return {"ok": True, **answer}


@pytest.fixture
def launcher():
    return PlayedLauncher()


UNKNOWN_ID = Answer(1, "", "slurm_load_jobs error: Invalid job id specified")


def named(command, name="dask-gateway-c1-w1"):
    """What scontrol or qstat says of a job that bears this name, by default one of our cluster."""
    if "qstat" in command[0]:
        return json.dumps({"Jobs": {command[-1]: {"Job_Name": name}}})
    return f"JobId={command[-1]} JobName={name}\n"


def play_queue(monkeypatch, **answers):
    """Let commands print this; a list is used up one by one, None is a question without answer.

    Whoever asks for a job's name is told one of ours, unless `answers` say what scontrol or qstat prints.
    """
    asked = []

    async def answer(self, command):
        await trio.lowlevel.checkpoint()
        asked.append(command)
        program = os.path.basename(command[0])
        text = answers.get(program, named if program in ("scontrol", "qstat") else "")
        if isinstance(text, list):
            text = text.pop(0) if text else ""
        if callable(text):
            text = text(command)
        if text is None:
            raise StatusFailed("slurmctld is away")
        return text if isinstance(text, Answer) else Answer(0, text, "")

    monkeypatch.setattr(Queue, "answer", answer)
    return asked


@pytest.fixture(autouse=True)
def _no_real_commands(monkeypatch):
    play_queue(monkeypatch)


def a_log(text, start=0):
    """What the launcher answers about a log that holds this from `start` on."""
    return {"path": "/x", "text": text, "found": True, "start": start, "end": start + len(text.encode())}


def a_driver(launcher, **options):
    return BatchDriver(SlurmBackend(**options), launcher, Queue(dialect=Slurm(), command_timeout=30))


@pytest.fixture
def cluster():
    return ClusterRef(name="c1", username="alice", config=SlurmClusterConfig())


def a_spec(cluster, **changes):
    spec = JobSpec(
        cluster=cluster,
        role=Role.WORKER,
        group="w1",
        count=1,
        command=("dask", "worker"),
        environment={"COLOR": "blue"},
        secrets={"DASK_GATEWAY_API_TOKEN": TOKEN},
    )
    return evolve(spec, **changes)


async def test_a_submission_is_one_request(launcher, cluster):
    driver = a_driver(launcher, submit_command="/opt/slurm/bin/sbatch", command_timeout=20)
    assert await driver.submit(a_spec(cluster, count=2)) == ("4711_0", "4711_1")
    (request,) = launcher.requests
    assert request["user"] == "alice"
    assert request["seconds"] == 20
    assert request["action"] == "submit"
    assert request["rules"] == "slurm"
    assert request["path"] == "/opt/slurm/bin/sbatch"
    assert request["cluster"] == "c1"
    assert request["staging_directory"] == "{home}/.dask-gateway/"
    assert request["environment"] == {"DASK_GATEWAY_API_TOKEN": TOKEN}
    assert request["log"] == "w1-%a.log"
    assert "export COLOR=blue" in request["script"]


async def test_logs_may_have_a_directory_of_their_own(launcher, cluster):
    config = SlurmClusterConfig(log_directory="/scratch/{username}/logs")
    await a_driver(launcher).submit(a_spec(evolve(cluster, config=config)))
    assert launcher.requests[0]["staging_directory"] == "/scratch/{username}/logs"


async def test_the_gateway_s_own_variables_are_passed_on_where_they_are_asked_for(launcher, cluster, monkeypatch):
    monkeypatch.setenv("SITE", "here")
    monkeypatch.setenv("COLOR", "red")
    monkeypatch.delenv("ABSENT", raising=False)
    config = SlurmClusterConfig(pass_environment=["SITE", "COLOR", "ABSENT"])
    await a_driver(launcher).submit(a_spec(evolve(cluster, config=config)))
    script = launcher.requests[0]["script"]
    assert "export SITE=here\n" in script
    assert "export COLOR=blue\n" in script
    assert "ABSENT" not in script


@pytest.mark.parametrize(
    ("stderr", "error", "words"),
    [
        (
            "sbatch: error: invalid partition specified: x\nsbatch: error: failed",
            JobRefused,
            "specified: x sbatch: error",
        ),
        (DOWN, BackendUnavailable, "does not answer"),
        ("sbatch: error: Socket timed out on send/recv operation", AnswerLost, "was lost"),
        (
            "sbatch: error: AssocMaxSubmitJobLimit\n"
            "sbatch: error: Batch job submission failed: Job violates accounting/QOS policy",
            QueueFull,
            "takes no more jobs at the moment: .*AssocMaxSubmitJobLimit",
        ),
        (
            "sbatch: error: Batch job submission failed: Invalid qos specification",
            JobRefused,
            r"Invalid qos specification What helps may be qos\.",
        ),
    ],
)
async def test_a_failed_submission_says_what_kind(launcher, cluster, stderr, error, words):
    launcher.answers.append({"returncode": 1, "stdout": "", "stderr": stderr})
    with pytest.raises(error, match=words):
        await a_driver(launcher).submit(a_spec(cluster))


async def test_an_answer_without_an_id_is_lost(launcher, cluster):
    launcher.answers.append({"returncode": 0, "stdout": "hello", "stderr": ""})
    with pytest.raises(AnswerLost, match="no line that is a job id"):
        await a_driver(launcher).submit(a_spec(cluster))


async def test_submissions_at_once_are_limited_and_do_not_hold_up_cancellations(launcher, cluster, nursery):
    driver = a_driver(launcher, parallelism=2)
    launcher.gate = trio.Event()
    for number in range(5):
        own = evolve(cluster, username=f"user{number}")
        nursery.start_soon(driver.submit, a_spec(own, group=f"w{number}"))
    nursery.start_soon(driver.cancel, cluster, ["1"])
    await trio.testing.wait_all_tasks_blocked()
    assert sorted(request["action"] for request in launcher.requests) == ["cancel", "submit", "submit"]
    launcher.gate.set()
    await trio.testing.wait_all_tasks_blocked()
    assert len(launcher.requests) == 6
    assert launcher.most_busy == 3


async def test_a_user_s_launchers_that_do_not_answer_leave_slots_to_others(launcher, cluster, nursery):
    driver = a_driver(launcher, parallelism=8)
    launcher.gate = trio.Event()
    for number in range(8):
        nursery.start_soon(driver.submit, a_spec(cluster, group=f"w{number}"))
        nursery.start_soon(driver.cancel, cluster, [str(number)])
        nursery.start_soon(driver.explain, cluster, JobId("1"), "w1-0")
    await trio.testing.wait_all_tasks_blocked()
    assert Counter(request["action"] for request in launcher.requests) == {"submit": 2, "cancel": 2, "tail": 2}
    bob = evolve(cluster, username="bob")
    nursery.start_soon(driver.submit, a_spec(bob))
    nursery.start_soon(driver.cancel, bob, ["1"])
    nursery.start_soon(partial(driver.clean, bob, keep_logs=True))
    await trio.testing.wait_all_tasks_blocked()
    assert [request["user"] for request in launcher.requests[6:]] == ["bob"] * 3
    launcher.gate.set()


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {"returncode": 0},
        {"returncode": "0", "stdout": "1", "stderr": ""},
        {"returncode": True, "stdout": "1", "stderr": ""},
        {"returncode": 0, "stdout": None, "stderr": ""},
        {"returncode": 0, "stdout": "1", "stderr": 1},
    ],
)
async def test_an_answer_that_makes_no_sense_is_lost(launcher, cluster, answer):
    launcher.answers.append(answer)
    with pytest.raises(AnswerLost, match="makes no sense"):
        await a_driver(launcher).submit(a_spec(cluster))


async def test_a_log_and_a_clean_up_without_sense_are_none(launcher, cluster):
    driver = a_driver(launcher)
    for answer in ({}, {"text": ["x"], "found": True}, {**a_log("x"), "start": 1.5}, {**a_log("x"), "end": -1}):
        launcher.answers.append(answer)
        assert await driver.explain(cluster, JobId("1"), "w1-0") == ""
    launcher.answers.append({"kept": "x"})
    await driver.clean(cluster, keep_logs=True)


async def test_submissions_of_a_user_with_many_jobs_waiting_wait(launcher, cluster, monkeypatch):
    driver = a_driver(launcher, max_pending_jobs_per_user=2)
    text = "1|PENDING|None\n2|PENDING|None\n3|RUNNING|None\n"
    async with open_played(driver, monkeypatch, squeue=text):
        with driver.watch(cluster) as watch:
            watch.add(JobId("1"), JobId("2"), JobId("3"))
            await watch.wait_changes()
            too_many = "2 jobs of alice wait in the queue already; the site's limit is 2"
            with pytest.raises(BackendUnavailable, match=too_many):
                await driver.submit(a_spec(cluster))
            assert driver.max_group_size(cluster) == 0
            assert driver.max_group_size(evolve(cluster, username="bob")) == 500
            await driver.submit(a_spec(evolve(cluster, username="bob")))
            watch.discard(JobId("1"))
            assert driver.max_group_size(cluster) == 500
            await driver.submit(a_spec(cluster))
            watch.add(JobId("4711"))  # nothing was heard of it yet
            with pytest.raises(BackendUnavailable, match=too_many):
                await driver.submit(a_spec(cluster))


async def test_another_kind_of_cluster_is_a_bug(launcher, cluster):
    with pytest.raises(TypeError, match="JobQueueClusterConfig"):
        await a_driver(launcher).submit(a_spec(evolve(cluster, config=ClusterConfig())))


async def test_find_asks_the_controller_itself_before_it_believes_in_nothing(
    launcher, cluster, monkeypatch, autojump_clock
):
    listed = "JobId=30 ArrayJobId=30 ArrayTaskId=0-1 JobName=dask-gateway-c1-w1 UserId=alice(1002) JobState=PENDING\n"
    asked = play_queue(monkeypatch, squeue="", scontrol=[listed, ""])  # a cached squeue does not know it yet
    assert await a_driver(launcher).find(cluster, Role.WORKER, "w1", 2) == ("30_0", "30_1")
    assert "--name=dask-gateway-c1-w1" in asked[0]
    assert trio.current_time() > 2
    assert await a_driver(launcher).find(cluster, Role.WORKER, "w1", 2) == ()


async def test_find_without_an_answer(launcher, cluster, monkeypatch):
    play_queue(monkeypatch, squeue=None)
    with pytest.raises(BackendUnavailable, match="slurmctld is away"):
        await a_driver(launcher).find(cluster, Role.WORKER, "w1", 2)


async def test_one_cancel_for_many(launcher, cluster):
    await a_driver(launcher).cancel(cluster, [JobId(f"30_{index}") for index in range(20)])
    (request,) = launcher.requests
    assert (request["action"], request["rules"], request["arguments"]) == ("cancel", "slurm", ("30_[0-19]",))


async def test_an_array_with_gaps_is_cancelled_as_a_whole_unless_something_is_to_stay(launcher, cluster):
    driver = BatchDriver(PBSBackend(), launcher, Queue(dialect=PBS(), command_timeout=30))
    jobs = [JobId(f"7[{index}].pbs") for index in range(6)]

    async def calls(*ended):
        launcher.requests.clear()
        await driver.cancel(cluster, ended)
        return [request["arguments"] for request in launcher.requests]

    assert await calls(jobs[0], jobs[2]) == [("7[0].pbs",), ("7[2].pbs",)]  # nobody watches: who knows what else lives
    with driver.watch(cluster) as watch:
        watch.add(*jobs, JobId("3.pbs"))
        assert await calls(jobs[0], jobs[2]) == [("7[0].pbs",), ("7[2].pbs",)]
        watch.discard(jobs[1])
        watch.jobs[jobs[4]] = JobReport(JobState.GONE)
        assert await calls(jobs[0], jobs[2], jobs[3], jobs[5], "3.pbs") == [("3.pbs",), ("7[].pbs",)]
        watch.discard(jobs[4])
        watch.discard(jobs[5])
        watch.discard(jobs[0])
        assert await calls(jobs[2], jobs[3]) == [("7[2-3].pbs",)]  # one call as it is


# --- whose id is it? --------------------------------------------------------------------------------------------------


async def test_a_job_that_bears_another_name_is_never_cancelled(launcher, cluster, monkeypatch, autojump_clock):
    names = {"4711": "the-user-s-own-job", "12": "dask-gateway-c1-scheduler"}
    play_queue(
        monkeypatch,
        scontrol=lambda command: named(command, names[command[-1]]),
        squeue="50_0|RUNNING|None\n50_1|RUNNING|None\n",
    )
    driver = a_driver(launcher)
    jobs = await driver.submit(a_spec(cluster, count=2))  # answered with somebody else's number
    assert jobs == ("4711_0", "4711_1")
    del launcher.requests[:]
    await driver.cancel(cluster, [*jobs, JobId("12")])
    (request,) = launcher.requests
    assert request["arguments"] == ("12", "50_[0-1]")  # what bears our name, in its place


async def test_of_a_cluster_that_was_taken_back_a_foreign_id_is_left_alone(launcher, cluster, monkeypatch):
    play_queue(monkeypatch, scontrol=lambda command: named(command, "the-user-s-own-job"))
    await a_driver(launcher).cancel(cluster, [JobId("4711")])
    assert not launcher.requests


async def test_an_id_is_asked_for_once(launcher, cluster, monkeypatch):
    asked = play_queue(monkeypatch)
    driver = a_driver(launcher)
    await driver.cancel(cluster, [JobId("30_0"), JobId("30_1"), JobId("7")])
    await driver.cancel(cluster, [JobId("30_2"), JobId("7")])
    assert [command[-1] for command in asked] == ["30", "7"]
    await driver.clean(cluster, keep_logs=False)
    await driver.cancel(cluster, [JobId("7")])
    assert len(asked) == 3


async def test_an_id_is_asked_for_soon_after_its_submission(launcher, cluster, monkeypatch):
    driver = a_driver(launcher)
    async with open_played(driver, monkeypatch) as played:
        jobs = await driver.submit(a_spec(cluster, count=2))
        await trio.testing.wait_all_tasks_blocked()
        assert played.asked.count(("scontrol", "show", "job", "4711")) == 1
        await driver.cancel(cluster, jobs)
        assert played.asked.count(("scontrol", "show", "job", "4711")) == 1


async def test_a_name_that_cannot_be_told_now_is_asked_for_before_the_cancel(launcher, cluster, monkeypatch):
    away = [True]
    driver = a_driver(launcher)
    async with open_played(driver, monkeypatch, scontrol=lambda command: None if away else named(command), squeue=None):
        jobs = await driver.submit(a_spec(cluster))
        await driver.submit(a_spec(evolve(cluster, name="c2")))
        await driver.clean(evolve(cluster, name="c2"), keep_logs=False)
        await trio.testing.wait_all_tasks_blocked()
        away.clear()
        await driver.cancel(cluster, jobs)
    assert launcher.requests[-1]["arguments"] == ("4711",)


async def test_an_id_that_nobody_knows_is_cancelled_all_the_same(launcher, cluster, monkeypatch):
    play_queue(monkeypatch, scontrol=lambda command: UNKNOWN_ID)
    await a_driver(launcher).cancel(cluster, [JobId("7")])  # it may be there in a moment
    assert launcher.requests[0]["arguments"] == ("7",)


async def test_nothing_is_cancelled_while_names_cannot_be_told(launcher, cluster, monkeypatch):
    play_queue(monkeypatch, scontrol=None)
    with pytest.raises(BackendUnavailable, match="slurmctld is away"):
        await a_driver(launcher).cancel(cluster, [JobId("7")])
    assert not launcher.requests


async def test_where_ids_cannot_be_asked_for_what_is_found_by_its_name_is_ours(launcher, cluster, monkeypatch):
    listed = ["4711_0|RUNNING|None\n", "9_0|RUNNING|None\n", None]
    play_queue(monkeypatch, scontrol=None, squeue=lambda command: listed.pop(0))
    driver = a_driver(launcher)
    await driver.submit(a_spec(cluster, count=2))
    await driver.cancel(cluster, [JobId("4711_0")])
    assert launcher.requests[-1]["arguments"] == ("4711_[0]",)
    await driver.submit(a_spec(cluster, group="w2"))
    driver._ids._ours.clear()
    for _ in range(2):  # something else is found, or nothing can be
        with pytest.raises(BackendUnavailable, match="slurmctld is away"):
            await driver.cancel(cluster, [JobId("4711")])
    assert len(launcher.requests) == 3


async def test_what_was_found_by_its_name_is_ours(launcher, cluster, monkeypatch):
    asked = play_queue(monkeypatch, squeue="50_0|RUNNING|None\n")
    driver = a_driver(launcher)
    jobs = await driver.find(cluster, Role.WORKER, "w1", 2)
    await driver.cancel(cluster, jobs)
    assert [command[0] for command in asked] == ["squeue"]
    assert launcher.requests[0]["arguments"] == ("50_[0-1]",)


@pytest.mark.parametrize("scontrol", [named, lambda command: named(command, "other")])
async def test_ids_on_pbs_are_asked_for_as_well(launcher, cluster, monkeypatch, scontrol):
    asked = play_queue(monkeypatch, qstat=scontrol)
    driver = BatchDriver(PBSBackend(), launcher, Queue(dialect=PBS(), command_timeout=30))
    await driver.cancel(evolve(cluster, config=PBSClusterConfig()), [JobId("7[1].pbs")])
    assert asked[0][-1] == "7[].pbs"
    assert [request["arguments"] for request in launcher.requests] == ([("7[1].pbs",)] if scontrol is named else [])


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        ({"returncode": 8, "stdout": "", "stderr": DOWN}, BackendUnavailable),
        ({"returncode": 1, "stdout": "", "stderr": "Socket timed out"}, BackendUnavailable),
        ({"returncode": 210, "stdout": "", "stderr": "error: Access/permission denied"}, JobRefused),
        (AnswerLost("no answer"), BackendUnavailable),
    ],
)
async def test_a_cancel_that_has_to_be_repeated(launcher, cluster, answer, error):
    launcher.answers.append(answer)
    with pytest.raises(error):
        await a_driver(launcher).cancel(cluster, [JobId("1")])


ENDED = "JobId=6\n   JobState=FAILED Reason=NonZeroExitCode Dependency=(null)\n   Requeue=0 ExitCode=3:0\n"


async def test_an_end_is_explained_with_its_log_and_without_secrets(launcher, cluster, monkeypatch):
    play_queue(monkeypatch, scontrol=ENDED)
    driver = a_driver(launcher)
    await driver.submit(a_spec(cluster))
    launcher.answers.append(a_log(f"token {TOKEN}\nno such file\n", start=1))
    assert await driver.explain(cluster, JobId("6"), "w1-0") == (
        "Job 6: FAILED (NonZeroExitCode), exit code 3.\n"
        "The last lines of its log (w1-0):\ntoken [redacted]\nno such file"
    )
    assert launcher.requests[-1]["log"] == "w1-0.log"


@pytest.mark.parametrize(
    ("answer", "hints"),
    [
        (a_log(""), True),
        (a_log("Welcome!\n"), True),
        (a_log(f"Welcome!\n{STARTED}\n"), False),
        (a_log("x" * READ_BYTES, start=1), False),  # what stands before is not known
        ({"text": "", "found": False}, False),
        (JobRefused("no log"), False),
    ],
)
async def test_a_job_that_ended_before_its_script_hints_at_the_profile(launcher, cluster, monkeypatch, answer, hints):
    play_queue(
        monkeypatch,
        scontrol=ENDED.replace("FAILED", "COMPLETED").replace("NonZeroExitCode", "None").replace("3:0", "0:0"),
    )
    driver = a_driver(launcher)
    launcher.answers.append(answer)
    text = await driver.explain(cluster, JobId("6"), "w1-0")
    assert text.startswith("Job 6: COMPLETED, exit code 0.")
    assert (PROFILE_HINT in text) is hints


async def test_the_cause_in_a_log_comes_first(launcher, cluster, monkeypatch):
    play_queue(monkeypatch, scontrol=ENDED)
    log = (Path(__file__).parents[2] / "data" / "logs" / "no_dev_shm.txt").read_text()
    launcher.answers.append(a_log(log))
    lines = (await a_driver(launcher).explain(cluster, JobId("6"), "w1-0")).splitlines()
    assert lines[0].startswith("FileNotFoundError: [Errno 2] No such file or directory")
    assert "/dev/shm" in lines[0]
    assert lines[1] == "Job 6: FAILED (NonZeroExitCode), exit code 3."
    assert lines[-1] == "RuntimeError: Nanny failed to start."


async def test_when_nobody_remembers_the_last_report_explains(launcher, cluster, monkeypatch):
    play_queue(monkeypatch, scontrol=None, sacct="")
    launcher.answers += [JobRefused("no log")] * 2
    driver = a_driver(launcher)
    assert await driver.explain(cluster, JobId("6"), "w1-0") == ""
    async with open_played(driver, monkeypatch, squeue="6|TIMEOUT|TimeLimit\n", scontrol=None):
        with driver.watch(cluster) as watch:
            watch.add(JobId("6"))
            watch.eager = True
            await watch.wait_changes()
            assert await driver.explain(cluster, JobId("6"), "w1-0") == "Job 6: TIMEOUT (TimeLimit)."


async def test_an_explanation_does_not_take_for_ever(launcher, cluster, monkeypatch, autojump_clock):
    play_queue(monkeypatch, scontrol=ENDED)
    launcher.gate = trio.Event()
    text = await a_driver(launcher).explain(cluster, JobId("6"), "w1-0")
    assert text == "Job 6: FAILED (NonZeroExitCode), exit code 3."


async def test_cleaning(launcher, cluster):
    driver = a_driver(launcher, log_retention=60)
    await driver.clean(cluster, keep_logs=True)
    (request,) = launcher.requests
    assert (request["action"], request["keep_logs"], request["retention"]) == ("clean", True, 60)
    launcher.answers.append(JobRefused("cannot be removed"))
    await driver.clean(cluster, keep_logs=False)  # is only logged


async def test_kept_logs_are_removed_when_their_time_is_up(launcher, cluster, monkeypatch, autojump_clock):
    driver = a_driver(launcher, log_retention=60)
    async with open_played(driver, monkeypatch, scontrol="MaxArraySize = 5\n"):
        launcher.answers += [{"kept": 1}, {"kept": 1}, JobRefused("not now"), {"kept": 0}]
        await driver.clean(cluster, keep_logs=True)
        await trio.sleep(300)
    assert len(launcher.requests) == 4
    assert {request["keep_logs"] for request in launcher.requests} == {True}


# --- at work ----------------------------------------------------------------------------------------------------------


class open_played:
    """The driver's tasks on played commands."""

    def __init__(self, driver, monkeypatch, **answers):
        self.driver = driver
        self.asked = play_queue(monkeypatch, **answers)
        self.manager = trio.open_nursery()

    async def __aenter__(self):
        self.nursery = await self.manager.__aenter__()
        self.nursery.start_soon(self.driver.run)
        return self

    async def __aexit__(self, *error):
        self.nursery.cancel_scope.cancel()
        return await self.manager.__aexit__(*error)


async def test_limits_of_the_site_bound_the_groups(launcher, cluster, monkeypatch, autojump_clock):
    driver = a_driver(launcher)
    assert driver.max_group_size(cluster) == 500
    assert a_driver(launcher, worker_job_arrays=False).max_group_size(cluster) == 1
    async with open_played(driver, monkeypatch, scontrol=[None, "MaxArraySize = 101\nPrivateData = jobs\n"]):
        await trio.sleep(1)
        assert driver.max_group_size(cluster) == 500
        await trio.sleep(60)
        assert driver.max_group_size(cluster) == 101
        with driver.watch(cluster) as watch:
            watch.add(JobId("1"))
            watch.eager = True
            report = (await watch.wait_changes())[JobId("1")]
            assert report.state is JobState.UNKNOWN
            assert "PrivateData" in report.reason
            with pytest.raises(BackendUnavailable, match="PrivateData"):
                await driver.find(cluster, Role.WORKER, "w1", 2)


async def test_an_operator_s_gateway_sees_what_is_hidden_from_others(launcher, cluster, monkeypatch, autojump_clock):
    driver = a_driver(launcher)
    answers = {"scontrol": "PrivateData = jobs\n", "squeue": "1|RUNNING|None\n"}
    async with open_played(driver, monkeypatch, **answers):
        with driver.watch(cluster) as watch:
            watch.add(JobId("1"))
            await watch.wait_changes()
            assert await driver.find(cluster, Role.SCHEDULER, "scheduler", 1) == ("1",)


async def test_jobs_of_other_gateways_are_no_orphans(launcher):
    assert await a_driver(launcher).orphans(["c1"]) == frozenset()


async def test_a_driver_is_opened_and_closed(monkeypatch, cluster):
    play_queue(monkeypatch, scontrol="MaxArraySize = 5\n")
    async with open_batch_driver(SlurmBackend(), Slurm()) as driver:
        await trio.testing.wait_all_tasks_blocked()
        assert driver.max_group_size(cluster) == 5
    async with SlurmBackend(status_command="/opt/slurm/bin/squeue").open_driver() as driver:
        assert driver.max_group_size(cluster) == 500


def test_a_site_is_unknown_at_first():
    assert SiteLimits() == SiteLimits(max_array_size=None, hides_jobs="")


# --- cancels that insist ----------------------------------------------------------------------------------------------


async def test_what_is_still_there_long_after_a_cancel_is_cancelled_again(
    launcher, cluster, monkeypatch, autojump_clock
):
    driver = a_driver(launcher)
    async with open_played(driver, monkeypatch, squeue="7|RUNNING|None\n"):
        with driver.watch(cluster) as watch:
            watch.add(JobId("7"))
            await driver.cancel(cluster, [JobId("7")])
            launcher.answers.append({"returncode": 1, "stdout": "", "stderr": DOWN})
            await trio.sleep(TIMEOUT + 1)
            assert len(launcher.requests) == 2  # this one failed, which is only logged
            await trio.sleep(100 * TIMEOUT)
            assert len(launcher.requests) == 2 + REPEATS
        await driver.cancel(cluster, [JobId("8")])
        await trio.sleep(100 * TIMEOUT)
        assert len(launcher.requests) == 3 + REPEATS  # nobody watches 8


async def test_a_repeated_cancel_that_hangs_holds_up_only_its_user(launcher, cluster, monkeypatch, autojump_clock):
    driver = a_driver(launcher)
    bob = evolve(cluster, name="c2", username="bob")
    queue = "7|RUNNING|None\n8|RUNNING|None\n"
    async with open_played(driver, monkeypatch, squeue=queue, scontrol=lambda command: named(command, "")):
        with driver.watch(cluster) as hers, driver.watch(bob) as his:
            hers.add(JobId("7"))
            his.add(JobId("8"))
            await driver.cancel(cluster, [JobId("7")])
            await driver.cancel(bob, [JobId("8")])
            launcher.hangs = "alice"
            await trio.sleep(100 * TIMEOUT)
            users = [request["user"] for request in launcher.requests]
            assert users.count("bob") == 1 + REPEATS
            assert users.count("alice") == 2, "one at a time"


async def test_jobs_that_can_never_run_are_cancelled_where_the_site_wants_it(
    launcher, cluster, monkeypatch, autojump_clock
):
    dialect = PBS(fail_on_can_never_run=True)
    driver = BatchDriver(PBSBackend(), launcher, Queue(dialect=dialect, command_timeout=30))
    qstat = '{"Jobs": {"7.pbs": {"job_state": "Q", "comment": "Can Never Run: ncpus"}}}'
    async with open_played(driver, monkeypatch, qselect=["7.pbs\n", "", "", "7.pbs\n", "", ""], qstat=qstat):
        with driver.watch(evolve(cluster, config=PBSClusterConfig())) as watch:
            watch.add(JobId("7.pbs"))
            watch.eager = True
            report = (await watch.wait_changes())[JobId("7.pbs")]
            assert (report.state, report.reason) == (JobState.QUEUED, "Can Never Run: ncpus")
            await trio.sleep(3)
        (request,) = launcher.requests
        assert (request["action"], request["rules"], request["arguments"]) == ("cancel", "pbs", ("7.pbs",))


async def test_nothing_is_found_where_jobs_are_hidden(launcher, cluster, monkeypatch):
    driver = a_driver(launcher)
    async with open_played(driver, monkeypatch, scontrol="PrivateData = jobs\n"):
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(BackendUnavailable, match="PrivateData"):
            await driver.find(cluster, Role.WORKER, "w1", 2)
