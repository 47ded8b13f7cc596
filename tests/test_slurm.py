"""The dialect against what a real Slurm 22.05 printed."""

from pathlib import Path

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from gateway.backends import launcher_rules
from gateway.backends.base import ClusterRef, JobSpec
from gateway.backends.dialect import Answer, Dialect, StatusFailed
from gateway.backends.slurm import Slurm, explanation, format_memory, parse_queue, ranges
from gateway.backends.slurm_backend import SlurmBackend, SlurmClusterConfig
from gateway.cluster_config import ClusterConfig
from gateway.models import JobReport, JobState, Role

DATA = Path(__file__).parent / "data" / "slurm"
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
        "--propagate=NONE",
        "--no-requeue",
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
    assert all(launcher_rules.allows("sbatch", argument) for argument in arguments)


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


@pytest.mark.parametrize(("stdout", "base"), [("4711\n", "4711"), ("4711;cluster\n", "4711"), ("Welcome!\n12\n", "12")])
def test_ids_of_a_submission(dialect, stdout, base):
    assert dialect.parse_submitted(a_spec(), stdout) == (base,)
    assert dialect.parse_submitted(a_spec(count=2), stdout) == (f"{base}_0", f"{base}_1")


@pytest.mark.parametrize("stdout", ["", "\n", "Submitted", "12a"])
def test_no_id_is_an_error(dialect, stdout):
    with pytest.raises(ValueError, match="no job id"):
        dialect.parse_submitted(a_spec(), stdout)


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
    assert all(launcher_rules.allows("scancel", f"1_[{ranges(numbers)}]") for _ in [0] if numbers)


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


@pytest.mark.parametrize(
    ("stderr", "away", "lost"),
    [
        (DOWN, True, False),
        (
            "sbatch: error: Batch job submission failed: Unable to contact slurm controller (connect failure)",
            True,
            False,
        ),
        ("sbatch: error: Batch job submission failed: Socket timed out on send/recv operation", False, True),
        ("sbatch: error: Batch job submission failed: Zero Bytes were transmitted or received", False, True),
        ("sbatch: error: invalid partition specified: nosuch", False, False),
    ],
)
def test_a_controller_that_is_away_and_an_answer_that_is_lost(dialect, stderr, away, lost):
    assert dialect.is_away(Answer(1, "", stderr)) is away
    assert dialect.is_lost(Answer(1, "", stderr)) is lost
    assert not dialect.is_away(Answer(0, "", stderr))
    assert not dialect.is_lost(Answer(0, "", stderr))


# --- status ---------------------------------------------------------------------------------------------------------


def test_one_question_for_all_users(dialect):
    (command,) = dialect.status_commands({"bob", "alice"})
    assert command == (
        "squeue",
        "--noheader",
        "--array",
        "--states=all",
        "--format=%i|%T|%r",
        "--user=alice,bob",
    )
    assert Slurm(folder="/opt/slurm/bin").status_commands(["a"])[0][0] == "/opt/slurm/bin/squeue"


def test_states_as_recorded(dialect):
    reports = dialect.parse_status([ok(recorded("squeue_states.txt"))]).reports
    assert reports == {
        "20_9": JobReport(JobState.RUNNING),
        "20_8": JobReport(JobState.RUNNING),
        "20_3": JobReport(JobState.GONE, "CANCELLED"),
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
        "3": JobReport(JobState.GONE, "CANCELLED (PartitionDown)"),
    }


@pytest.mark.parametrize("state", ["REQUEUED", "REQUEUE_HOLD", "SPECIAL_EXIT", "CONFIGURING", "SIGNALING", "RESIZING"])
def test_these_are_alive(state):
    assert parse_queue(f"1|{state}|None")["1"].state in (JobState.QUEUED, JobState.RUNNING)


@pytest.mark.parametrize("state", ["SUSPENDED", "STOPPED"])
def test_these_are_alive_and_stand_still(state):
    assert parse_queue(f"1|{state}|None")["1"] == JobReport(JobState.RUNNING, suspended=True)


def test_a_new_word_for_a_state_does_not_lose_a_job():
    assert parse_queue("1|TELEPORTING|None\n")["1"] == JobReport(JobState.RUNNING)


@given(st.text())
def test_any_text_is_read_without_error(text):
    assert all("|" not in job for job in parse_queue(text))


def test_lines_that_are_none_are_left_out():
    assert parse_queue("hello\nslurm|x\n5|RUNNING|None\n") == {"5": JobReport(JobState.RUNNING)}


def test_a_failed_question_tells_nothing(dialect):
    with pytest.raises(StatusFailed, match="Unable to contact"):
        dialect.parse_status([Answer(1, "", DOWN)])
    with pytest.raises(StatusFailed, match="half"):
        dialect.parse_status([ok("5|RUNNING|None\n", "squeue: error: half of the list is missing")])


def test_a_user_without_account_makes_that_user_s_jobs_doubtful(dialect):
    # As recorded: exit code 0, and nothing on stdout when all users are unknown.
    status = dialect.parse_status([ok("5|RUNNING|None\n", "squeue: error: Invalid user: carol\n\n")])
    assert status.doubtful_users == {"carol"}
    assert status.reports == {"5": JobReport(JobState.RUNNING)}


def test_elements_know_their_array(dialect):
    assert dialect.array_of("30_4") == "30"
    assert dialect.array_of("30") is None


def test_a_submission_is_found_by_name_and_user(dialect):
    spec = a_spec(count=3)
    (command,) = dialect.find_commands(spec.cluster, "w1")
    assert command[-2:] == ("--user=alice", "--name=dask-gateway-c1-w1")
    found = dialect.parse_found(Role.WORKER, "w1", 3, [ok("30_2|RUNNING|None\n30_0|PENDING|Priority\n")])
    assert found == ("30_0", "30_1", "30_2")
    assert dialect.parse_found(Role.SCHEDULER, "scheduler", 1, [ok("9|PENDING|None\n")]) == ("9",)
    assert dialect.parse_found(Role.WORKER, "w1", 3, [ok()]) == ()
    with pytest.raises(StatusFailed):
        dialect.parse_found(Role.WORKER, "w1", 3, [ok("", "squeue: error: Invalid user: alice\n")])


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
    site = dialect.parse_site(ok(text))
    assert site.max_array_size == 1001
    assert site.hides_jobs == ""
    hidden = dialect.parse_site(ok(text.replace("PrivateData             = none", "PrivateData  = accounts,jobs")))
    assert "PrivateData=jobs" in hidden.hides_jobs
    assert dialect.parse_site(Answer(1, text, "")).max_array_size is None
    assert dialect.parse_site(ok("")).max_array_size is None
    assert dialect.site_command() == ("scontrol", "show", "config")


def test_memory_is_rounded_up():
    assert format_memory(1) == "1M"
    assert format_memory(2**20) == "1M"
    assert format_memory(4 * 2**30 + 1) == "4097M"


# --- options --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("argument", ["--wrap=true", "--uid=0", "-p main", "--output=/etc/passwd", "--time=1\n2"])
def test_arguments_that_the_launcher_would_refuse_are_refused_at_once(argument):
    with pytest.raises(ValueError, match="is not passed on"):
        SlurmClusterConfig(extra_args=[argument])


@pytest.mark.parametrize(
    "argument",
    ["--parsable", "--array=0-3", "--job-name=dask-gateway-x", "--job-name", "-Jx", "--export=NONE", "--no-requeue"],
)
def test_what_the_gateway_decides_is_not_for_a_site_to_add(argument):
    with pytest.raises(ValueError, match="what the gateway decides itself"):
        SlurmClusterConfig(extra_args=["--exclusive", argument])


def test_values_are_one_line():
    with pytest.raises(ValueError, match="one line"):
        SlurmClusterConfig(partition="main\n--uid=0")


def test_the_backend_s_config_class():
    assert SlurmBackend().cluster_config_class is SlurmClusterConfig
