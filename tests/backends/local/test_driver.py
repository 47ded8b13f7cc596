"""What local jobs do beyond the contract (tests/contract)."""

import os
import signal
import subprocess
import threading
from contextlib import contextmanager

import pytest
import trio
import trio.testing
from attrs import evolve
from structlog.testing import capture_logs

from gateway.backends.base import ClusterRef, JobSpec
from gateway.backends.local import driver as local_driver
from gateway.backends.local import followed
from gateway.backends.local import sessions as local_sessions
from gateway.backends.local.backend import LocalBackend, LocalClusterConfig, UnsafeLocalBackend
from gateway.backends.local.jobs import ProcessId, parse_job_id
from gateway.backends.local.process import boot_id, read_marked, read_status
from gateway.errors import AnswerLost, BackendUnavailable, JobRefused, StartError
from gateway.models import JobId, JobState, Role
from tests.support.users import is_root

CLUSTER = ClusterRef(name="c1", username="alice", config=LocalClusterConfig())
#: Tells the test that it is ready by opening the pipe $0, which waits for a reader.
READY = ': > "$0"; '
SLEEP = "exec sleep 600"


@pytest.fixture
def backend(tmp_path, interruptible):
    backend = UnsafeLocalBackend(clusters_directory=str(tmp_path / "clusters"), sigint_timeout=60, sigterm_timeout=60)
    yield backend
    left = read_marked(backend.clusters_directory)
    for process in left:
        os.kill(process.id.pid, signal.SIGKILL)
    assert not left


@pytest.fixture
def interruptible():
    """Jobs inherit what is ignored, and a test run in the background of a script ignores SIGINT."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def pipe(tmp_path):
    path = tmp_path / "ready"
    os.mkfifo(path)
    return path


async def wait_ready(pipe):
    with trio.fail_after(30):
        await trio.Path(pipe).read_bytes()


def a_spec(script, *, cluster=CLUSTER, group="w1", count=1, pipe="job", secrets=None):
    return JobSpec(
        cluster=cluster,
        role=Role.WORKER,
        group=group,
        count=count,
        command=("/bin/sh", "-c", script, str(pipe)),
        environment={},
        secrets=secrets or {},
    )


@contextmanager
def watching(driver, *jobs, cluster=CLUSTER):
    with driver.watch(cluster) as watch:
        watch.add(*jobs)
        yield watch


async def wait_gone(driver, *jobs, cluster=CLUSTER):
    """Wait until all jobs are gone; return how they ended."""
    with watching(driver, *jobs, cluster=cluster) as watch, trio.fail_after(30):
        while any(report.state is not JobState.GONE for report in watch.jobs.values()):
            await watch.wait_changes()
        return [watch.jobs[job].reason for job in jobs]


async def end(driver, *jobs, cluster=CLUSTER):
    await driver.cancel(cluster, jobs)
    reasons = await wait_gone(driver, *jobs, cluster=cluster)
    await driver.clean(cluster, keep_logs=False)
    return reasons


# ---- options ---------------------------------------------------------------


async def test_root_is_needed_for_the_jobs_of_others(monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(StartError, match="UnsafeLocalBackend"):
        async with LocalBackend().open_driver():
            pass


def test_local_jobs_end_with_the_gateway():
    assert LocalBackend().stops_clusters
    assert not LocalBackend(stop_clusters_on_shutdown=False).stops_clusters
    assert LocalBackend().default_host == "127.0.0.1"
    assert UnsafeLocalBackend().cluster_config_class is LocalClusterConfig


async def test_without_an_option_the_directory_is_that_of_the_database(monkeypatch, tmp_path):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    for url in ("sqlite:///a.sqlite", "sqlite:///b.sqlite", "sqlite:///a.sqlite"):
        async with UnsafeLocalBackend(db_url=url).open_driver() as driver:
            await driver.clean(CLUSTER, keep_logs=False)
    (ours,) = tmp_path.iterdir()
    assert ours.name == f"dask-gateway-{os.geteuid()}"
    assert len(list(ours.iterdir())) == 2


async def test_a_link_in_the_temporary_folder_is_not_followed(monkeypatch, tmp_path):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    (tmp_path / f"dask-gateway-{os.geteuid()}").symlink_to(tmp_path / "open")
    with pytest.raises(StartError, match="is not safe"):
        async with UnsafeLocalBackend().open_driver():
            pass


# ---- starting --------------------------------------------------------------


async def test_one_job_that_cannot_start_ends_its_whole_group(backend):
    async with backend.open_driver() as driver:
        blocked = trio.Path(backend.clusters_directory, "c1", "logs", "w1-2.log")
        await blocked.parent.mkdir(parents=True, mode=0o700)
        await blocked.mkdir()
        with pytest.raises(JobRefused, match=r"w1-2\.log cannot be opened"):
            await driver.submit(a_spec(SLEEP, count=3))
        assert read_marked(backend.clusters_directory) == []


@pytest.mark.parametrize("parallelism", [1, 3])
async def test_starts_are_bounded(backend, monkeypatch, parallelism):
    lock, running, most = threading.Lock(), 0, 0
    start = local_driver.start_process

    def start_process(*args, **kwargs):
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        try:
            return start(*args, **kwargs)
        finally:
            with lock:
                running -= 1

    monkeypatch.setattr(local_driver, "start_process", start_process)
    async with evolve(backend, parallelism=parallelism).open_driver() as driver:
        jobs = await driver.submit(a_spec("exit 0", count=8))
        assert await wait_gone(driver, *jobs) == ["exit code 0"] * 8
    assert most <= parallelism


async def test_jobs_find_the_dask_command_beside_the_interpreter_under_its_old_name(backend, monkeypatch):
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    async with backend.open_driver() as driver:
        spec = evolve(a_spec(""), command=("dask-scheduler", "--version"), role=Role.SCHEDULER, group="scheduler")
        (job,) = await driver.submit(spec)
        assert await wait_gone(driver, job) == ["exit code 0"]
        assert "dask" in await driver.explain(CLUSTER, job, "scheduler")


async def test_find_waits_for_a_submission_under_way(backend, monkeypatch):
    may_go = threading.Event()
    own = UnsafeLocalBackend.account_of
    monkeypatch.setattr(UnsafeLocalBackend, "account_of", lambda self, name: may_go.wait() and own(self, name))
    async with backend.open_driver() as driver:
        spec = a_spec(SLEEP, count=2)
        with trio.move_on_after(0):
            await driver.submit(spec)
        async with trio.open_nursery() as nursery:

            @nursery.start_soon
            async def look():
                found.append(await driver.find(CLUSTER, spec.role, spec.group, spec.count))

            found = []
            await trio.testing.wait_all_tasks_blocked()
            assert found == []
            may_go.set()
        assert len(found[0]) == 2
        await end(driver, *found[0])


async def test_a_submission_is_lost_when_the_driver_closes(backend, monkeypatch):
    may_go = threading.Event()
    monkeypatch.setattr(UnsafeLocalBackend, "account_of", lambda self, name: may_go.wait())
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def submit():
            with pytest.raises(AnswerLost, match="dask-gateway-c1-w1"):
                await driver.submit(a_spec(SLEEP))

        async with backend.open_driver() as driver:
            await trio.testing.wait_all_tasks_blocked()
    may_go.set()


@pytest.mark.root
@pytest.mark.skipif(not is_root(), reason="LocalBackend needs root")
@pytest.mark.parametrize("name", ["no-such-user-here", "root"])
async def test_nobody_s_and_root_s_jobs_are_refused(tmp_path, name):
    cluster = ClusterRef(name="c1", username=name, config=LocalClusterConfig())
    async with LocalBackend(clusters_directory=str(tmp_path / "clusters")).open_driver() as driver:
        with pytest.raises(JobRefused, match=name):
            await driver.submit(a_spec(SLEEP, cluster=cluster))
        assert await driver.find(cluster, Role.WORKER, "w1", 1) == ()


# ---- following -------------------------------------------------------------


async def test_a_failing_look_at_processes_does_not_lose_a_job(backend, monkeypatch):
    failures = [OSError("Too many open files")]
    read = local_sessions.read_sessions

    def read_sessions():
        if failures:
            raise failures.pop()
        return read()

    monkeypatch.setattr(local_sessions, "read_sessions", read_sessions)
    async with backend.open_driver() as driver:
        jobs = await driver.submit(a_spec("exit 4"))
        assert await wait_gone(driver, *jobs) == ["exit code 4"]
        assert not failures


@pytest.fixture
def stranger():
    """The job id of a process that is no child of ours, as a job after a restart of the gateway."""
    script = "setsid sh -c 'echo $$; exec sleep 600' &"
    with subprocess.Popen(["/bin/sh", "-c", script], stdout=subprocess.PIPE) as parent:
        pid = int(parent.stdout.readline())
        parent.stdout.close()
    return JobId(str(ProcessId(pid, read_status(pid).start, boot_id())))


async def test_the_exit_code_of_another_s_child_is_unknown(backend, stranger):
    async with backend.open_driver() as driver:
        with watching(driver, stranger) as watch:
            assert watch.jobs[stranger].state is JobState.RUNNING
        os.kill(parse_job_id(stranger).pid, signal.SIGKILL)
        assert await wait_gone(driver, stranger) == [followed.TAKEN_BACK]


async def test_secrets_are_not_explained(backend):
    secrets = {"DASK_GATEWAY_API_TOKEN": "0123456789abcdef", "KEY": "-----BEGIN KEY-----\nabc\n-----END KEY-----\n"}
    async with backend.open_driver() as driver:
        script = 'echo "my token is $DASK_GATEWAY_API_TOKEN, key $KEY."; exit 1'
        (job,) = await driver.submit(a_spec(script, secrets=secrets))
        await wait_gone(driver, job)
        text = await driver.explain(CLUSTER, job, "w1-0")
        assert text.splitlines()[:2] == ["exit code 1", "The last lines of its log:"]
        assert "my token is [redacted], key [redacted]" in text
        await driver.clean(CLUSTER, keep_logs=False)


async def test_a_running_job_is_explained_with_its_log(backend, pipe):
    async with backend.open_driver() as driver:
        (job,) = await driver.submit(a_spec("echo connecting;" + READY + SLEEP, pipe=pipe))
        await wait_ready(pipe)
        assert await driver.explain(CLUSTER, job, "w1-0") == "The last lines of its log:\nconnecting"
        await end(driver, job)
        assert await driver.explain(CLUSTER, job, "w1-0") == ""


# ---- ending ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("trap", "sigint", "sigterm", "reason"),
    [
        ("trap 'exit 5' INT; ", 60, 60, "exit code 5"),
        ("trap '' INT; trap 'exit 6' TERM; ", 0.1, 60, "exit code 6"),
        ("trap '' INT TERM; ", 0.1, 0.1, "killed by signal 9 (SIGKILL)"),
    ],
)
async def test_a_job_is_asked_before_it_is_killed(backend, pipe, trap, sigint, sigterm, reason):
    loop = "while :; do sleep 600 & wait $!; done"
    async with evolve(backend, sigint_timeout=sigint, sigterm_timeout=sigterm).open_driver() as driver:
        (job,) = await driver.submit(a_spec(trap + READY + loop, pipe=pipe))
        await wait_ready(pipe)
        assert await end(driver, job) == [reason]


async def test_ending_is_reported_at_once_and_asked_for_once(backend, pipe):
    async with backend.open_driver() as driver:
        (job,) = await driver.submit(a_spec("trap '' INT;" + READY + SLEEP, pipe=pipe))
        await wait_ready(pipe)
        with watching(driver, job) as watch:
            await driver.cancel(CLUSTER, [job])
            await driver.cancel(CLUSTER, [job])
            assert watch.jobs[job].state is JobState.ENDING
        with watching(driver, job) as watch:
            assert watch.jobs[job].state is JobState.ENDING
        os.kill(parse_job_id(job).pid, signal.SIGKILL)
        await wait_gone(driver, job)


async def test_a_job_that_cannot_be_killed_may_be_cancelled_again(backend, pipe, monkeypatch):
    impatient = evolve(backend, sigint_timeout=0, sigterm_timeout=0, sigkill_timeout=0)
    async with impatient.open_driver() as driver:
        (job,) = await driver.submit(a_spec("trap '' INT; " + READY + SLEEP, pipe=pipe))
        await wait_ready(pipe)
        with monkeypatch.context() as patch:
            patch.setattr(followed, "send_signal", lambda processes, number: None)
            await driver.cancel(CLUSTER, [job])
            with watching(driver, job) as watch:
                while driver._followed.jobs[job].steps:
                    await trio.lowlevel.checkpoint()
                assert watch.jobs[job].state is JobState.ENDING
        await end(driver, job)


async def test_what_should_have_ended_is_killed_with_the_driver(backend, pipe):
    async with backend.open_driver() as driver:
        spec = a_spec("trap '' INT; " + READY + "sleep 600 & exec sleep 600", pipe=pipe)
        (job,) = await driver.submit(spec)
        (other,) = await driver.submit(a_spec(SLEEP, group="w2"))
        await wait_ready(pipe)
        await driver.cancel(CLUSTER, [job])
    async with backend.open_driver() as driver:
        await wait_gone(driver, job)
        with watching(driver, other) as watch:
            assert watch.jobs[other].state is JobState.RUNNING
        await end(driver, other)


async def test_cleaning_ends_what_has_left_its_session(backend, pipe):
    async with backend.open_driver() as driver:
        leaves = "setsid sh -c '" + READY + SLEEP + '\' "$0" & ' + SLEEP
        (job,) = await driver.submit(a_spec(leaves, pipe=pipe))
        await wait_ready(pipe)
        await driver.cancel(CLUSTER, [job])
        await wait_gone(driver, job)
        assert len(read_marked(backend.clusters_directory)) == 1
        await driver.clean(CLUSTER, keep_logs=False)
        assert read_marked(backend.clusters_directory) == []


async def test_what_ignores_sigterm_is_killed(backend, pipe):
    async with evolve(backend, sigterm_timeout=0.1).open_driver() as driver:
        await driver.submit(a_spec("trap '' TERM; " + READY + SLEEP, pipe=pipe))
        await wait_ready(pipe)
        assert await driver.orphans(()) == {"c1"}
        assert read_marked(backend.clusters_directory) == []


async def test_a_machine_that_is_out_of_descriptors_is_unavailable(backend, monkeypatch):
    def fail(*args):
        raise OSError(24, "Too many open files")

    async with backend.open_driver() as driver:
        with monkeypatch.context() as patch:
            patch.setattr(local_driver, "read_marked", fail)
            patch.setattr(os, "pidfd_open", fail)
            with pytest.raises(BackendUnavailable, match="Too many open files"):
                await driver.find(CLUSTER, Role.WORKER, "w1", 1)
            with pytest.raises(BackendUnavailable):
                await driver.cancel(CLUSTER, [JobId(str(ProcessId(os.getpid(), 1, boot_id())))])
            with pytest.raises(BackendUnavailable):
                await driver.clean(CLUSTER, keep_logs=False)


async def test_orphans_are_the_processes_of_unknown_clusters_of_this_gateway(backend, tmp_path):
    other_backend = evolve(backend, clusters_directory=str(tmp_path / "other"))
    second = evolve(CLUSTER, name="c2")
    async with other_backend.open_driver() as other_driver:
        (others,) = await other_driver.submit(a_spec(SLEEP))
        async with backend.open_driver() as driver:
            (known,) = await driver.submit(a_spec(SLEEP))
            (unknown,) = await driver.submit(a_spec(SLEEP, cluster=second))
        async with backend.open_driver() as driver:
            assert await driver.orphans({"c1"}) == {"c2"}
            assert await driver.orphans({"c1"}) == set()
            with watching(driver, known) as watch:
                assert watch.jobs[known].state is JobState.RUNNING
            await wait_gone(driver, unknown, cluster=second)
            await end(driver, known)
        with watching(other_driver, others) as watch:
            assert watch.jobs[others].state is JobState.RUNNING
        await end(other_driver, others)


async def test_what_cannot_be_removed_is_logged(backend):
    async with backend.open_driver() as driver:
        await trio.Path(backend.clusters_directory, "c1").write_text("not a folder")
        with capture_logs() as events:
            await driver.clean(CLUSTER, keep_logs=False)
        assert {event["cluster"] for event in events} == {"c1"}
