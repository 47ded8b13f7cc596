"""The dialect against what a real Slurm 22.05 printed."""

from pathlib import Path

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from gateway.backends.base import ClusterRef, JobSpec
from gateway.backends.batch.dialect import Dialect, Status, StatusFailed
from gateway.backends.commands import Answer
from gateway.backends.slurm.backend import SlurmBackend, SlurmClusterConfig
from gateway.backends.slurm.dialect import Slurm
from gateway.backends.slurm.ids import ranges
from gateway.backends.slurm.jobs import explanation, parse_queue
from gateway.backends.slurm.launcher_rules import RULES
from gateway.backends.slurm.submission import format_memory
from gateway.config.cluster import ClusterConfig
from gateway.models import JobReport, JobState, Role

DATA = Path(__file__).parents[2] / "data" / "slurm"
JOBS = {"5": "alice"}
DOWN = "slurm_load_jobs error: Unable to contact slurm controller (connect failure)\n"


@pytest.fixture
def dialect() -> Dialect:
    return Slurm()


def recorded(name):
    return (DATA / name).read_text()


def ok(stdout="", stderr=""):
    return Answer(0, stdout, stderr)


def a_spec(role=Role.WORKER, count=1, group="w1", secrets=None, **options):
    config = SlurmClusterConfig(**options)
    cluster = ClusterRef(name="c1", username="alice", config=config)
    secrets = {"DASK_GATEWAY_API_TOKEN": "t0p"} if secrets is None else secrets
    return JobSpec(
        cluster=cluster,
        role=role,
        group=group,
        count=count,
        command=("dask", "worker", "tls://n1:1"),
        environment={"COLOR": "blue"},
        secrets=secrets,
    )


# --- submit ---------------------------------------------------------------------------------------------------------


def test_one_worker_is_a_plain_job(dialect):
    submission = dialect.submission(a_spec())
    assert submission.arguments == (
        "--parsable",
        "--job-name=dask-gateway-c1-w1",
        "--export=ALL",
        "--open-mode=append",
        "--no-requeue",
        "--propagate=NONE",
        "--cpus-per-task=1",
        "--mem=2048M",
    )
    assert submission.log == "w1-0.log"
    assert "--name w1-0" in submission.script
    assert "COLOR=blue" in submission.script


def test_a_group_is_one_array_whose_elements_name_themselves(dialect):
    submission = dialect.submission(a_spec(count=20))
    assert "--array=0-19" in submission.arguments
    assert submission.log == "w1-%a.log"
    assert submission.script.endswith('--name w1-"${SLURM_ARRAY_TASK_ID}"\n')


def test_secrets_are_in_the_environment_alone(dialect):
    submission = dialect.submission(a_spec())
    assert submission.environment == {"DASK_GATEWAY_API_TOKEN": "t0p"}
    assert "t0p" not in submission.script
    assert not [argument for argument in submission.arguments if "t0p" in argument]
    assert "t0p" not in repr(submission)


def test_secrets_that_sbatch_must_not_see_go_with_the_script(dialect):
    submission = dialect.submission(a_spec(secrets={"SBATCH_PARTITION": "s3cret"}))
    assert not submission.environment
    assert "export SBATCH_PARTITION=s3cret\n" in submission.script


def test_every_option_becomes_an_argument(dialect):
    options = {
        "partition": "main",
        "qos": "high",
        "account": "physics",
        "time": "1:00:00",
        "gres": "gpu:1",
        "constraint": "intel&ib",
        "reservation": "school",
        "nodes": 2,
        "exclusive": True,
        "requeue": True,
        "extra_args": ["--licenses=matlab"],
    }
    arguments = dialect.submission(a_spec(**options)).arguments
    for option in ("partition", "qos", "account", "time", "gres", "constraint", "reservation", "nodes"):
        assert f"--{option}={options[option]}" in arguments
    assert {"--exclusive", "--requeue", "--licenses=matlab"} <= set(arguments)
    assert all(RULES.allows("sbatch", argument) for argument in arguments)


@pytest.mark.parametrize("option", ["partition", "qos", "account", "time", "gres", "constraint", "reservation"])
def test_a_role_s_own_option_wins(dialect, option):
    options = {option: "5", f"scheduler_{option}": "6"}
    assert f"--{option}=6" in dialect.submission(a_spec(Role.SCHEDULER, group="scheduler", **options)).arguments
    assert f"--{option}=5" in dialect.submission(a_spec(**options)).arguments


def test_a_role_may_share_its_node_while_the_other_does_not(dialect):
    spec = a_spec(exclusive=True, scheduler_exclusive=False)
    assert "--exclusive" in dialect.submission(spec).arguments
    assert "--exclusive" not in dialect.submission(evolve(spec, role=Role.SCHEDULER)).arguments


def test_a_scheduler_gets_its_own_size_setup_and_log(dialect):
    spec = a_spec(Role.SCHEDULER, group="scheduler", scheduler_cores=3, scheduler_memory="1 G", scheduler_setup="hello")
    submission = dialect.submission(spec)
    assert {"--cpus-per-task=3", "--mem=1024M"} <= set(submission.arguments)
    assert submission.log == "scheduler.log"
    assert "\nhello\n" in submission.script
    assert "--name" not in submission.script


def test_several_workers_in_a_job_ask_for_all_of_them(dialect):
    arguments = dialect.submission(a_spec(worker_processes=4, worker_cores=2, worker_memory="1 G")).arguments
    assert {"--cpus-per-task=8", "--mem=4096M"} <= set(arguments)


def test_another_backend_s_cluster_is_a_bug(dialect):
    spec = a_spec()
    with pytest.raises(TypeError, match="SlurmClusterConfig"):
        dialect.submission(evolve(spec, cluster=evolve(spec.cluster, config=ClusterConfig())))


def test_ids_of_a_submission(dialect):
    assert dialect.parse_submitted(a_spec(), "Welcome!\n4711\n") == ("4711",)
    assert dialect.parse_submitted(a_spec(count=2), "4711\n") == ("4711_0", "4711_1")
    # A federation names a cluster that nobody has asked for; commands know the job without it.
    assert dialect.parse_submitted(a_spec(), "4711;smp\n") == ("4711",)


def test_no_id_is_an_error(dialect):
    with pytest.raises(ValueError, match="no line that is a job id"):
        dialect.parse_submitted(a_spec(), "Submitted")


# --- several clusters ------------------------------------------------------------------------------------------------


def test_a_cluster_is_named_in_every_command(dialect):
    spec = a_spec(count=3, cluster="smp", scheduler_cluster="login")
    assert "--clusters=smp" in dialect.submission(spec).arguments
    scheduler = evolve(spec, role=Role.SCHEDULER, group="scheduler", count=1)
    assert "--clusters=login" in dialect.submission(scheduler).arguments
    jobs = dialect.parse_submitted(spec, "47;smp\n")
    assert jobs == ("47_0;smp", "47_1;smp", "47_2;smp")
    watched = {jobs[0]: "alice", "48;login": "alice", "9": "bob"}
    own, login, smp = dialect.status_commands(watched)
    assert not [word for word in own if word.startswith("--clusters")]
    assert "--user=bob" in own
    assert "--clusters=login" in login
    assert "--clusters=smp" in smp
    assert dialect.cancel_arguments([*jobs, "48;login", "9"]) == (
        ("9",),
        ("--clusters=login", "48"),
        ("--clusters=smp", "47_[0-2]"),
    )
    scontrol, sacct = dialect.explain_commands(jobs[1])
    assert scontrol == ("scontrol", "--clusters=smp", "show", "job", "47_1")
    assert {"--clusters=smp", "--jobs=47_1"} <= set(sacct)
    for thorough in (False, True):
        (find,) = dialect.find_commands(spec.cluster, Role.WORKER, "w1", thorough=thorough)
        assert "--clusters=smp" in find
    assert (
        dialect.parse_found(spec.cluster, Role.WORKER, "w1", 2, [ok("CLUSTER: smp\n47_0|RUNNING|None\n")]) == jobs[:2]
    )
    (name,) = dialect.name_commands(["47;smp"])
    assert name == ("scontrol", "--clusters=smp", "show", "job", "47")
    arguments = [word for call in dialect.cancel_arguments(jobs) for word in call]
    assert all(RULES.allows("scancel", word) for word in arguments)


def test_another_cluster_than_the_one_asked_for_is_no_answer(dialect):
    with pytest.raises(ValueError, match="submitted to gpu, not to smp"):
        dialect.parse_submitted(a_spec(cluster="smp"), "47;gpu\n")
    assert dialect.parse_submitted(a_spec(cluster="smp"), "47\n") == ("47;smp",)


def test_a_cluster_that_is_away_makes_only_its_own_jobs_doubtful(dialect):
    jobs = {"9": "alice", "47;smp": "alice"}
    status = dialect.parse_status(jobs, [ok("9|RUNNING|None\n"), Answer(1, "", DOWN)])
    assert status.reports == {"9": JobReport(JobState.RUNNING)}
    assert "cluster smp" in status.doubtful["47;smp"]
    status = dialect.parse_status(
        jobs, [ok("9|RUNNING|None\n"), ok("CLUSTER: smp\n47|PENDING|Priority\n9|FAILED|None\n")]
    )
    assert status.reports["47;smp"] == JobReport(JobState.QUEUED, "Priority")
    assert status.reports["9"] == JobReport(JobState.RUNNING)
    assert not status.remarks
    with pytest.raises(StatusFailed, match=r"standby.*cluster smp: .*Unable to contact"):
        dialect.parse_status(jobs, [Answer(1, "", "in standby"), Answer(1, "", DOWN)])


@pytest.mark.parametrize("name", ["a,b", "all clusters", "-x", "a;b"])
def test_one_cluster_is_named(name):
    with pytest.raises(ValueError, match="one cluster"):
        SlurmClusterConfig(cluster=name)


# --- cancel ---------------------------------------------------------------------------------------------------------


def test_one_call_cancels_arrays_as_ranges(dialect):
    jobs = ["7", "30_4", "30_2", "30_3", "30_9", "5", "31_0"]
    assert dialect.cancel_arguments(jobs) == (("5", "7", "30_[2-4,9]", "31_[0]"),)
    assert dialect.cancel_arguments([]) == ()


def test_very_many_jobs_take_a_few_calls(dialect):
    calls = dialect.cancel_arguments([str(number) for number in range(1, 2502)])
    assert [len(call) for call in calls] == [1000, 1000, 501]


@given(st.sets(st.integers(0, 60)))
def test_ranges_name_exactly_the_numbers(numbers):
    named = []
    for part in filter(None, ranges(numbers).split(",")):
        first, _, last = part.partition("-")
        named += range(int(first), int(last or first) + 1)
    assert named == sorted(numbers)
    if numbers:
        assert RULES.allows("scancel", f"1_[{ranges(numbers)}]")


@pytest.mark.parametrize(
    ("code", "stderr", "failed"),
    [
        (0, "", False),
        (210, "scancel: error: Kill job error on job id 14: Access/permission denied", True),
        (1, "scancel: error: Kill job error on job id 13: Job/step already completing or completed", False),
        (1, "scancel: error: Kill job error on job id 13: Invalid job id specified", False),
        (1, "", True),
    ],
)
def test_what_is_gone_already_is_no_failure(dialect, code, stderr, failed):
    assert dialect.cancel_failed(Answer(code, "", stderr)) is failed


# --- status ---------------------------------------------------------------------------------------------------------


def test_one_question_for_all_users(dialect):
    (command,) = dialect.status_commands({"1": "bob", "2": "alice", "3": "bob"})
    assert command == (
        "squeue",
        "--noheader",
        "--array",
        "--states=all",
        "--format=%i|%T|%r",
        "--user=alice,bob",
    )
    assert Slurm(folder="/opt/slurm/bin").status_commands({"1": "a"})[0][0] == "/opt/slurm/bin/squeue"


def test_states_as_recorded(dialect):
    reports = dialect.parse_status(JOBS, [ok(recorded("squeue_states.txt"))]).reports
    assert reports == {
        "20_9": JobReport(JobState.RUNNING),
        "20_8": JobReport(JobState.RUNNING),
        "20_3": JobReport(JobState.GONE, "CANCELLED", deleted=True),
        "30_0": JobReport(JobState.QUEUED, "Priority"),
        "30_1": JobReport(JobState.QUEUED, "Priority"),
        "2": JobReport(JobState.QUEUED, "PartitionDown"),
        "6": JobReport(JobState.GONE, "FAILED (NonZeroExitCode)"),
        "7": JobReport(JobState.GONE, "COMPLETED"),
        "11": JobReport(JobState.GONE, "FAILED (JobLaunchFailure)"),
        "40": JobReport(JobState.GONE, "TIMEOUT (TimeLimit)"),
        "4": JobReport(JobState.ENDING),
        "175": JobReport(JobState.RUNNING, suspended=True),
        "174": JobReport(JobState.QUEUED, "JobHeldUser"),
        "3": JobReport(JobState.GONE, "CANCELLED (PartitionDown)", deleted=True),
    }


@pytest.mark.parametrize("state", ["REQUEUED", "REQUEUE_HOLD", "SPECIAL_EXIT", "CONFIGURING", "SIGNALING", "RESIZING"])
def test_these_are_alive(state):
    assert parse_queue(f"1|{state}|None")[0]["1"].state in (JobState.QUEUED, JobState.RUNNING)


@pytest.mark.parametrize("state", ["SUSPENDED", "STOPPED"])
def test_these_are_alive_and_stand_still(state):
    assert parse_queue(f"1|{state}|None")[0]["1"] == JobReport(JobState.RUNNING, suspended=True)


def test_a_new_word_for_a_state_does_not_lose_a_job():
    assert parse_queue("1|TELEPORTING|None\n")[0]["1"] == JobReport(JobState.RUNNING)


@given(
    st.lists(st.from_regex(r"[0-9]{1,4}(_[0-9]{1,3})?", fullmatch=True), max_size=3), st.lists(st.text(), max_size=3)
)
def test_jobs_are_found_among_any_text(ids, noise):
    noise = [line for line in noise if "|" not in line]
    text = "\n".join([*noise, *(f"{job}|RUNNING|None" for job in ids), *noise])
    assert parse_queue(text)[0] == dict.fromkeys(ids, JobReport(JobState.RUNNING))


@given(st.text() | st.text("0123456789_|RUNING\n"))
def test_any_text_is_read_without_error(text):
    reports, remarks = parse_queue(text)
    assert not any("|" in job for job in reports)
    assert not set(remarks) - set(text.splitlines())


def test_lines_that_are_none_are_remarks():
    text = "hello\nslurm|x\n\n5|RUNNING|None\nx|RUNNING|None\n"
    assert parse_queue(text) == ({"5": JobReport(JobState.RUNNING)}, ["hello", "slurm|x", "x|RUNNING|None"])


@pytest.mark.parametrize(
    "answer",
    [
        Answer(1, "", DOWN),
        Answer(1, "5|RUNNING|None\n", ""),
        ok("5|RUNNING|None\n", f"squeue: error: {DOWN}"),
        ok("", "slurm_load_jobs error: Socket timed out on send/recv operation"),
        ok("5|RUNNING|None\n", "squeue: error: Zero Bytes were transmitted or received"),
    ],
)
def test_a_failed_question_tells_nothing(dialect, answer):
    with pytest.raises(StatusFailed):
        dialect.parse_status(JOBS, [answer])


@pytest.mark.parametrize(
    "remark",
    [
        "squeue: error: Ignoring obsolete FastSchedule=1 option. Please remove from your configuration.",
        "squeue: error: Invalid user for SlurmUser slurm, ignored",
        "squeue: error: s_p_parse_file: unable to status file /etc/slurm/extra.conf",
        "squeue: warning: The site's maintenance begins on Friday",
        "error: ld.so: object '/opt/site/lib/trace.so' from LD_PRELOAD cannot be preloaded: ignored.",
    ],
)
@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_what_is_said_beside_an_answer_is_no_doubt(dialect, remark, stream):
    answer = ok(f"{remark}\n5|RUNNING|None\n") if stream == "stdout" else ok("5|RUNNING|None\n", f"{remark}\n")
    status = dialect.parse_status(JOBS, [answer])
    assert status.reports == {"5": JobReport(JobState.RUNNING)}
    assert status.remarks == (remark,)
    assert not status.doubtful


def test_a_user_without_account_makes_that_user_s_jobs_doubtful(dialect):
    # As recorded: exit code 0, and nothing on stdout when all users are unknown.
    jobs = {"5": "alice", "6": "carol"}
    status = dialect.parse_status(jobs, [ok("5|RUNNING|None\n", "squeue: error: Invalid user: carol\n\n")])
    assert status.doubtful == {"6": "The batch system does not know the user carol at the moment."}
    assert status.reports == {"5": JobReport(JobState.RUNNING)}
    assert not status.remarks


# --- by their ids ----------------------------------------------------------------------------------------------------

UNKNOWN = JobReport(JobState.UNKNOWN)
NO_SUCH_JOB = Answer(1, "", "slurm_load_jobs error: Invalid job id specified\n")


def looked(dialect, jobs, answers, reports=(), turn=0):
    """One look in which squeue lists `reports` alone, and scontrol answers as told."""
    status = Status(reports=dict(reports))
    known = dict.fromkeys(jobs, UNKNOWN)
    commands = dialect.follow_up(status, known, turn)
    return dialect.parse_follow_up(status, known, [(command, answers[command[-1]]) for command in commands])


def test_what_squeue_does_not_list_is_asked_for_by_its_id(dialect):
    jobs = ["1", "6", "7_0", "9_0", "9_1", "9_2", "9_4"]
    answers = {
        "6": ok(recorded("scontrol_failed.txt")),
        "7_0": Answer(1, "", "Job 7_0 not found\n"),
        "9": ok(recorded("scontrol_array.txt")),
    }
    status = looked(dialect, jobs, answers, {"1": JobReport(JobState.RUNNING)})
    assert status.reports == {
        "1": JobReport(JobState.RUNNING),
        "6": JobReport(JobState.GONE, "FAILED (NonZeroExitCode)"),
        "9_0": JobReport(JobState.RUNNING),
        "9_1": JobReport(JobState.RUNNING),
        "9_2": JobReport(JobState.QUEUED, "JobArrayTaskLimit"),
        "9_4": JobReport(JobState.QUEUED, "JobArrayTaskLimit"),
    }
    assert status.nonexistent == {"7_0"}


def test_elements_that_their_array_does_not_mention_do_not_exist(dialect):
    jobs = ["9_0", "9_1", "9_7"]
    status = looked(dialect, jobs, {"9": ok(recorded("scontrol_array.txt"))})
    assert status.nonexistent == {"9_7"}
    status = looked(dialect, jobs, {"9": NO_SUCH_JOB})
    assert status.nonexistent == set(jobs)


@pytest.mark.parametrize("answer", [Answer(1, "", DOWN), ok(""), ok("nonsense"), ok(recorded("scontrol_failed.txt"))])
def test_no_answer_about_an_id_is_no_evidence(dialect, answer):
    status = looked(dialect, ["5"], {"5": answer})  # the recorded one is about another job
    assert not status.reports
    assert not status.nonexistent


def test_few_are_asked_for_at_a_time_and_all_get_their_turn(dialect):
    known = {str(number): UNKNOWN for number in range(25)}
    asked = set()
    for turn in range(3):
        commands = dialect.follow_up(Status(reports={}), known, turn)
        assert len(commands) == 10
        asked |= {command[-1] for command in commands}
    assert asked == set(known)
    doubtful = Status(reports={}, doubtful=dict.fromkeys(known, "away"))
    assert dialect.follow_up(doubtful, known, 0) == ()


def test_names_are_asked_for_by_id(dialect):
    assert dialect.name_commands(["6", "9"]) == (("scontrol", "show", "job", "6"), ("scontrol", "show", "job", "9"))
    answers = [ok(recorded("scontrol_failed.txt")), NO_SUCH_JOB]
    assert dialect.parse_names(["6", "9"], answers) == {"6": "wrap", "9": ""}
    for answer in (Answer(1, "", DOWN), ok(""), ok(recorded("scontrol_failed.txt"))):
        with pytest.raises(StatusFailed):
            dialect.parse_names(["5"], [answer])


def test_elements_know_their_array(dialect):
    assert dialect.array_of("30_4") == "30"
    assert dialect.array_of("30") is None


def test_a_submission_is_found_by_name_and_user(dialect):
    spec = a_spec(count=3)
    (command,) = dialect.find_commands(spec.cluster, Role.WORKER, "w1")
    assert command[-2:] == ("--user=alice", "--name=dask-gateway-c1-w1")

    def found(role, group, count, answer):
        return dialect.parse_found(spec.cluster, role, group, count, [answer])

    listed = ok("30_2|RUNNING|None\n30_0|PENDING|Priority\n", "squeue: error: Ignoring obsolete FastSchedule=1 option.")
    assert found(Role.WORKER, "w1", 3, listed) == ("30_0", "30_1", "30_2")
    assert found(Role.SCHEDULER, "scheduler", 1, ok("9|PENDING|None\n")) == ("9",)
    assert found(Role.WORKER, "w1", 3, ok()) == ()
    for failed in (ok("", "squeue: error: Invalid user: alice\n"), Answer(1, "", DOWN)):
        with pytest.raises(StatusFailed):
            found(Role.WORKER, "w1", 3, failed)


def test_a_thorough_search_asks_the_controller_for_all_jobs(dialect):
    spec = a_spec(count=2)
    (command,) = dialect.find_commands(spec.cluster, Role.WORKER, "w1", thorough=True)
    assert command == ("scontrol", "--oneliner", "show", "job")
    lines = (
        "JobId=7 JobName=dask-gateway-c1-w1 UserId=mallory(1009) GroupId=x JobState=RUNNING Reason=None Dependency=x\n"
        "JobId=8 JobName=other UserId=alice(1002) GroupId=x JobState=RUNNING Reason=None Dependency=x\n"
        "JobId=32 ArrayJobId=31 ArrayTaskId=1 ArrayTaskThrottle=2 JobName=dask-gateway-c1-w1 UserId=alice(1002) G=x\n"
        "JobId=31 ArrayJobId=31 ArrayTaskId=0,2-5 JobName=dask-gateway-c1-w1 UserId=alice(1002) GroupId=x\n"
    )
    assert dialect.parse_found(spec.cluster, Role.WORKER, "w1", 2, [ok(lines)]) == ("31_0", "31_1")
    assert dialect.parse_found(spec.cluster, Role.WORKER, "w2", 2, [ok(lines)]) == ()


# --- explain --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("scontrol_failed.txt", "FAILED (NonZeroExitCode), exit code 3, on node n1"),
        ("scontrol_cancelled.txt", "CANCELLED, killed by signal 15 (SIGTERM), on node n1"),
        (
            "scontrol_launch_failure.txt",
            "FAILED (JobLaunchFailure), its log file could not be opened or its directory is missing on the node, "
            "on node n1",
        ),
    ],
)
def test_ends_as_scontrol_tells_them(dialect, name, text):
    assert dialect.parse_explanation("6", ok(recorded(name))) == text


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("OUT_OF_MEMORY|0:125|n2|None\n", "OUT_OF_MEMORY, killed by signal 125, on node n2"),
        ("COMPLETED|0:0|n2|None\nmore\n", "COMPLETED, exit code 0, on node n2"),
        ("NODE_FAIL|0:0|None assigned|\n", "NODE_FAIL"),
        ("sacct: a banner\nFAILED|1:0|n2|None\n", "FAILED, exit code 1, on node n2"),
        ("CANCELLED by 1002|0:15|n2|None\n", "CANCELLED by 1002, killed by signal 15 (SIGTERM), on node n2"),
        ("\n", ""),
        ("", ""),
    ],
)
def test_ends_as_sacct_tells_them(dialect, line, text):
    assert dialect.parse_explanation("6", ok(line)) == text


def test_no_answer_explains_nothing(dialect):
    assert dialect.parse_explanation("6", Answer(1, "Invalid", "")) == ""
    scontrol, sacct = dialect.explain_commands("6")
    assert scontrol == ("scontrol", "show", "job", "6")
    assert sacct[0] == "sacct"


def test_hints_for_ends_that_puzzle():
    assert "memory" in explanation("FAILED", "JobLaunchFailure", "0:9", "n1")
    assert "environment" in explanation("FAILED", "NonZeroExitCode", "127:0", "n1")
    assert explanation("PENDING", "Priority", "", "") == "PENDING (Priority)"
    # What scontrol prints without exit code and nodes.
    odd = "JobId=1\n   JobState=PENDING Reason=Resources Dependency=(null)\n"
    assert Slurm().parse_explanation("1", ok(odd)) == "PENDING (Resources)"


# --- site -----------------------------------------------------------------------------------------------------------


def test_limits_of_the_site(dialect):
    text = recorded("scontrol_config.txt")
    site = dialect.parse_limits(ok(text))
    assert site.max_array_size == 1001
    assert site.hides_jobs == ""
    hidden = dialect.parse_limits(ok(text.replace("PrivateData             = none", "PrivateData  = accounts,jobs")))
    assert "PrivateData=jobs" in hidden.hides_jobs
    assert dialect.parse_limits(Answer(1, text, "")).max_array_size is None
    assert dialect.parse_limits(ok("")).max_array_size is None
    assert dialect.limits_command() == ("scontrol", "show", "config")


def test_memory_is_rounded_up():
    assert format_memory(1) == "1M"
    assert format_memory(2**20) == "1M"
    assert format_memory(4 * 2**30 + 1) == "4097M"


# --- options --------------------------------------------------------------------------------------------------------


def test_values_are_one_line():
    with pytest.raises(ValueError, match="one line"):
        SlurmClusterConfig(partition="main\n--uid=0")


def test_the_backend_s_config_class():
    assert SlurmBackend().cluster_config_class is SlurmClusterConfig
