import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from gateway.backends.base import ClusterRef, JobSpec
from gateway.backends.local.jobs import (
    Account,
    MarkedProcess,
    ProcessId,
    ProcessStatus,
    describe_exit,
    ended_job_id,
    find_jobs,
    job_environment,
    parse_job_id,
    parse_marks,
    parse_process_status,
)
from gateway.config.cluster import ClusterConfig
from gateway.models import JobId, Role

STAT = (
    b"%d (%b) %b 1 4242 4242 34816 4242 4194304 118 0 0 0 0 0 0 0 20 0 1 0 185962 2691072 "
    b"256 18446744073709551615 1 1 0 0 0 0 0 4096 0 0 0 0 17 1 0 0 0 0 0 0 0 0 0 0 0 0 0\n"
)
ALICE = Account("alice", 1000, 1000, (1000, 1001), "/home/alice")
SPEC = JobSpec(
    cluster=ClusterRef(name="c1", username="alice", config=ClusterConfig()),
    role=Role.WORKER,
    group="w3",
    count=2,
    command=("dask", "worker"),
    environment={"COLOR": "blue"},
    secrets={"DASK_GATEWAY_API_TOKEN": "t0ken"},
)


def environment(spec=SPEC, **inherited):
    return job_environment(spec, "w3-0", ALICE, inherited=inherited, programs="/venv/bin", directory="/clusters")


@given(st.integers(1, 2**31 - 1), st.integers(0, 2**63), st.text("0123456789abcdef", min_size=8, max_size=8))
def test_job_ids_are_read_as_they_are_written(pid, start, boot):
    id = ProcessId(pid, start, boot)
    assert parse_job_id(JobId(str(id))) == id


@pytest.mark.parametrize(
    "text", ["", "4711", "4711.1", "0.1.01234567", "-1.1.01234567", "1.1.0123456", "1.1.01234567\n"]
)
def test_other_ids_name_no_process(text):
    assert parse_job_id(JobId(text)) is None


def test_the_id_of_an_ended_job_names_no_process():
    assert parse_job_id(ended_job_id("dask-gateway-c1-w3", "w3-0")) is None


@pytest.mark.parametrize("command", [b"sh", b"a b", b") Z 1 1 (", b"x\n1 (y) R"])
def test_a_status_is_read_whatever_the_command_is_called(command):
    status = parse_process_status(STAT % (4711, command, b"S"))
    assert status == ProcessStatus(4711, "S", session=4242, start=185962)
    assert status.alive


def test_a_zombie_is_not_alive():
    assert not parse_process_status(STAT % (4711, b"sh", b"Z")).alive


def test_marks_are_read_for_one_directory_only():
    data = b"\0".join(f"{name}={value}".encode() for name, value in environment(HOME="/x").items()) + b"\0\xff=\xfe\0"
    assert parse_marks(data, "/clusters") == {
        "DASK_GATEWAY_CLUSTERS_DIRECTORY": "/clusters",
        "DASK_GATEWAY_CLUSTER_NAME": "c1",
        "DASK_GATEWAY_SUBMISSION": "dask-gateway-c1-w3",
        "DASK_GATEWAY_JOB_NAME": "w3-0",
    }
    assert parse_marks(data, "/other") is None
    assert parse_marks(b"", "/clusters") is None


def marked(pid, name, *, start=100, leads=True, uid=1000, submission="dask-gateway-c1-w3"):
    marks = {"DASK_GATEWAY_SUBMISSION": submission, "DASK_GATEWAY_JOB_NAME": name}
    return MarkedProcess(ProcessId(pid, start, "01234567"), leads, uid, marks)


def found(*processes):
    return find_jobs(processes, "c1", Role.WORKER, "w3", 2, uid=1000)


def test_jobs_are_found_in_the_order_of_their_names():
    assert found(marked(8, "w3-1"), marked(9, "w3-0")) == ("9.100.01234567", "8.100.01234567")


def test_a_missing_job_has_ended_when_a_sibling_lives():
    assert found(marked(8, "w3-1")) == ("ended:dask-gateway-c1-w3:w3-0", "8.100.01234567")


def test_nothing_is_found_among_other_processes():
    others = (
        marked(7, "w3-0", leads=False),  # a child of a job
        marked(8, "w3-0", uid=1001),  # somebody else's, who copied the marks
        marked(9, "w3-0", submission="dask-gateway-c2-w3"),
        marked(10, "w3-7"),
    )
    assert found(*others) == found() == ()


def test_the_oldest_of_two_leaders_is_the_job():
    later = marked(7, "w3-0", start=200)  # started by the job in a session of its own
    assert found(later, marked(9, "w3-0"), marked(8, "w3-1"))[0] == "9.100.01234567"
    assert found(marked(9, "w3-0"), later, marked(8, "w3-1"))[0] == "9.100.01234567"


def test_a_job_gets_its_own_inherited_and_secret_variables():
    variables = environment(LANG="C.UTF-8", USER="root", PATH="/usr/bin")
    assert variables["LANG"] == "C.UTF-8"
    assert variables["COLOR"] == "blue"
    assert variables["DASK_GATEWAY_API_TOKEN"] == "t0ken"
    assert (variables["USER"], variables["LOGNAME"], variables["HOME"]) == ("alice", "alice", "/home/alice")
    assert variables["PATH"] == "/usr/bin:/venv/bin"
    assert variables["DASK_TEMPORARY_DIRECTORY"] == "/clusters/c1"


def test_the_configured_environment_wins_over_the_inherited_but_not_over_the_marks():
    spec = evolve(SPEC, environment={"PATH": "/opt/bin", "HOME": "/scratch", "DASK_GATEWAY_JOB_NAME": "x"})
    variables = environment(spec, PATH="/usr/bin")
    assert variables["PATH"] == "/opt/bin:/venv/bin"
    assert variables["HOME"] == "/scratch"
    assert variables["DASK_GATEWAY_JOB_NAME"] == "w3-0"


def test_a_job_always_has_a_path():
    assert environment()["PATH"] == "/usr/local/bin:/usr/bin:/bin:/venv/bin"
    assert environment(PATH="")["PATH"] == "/usr/local/bin:/usr/bin:/bin:/venv/bin"


def test_ends_are_told_in_words():
    assert describe_exit(0) == "exit code 0"
    assert describe_exit(3) == "exit code 3"
    assert describe_exit(-9) == "killed by signal 9 (SIGKILL)"
    assert describe_exit(-40) == "killed by signal 40"
