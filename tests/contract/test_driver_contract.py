"""What every driver promises to the clusters (gateway/backends/base.py), on every backend there is."""

import hashlib
import os
import secrets
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import pytest
import trio
import trio.testing
from attrs import evolve

from gateway.backends.base import ClusterRef, JobSpec, LogText
from gateway.errors import JobRefused
from gateway.models import JobState, Role
from tests.contract.backends import BACKENDS, THIS_RUN, Program

TOKEN = secrets.token_hex(16)  # which no other process shows
PEM = "-----BEGIN CERTIFICATE-----\nMIIBgDCCASWgAwIBAgIUQ7\n-----END CERTIFICATE-----\n"
_numbers = count(1)


@pytest.fixture(params=BACKENDS)
def bench(request, tmp_path):
    with request.param(tmp_path) as bench:
        yield bench


@pytest.fixture
def cluster(bench):
    return new_cluster(bench)


def new_cluster(bench, user=0):
    return ClusterRef(name=f"c{next(_numbers)}{THIS_RUN}", username=bench.users[user], config=bench.config)


def a_spec(cluster, program=Program.SLEEP, *, role=Role.WORKER, group="w1", count=1):
    return JobSpec(
        cluster=cluster,
        role=role,
        group=group,
        count=count,
        command=program.command,
        environment={"COLOR": "blue and green", "DASK_GATEWAY_CLUSTER_NAME": cluster.name},
        secrets={"DASK_GATEWAY_API_TOKEN": TOKEN, "DASK_DISTRIBUTED__COMM__TLS__CA_FILE": PEM},
    )


class Observer:
    """A watch with a memory: every state that each job was seen in."""

    def __init__(self, watch, deadline):
        self.watch = watch
        self.deadline = deadline
        self.seen = {}

    async def wait(self, jobs, *states):
        """Wait until each of the jobs was seen in one of the states; return their last reports."""
        with trio.fail_after(self.deadline):
            while not all(self.seen.get(job, set()) & set(states) for job in jobs):
                for job, report in (await self.watch.wait_changes()).items():
                    self.seen.setdefault(job, set()).add(report.state)
        return [self.watch.jobs[job] for job in jobs]


@contextmanager
def observing(bench, driver, cluster, *jobs):
    with driver.watch(cluster) as watch:
        watch.eager = True
        watch.add(*jobs)
        yield Observer(watch, bench.deadline)


async def end(bench, driver, cluster, *jobs):
    """Cancel jobs, wait until they are gone, and leave nothing on disk."""
    with observing(bench, driver, cluster, *jobs) as observer:
        await driver.cancel(cluster, jobs)
        await observer.wait(jobs, JobState.GONE)
    await driver.clean(cluster, keep_logs=False)


async def explain_end(bench, driver, spec):
    """Submit, wait for the end, explain the first job."""
    jobs = await driver.submit(spec)
    with observing(bench, driver, spec.cluster, *jobs) as observer:
        reports = await observer.wait(jobs, JobState.GONE)
    return reports[0].reason, await driver.explain(spec.cluster, jobs[0], spec.names[0])


async def test_a_scheduler_runs_until_it_is_cancelled(bench, cluster):
    async with bench.open_driver() as driver:
        (job,) = await driver.submit(a_spec(cluster, role=Role.SCHEDULER, group="scheduler"))
        with observing(bench, driver, cluster, job) as observer:
            await observer.wait([job], JobState.RUNNING)
            await driver.cancel(cluster, [job])
            await observer.wait([job], JobState.GONE)
        await driver.clean(cluster, keep_logs=False)


async def test_a_group_has_one_id_for_each_worker_and_single_workers_are_cancelled(bench, cluster):
    async with bench.open_driver() as driver:
        jobs = await driver.submit(a_spec(cluster, count=3))
        assert len(set(jobs)) == 3
        with observing(bench, driver, cluster, *jobs) as observer:
            await observer.wait(jobs, JobState.RUNNING)
            await driver.cancel(cluster, [jobs[1]])
            await observer.wait([jobs[1]], JobState.GONE)
            assert {observer.watch.jobs[job].state for job in (jobs[0], jobs[2])} == {JobState.RUNNING}
        await end(bench, driver, cluster, jobs[0], jobs[2])


async def test_ids_are_in_the_order_of_names(bench, cluster):
    async with bench.open_driver() as driver:
        spec = a_spec(cluster, Program.REPORT, count=3)
        jobs = await driver.submit(spec)
        with observing(bench, driver, cluster, *jobs) as observer:
            await observer.wait(jobs, JobState.GONE)
        for job, name in zip(jobs, spec.names, strict=True):
            assert f"name={name} " in await driver.explain(cluster, job, name)
        await driver.clean(cluster, keep_logs=False)


@pytest.mark.parametrize("user", [0, 1])
async def test_jobs_run_as_their_user_with_their_environment_and_secrets(bench, user):
    cluster = new_cluster(bench, user)
    async with bench.open_driver() as driver:
        _, text = await explain_end(bench, driver, a_spec(cluster, Program.REPORT))
        assert f"user={bench.account(cluster.username)} name=w1-0 cluster={cluster.name}\n" in text
        assert "color=blue and green" in text
        assert "path=set" in text
        assert "home=/" in text
        assert f"token={len(TOKEN)}" in text
        # A shell drops line ends at the end of what it substitutes; distributed does not mind.
        hashes = [hashlib.sha256(pem.encode()).hexdigest()[:16] for pem in (PEM, PEM.rstrip("\n"))]
        assert any(f"pem={pem}" in text for pem in hashes)
        await driver.clean(cluster, keep_logs=False)


async def test_logs_are_read_in_parts(bench, cluster):
    async with bench.open_driver() as driver:
        assert await driver.read_log(cluster, "w1-0", 1000) is None
        await explain_end(bench, driver, a_spec(cluster, Program.REPORT))
        whole = await driver.read_log(cluster, "w1-0", 64 * 1024)
        assert whole.start == 0
        assert "color=blue and green" in whole.text
        assert await driver.read_log(cluster, "w1-0", 64 * 1024, whole.end) == LogText(
            text="", start=whole.end, end=whole.end
        )
        last = await driver.read_log(cluster, "w1-0", 20)
        assert (last.text, last.start, last.end) == (whole.text[-20:], whole.end - 20, whole.end)
        line = await driver.read_log(cluster, "w1-0", whole.text.index("\n") + 5, 0, whole_lines=True)
        assert line.text == whole.text[: line.end] == whole.text.splitlines(keepends=True)[0]
        assert await driver.read_log(cluster, "w1-1", 1000) is None
        await driver.clean(cluster, keep_logs=False)
        assert await driver.read_log(cluster, "w1-0", 1000) is None


async def test_the_working_directory_is_the_cluster_s(bench, cluster):
    async with bench.open_driver() as driver:
        _, text = await explain_end(bench, driver, a_spec(cluster, Program.REPORT))
        (directory,) = [line.removeprefix("cwd=") for line in text.splitlines() if line.startswith("cwd=")]
        assert cluster.name in directory
        await driver.clean(cluster, keep_logs=False)
        assert not os.path.exists(directory)  # noqa: ASYNC240 - one stat


async def test_no_command_line_shows_a_secret(bench, cluster):
    if not bench.real:
        pytest.skip("its jobs are no processes")
    async with bench.open_driver() as driver:
        jobs = await driver.submit(a_spec(cluster, count=2))
        with observing(bench, driver, cluster, *jobs) as observer:
            await observer.wait(jobs, JobState.RUNNING)
        with trio.fail_after(bench.deadline):
            # A job that runs has not begun yet; /proc tells nobody of changes.
            while command_lines(cluster.name).count("sleep\x00600\x00") < 2:  # noqa: ASYNC110
                await trio.sleep(0.05)
        assert not [line for line in command_lines() if TOKEN in line or "MIIBgDCC" in line]
        await end(bench, driver, cluster, *jobs)


def command_lines(variable=""):
    """The command lines of all processes, or of those that have this in their environment."""
    lines = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if not variable or variable.encode() in (folder / "environ").read_bytes():
                lines.append((folder / "cmdline").read_text(errors="replace"))
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue
    return lines


async def test_a_failure_is_explained_with_exit_code_and_log(bench, cluster):
    async with bench.open_driver() as driver:
        _, text = await explain_end(bench, driver, a_spec(cluster, Program.FAIL, role=Role.SCHEDULER))
        assert "exit code 3" in text.splitlines()[0]
        assert "no such file: input.csv" in text
        await driver.clean(cluster, keep_logs=False)


async def test_a_death_is_explained_with_the_signal_and_log(bench, cluster):
    async with bench.open_driver() as driver:
        _, text = await explain_end(bench, driver, a_spec(cluster, Program.DIE))
        assert "signal 9 (SIGKILL)" in text.partition("out of patience")[0]
        assert "out of patience" in text
        await driver.clean(cluster, keep_logs=False)


async def test_what_a_job_leaves_behind_ends_with_it(bench, cluster):
    # The bench itself looks for processes that are left when the test is over.
    if not bench.sweeps:
        pytest.skip("this batch system is not set up to end them")
    async with bench.open_driver() as driver:
        _, text = await explain_end(bench, driver, a_spec(cluster, Program.LEAVE))
        assert "left" in text
        await driver.clean(cluster, keep_logs=False)


async def test_many_jobs_are_cancelled_at_once_and_gone_ones_are_fine(bench, cluster):
    async with bench.open_driver() as driver:
        failed = await driver.submit(a_spec(cluster, Program.FAIL, group="w1"))
        jobs = await driver.submit(a_spec(cluster, group="w2", count=5))
        with observing(bench, driver, cluster, *failed, *jobs) as observer:
            await observer.wait(failed, JobState.GONE)
            await observer.wait(jobs, JobState.RUNNING)
            await driver.cancel(cluster, [*failed, *jobs])
            await observer.wait(jobs, JobState.GONE)
            await driver.cancel(cluster, [*failed, *jobs])
        await driver.cancel(cluster, [])
        await driver.clean(cluster, keep_logs=False)


async def test_a_cancel_is_seen_before_the_watch_begins(bench, cluster):
    async with bench.open_driver() as driver:
        jobs = await driver.submit(a_spec(cluster, count=2))
        await driver.cancel(cluster, jobs)
        with observing(bench, driver, cluster, *jobs) as observer:
            await observer.wait(jobs, JobState.GONE)
        await driver.clean(cluster, keep_logs=False)


async def test_a_lost_answer_is_found_again(bench, cluster):
    async with bench.open_driver() as driver:
        spec = a_spec(cluster, count=2)
        assert await driver.find(cluster, spec.role, spec.group, spec.count) == ()
        jobs = await driver.submit(spec)
        other = await driver.submit(a_spec(cluster, group="w11"))
        with trio.fail_after(bench.deadline):
            while (found := await driver.find(cluster, spec.role, spec.group, spec.count)) == ():
                await trio.lowlevel.checkpoint()
        assert found == jobs
        assert await driver.find(cluster, Role.WORKER, "w2", 2) == ()
        await end(bench, driver, cluster, *jobs, *other)


async def test_a_cancelled_submission_is_found_again_or_was_never_made(bench, cluster):
    async with bench.open_driver() as driver:
        spec = a_spec(cluster, count=2)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(driver.submit, spec)
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
        jobs = await driver.find(cluster, spec.role, spec.group, spec.count)
        assert len(jobs) in (0, 2)
        await end(bench, driver, cluster, *jobs)


async def test_a_second_driver_takes_jobs_back(bench, cluster):
    spec = a_spec(cluster, count=2)
    async with bench.open_driver() as driver:
        jobs = await driver.submit(spec)
        with observing(bench, driver, cluster, *jobs) as observer:
            await observer.wait(jobs, JobState.RUNNING)
    async with bench.open_driver() as driver:
        with observing(bench, driver, cluster, *jobs) as observer:
            await observer.wait(jobs, JobState.RUNNING)
            assert await driver.find(cluster, spec.role, spec.group, spec.count) == jobs
            await driver.cancel(cluster, jobs)
            await observer.wait(jobs, JobState.GONE)
        await driver.clean(cluster, keep_logs=False)


async def test_a_second_driver_ends_jobs_that_nobody_watches(bench, cluster):
    async with bench.open_driver() as driver:
        jobs = await driver.submit(a_spec(cluster, count=2))
    async with bench.open_driver() as driver:
        await end(bench, driver, cluster, *jobs)


async def test_a_job_that_ended_between_two_drivers_is_gone(bench, cluster):
    async with bench.open_driver() as driver:
        jobs = await driver.submit(a_spec(cluster, Program.FAIL))
        with observing(bench, driver, cluster, *jobs) as observer:
            await observer.wait(jobs, JobState.GONE)
    async with bench.open_driver() as driver:
        with observing(bench, driver, cluster, *jobs) as observer:
            await observer.wait(jobs, JobState.GONE)
        assert "input.csv" in await driver.explain(cluster, jobs[0], "w1-0")
        await driver.clean(cluster, keep_logs=False)


async def test_an_unknown_job_is_gone_and_may_be_cancelled_and_explained(bench, cluster):
    async with bench.open_driver() as driver:
        await driver.cancel(cluster, [bench.unknown_job])
        with observing(bench, driver, cluster, bench.unknown_job) as observer:
            await observer.wait([bench.unknown_job], JobState.GONE)
        assert isinstance(await driver.explain(cluster, bench.unknown_job, "w1-0"), str)


async def test_logs_are_kept_until_they_are_not_wanted(bench, cluster):
    if not bench.real:
        pytest.skip("its jobs have no files")
    async with bench.open_driver() as driver:
        await explain_end(bench, driver, a_spec(cluster, Program.FAIL))
        await driver.clean(cluster, keep_logs=True)
        assert bench.files(cluster)
        await driver.clean(cluster, keep_logs=False)
        assert not bench.files(cluster)
        await driver.clean(cluster, keep_logs=False)


async def test_a_refusal_names_its_cause_and_nothing_is_left(bench, cluster):
    async with bench.open_driver() as driver:
        spec, word = bench.refused(a_spec(cluster, count=3))
        with pytest.raises(JobRefused, match=word):
            await driver.submit(spec)
        assert await driver.find(cluster, spec.role, spec.group, spec.count) == ()
        # The name is free for another attempt.
        jobs = await driver.submit(evolve(spec, cluster=cluster, command=Program.SLEEP.command))
        await end(bench, driver, cluster, *jobs)


async def test_the_largest_group_is_told(bench, cluster):
    async with bench.open_driver() as driver:
        size = driver.max_group_size(cluster)
        assert size is None or size >= 1


async def test_clusters_hear_of_their_own_jobs_only(bench):
    clusters = [new_cluster(bench, user) for user in (0, 1)]
    async with bench.open_driver() as driver:
        jobs = [(await driver.submit(a_spec(cluster)))[0] for cluster in clusters]
        with observing(bench, driver, clusters[0], jobs[0]) as mine, observing(bench, driver, clusters[1], jobs[1]):
            await mine.wait([jobs[0]], JobState.RUNNING)
            assert set(mine.seen) == {jobs[0]}
        for cluster, job in zip(clusters, jobs, strict=True):
            await end(bench, driver, cluster, job)
