"""The backend on a simulated PBS whose server leaves, hangs, hides jobs, forgets, and holds hostile jobs of others."""

import secrets
import socket
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import pytest
import trio

from gateway.backends.base import ClusterRef, JobSpec
from gateway.backends.batch.driver import open_batch_driver
from gateway.backends.launcher.client import own_account
from gateway.backends.pbs.backend import PBSBackend, PBSClusterConfig
from gateway.backends.pbs.dialect import PBS
from gateway.errors import AnswerLost, BackendUnavailable, JobError
from gateway.models import JobReport, JobState, Role
from tests.pbs.conversation import Player
from tests.pbs.simulation import Simulation
from tests.pbs.tidy import no_directories_left
from tests.support.looks import looks

pytestmark = pytest.mark.root
_numbers = count(1)
THIS_RUN = secrets.token_hex(3)  # on this machine there may be others
TOKEN = secrets.token_hex(16)  # which no other process shows
TIMING = {"delete": 0.2, "start": 0.01, "session": 0.1, "kill": 1.0, "back": 0.3}


@contextmanager
def a_pbs(**settings):
    with Simulation.start(timing=TIMING, **settings) as simulation:
        simulation.fault(qstat_pause=0.0, ports=1_000_000)
        yield simulation


@pytest.fixture(autouse=True)
def tidy(users):
    with no_directories_left(rf"p\d+x{THIS_RUN}"):
        yield


@pytest.fixture
def pbs(users):
    with a_pbs() as simulation:
        yield simulation


@pytest.fixture
def cluster(users):
    return new_cluster()


def new_cluster(**options):
    config = PBSClusterConfig(**{"worker_memory": "100 M", "scheduler_memory": "100 M", **options})
    return ClusterRef(name=f"p{next(_numbers)}x{THIS_RUN}", username="alice", config=config)


def a_backend(pbs, **options):
    return PBSBackend(
        submit_command=str(pbs.bin / "qsub"),
        cancel_command=str(pbs.bin / "qdel"),
        status_command=str(pbs.bin / "qstat"),
        **{"eager_poll_period": 0.5, "poll_period": 1, **options},
    )


def open_driver(pbs, **options):
    return a_backend(pbs, **options).open_driver()


def open_insisting_driver(pbs):
    """A driver that soon cancels again what is still there."""
    dialect = PBS(folder=str(pbs.bin), account=own_account(), host=socket.gethostname())
    return open_batch_driver(a_backend(pbs), dialect, cancel_timeout=0.2)


def a_spec(cluster, script="exec sleep 600", *, role=Role.WORKER, group="w1", count=1):
    return JobSpec(
        cluster=cluster,
        role=role,
        group=group,
        count=count,
        command=("/bin/sh", "-c", script, "job"),
        environment={},
        secrets={"DASK_GATEWAY_API_TOKEN": TOKEN},
    )


async def until(watch, jobs, state):
    """Wait until all these jobs are in a state."""
    with trio.fail_after(100):
        while any(watch.jobs[job].state is not state for job in jobs):
            await watch.wait_changes()


async def until_reason(watch, job, words):
    """Wait until these words are in the reason of a job's state."""
    with trio.fail_after(100):
        while words not in watch.jobs[job].reason:
            await watch.wait_changes()


@contextmanager
def watching(driver, cluster, *jobs):
    with driver.watch(cluster) as watch:
        watch.eager = True
        watch.add(*jobs)
        yield watch


async def end(driver, cluster, jobs):
    with watching(driver, cluster, *jobs) as watch:
        await driver.cancel(cluster, jobs)
        await until(watch, jobs, JobState.GONE)
    await driver.clean(cluster, keep_logs=False)


async def test_twenty_workers_are_one_qsub_and_one_qdel(pbs, cluster):
    async with open_driver(pbs) as driver:
        (scheduler,) = await driver.submit(a_spec(cluster, role=Role.SCHEDULER, group="scheduler"))
        workers = await driver.submit(a_spec(cluster, count=20))
        assert len(pbs.calls("qsub")) == 2
        with watching(driver, cluster, scheduler, *workers) as watch:
            await until(watch, [scheduler, *workers], JobState.RUNNING)
        await end(driver, cluster, [scheduler, *workers])
    # The scheduler, which is no array, has a call of its own: qdel forgets jobs when it is given both.
    assert [argv for _, _, argv in pbs.calls("qdel")] == [[scheduler], [workers[0].replace("[0]", "[0-19]")]]
    assert {user for _, user, _ in pbs.calls("qsub") + pbs.calls("qdel")} == {"alice"}
    # One status question for all of them; qstat was asked for single ids, never for a list.
    asked = [[word for word in argv if word.endswith(".pbs")] for _, _, argv in pbs.calls("qstat")]
    assert {len(ids) for ids in asked} == {1}


async def test_nothing_of_a_job_shows_its_secrets(pbs, cluster):
    async with open_driver(pbs) as driver:
        jobs = await driver.submit(a_spec(cluster))
        with watching(driver, cluster, *jobs) as watch:
            await until(watch, jobs, JobState.RUNNING)
        _, out, _ = Player(pbs.bin, Path("/tmp"), pbs).run("bob", "qstat -x -f -F json; qstat -f; ps -ef")
        assert jobs[0] in out
        assert TOKEN not in out
        await end(driver, cluster, jobs)


async def test_a_server_that_is_away_kills_nothing(pbs, cluster):
    async with open_driver(pbs) as driver:
        jobs = await driver.submit(a_spec(cluster, count=3))
        with watching(driver, cluster, *jobs) as watch:
            await until(watch, jobs, JobState.RUNNING)
            with pbs.away():
                await until(watch, jobs, JobState.UNKNOWN)
                assert "cannot connect to server" in watch.jobs[jobs[0]].reason
                await looks(watch, 3)
                with pytest.raises(BackendUnavailable, match="does not answer"):
                    await driver.submit(a_spec(cluster, group="w2"))
                with pytest.raises(BackendUnavailable, match="does not answer"):
                    await driver.cancel(cluster, jobs)
                with pytest.raises(BackendUnavailable, match="does not answer"):
                    await driver.find(cluster, Role.WORKER, "w1", 3)
                assert {report.state for report in watch.jobs.values()} == {JobState.UNKNOWN}
            await until(watch, jobs, JobState.RUNNING)
        await end(driver, cluster, jobs)


async def test_a_job_that_ends_while_the_server_is_away_is_heard_of_afterwards(pbs, cluster):
    async with open_driver(pbs) as driver:
        script = f"sleep 1; exit 6 # {secrets.token_hex(16)}"
        jobs = await driver.submit(a_spec(cluster, script))
        with watching(driver, cluster, *jobs) as watch:
            with pbs.away():
                await until(watch, jobs, JobState.UNKNOWN)
                await trio.to_thread.run_sync(wait_for_no_process, script)
            await until(watch, jobs, JobState.GONE)
            assert watch.jobs[jobs[0]].reason == "exit code 6, on node pbs"
        await driver.clean(cluster, keep_logs=False)


def wait_for_no_process(words):
    """Wait until no process has these words in its command line."""

    def lives():
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                if words in path.read_text(errors="replace"):
                    return True
            except OSError:
                continue
        return False

    while lives():
        pass


async def test_a_frozen_server_kills_nothing(pbs, cluster):
    other = new_cluster()
    async with open_driver(pbs) as driver:
        jobs = await driver.submit(a_spec(cluster, count=2))
    async with open_driver(pbs, command_timeout=1) as driver:
        with watching(driver, cluster, *jobs) as watch:
            await until(watch, jobs, JobState.RUNNING)
            with pbs.frozen():
                await until(watch, jobs, JobState.UNKNOWN)
                assert "did not answer within 1 seconds" in watch.jobs[jobs[0]].reason
                with pytest.raises(BackendUnavailable, match="did not answer"):
                    await driver.cancel(other, ["99999999.pbs"])
                assert "did not answer" in await driver.explain(cluster, jobs[0], "w1-0")
            await until(watch, jobs, JobState.RUNNING)
    async with open_driver(pbs) as driver:
        await end(driver, cluster, jobs)


async def test_a_qdel_that_hangs_is_tried_again(pbs, cluster):
    async with open_driver(pbs) as driver:
        jobs = await driver.submit(a_spec(cluster))
    pbs.fault(hang={"qdel": 1})
    async with open_driver(pbs, command_timeout=2) as driver:
        with pytest.raises(BackendUnavailable, match="did not answer"):
            await driver.cancel(cluster, jobs)
    async with open_driver(pbs) as driver:
        await end(driver, cluster, jobs)


@pytest.mark.parametrize("server", ["pbs", "pbs01.cluster.example.org"])
@pytest.mark.parametrize("history", [True, False])
async def test_with_and_without_history_and_with_long_names(users, cluster, history, server):
    with a_pbs(history=history, server=server, queues={"workq": False}) as pbs:
        async with open_driver(pbs) as driver:
            (failing,) = await driver.submit(
                a_spec(cluster, "echo the message; exit 3", role=Role.SCHEDULER, group="s")
            )
            workers = await driver.submit(a_spec(cluster, "sleep 600", count=2))
            with watching(driver, cluster, failing, *workers) as watch:
                await looks(watch, 6)  # queued for many looks is not failed
                assert {report.state for report in watch.jobs.values()} == {JobState.QUEUED}
                assert {report.reason for report in watch.jobs.values()} == {"Not Running: Queue not started."}
                pbs.set(queues={"workq": True})
                await until(watch, [failing], JobState.GONE)
                await until(watch, workers, JobState.RUNNING)
            text = await driver.explain(cluster, failing, "s")
            assert "the message" in text
            assert ("exit code 3" in text) is history
            await end(driver, cluster, [failing, *workers])


async def test_jobs_in_a_sandbox_of_their_node(pbs):
    cluster = new_cluster(use_stagein=True)
    async with open_driver(pbs) as driver:
        (job,) = await driver.submit(a_spec(cluster, "pwd; exit 3"))
        with watching(driver, cluster, job) as watch:
            await until(watch, [job], JobState.GONE)
        text = await driver.explain(cluster, job, "w1-0")
        assert "exit code 3" in text
        assert f"/pbs.{job}.x8z" in text
        await driver.clean(cluster, keep_logs=False)


async def test_hidden_jobs_are_never_gone(users, cluster):
    with a_pbs(query_other_jobs=False, operators=[]) as pbs:
        async with open_driver(pbs) as driver:
            jobs = await driver.submit(a_spec(cluster))
            with watching(driver, cluster, *jobs) as watch:
                await until_reason(watch, jobs[0], "operator")
                assert watch.jobs[jobs[0]].state is JobState.UNKNOWN
                with pytest.raises(BackendUnavailable, match="operator"):
                    await driver.find(cluster, Role.WORKER, "w1", 1)
                pbs.set(operators=["root"])
                await until(watch, jobs, JobState.RUNNING)
                pbs.set(operators=[])  # and while the gateway runs
                await until(watch, jobs, JobState.UNKNOWN)
            pbs.set(operators=["root"])
            await end(driver, cluster, jobs)


@pytest.mark.parametrize(
    ("letter", "state"),
    [
        ("W", JobState.QUEUED),
        ("T", JobState.QUEUED),
        ("H", JobState.QUEUED),
        ("S", JobState.RUNNING),
        ("U", JobState.RUNNING),
        ("E", JobState.RUNNING),
        ("M", JobState.UNKNOWN),
    ],
)
async def test_every_state_is_told(pbs, cluster, letter, state):
    async with open_driver(pbs) as driver:
        jobs = await driver.submit(a_spec(cluster))
        with watching(driver, cluster, *jobs) as watch:
            await until(watch, jobs, JobState.RUNNING)
            pbs.force(jobs[0], state=letter)
            watch.jobs[jobs[0]] = JobReport(JobState.ENDING)  # so that the same state is told again
            with trio.fail_after(100):
                report = (await watch.wait_changes())[jobs[0]]
            assert report.state is state
            pbs.force(jobs[0], state="R", substate=42)
            await until(watch, jobs, JobState.RUNNING)
        await end(driver, cluster, jobs)


@pytest.mark.parametrize("strict", [False, True])
async def test_a_job_that_can_never_run(pbs, strict):
    cluster = new_cluster(worker_cores=999)
    async with open_driver(pbs, fail_on_can_never_run=strict) as driver:
        jobs = await driver.submit(a_spec(cluster, count=2))
        with watching(driver, cluster, *jobs) as watch:
            await until_reason(watch, jobs[0], "Can Never Run: Insufficient amount of resource: ncpus")
            if strict:
                await until(watch, jobs, JobState.GONE)
            else:
                assert {watch.jobs[job].state for job in jobs} == {JobState.QUEUED}
        if not strict:
            await end(driver, cluster, jobs)
        await driver.clean(cluster, keep_logs=False)


async def test_hostile_jobs_of_others(pbs, cluster):
    """bob's variables and arguments hold whole paragraphs about alice's jobs, bytes that are no UTF-8, odd numbers."""
    async with open_driver(pbs) as driver:
        jobs = await driver.submit(a_spec(cluster, count=2))
        lie = rf"\nJob Id: {jobs[0]}\n    job_state = F\n    Exit_status = 1\n\n"
        bob = Player(pbs.bin, Path("/tmp"), pbs)
        for command in (
            f"A=\"$(printf '{lie}')\" B=1e999 C=\"$(printf '\\351')\" qsub -v A,B,C -- /bin/sleep 600",
            f"qsub -N dask-gateway-{cluster.name}-w1 -- /bin/sh -c \"$(printf 'sleep 600 #{lie}')\"",
            f"qsub -N dask-gateway-{cluster.name}-w9 -J 0-3 -- /bin/sleep 600",
        ):
            code, _, err = bob.run("bob", command)
            assert code == 0, err
        with watching(driver, cluster, *jobs) as watch:
            await until(watch, jobs, JobState.RUNNING)
            await looks(watch, 4)
            assert {report.state for report in watch.jobs.values()} == {JobState.RUNNING}
        assert await driver.find(cluster, Role.WORKER, "w1", 2) == jobs
        assert await driver.find(cluster, Role.WORKER, "w9", 4) == ()
        await end(driver, cluster, jobs)


async def test_no_ports_left_for_qstat(pbs, cluster):
    pbs.fault(ports=0, ports_each=1, ports_other=0, linger=600.0)
    async with open_driver(pbs, command_timeout=5) as driver:
        jobs = await driver.submit(a_spec(cluster, count=5))
        with watching(driver, cluster, *jobs) as watch:
            await until(watch, jobs, JobState.RUNNING)
            await driver.cancel(cluster, jobs)
            await until(watch, jobs, JobState.GONE)  # missed often enough by qselect
        await driver.clean(cluster, keep_logs=False)


async def test_many_jobs_cost_one_port(pbs, cluster):
    """Where commands have used up the reserved ports, the next one waits for a minute."""
    pbs.fault(linger=0.0)
    async with open_driver(pbs, command_timeout=5) as driver:
        jobs = [job for group in ("w1", "w2", "w3") for job in await driver.submit(a_spec(cluster, group=group))]
        await driver._ids.known_as_ours(cluster, jobs)  # as it is asked soon after each submission
        pbs.fault(ports=1, linger=600.0)
        await driver.cancel(cluster, jobs)
        with pytest.raises(BackendUnavailable, match="did not answer"):
            await driver.cancel(cluster, jobs)
        pbs.fault(ports=1_000_000)
        await end(driver, cluster, jobs)


async def test_a_cancel_without_effect_is_repeated(pbs, cluster):
    async with open_insisting_driver(pbs) as driver:
        jobs = await driver.submit(a_spec(cluster))
        with watching(driver, cluster, *jobs) as watch:
            await until(watch, jobs, JobState.RUNNING)
            pbs.force(jobs[0], substate=50)  # as in a prologue: qdel is refused, and the job goes on
            await driver.cancel(cluster, jobs)
            assert watch.jobs[jobs[0]].state is JobState.RUNNING
            pbs.force(jobs[0], substate=42)
            await until(watch, jobs, JobState.GONE)
        await driver.clean(cluster, keep_logs=False)


@pytest.mark.parametrize("death", ["end of file", "end of message", "broken pipe"])
async def test_a_server_that_dies_while_it_is_asked_for_a_job_may_have_it(pbs, cluster, death):
    async with open_driver(pbs) as driver:
        pbs.fault(deaths={"qsub": [death]})
        with pytest.raises(AnswerLost, match="answer was lost"):
            await driver.submit(a_spec(cluster))
        assert await driver.find(cluster, Role.WORKER, "w1", 1) == ()
        jobs = await driver.submit(a_spec(cluster))
        assert await driver.find(cluster, Role.WORKER, "w1", 1) == jobs
        await end(driver, cluster, jobs)


@pytest.mark.parametrize("death", ["away", "going", "unauthenticated"])
async def test_a_server_that_cannot_be_reached_has_no_job(pbs, cluster, death):
    async with open_driver(pbs) as driver:
        pbs.fault(deaths={"qsub": [death]})
        with pytest.raises(BackendUnavailable, match="does not answer"):
            await driver.submit(a_spec(cluster))
        await driver.clean(cluster, keep_logs=False)


@pytest.mark.parametrize(
    "death", ["away", "going", "unauthenticated", "unauthenticated, with 0", "end of message", "crash"]
)
async def test_a_qdel_that_reaches_nobody_is_no_success_and_no_refusal(pbs, cluster, death):
    async with open_driver(pbs) as driver:
        jobs = await driver.submit(a_spec(cluster))
        pbs.fault(deaths={"qdel": [death]})
        with pytest.raises(BackendUnavailable, match="does not answer"):
            await driver.cancel(cluster, jobs)
        await end(driver, cluster, jobs)


async def test_a_qdel_that_reaches_nobody_and_does_not_say_so_is_repeated(pbs, cluster):
    async with open_insisting_driver(pbs) as driver:
        jobs = await driver.submit(a_spec(cluster))
        pbs.fault(deaths={"qdel": ["silence"]})
        await end(driver, cluster, jobs)


async def test_a_job_that_the_server_lost_in_a_crash_is_gone(pbs, cluster):
    """qsub had given its id; ids go on at the next thousand, so that no other job has it."""
    async with open_driver(pbs) as driver:
        kept = await driver.submit(a_spec(cluster, count=2))
        pbs.set(unstored=1)
        lost = await driver.submit(a_spec(cluster, group="w2"))
        with watching(driver, cluster, *kept, *lost) as watch:
            pbs.control(crash=True)
            await until(watch, kept, JobState.UNKNOWN)
            pbs.control(away=False)
            await until(watch, lost, JobState.GONE)
            assert "does not remember how it ended" in watch.jobs[lost[0]].reason
            await until(watch, kept, JobState.RUNNING)
        assert await driver.find(cluster, Role.WORKER, "w2", 1) == ()
        assert await driver.submit(a_spec(cluster, group="w3")) == ("1000.pbs",)
        await end(driver, cluster, [*kept, "1000.pbs"])


@pytest.mark.parametrize("begun", [False, True])
async def test_waiting_jobs_that_their_user_deletes_were_deleted(users, cluster, begun):
    with a_pbs(ncpus=1 if begun else 64, queues={"workq": begun}) as pbs:
        alice = Player(pbs.bin, Path("/tmp"), pbs)
        async with open_driver(pbs) as driver:
            jobs = await driver.submit(a_spec(cluster, count=4))
            plain = await driver.submit(a_spec(cluster, group="w2"))
            with watching(driver, cluster, *jobs, *plain) as watch:
                if begun:
                    await until(watch, jobs[:1], JobState.RUNNING)
                await until(watch, [*jobs[1:], *plain], JobState.QUEUED)
                for job in (jobs[1], jobs[2].replace("[2]", "[2-3]"), *plain):
                    assert alice.run("alice", f"qdel '{job}'")[0] == 0
                await until(watch, [*jobs[1:], *plain], JobState.GONE)
                for job in (*jobs[1:], *plain):
                    assert watch.jobs[job].deleted
                    assert watch.jobs[job].reason.startswith("deleted while it waited")
            await end(driver, cluster, jobs[:1])


async def test_a_worker_that_fails_was_not_deleted_with_and_without_a_history(users, cluster):
    for history in (True, False):
        with a_pbs(history=history) as pbs:
            async with open_driver(pbs) as driver:
                script = '[ "$2" = w1-0 ] && exit 5; exec sleep 600'
                jobs = await driver.submit(a_spec(cluster, script, count=2))
                with watching(driver, cluster, *jobs) as watch:
                    await until(watch, jobs[:1], JobState.GONE)
                    report = watch.jobs[jobs[0]]
                    assert report.reason == (
                        "exit code 5, on node pbs" if history else "PBS does not remember how it ended"
                    )
                    assert not report.deleted
                await end(driver, cluster, jobs[1:])


async def test_a_held_array_says_so_and_one_that_has_begun_gives_no_reason(users, cluster):
    with a_pbs(ncpus=1) as pbs:
        alice = Player(pbs.bin, Path("/tmp"), pbs)
        async with open_driver(pbs) as driver:
            jobs = await driver.submit(a_spec(cluster, count=2))
            with watching(driver, cluster, *jobs) as watch:
                await until(watch, jobs[:1], JobState.RUNNING)
                await until(watch, jobs[1:], JobState.QUEUED)
                await looks(watch, 3)
                assert watch.jobs[jobs[1]].reason == ""
                whole = jobs[0].replace("[0]", "[]")
                assert alice.run("alice", f"qhold '{whole}'")[0] == 0
                await until_reason(watch, jobs[1], "held by its user; Job held by alice on ")
                assert watch.jobs[jobs[0]].state is JobState.RUNNING
            await end(driver, cluster, jobs)


async def test_a_worker_that_is_run_again_keeps_its_id(pbs, cluster):
    dask = Player(pbs.bin, Path("/tmp"), pbs)
    async with open_driver(pbs) as driver:
        jobs = await driver.submit(a_spec(cluster, count=2))
        with watching(driver, cluster, *jobs) as watch:
            await until(watch, jobs, JobState.RUNNING)
            pbs.set(nodes_up=False)
            assert dask.run("dask", f"qrerun '{jobs[1]}'")[0] == 0
            await until(watch, jobs[1:], JobState.QUEUED)
            pbs.set(nodes_up=True)
            await until(watch, jobs, JobState.RUNNING)
        await end(driver, cluster, jobs)


async def test_limits_are_refused_in_pbs_s_words(pbs, cluster):
    root = Player(pbs.bin, Path("/tmp"), pbs)
    assert root.run("root", 'qmgr -c "set queue workq max_queued = [u:PBS_GENERIC=2]"')[0] == 0
    async with open_driver(pbs) as driver:
        with pytest.raises(JobError, match="would exceed queue generic's per-user limit"):
            await driver.submit(a_spec(cluster, count=3))
        jobs = await driver.submit(a_spec(cluster, count=2))
        await end(driver, cluster, jobs)


async def test_a_thousand_jobs_of_others_cost_one_look(pbs, cluster):
    bob = Player(pbs.bin, Path("/tmp"), pbs)
    for _ in range(2):
        assert bob.run("bob", "qsub -h -J 0-4999 -- /bin/true")[0] == 0
    async with open_driver(pbs) as driver:
        jobs = await driver.submit(a_spec(cluster, count=3))
        with watching(driver, cluster, *jobs) as watch:
            await until(watch, jobs, JobState.RUNNING)
        looks = [argv for _, _, argv in pbs.calls("qselect")]
        assert {tuple(argv[:3]) for argv in looks} == {("-T", "-u", "alice")}
        await end(driver, cluster, jobs)
