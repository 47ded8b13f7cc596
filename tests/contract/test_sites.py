"""What every driver of a batch system makes of a site's wrappers: real commands, with what sites put around them."""

import re
import subprocess

import pytest
from attrs import evolve

from gateway.errors import AnswerLost, BackendUnavailable, JobRefused, QueueFull
from gateway.models import JobState, Role
from tests.contract.test_driver_contract import a_spec, new_cluster, observing
from tests.contract.wrappers import SITES
from tests.slurm.real import as_user
from tests.support.looks import looks


@pytest.fixture(params=SITES)
def site(request, tmp_path):
    with request.param(tmp_path) as site:
        yield site


async def ended(site, driver, cluster, *jobs):
    """Cancel jobs and wait until they are gone."""
    with observing(site.bench, driver, cluster, *jobs) as observer:
        await driver.cancel(cluster, jobs)
        await observer.wait(jobs, JobState.GONE)
    await driver.clean(cluster, keep_logs=False)


@pytest.fixture
def own_job(site):
    """The id of a job that the user has submitted without us."""
    options = {"sbatch": ["--parsable", "--output=/dev/null"], "qsub": ["-joe", "-o/dev/null"]}[site.submit]
    submit = [str(site.real / site.submit), *options]
    done = as_user(site.bench.users[0], *submit, stdin="#!/bin/sh\nexec sleep 600\n")
    assert done.returncode == 0, done.stderr
    job = done.stdout.strip()
    yield job
    as_user(site.bench.users[0], str(site.real / site.cancel), job)


def lives(site, job):
    """Is the user's own job still there?"""
    if site.submit == "sbatch":
        command, pattern = ["squeue", "-h", "-o", "%T", "-j", job], "RUNNING|PENDING"
    else:
        command, pattern = ["qstat", "-f", job], "job_state = [RQ]"
    command[0] = str(site.real / command[0])
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    return re.search(pattern, done.stdout) is not None


# --- the id -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("stream", ["1", "2"])
async def test_whatever_stands_around_an_id_is_none(site, own_job, count, stream):
    site.wrap(
        site.submit,
        f"""
        echo "Welcome to the cluster. Your oldest job is {own_job}" >&{stream}
        "$REAL" "$@" || exit $?
        echo "Core hours left on this allocation: 497218" >&{stream}
        echo "balance 123.45" >&{stream}
        """,
    )
    cluster = new_cluster(site.bench)
    async with site.open_driver() as driver:
        jobs = await driver.submit(a_spec(cluster, count=count))
        with observing(site.bench, driver, cluster, *jobs) as observer:
            await observer.wait(jobs, JobState.RUNNING)
        await ended(site, driver, cluster, *jobs)
    assert lives(site, own_job)


async def test_of_two_ids_neither_is_believed_and_the_job_is_found_by_name(site, own_job):
    site.wrap(site.submit, f'"$REAL" "$@" || exit $?\necho "{own_job}"')
    cluster = new_cluster(site.bench)
    async with site.open_driver() as driver:
        with pytest.raises(AnswerLost, match="more than one line"):
            await driver.submit(a_spec(cluster))
        jobs = await driver.find(cluster, Role.WORKER, "w1", 1)
        assert own_job not in jobs
        await ended(site, driver, cluster, *jobs)
    assert lives(site, own_job)


async def test_a_wrong_id_ends_our_job_and_nobody_else_s(site, own_job):
    site.wrap(site.submit, f'"$REAL" "$@" >/dev/null || exit $?\necho "{own_job}"')
    cluster = new_cluster(site.bench)
    async with site.open_driver() as driver:
        assert await driver.submit(a_spec(cluster)) == (own_job,)
        (job,) = await driver.find(cluster, Role.WORKER, "w1", 1)
        with observing(site.bench, driver, cluster, job) as observer:
            await driver.cancel(cluster, [own_job])  # as a cluster does that believed it
            await observer.wait([job], JobState.GONE)
        await driver.clean(cluster, keep_logs=False)
    assert lives(site, own_job)


# --- status commands --------------------------------------------------------------------------------------------------

NOISE = "error: Ignoring obsolete FastSchedule=1 option. Please remove from your configuration."


@pytest.mark.parametrize("stream", ["1", "2"])
async def test_status_commands_may_say_more_than_they_were_asked(site, stream):
    for command in {"squeue": ("squeue", "scontrol"), "qstat": ("qselect", "qstat")}[site.status]:
        site.wrap(command, f'echo "{NOISE}" >&{stream}\n"$REAL" "$@"')
    cluster = new_cluster(site.bench)
    async with site.open_driver() as driver:
        jobs = await driver.submit(a_spec(cluster, count=2))
        with observing(site.bench, driver, cluster, *jobs) as observer:
            await observer.wait(jobs, JobState.RUNNING)
            await driver.cancel(cluster, jobs)
            await observer.wait(jobs, JobState.GONE)
            assert not any(JobState.UNKNOWN in observer.seen[job] for job in jobs)
        await driver.clean(cluster, keep_logs=False)


async def test_a_list_from_before_the_submission_ends_no_job(site):
    listing = {"squeue": "squeue", "qstat": "qselect"}[site.status]
    site.wrap(listing, "exit 0")  # a cache that knew of no jobs
    cluster = new_cluster(site.bench)
    async with site.open_driver() as driver:
        jobs = await driver.submit(a_spec(cluster, count=2))
        with observing(site.bench, driver, cluster, *jobs) as observer:
            await observer.wait(jobs, JobState.RUNNING)
            assert JobState.GONE not in {report.state for report in await looks(observer.watch, 4)}
            await driver.cancel(cluster, jobs)
            await observer.wait(jobs, JobState.GONE)
        await driver.clean(cluster, keep_logs=False)


async def test_what_a_cache_does_not_know_is_found_by_its_name_all_the_same(site):
    site.wrap({"squeue": "squeue", "qstat": "qselect"}[site.status], "exit 0")
    site.wrap(site.submit, '"$REAL" "$@" >/dev/null')
    cluster = new_cluster(site.bench)
    async with site.open_driver() as driver:
        with pytest.raises(AnswerLost, match=r"no (line that is a job )?id"):
            await driver.submit(a_spec(cluster, count=2))
        jobs = await driver.find(cluster, Role.WORKER, "w1", 2)
        assert len(jobs) == 2
        await ended(site, driver, cluster, *jobs)


async def test_a_status_command_that_fails_ends_no_job(site):
    cluster = new_cluster(site.bench)
    async with site.open_driver() as driver:
        jobs = await driver.submit(a_spec(cluster))
        with observing(site.bench, driver, cluster, *jobs) as observer:
            await observer.wait(jobs, JobState.RUNNING)
            for command in ("squeue", "qselect"):
                if (site.folder / command).exists():
                    site.wrap(command, 'echo "segmentation fault" >&2; exit 1')
            reports = await observer.wait(jobs, JobState.UNKNOWN)
            assert "segmentation fault" in reports[0].reason
            for command in ("squeue", "qselect"):
                if (site.folder / command).exists():
                    site.wrap(command, 'exec "$REAL" "$@"')
            await driver.cancel(cluster, jobs)
            await observer.wait(jobs, JobState.GONE)
        await driver.clean(cluster, keep_logs=False)


# --- refusals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "error"), [("away", BackendUnavailable), ("full", QueueFull), ("refused", JobRefused)]
)
async def test_refusals_are_of_three_classes(site, kind, error):
    cluster = new_cluster(site.bench)
    async with site.open_driver() as driver:
        for words in getattr(site, kind):
            site.wrap(site.submit, f"cat >/dev/null\ncat >&2 <<'WORDS'\n{words}\nWORDS\nexit 1")
            with pytest.raises(error) as caught:
                await driver.submit(a_spec(cluster, count=2))
            assert " ".join(words.split()) in str(caught.value)
            assert await driver.find(cluster, Role.WORKER, "w1", 2) == ()


# --- several clusters -------------------------------------------------------------------------------------------------

#: What Slurm's commands do with --clusters (slurm 22.05, src/sbatch/sbatch.c and src/squeue/squeue.c), for two clusters
#: that are one behind the curtain; whoever does not name the second one does not see its jobs.
SECOND_CLUSTER = """
named=
for word; do
  shift
  case $word in --clusters=smp) named=yes ;; --clusters=*) echo "'$word' can't be reached now" >&2; exit 1 ;;
    *) set -- "$@" "$word" ;; esac
done
case $(basename "$REAL"):$named in
  sbatch:yes) id=$("$REAL" "$@") || exit $?; echo "$id;smp" ;;
  squeue:yes) echo "CLUSTER: smp"; exec "$REAL" "$@" ;;
  squeue:) exit 0 ;;
  scontrol:) case "$*" in *"show job"*) echo "slurm_load_jobs error: Invalid job id specified" >&2; exit 1 ;; esac
    exec "$REAL" "$@" ;;
  scancel:) exit 0 ;;
  *) exec "$REAL" "$@" ;;
esac
"""


@pytest.mark.parametrize("site", SITES[:1], indirect=True)
async def test_jobs_of_another_cluster_are_known_with_it(site):
    for command in ("sbatch", "squeue", "scancel", "scontrol", "sacct"):
        site.wrap(command, SECOND_CLUSTER)
    cluster = new_cluster(site.bench)
    cluster = evolve(cluster, config=evolve(cluster.config, worker_cluster="smp"))
    async with site.open_driver() as driver:
        with pytest.raises(BackendUnavailable, match="can't be reached"):
            await driver.submit(a_spec(evolve(cluster, config=evolve(cluster.config, worker_cluster="gpu"))))
        jobs = await driver.submit(a_spec(cluster, count=2))
        assert all(job.endswith(";smp") for job in jobs)
        assert await driver.find(cluster, Role.WORKER, "w1", 2) == jobs
        with observing(site.bench, driver, cluster, *jobs) as observer:
            await observer.wait(jobs, JobState.RUNNING)
            await driver.cancel(cluster, jobs)
            await observer.wait(jobs, JobState.GONE)
        assert f"Job {jobs[0]}: CANCELLED" in await driver.explain(cluster, jobs[0], "w1-0")
        await driver.clean(cluster, keep_logs=False)
