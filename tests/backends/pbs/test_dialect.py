"""The dialect against what a real OpenPBS 23.06 printed, and against anything that other users may write."""

import json
import re
import subprocess
from pathlib import Path

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from gateway.backends.base import ClusterRef, JobSpec
from gateway.backends.batch.dialect import Dialect, Refusal, Status, StatusFailed
from gateway.backends.commands import Answer
from gateway.backends.pbs.backend import PBSBackend, PBSClusterConfig
from gateway.backends.pbs.dialect import PBS
from gateway.backends.pbs.follow_up import MAX_MISSING_ASKED, MAX_WAITING_ASKED
from gateway.backends.pbs.launcher_rules import RULES
from gateway.backends.pbs.submission import format_memory
from gateway.config.cluster import ClusterConfig
from gateway.models import JobId, JobReport, JobState, Role

SAMPLES = Path(__file__).parents[2] / "data" / "pbs" / "samples"
AWAY = "Connection refused\nqselect: cannot connect to server pbs (errno=15010)\n"
NO_HISTORY = "qstat: PBS is not configured to maintain job history 141.pbs\n"
QUEUED, RUNNING = JobReport(JobState.QUEUED), JobReport(JobState.RUNNING)
NO_JOBS = (SAMPLES / "qstat_json_unknown.txt").read_text()


@pytest.fixture
def dialect() -> Dialect:
    return PBS(account="dask", host="login1.example.org")


def recorded(name):
    return (SAMPLES / name).read_text(errors="replace")


def ok(stdout="", stderr=""):
    return Answer(0, stdout, stderr)


def a_spec(role=Role.WORKER, count=1, group="w1", environment=None, secrets=None, **options):
    cluster = ClusterRef(name="c1", username="alice", config=PBSClusterConfig(**options))
    return JobSpec(
        cluster=cluster,
        role=role,
        group=group,
        count=count,
        command=("dask", "worker", "tls://n1:1"),
        environment={"COLOR": "blue"} if environment is None else environment,
        secrets={"DASK_GATEWAY_API_TOKEN": "t0p"} if secrets is None else secrets,
    )


# --- submit ---------------------------------------------------------------------------------------------------------


def test_one_worker_is_a_plain_job(dialect):
    submission = dialect.submission(a_spec())
    assert submission.arguments == (
        "-f",
        "-Ndask-gateway-c1-w1",
        "-koed",
        "-joe",
        "-rn",
        "-lselect=1:ncpus=1:mem=2048mb",
    )
    assert submission.log == "w1-0.log"
    assert "--name w1-0" in submission.script
    assert 'cd "$PBS_O_WORKDIR"' in submission.script


def test_a_group_is_one_array_whose_elements_name_themselves(dialect):
    submission = dialect.submission(a_spec(count=20))
    assert "-J0-19" in submission.arguments
    assert submission.log == "w1-^array_index^.log"
    assert submission.script.endswith('--name w1-"${PBS_ARRAY_INDEX}"\n')


@pytest.mark.parametrize("requeue", [False, True])
def test_an_array_is_always_rerunnable(dialect, requeue):
    """Real PBS: "cannot submit non-rerunable Array Job", whatever stands first."""
    (rerun,) = [word for word in dialect.submission(a_spec(count=2, requeue=requeue)).arguments if word[:2] == "-r"]
    assert rerun == "-ry"
    for role in Role:
        plain = dialect.submission(a_spec(role=role, requeue=requeue)).arguments
        assert ("-ry" if requeue else "-rn") in plain


def test_environment_and_secrets_are_in_the_script_alone(dialect):
    """`-v` and arguments can be read by everybody."""
    submission = dialect.submission(a_spec())
    assert submission.environment == {}
    assert not [word for word in submission.arguments if "t0p" in word or "blue" in word or word[:2] in ("-v", "-V")]
    assert "export DASK_GATEWAY_API_TOKEN=t0p\n" in submission.script


@given(value=st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0"), max_size=40))
def test_no_value_alters_the_submission_or_the_script(value):
    """Quotes, backslashes, commas, newlines, `#PBS` lines: what a job gets is what was given."""
    dialect = PBS()
    spec = a_spec(environment={"VALUE": value}, secrets={"DASK_SECRET": value})
    submission = dialect.submission(evolve(spec, command=("printenv", "VALUE", "DASK_SECRET")))
    assert submission.arguments == dialect.submission(a_spec()).arguments
    lines = submission.script.splitlines()
    assert lines[1] == "true", "qsub reads directives before the first command only"
    script = submission.script.removesuffix(" --name w1-0\n")
    done = subprocess.run(
        ["/bin/bash", "--norc"],
        check=True,
        input=script.encode(),
        capture_output=True,
        env={"PBS_O_WORKDIR": "/", "PATH": "/usr/bin:/bin"},
    )
    assert done.stdout.decode() == f"{value}\n{value}\n"


def test_options_of_the_roles(dialect):
    options = {
        "queue": "dask",
        "worker_queue": "gpu",
        "account": "acc",
        "project": "proj",
        "place": "free",
        "scheduler_place": "excl",
        "time": "90",
        "worker_time": "1-0",
        "worker_cores": 2,
        "worker_memory": "4 G",
        "worker_processes": 2,
        "worker_resource_list": "select=1:ncpus={cores}:mem={memory}:ngpus=1",
        "requeue": True,
        "extra_args": ["-p10", "-lsoftware=1"],
        "scheduler_port": "9000:9100",
        "scheduler_setup": "module load scheduler",
        "worker_setup": "module load worker",
    }
    worker = dialect.submission(a_spec(**options))
    assert worker.arguments[4:] == (
        "-ry",
        "-lselect=1:ncpus=4:mem=8192mb:ngpus=1",
        "-lwalltime=86400",
        "-lplace=free",
        "-qgpu",
        "-Aacc",
        "-Pproj",
        "-p10",
        "-lsoftware=1",
    )
    assert "module load worker" in worker.script
    scheduler = dialect.submission(a_spec(role=Role.SCHEDULER, group="scheduler", **options))
    assert {"-lwalltime=5400", "-lplace=excl", "-qdask"} < set(scheduler.arguments)
    assert scheduler.log == "scheduler.log"
    assert "shuf -i 9000-9100" in scheduler.script
    assert "module load scheduler" in scheduler.script


def test_nodes_that_do_not_see_the_directory(dialect):
    submission = dialect.submission(a_spec(use_stagein=True))
    assert "-Wsandbox=PRIVATE" in submission.arguments
    assert "-koed" not in submission.arguments
    assert "PBS_O_WORKDIR" not in submission.script
    assert RULES.allows("qsub", "-Wsandbox=PRIVATE")


def test_the_launcher_takes_all_arguments(dialect):
    everything = a_spec(
        count=500, queue="a b", account="a,b c=d", project="p", place="pack:excl", time="10", extra_args=["-Wumask=077"]
    )
    for argument in dialect.submission(everything).arguments:
        assert RULES.allows("qsub", argument), argument
    submission = dialect.submission(everything)
    assert RULES.log.fullmatch(submission.log)
    for call in dialect.cancel_arguments([JobId("7.pbs01.cluster.example.org"), JobId("8[3].pbs"), JobId("8[4].pbs")]):
        for argument in call:
            assert RULES.allows("qdel", argument), argument


def test_a_config_of_another_kind_is_a_mistake(dialect):
    spec = a_spec()
    with pytest.raises(TypeError, match="PBSClusterConfig"):
        dialect.submission(evolve(spec, cluster=evolve(spec.cluster, config=ClusterConfig())))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"queue": "-x"}, "dash"),
        ({"worker_queue": "workq@other.example.org"}, "default server"),
        ({"account": "a\nb"}, "control characters"),
        ({"worker_resource_list": "select={nodes}"}, "cores"),
        ({"worker_resource_list": "select={cores"}, "template"),
        ({"scheduler_resource_list": "-x"}, "list of resources"),
        ({"extra_args": ["-o/etc/passwd"]}, "files"),
        ({"extra_args": ["-v", "A=1"]}, "not passed on"),
        ({"extra_args": ["-Wgroup_list=staff", "-J0-3"]}, "what the gateway decides itself"),
        ({"extra_args": ["-Nx"]}, "what the gateway decides itself"),
        ({"extra_args": ["-ry"]}, "what the gateway decides itself"),
        ({"extra_args": ["-joe"]}, "what the gateway decides itself"),
        ({"extra_args": ["-koed"]}, "what the gateway decides itself"),
        ({"extra_args": ["-Wsandbox=PRIVATE"]}, "what the gateway decides itself"),
    ],
)
def test_options_that_qsub_would_misread(options, words):
    with pytest.raises(ValueError, match=words):
        PBSClusterConfig(**options)


def test_memory():
    assert [format_memory(size) for size in (1, 2**20, 4 * 2**30 + 1)] == ["1mb", "1mb", "4097mb"]


def test_the_id_is_read_from_the_last_line(dialect):
    assert dialect.parse_submitted(a_spec(), "a hook says hello\n7.pbs\n") == ("7.pbs",)
    assert dialect.parse_submitted(a_spec(count=2), "135[].pbs\n") == ("135[0].pbs", "135[1].pbs")


@pytest.mark.parametrize(
    ("count", "text"),
    [
        *((1, ""), (1, "qsub: hello"), (1, "7[].pbs"), (2, "7.pbs"), (2, "7[3].pbs")),
        *((1, "123.45"), (1, "123.4.5\n"), (1, "job 7.pbs"), (1, "7.pbs submitted"), (2, "0[].12")),
    ],
)
def test_answers_without_the_right_id(dialect, count, text):
    with pytest.raises(ValueError, match="no id"):
        dialect.parse_submitted(a_spec(count=count), text)


@pytest.mark.parametrize(
    "text",
    [
        "7.pbs\nbalance: 12.50\n",
        "You have used\n123.45\nhours\n7.pbs\n",
        "7.pbs\nYour oldest job is 3.pbs\n",
        " 7.pbs\r\n",
    ],
)
def test_the_id_is_the_line_that_is_nothing_else(dialect, text):
    assert dialect.parse_submitted(a_spec(), text) == ("7.pbs",)


def test_of_two_ids_neither_is_believed(dialect):
    with pytest.raises(ValueError, match="more than one line"):
        dialect.parse_submitted(a_spec(), "3.pbs\n7.pbs\n")


def test_names_are_asked_for_by_id(dialect):
    jobs = ["7.pbs", "8[].pbs"]
    first, second = dialect.name_commands(jobs)
    assert first[-1] == "7.pbs"
    assert "-x" not in second
    told = ok('{"Jobs": {"7.pbs": {"Job_Name": "dask-gateway-c1-w1"}}}')
    unknown = Answer(153, "", "qstat: Unknown Job Id 8[].pbs\n")
    assert dialect.parse_names(jobs, [told, unknown]) == {"7.pbs": "dask-gateway-c1-w1", "8[].pbs": ""}
    with pytest.raises(StatusFailed, match="cannot connect"):
        dialect.parse_names(jobs, [told, Answer(255, "", AWAY)])
    many = [f"{number}.pbs" for number in range(30)]
    (command,) = dialect.name_commands(many)
    assert "-f" in command
    assert dialect.parse_names(many, [told])["7.pbs"] == "dask-gateway-c1-w1"


def test_refusals_and_accidents_of_qsub(dialect):
    assert dialect.refusal(Answer(162, "", AWAY)) is Refusal.AWAY
    assert dialect.refusal(Answer(183, "", "qsub: End of File\n")) is Refusal.LOST
    refused = Answer(170, "", "qsub: Unknown queue\n")
    assert dialect.refusal(refused) is Refusal.REFUSED
    assert dialect.advice(refused) == "What helps may be queue."


# --- cancel ---------------------------------------------------------------------------------------------------------


def test_plain_jobs_and_each_array_have_calls_of_their_own(dialect):
    jobs = ["9.pbs", "135[5].pbs", "135[3].pbs", "135[4].pbs", "136[0].pbs", "8.pbs", "135[7].pbs", "135[9].pbs"]
    assert dialect.cancel_arguments([JobId(job) for job in jobs]) == (
        ("8.pbs", "9.pbs"),
        ("135[3-5].pbs",),
        ("135[7].pbs",),
        ("135[9].pbs",),
        ("136[0].pbs",),
    )
    assert dialect.cancel_arguments([]) == ()
    whole = [JobId("9.pbs"), JobId("135[].pbs"), JobId("136[].pbs"), JobId("8.pbs")]
    assert dialect.cancel_arguments(whole) == (("8.pbs", "9.pbs"), ("135[].pbs",), ("136[].pbs",))


def test_a_group_of_twenty_is_one_call(dialect):
    assert dialect.cancel_arguments([JobId(f"7[{index}].pbs") for index in range(20)]) == (("7[0-19].pbs",),)


@given(jobs=st.sets(st.tuples(st.integers(1, 3), st.one_of(st.none(), st.integers(0, 30)))))
def test_no_call_mixes_what_qdel_confuses(jobs):
    ids = [JobId(f"{number}.pbs" if index is None else f"{number}0[{index}].pbs") for number, index in jobs]
    named = []
    for call in PBS().cancel_arguments(ids):
        arrays = {word.partition("[")[0] for word in call if "[" in word}
        assert len(arrays) <= 1
        assert len(call) == 1 or not arrays
        assert not arrays or all("[" in word for word in call)
        for word in call:
            base, _, rest = word.partition("[")
            first, _, last = rest.removesuffix("].pbs").partition("-")
            named += [word] if not rest else [f"{base}[{i}].pbs" for i in range(int(first), int(last or first) + 1)]
    assert sorted(named) == sorted(ids)


@pytest.mark.parametrize(
    ("code", "stderr", "failed"),
    [
        (0, "", False),
        (35, "qdel: Unknown Job Id 99999.pbs\nqdel: Job has finished 87.pbs\n", False),
        (153, "qdel: Unknown Job Id 99999.pbs\n", False),
        (55, "qdel: Request invalid for finished array subjob 135[4].pbs\n", False),
        (168, "qdel: Request invalid for state of job 139.pbs\n", False),
        (156, "qdel: Invalid request 135[77].pbs\n", False),
        (0, "pbs_iff: cannot connect to host\nauth: Unable to authenticate connection (pbs:15001)\n", True),
        (0, "Couldn't connect to cluster: pbs\n", True),
        (0, "a greeting of the site\n", False),
        (183, "qdel: Premature end of message\n", True),
        (139, "", True),
        (35, "", False),
        (1, "", True),
        (159, "qdel: Unauthorized Request  1270.pbs\n", True),
        (35, "qdel: Unauthorized Request  1270.pbs\nqdel: Job has finished 87.pbs\n", True),
    ],
)
def test_which_refusals_of_qdel_matter(dialect, code, stderr, failed):
    assert dialect.cancel_failed(Answer(code, "", stderr)) is failed


# --- status ---------------------------------------------------------------------------------------------------------


def test_three_questions_for_all_jobs(dialect):
    waiting, running, suspended = PBS(folder="/opt/pbs/bin").status_commands({"1.pbs": "bob", "2.pbs": "alice"})
    assert waiting == ("/opt/pbs/bin/qselect", "-T", "-u", "alice,bob", "-s", "QHWTB")
    assert running[-1] == "RSUEB"
    assert suspended[-1] == "SU"


def test_a_job_in_both_answers_runs(dialect):
    status = dialect.parse_status({}, [ok("7.pbs\n8[0].pbs\n\n"), ok("8[0].pbs\n8[1].pbs\nsome hook's greeting\n")])
    assert status.reports == {"7.pbs": QUEUED, "8[0].pbs": RUNNING, "8[1].pbs": RUNNING}
    assert status.hopeless == frozenset()


def test_a_suspended_job_runs(dialect):
    status = dialect.parse_status({}, [ok(), ok("7.pbs\n8.pbs\n"), ok("7.pbs\n")])
    assert status.reports == {"7.pbs": JobReport(JobState.RUNNING, suspended=True), "8.pbs": RUNNING}


@pytest.mark.parametrize("answers", [[Answer(162, "", AWAY), ok()], [ok("7.pbs\n"), Answer(162, "", AWAY)]])
def test_one_failed_question_and_nothing_is_known(dialect, answers):
    with pytest.raises(StatusFailed, match="cannot connect"):
        dialect.parse_status({}, answers)


@pytest.mark.parametrize(
    "stderr",
    [
        "pbs_iff: cannot connect to host\nauth: Unable to authenticate connection (pbs:15001)\n",
        "qselect: Premature end of message\n",
        AWAY,
    ],
)
def test_an_empty_answer_of_a_qselect_that_broke_off_is_none(dialect, stderr):
    """As qdel was seen to end with 0: nobody may be believed to be gone."""
    with pytest.raises(StatusFailed):
        dialect.parse_status({}, [ok(stderr=stderr), ok(), ok()])
    with pytest.raises(StatusFailed):
        dialect.parse_found(a_spec().cluster, Role.WORKER, "w1", 2, [ok(), ok(stderr=stderr)])


@given(st.lists(st.from_regex(r"[0-9]{1,4}(\[[0-9]{0,2}\])?\.pbs", fullmatch=True) | st.text(max_size=12), max_size=5))
def test_whatever_qselect_prints(lines):
    text = "\n".join(lines)
    ids = {line for line in text.splitlines() if re.fullmatch(r"[0-9]+(\[[0-9]*\])?\.pbs", line)}
    found = PBS().parse_status({}, [ok(text), ok(text)]).reports.keys()
    assert ids <= found <= {line.strip() for line in text.splitlines()}


def test_arrays(dialect):
    assert dialect.array_of(JobId("7[3].pbs01.example.org")) == "7[].pbs01.example.org"
    assert dialect.array_of(JobId("7.pbs")) is None
    assert dialect.array_of(JobId("7[].pbs")) is None


# --- follow-up ------------------------------------------------------------------------------------------------------


def jobs(*ids, report=QUEUED):
    return {JobId(job): report for job in ids}


def status(waiting=(), running=()):
    return Status(reports={**jobs(*waiting), **jobs(*running, report=RUNNING)})


def answered(dialect, look, known, *answers, turn=0):
    commands = dialect.follow_up(look, known, turn)
    return dialect.parse_follow_up(look, known, list(zip(commands, answers, strict=False)))


def test_running_jobs_raise_no_questions(dialect):
    assert dialect.follow_up(status(running=["7.pbs"]), jobs("7.pbs"), 0) == ()


def test_missing_jobs_are_asked_for_one_by_one_or_by_array(dialect):
    known = jobs("7.pbs", "8[0].pbs", "9[0].pbs", "9[1].pbs", "9[2].pbs")
    json_of = ("-f", "-F", "json")
    assert dialect.follow_up(status(), known, 0) == (
        ("qstat", *json_of, "7.pbs"),
        ("qstat", "-x", *json_of, "7.pbs"),
        ("qstat", *json_of, "8[0].pbs"),
        ("qstat", "-x", *json_of, "8[0].pbs"),
        ("qstat", "-t", *json_of, "9[].pbs"),
        ("qstat", "-x", "-t", *json_of, "9[].pbs"),
    )


def test_the_number_of_questions_is_bounded_and_all_get_their_turn(dialect):
    missing = [f"{number}.pbs" for number in range(100, 150)]
    waiting = [f"{number}.pbs" for number in range(200, 250)]
    look, known = status(waiting=waiting), jobs(*missing, *waiting)
    asked = set()
    for turn in range(50):
        commands = dialect.follow_up(look, known, turn)
        assert len(commands) <= 2 * MAX_MISSING_ASKED + MAX_WAITING_ASKED
        asked |= {command[-1] for command in commands}
    assert asked == set(known)


def test_an_array_that_waits_is_asked_for_once_and_the_unexplained_first(dialect):
    known = {
        **jobs("1.pbs", "2.pbs", "3.pbs", "4.pbs", report=JobReport(JobState.QUEUED, "Not Running: full")),
        **jobs("9[0].pbs", "9[1].pbs"),
    }
    commands = dialect.follow_up(status(waiting=known), known, 0)
    assert [command[-1] for command in commands] == ["9[].pbs", "1.pbs", "2.pbs", "3.pbs"]
    assert "-x" not in commands[0]


def test_a_missing_job_is_gone_when_pbs_says_how_it_ended(dialect):
    look = answered(
        dialect,
        status(),
        jobs("135[2].pbs"),
        Answer(35, NO_JOBS, "qstat: 135[2].pbs Job has finished, use -x or -H\n"),
        ok(recorded("qstat_x_f_json_subjob_exit3.txt")),
    )
    assert look.reports == {"135[2].pbs": JobReport(JobState.GONE, "exit code 3, on node pbs")}


def ended_answer(job, **attributes):
    return ok(json.dumps({"Jobs": {job: {"job_state": "X", **attributes}}}))


def test_a_user_s_qdel_of_waiting_jobs_is_told(dialect):
    """The record is made up; in a history it means that somebody has named it in a qdel."""
    job, made_up = "7[1].pbs", {"substate": 70, "comment": "Subjob finished"}
    look = answered(dialect, status(), jobs(job), ended_answer(job, **made_up), ended_answer(job, **made_up))
    assert look.reports == {job: JobReport(JobState.GONE, "deleted while it waited", deleted=True)}
    made_up["Exit_status"] = 1
    look = answered(dialect, status(), jobs(job), ended_answer(job, **made_up), ended_answer(job, **made_up))
    assert look.reports == {job: JobReport(JobState.GONE, "PBS does not remember how it ended", deleted=True)}
    # Without a history, only the question without -x has an answer, and all ends look alike.
    look = answered(dialect, status(), jobs(job), ended_answer(job, **made_up), ok(NO_JOBS, NO_HISTORY))
    assert look.reports == {job: JobReport(JobState.GONE, "PBS does not remember how it ended")}


def test_jobs_that_are_deleted_because_they_can_never_run_have_failed():
    hopeless = JobReport(JobState.QUEUED, "Can Never Run: Insufficient amount of resource: ncpus")
    told = ended_answer("7.pbs", substate=91, comment=hopeless.reason)
    for strict in (False, True):
        look = answered(PBS(fail_on_can_never_run=strict), status(), jobs("7.pbs", report=hopeless), told, told)
        assert look.reports[JobId("7.pbs")].deleted is not strict


def test_a_whole_array_is_read_from_one_answer(dialect):
    known = jobs(*(f"135[{index}].pbs" for index in range(10)), "135[77].pbs")
    look = answered(dialect, status(), known, ok(NO_JOBS), ok(recorded("qstat_t_f_json_array.txt")))
    states = {job: report.state for job, report in look.reports.items()}
    assert [states[JobId(f"135[{index}].pbs")] for index in range(4)] == [JobState.GONE] * 3 + [JobState.RUNNING]
    assert states[JobId("135[77].pbs")] is JobState.UNKNOWN  # the witness was an empty answer


def test_a_job_that_pbs_does_not_know_is_left_to_be_missed_again(dialect):
    unknown = Answer(153, NO_JOBS, "qstat: Unknown Job Id 7.pbs\n")
    assert answered(dialect, status(), jobs("7.pbs"), unknown, unknown).reports == {}
    # The same without a history, where -x says nothing.
    assert answered(dialect, status(), jobs("7.pbs"), unknown, ok(NO_JOBS, NO_HISTORY)).reports == {}


def test_hidden_jobs_are_unknown(dialect):
    """query_other_jobs=False: an empty answer, exit code 0."""
    look = answered(dialect, status(), jobs("7.pbs", "8.pbs"), ok(NO_JOBS), ok(NO_JOBS), ok(NO_JOBS))
    assert {report.state for report in look.reports.values()} == {JobState.UNKNOWN}
    assert "operator" in look.reports[JobId("7.pbs")].reason


def test_questions_without_answers_change_nothing(dialect):
    assert answered(dialect, status(), jobs("7.pbs")).reports == {}
    look = status(waiting=["7.pbs"])
    known = jobs("7.pbs", report=JobReport(JobState.QUEUED, "Not Running: full"))
    assert answered(dialect, look, known).reports == known
    assert answered(dialect, look, jobs("7.pbs", report=JobReport(JobState.RUNNING, "x"))).reports == jobs("7.pbs")
    assert answered(dialect, look, known, ok("no JSON")).reports == known


def test_a_moved_job_is_unknown(dialect):
    document = json.loads(recorded("qstat_x_f_json_mixed_states.txt"))
    (job,) = document["Jobs"]
    document["Jobs"][job]["job_state"] = "M"
    look = answered(dialect, status(), jobs(job), Answer(35, NO_JOBS, "finished"), ok(json.dumps(document)))
    assert look.reports[job].state is JobState.UNKNOWN


def a_waiting_answer(job, comment):
    return ok(json.dumps({"Jobs": {job: {"job_state": "Q", "comment": comment}}}))


def test_why_a_job_waits_and_that_it_never_can_run(dialect):
    comment = "Can Never Run: Insufficient amount of resource: ncpus (R: 999 A: 64 T: 64)"
    known = jobs("9[0].pbs", "9[1].pbs")
    look = answered(dialect, status(waiting=known), known, a_waiting_answer("9[].pbs", comment))
    assert look.reports == jobs(*known, report=JobReport(JobState.QUEUED, comment))
    assert look.hopeless == frozenset()
    strict = PBS(fail_on_can_never_run=True)
    look = answered(strict, status(waiting=known), known, a_waiting_answer("9[].pbs", comment))
    assert look.hopeless == known.keys()
    look = answered(strict, status(waiting=known), known, a_waiting_answer("9[].pbs", "Not Running: wait"))
    assert look.hopeless == frozenset()


# --- other users' jobs ----------------------------------------------------------------------------------------------

ids = st.sampled_from(["7.pbs", "8[0].pbs", "9.pbs", "8[].pbs"])
hostile = st.one_of(
    st.text(),
    st.builds("\nJob Id: {}\n    job_state = F\n    Exit_status = 1\n".format, ids),
    st.builds('"}}}}, "{}": {{"job_state": "F"'.format, ids),
)
attributes = st.dictionaries(
    st.sampled_from(["Job_Name", "comment", "Exit_status", "exec_host", "Variable_List", "substate", "run_count"]),
    st.one_of(hostile, st.integers(), st.floats(), st.none(), st.booleans(), st.dictionaries(st.text(), hostile)),
)


@given(others=st.dictionaries(st.integers(100, 120), attributes), state=st.sampled_from("QHRFXEM"))
def test_jobs_of_others_never_change_what_we_believe_of_ours(others, state):
    """What PBS prints as JSON of any jobs of others, beside ours, says nothing of ours."""
    printed = {f"{number}.pbs": {**values, "job_state": state} for number, values in others.items()}
    look, known = status(waiting=["7.pbs"], running=["8[0].pbs"]), jobs("7.pbs", "8[0].pbs", "9.pbs")
    dialect = PBS()
    answer = ok(json.dumps(printed | {"pbs_server": "pbs", "Jobs": printed}))
    commands = dialect.follow_up(look, known, 0)
    told = dialect.parse_follow_up(look, known, [(command, answer) for command in commands])
    told = {job: report for job, report in told.reports.items() if report.state is not JobState.UNKNOWN}
    assert told == {"7.pbs": QUEUED, "8[0].pbs": RUNNING}


@given(text=st.one_of(st.text(), st.builds("{}{}{}".format, hostile, st.just(NO_JOBS), hostile)))
def test_any_answer_at_all_kills_nothing(text):
    look, known = status(running=["8[0].pbs"]), jobs("7.pbs", "8[0].pbs")
    dialect = PBS()
    commands = dialect.follow_up(look, known, 0)
    told = dialect.parse_follow_up(look, known, [(command, ok(text)) for command in commands])
    assert told.reports.get(JobId("7.pbs"), QUEUED).state is not JobState.GONE
    assert told.reports[JobId("8[0].pbs")] == RUNNING
    assert isinstance(dialect.parse_explanation(JobId("7.pbs"), ok(text)), str)


@given(values=attributes, state=st.text(max_size=2))
def test_any_attributes_of_our_own_job_make_a_line(values, state):
    text = json.dumps({"Jobs": {"7.pbs": {**values, "job_state": state}}})
    sentence = PBS().parse_explanation(JobId("7.pbs"), ok(text))
    assert "\n" not in sentence
    assert not re.search(r"[\x00-\x1f\x7f]", sentence)


# --- find, explain, site --------------------------------------------------------------------------------------------


def test_finding_a_submission(dialect):
    cluster = a_spec().cluster
    live, ended = dialect.find_commands(cluster, Role.WORKER, "w1")
    assert live == ("qselect", "-u", "alice", "-N", "dask-gateway-c1-w1")
    assert ended[1] == "-x"
    assert dialect.parse_found(cluster, Role.WORKER, "w1", 2, [ok(), ok()]) == ()
    assert dialect.parse_found(cluster, Role.WORKER, "w1", 2, [ok("7[].pbs\n"), ok("7[].pbs\n")]) == (
        "7[0].pbs",
        "7[1].pbs",
    )
    assert dialect.parse_found(cluster, Role.SCHEDULER, "scheduler", 1, [ok(), ok("9.pbs\n10.pbs\n")]) == ("9.pbs",)
    with pytest.raises(StatusFailed, match="cannot connect"):
        dialect.parse_found(cluster, Role.WORKER, "w1", 2, [ok(), Answer(162, "", AWAY)])
    with pytest.raises(StatusFailed, match="no id"):
        dialect.parse_found(cluster, Role.WORKER, "w1", 2, [ok("7.pbs\n"), ok()])


def test_a_thorough_search_looks_at_all_jobs(dialect):
    cluster = a_spec().cluster
    (command,) = dialect.find_commands(cluster, Role.WORKER, "w1", thorough=True)
    assert command == ("qstat", "-f", "-F", "json")
    jobs = {
        "6.pbs": {"Job_Name": "dask-gateway-c1-w1", "Job_Owner": "mallory@login1"},
        "8[].pbs": {"Job_Name": "dask-gateway-c1-w1", "Job_Owner": "alice@login1"},
        "9.pbs": {"Job_Name": "other", "Job_Owner": "alice@login1"},
        "odd": {"Job_Name": "dask-gateway-c1-w1", "Job_Owner": "alice@login1"},
    }
    answer = ok("Welcome\n" + json.dumps({"Jobs": jobs}))
    assert dialect.parse_found(cluster, Role.WORKER, "w1", 2, [answer]) == ("8[0].pbs", "8[1].pbs")
    assert dialect.parse_found(cluster, Role.WORKER, "w2", 2, [answer]) == ()


UNKNOWN_ID = Answer(153, NO_JOBS, "qstat: Unknown Job Id 7.pbs\n")
NO_HISTORY = ok(NO_JOBS, "qstat: PBS is not configured to maintain job history 7.pbs\n")


@pytest.mark.parametrize("ended", [UNKNOWN_ID, NO_HISTORY])
def test_what_pbs_does_not_know_by_its_id_does_not_exist(dialect, ended):
    known = jobs("7.pbs", "7[2].pbs")
    look = answered(dialect, status(running=["7[2].pbs"]), known, UNKNOWN_ID, ended)
    assert look.nonexistent == {"7.pbs"}


@pytest.mark.parametrize("answer", [Answer(255, "", AWAY), ok(""), ok("nonsense")])
def test_no_answer_about_an_id_is_no_evidence(dialect, answer):
    look = answered(dialect, status(), jobs("7.pbs"), answer, answer)
    assert not look.nonexistent
    assert not look.reports


def test_elements_that_their_array_does_not_list_do_not_exist(dialect):
    known = jobs("9[0].pbs", "9[1].pbs", "9[2].pbs")
    listed = ok(json.dumps({"Jobs": {"9[].pbs": {"job_state": "B"}, "9[1].pbs": {"job_state": "R"}}}))
    look = answered(dialect, status(), known, listed, NO_HISTORY)
    assert look.nonexistent == {"9[0].pbs", "9[2].pbs"}
    assert look.reports == {"9[1].pbs": JobReport(JobState.RUNNING)}


def test_whatever_a_wrapper_prints_before_the_document(dialect):
    answer = ok("Welcome {friend}\n" + json.dumps({"Jobs": {"7.pbs": {"job_state": "R"}}}) + "\nBye\n")
    look = answered(dialect, status(), jobs("7.pbs"), answer, answer)
    assert look.reports == {"7.pbs": JobReport(JobState.RUNNING)}


def test_explaining(dialect):
    job = JobId("135[2].pbs")
    with_history, without = dialect.explain_commands(job)
    assert with_history == ("qstat", "-x", "-f", "-F", "json", job)
    assert "-x" not in without
    assert dialect.parse_explanation(job, ok(recorded("qstat_x_f_json_subjob_exit3.txt"))) == "exit code 3, on node pbs"
    assert dialect.parse_explanation(job, ok(NO_JOBS)) == ""
    assert (
        dialect.parse_explanation(JobId("7.pbs"), a_waiting_answer("7.pbs", "Can Never Run: x")) == "Can Never Run: x"
    )
    assert dialect.log_name("w1-0") == "w1-0.log"


def settings_of(**changes):
    lines = {"query_other_jobs": "True", "operators": "dask@*", "max_array_size": "10000", **changes}
    return "#\n" + "".join(f"set server {name} = {value}\n" for name, value in lines.items() if value)


@pytest.mark.parametrize(
    ("changes", "hides"),
    [
        ({}, False),
        ({"query_other_jobs": "", "operators": ""}, True),
        ({"query_other_jobs": "False", "operators": "dask@*"}, False),
        ({"query_other_jobs": "False", "operators": "root@*,dask@login1"}, False),
        ({"query_other_jobs": "False", "operators": "", "managers": "dask@*.example.org"}, False),
        ({"query_other_jobs": "False", "operators": "dask@pbs"}, True),
        ({"query_other_jobs": "False", "operators": "alice@*"}, True),
        ({"query_other_jobs": "False", "operators": "dask@Login1.Example.org"}, False),
        ({"query_other_jobs": "False", "operators": "dask@login1.example.com"}, True),
    ],
)
def test_whether_pbs_shows_us_the_jobs_of_others(dialect, changes, hides):
    site = dialect.parse_limits(ok(settings_of(**changes)))
    assert bool(site.hides_jobs) is hides
    assert site.max_array_size == 10000


@pytest.mark.parametrize("host", ["login1.example.org", "*.example.org", "login1", "*", "login*"])
def test_a_host_that_knows_no_more_than_its_short_name(host):
    short = PBS(account="dask", host="login1")
    settings = settings_of(query_other_jobs="False", operators=f"root@*,dask@{host}")
    assert short.parse_limits(ok(settings)).hides_jobs == ""
    assert short.parse_limits(ok(settings.replace("login", "head").replace("*", "head"))).hides_jobs


def test_the_site_of_the_recordings(dialect):
    text = (SAMPLES.parent / "conversations" / "print_server.txt").read_text()
    assert dialect.parse_limits(ok(text)).max_array_size == 10000
    assert dialect.limits_command() == ("qmgr", "-c", "print server")


def test_a_site_that_tells_nothing(dialect):
    assert dialect.parse_limits(ok("")).hides_jobs == ""
    assert dialect.parse_limits(Answer(1, "", "no")).max_array_size is None
    assert dialect.parse_limits(ok(settings_of(max_array_size=""))).max_array_size is None


async def test_the_backend_opens_a_driver_of_this_dialect():
    async with PBSBackend(gateway_hostname="gw", status_command="/opt/pbs/bin/qstat").open_driver() as driver:
        assert driver.max_group_size(a_spec().cluster) == 500
