"""One cluster and a batch system that is full, hides what it knows, or says what is not so."""

import pytest
import trio

from gateway.backends.batch.options import JobQueueClusterConfig
from gateway.clusters.lifecycle import RowState
from gateway.clusters.patience import MOST_ATTEMPTS
from gateway.clusters.submitter import QUEUE_RETRY, SLOW_SUBMIT
from gateway.errors import AnswerLost, BackendUnavailable, ClusterFailed
from gateway.models import ClusterStatus, JobReport, JobState
from tests.support.cluster_house import open_house, settle
from tests.support.fakes import RULES, FakeDriver

LIMIT = "as many jobs as you may have are in the queue"

# --- full -------------------------------------------------------------------------------------------------------------


async def test_of_a_group_that_does_not_fit_what_fits_is_submitted(autojump_clock, heard):
    async with open_house(driver=FakeDriver(runs_at_once=True)) as house:
        house.driver.room = 4
        await house.running()
        assert await house.cluster.scale(6) == ""
        await trio.sleep(1)
        assert [spec.count for spec in house.driver.submissions] == [1, 3]
        assert house.driver.turned_away == [6, 3, 1]
        assert await house.cluster.scale(6) == f"3 workers are not submitted yet: {LIMIT}"
        assert f"Not all workers can be submitted; trying again: {LIMIT}" in house.told
        for _ in range(100):
            await trio.sleep(10)
            await house.beat(6, active=["w2-0", "w2-1", "w2-2"])
        assert house.cluster.record.status is ClusterStatus.RUNNING
        assert set(house.driver.turned_away[3:]) == {1}


async def test_the_rest_follows_when_there_is_room(autojump_clock, heard):
    async with open_house(driver=FakeDriver(runs_at_once=True)) as house:
        house.driver.room = 3
        await house.running()
        await house.cluster.scale(5)
        await trio.sleep(1)
        assert len(house.driver.living) == 3
        house.driver.room = 100
        await trio.sleep(QUEUE_RETRY + 1)
        assert len(house.driver.living) == 6
        assert await house.cluster.scale(5) == ""


async def test_where_no_arrays_are_allowed_jobs_are_single(autojump_clock, heard):
    async with open_house(driver=FakeDriver(runs_at_once=True)) as house:
        house.driver.room_for_arrays = 1
        await house.running()
        await house.cluster.scale(5)
        await settle()
        assert house.driver.turned_away == [5, 2]
        assert [spec.count for spec in house.driver.submissions] == [1] * 6
        assert await house.cluster.scale(5) == ""


async def test_a_scheduler_that_does_not_fit_waits(autojump_clock):
    async with open_house() as house:
        for _ in range(20):
            house.driver.full_next(LIMIT)
        await house.open()
        await trio.sleep(15 * QUEUE_RETRY)
        assert house.cluster.record.status is ClusterStatus.PENDING
        assert f"The scheduler cannot be submitted yet; trying again: {LIMIT}" in house.told
        await trio.sleep(10 * QUEUE_RETRY)
        assert len(house.driver.living) == 1
        assert len(house.store.submissions) == 1


async def test_a_cluster_that_waits_for_room_can_be_stopped(autojump_clock):
    async with open_house() as house:
        for _ in range(1000):
            house.driver.full_next(LIMIT)
        await house.open()
        await trio.sleep(5)
        await house.cluster.stop()
        await house.status(ClusterStatus.STOPPED)
        assert not house.store.submissions


# --- why workers are not there ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("reason", "more"), [("", ""), ("Priority", ": Priority")])
async def test_scale_says_how_many_wait_even_when_nobody_says_why(autojump_clock, heard, reason, more):
    async with open_house() as house:
        await house.running()
        await house.cluster.scale(3)
        await house.driver.wait_submissions(2)
        assert await house.cluster.scale(3) == ""  # nothing is known of them yet
        house.driver.report("w1", JobState.QUEUED, reason)
        house.driver.run("w1-0")
        await settle()
        assert await house.cluster.scale(3) == f"2 workers wait in the queue{more}"
        house.driver.run("w1-1")
        await settle()
        assert await house.cluster.scale(3) == f"1 worker waits in the queue{more}"


async def test_whoever_deletes_waiting_jobs_does_not_lose_the_cluster(autojump_clock, heard):
    async with open_house() as house:
        await house.running()
        await house.cluster.scale(1)
        for number in range(1, 9):
            await house.driver.wait_submissions(1 + number)
            await settle()
            await house.beat(1)
            house.driver.report(f"w{number}-0", JobState.GONE, "CANCELLED", deleted=True)
        await house.driver.wait_submissions(10)  # it is replaced, and after a pause each time
        assert house.cluster.record.status is ClusterStatus.RUNNING
        assert "The job of worker w8-0 was deleted before it had started: CANCELLED" in house.told


@pytest.mark.parametrize("requeue", [False, True])
async def test_a_job_that_runs_again_is_replaced_where_jobs_run_once(autojump_clock, heard, requeue):
    async with open_house(config=JobQueueClusterConfig(requeue=requeue)) as house:
        await house.running()
        await house.cluster.scale(2)
        await house.driver.wait_submissions(2)
        house.driver.run("w1")
        await settle()
        house.driver.report("w1-0", JobState.QUEUED)
        await settle()
        assert house.driver.cancelled == ([] if requeue else [("2_0",)])
        assert len(house.driver.submissions) == (2 if requeue else 3)


# --- absence ----------------------------------------------------------------------------------------------------------


async def test_a_heartbeat_refutes_the_absence_of_a_scheduler(autojump_clock):
    async with open_house() as house:
        await house.running()
        house.driver.report("scheduler", JobState.GONE, "it has left the queue", presumed=True)
        for _ in range(10):
            await trio.sleep(15)
            await house.beat()
        assert house.cluster.record.status is ClusterStatus.RUNNING
        assert house.told[-1] == "The scheduler's job is not in the queue any more; its next heartbeat decides"


async def test_a_scheduler_that_is_missed_and_silent_has_ended(autojump_clock):
    async with open_house() as house:
        await house.running()
        house.driver.report("scheduler", JobState.GONE, "it has left the queue", presumed=True)
        start = trio.current_time()
        await house.status(ClusterStatus.FAILED)
        assert trio.current_time() - start < RULES.options.heartbeat_timeout
        assert house.cluster.record.reason == "the scheduler's job ended: it has left the queue"
        assert house.driver.cancelled == [("1_0",)]  # in case it is there after all


async def test_a_scheduler_that_is_missed_before_it_reported_has_ended(autojump_clock):
    async with open_house() as house:
        await house.open()
        await house.driver.wait_submissions(1)
        house.driver.report("scheduler", JobState.QUEUED)
        await settle()
        house.driver.report("scheduler", JobState.GONE, "it has left the queue", presumed=True)
        await house.status(ClusterStatus.FAILED)
        assert house.driver.cancelled == [("1_0",)]


NEVER_SEEN = JobReport(JobState.GONE, "it has left the queue", presumed=True)


async def test_a_scheduler_that_a_crashed_server_has_forgotten_is_submitted_again(autojump_clock):
    async with open_house() as house:
        house.driver.on_submit = lambda job: setattr(job, "report", NEVER_SEEN if job.id < "2" else job.report)
        await house.open()
        await house.driver.wait_submissions(2)
        await settle()
        assert "The scheduler's job 1_0 was never in the queue; submitting it again" in house.told
        assert house.driver.cancelled == [("1_0",)]
        await house.beat()
        assert house.cluster.record.status is ClusterStatus.RUNNING
        assert [record.jobs for record in house.store.submissions.values()] == [("2_0",)]


async def test_a_scheduler_that_never_comes_into_the_queue_fails_in_the_end(autojump_clock):
    async with open_house() as house:
        house.driver.on_submit = lambda job: setattr(job, "report", NEVER_SEEN)
        house.driver.cancel_errors.append(BackendUnavailable("away"))
        await house.open()
        await house.status(ClusterStatus.FAILED)
        assert len(house.driver.submissions) == MOST_ATTEMPTS
        assert "Jobs that are not in the queue any more could not be cancelled: away" in house.told


async def test_workers_that_a_crashed_server_has_forgotten_are_replaced(autojump_clock, heard):
    async with open_house() as house:
        await house.running()
        house.driver.on_submit = lambda job: setattr(job, "report", NEVER_SEEN if job.id < "6" else job.report)
        await house.cluster.scale(1)
        await house.driver.wait_submissions(6)
        await settle()
        assert house.cluster.record.status is ClusterStatus.RUNNING
        assert "The job of worker w1-0 was never in the queue: it has left the queue" in house.told


async def test_a_scheduler_that_comes_back_to_the_list_is_not_missed(autojump_clock):
    async with open_house() as house:
        await house.running()
        house.driver.report("scheduler", JobState.GONE, "it has left the queue", presumed=True)
        await settle()
        house.driver.run("scheduler")
        await trio.sleep(RULES.options.heartbeat_timeout - 1)
        assert house.cluster.record.status is ClusterStatus.RUNNING


async def test_missed_workers_are_cancelled_unless_they_are_connected(autojump_clock, heard):
    async with open_house() as house:
        await house.running()
        await house.cluster.scale(2)
        await house.driver.wait_submissions(2)
        house.driver.run("w1")
        await house.beat(2, active=["w1-0"])
        house.driver.report("w1", JobState.GONE, "it has left the queue", presumed=True)
        await settle()
        assert house.driver.cancelled == [("2_1",)]
        assert house.cluster.rows.states["w1-0"] is RowState.ACTIVE
        await house.beat(2, active=[])
        await settle()
        assert house.driver.cancelled == [("2_1",), ("2_0",)]
        assert "w1-0" not in house.cluster.rows.states


async def test_a_cancel_of_missed_workers_that_fails_is_told(autojump_clock, heard):
    async with open_house() as house:
        await house.running()
        await house.cluster.scale(1)
        await house.driver.wait_submissions(2)
        house.driver.cancel_errors.append(BackendUnavailable("slurmctld is away"))
        house.driver.report("w1", JobState.GONE, "it has left the queue", presumed=True)
        await settle()
        assert "Jobs that are not in the queue any more could not be cancelled: slurmctld is away" in house.told


# --- nothing is known -------------------------------------------------------------------------------------------------


async def test_a_batch_system_that_never_answers_does_not_keep_a_cluster_pending(autojump_clock):
    async with open_house() as house:
        await house.open()
        await house.driver.wait_submissions(1)
        house.driver.report("scheduler", JobState.UNKNOWN, "squeue: no such option")
        await trio.sleep(1000)
        assert house.cluster.record.status is ClusterStatus.PENDING
        house.driver.report("scheduler", JobState.UNKNOWN, "squeue: no such option", overdue=True)
        with pytest.raises(ClusterFailed, match="did not report within 60 s"):
            await house.cluster.wait_started(100)
        assert any("has not been known for minutes: squeue: no such option" in told for told in house.told)


async def test_a_silent_scheduler_fails_when_nothing_has_been_known_for_minutes(autojump_clock):
    async with open_house() as house:
        await house.running()
        house.driver.report("scheduler", JobState.UNKNOWN, "squeue is sad")
        await trio.sleep(1000)
        assert house.cluster.record.status is ClusterStatus.RUNNING
        house.driver.report("scheduler", JobState.UNKNOWN, "squeue is sad", overdue=True)
        await house.status(ClusterStatus.FAILED)


# --- slow and lost ----------------------------------------------------------------------------------------------------


async def test_a_slow_submission_is_told_of_while_it_lasts(autojump_clock):
    async with open_house() as house:
        answer = house.driver.hang_next()
        await house.open()
        await trio.sleep(SLOW_SUBMIT - 1)
        assert house.told == []
        await trio.sleep(2)
        assert house.told == ["The batch system has not answered the submission of scheduler for 10 seconds"]
        answer.set()
        await settle()
        assert house.told[-1] == "The scheduler is job 1_0"


async def test_why_an_answer_was_lost_is_told(autojump_clock):
    async with open_house() as house:
        house.driver.fail_next(AnswerLost("sbatch did not answer within 30 seconds."), exists=True)
        await house.open()
        await house.driver.wait_submissions(1)
        await settle()
        assert house.told[0] == (
            "The answer to the submission of scheduler was lost (sbatch did not answer within 30 seconds);"
            " looking for its jobs"
        )
