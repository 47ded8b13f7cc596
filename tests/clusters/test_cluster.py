"""The life of one cluster on a fake batch system and a virtual clock."""

from functools import partial
from math import inf

import pytest
import trio
import trio.testing
from attrs import evolve

from gateway.backends.batch.options import JobQueueClusterConfig
from gateway.clusters import cluster as cluster_module
from gateway.clusters import errands
from gateway.clusters.job_specs import job_spec
from gateway.clusters.lifecycle import RowState
from gateway.clusters.scheduler_client import SchedulerUnreachable
from gateway.clusters.submitter import TOO_MANY_WAIT
from gateway.errors import (
    BackendUnavailable,
    ClusterFailed,
    Conflict,
    GatewayError,
    JobRefused,
    TryAgainLater,
)
from gateway.models import ClusterStatus, JobReport, JobState, Role
from tests.support.cluster_house import open_house, settle
from tests.support.fakes import RULES, FakeDriver, rules_with


async def test_from_submission_to_stop(autojump_clock):
    async with open_house() as house:
        await house.open()
        assert house.cluster.record.status is ClusterStatus.PENDING
        (spec,) = await house.driver.wait_submissions(1)
        assert spec.role is Role.SCHEDULER
        assert spec.submission == "dask-gateway-c0ffee-scheduler"
        await house.beat()
        assert house.cluster.record.status is ClusterStatus.RUNNING
        assert house.store.clusters["c0ffee"].status is ClusterStatus.RUNNING
        assert house.routes.routes["c0ffee"] == ("tls://node1:8786", "http://node1:8787")
        await house.cluster.stop()
        assert house.store.clusters["c0ffee"].status is ClusterStatus.STOPPING
        await house.cluster.wait_ended()
        assert house.cluster.record.status is ClusterStatus.STOPPED
        assert house.cluster.record.stop_time
        assert house.routes.routes == {}
        assert house.driver.living == []
        assert house.driver.cleaned == [("c0ffee", False)]
        assert house.store.submissions == {}
        await house.cluster.stop()
        with pytest.raises(Conflict, match="stopped"):
            await house.beat()


async def test_workers_start_as_one_group_and_leave(autojump_clock, heard):
    async with open_house() as house:
        await house.running()
        assert await house.cluster.scale(3) == ""
        assert heard[0] == ("http://node1:9000", "token", {"op": "scale", "count": 3})
        _, spec = await house.driver.wait_submissions(2)
        assert (spec.group, spec.count, spec.names) == ("w1", 3, ("w1-0", "w1-1", "w1-2"))
        assert "tls://node1:8786" in spec.command
        await house.beat(0)  # was under way before the scheduler heard of it
        await house.beat(3, active=["w1-0", "w1-1", "w1-2"])
        await settle()
        assert list(house.cluster.rows.states.values()).count(RowState.ACTIVE) == 3
        await house.cluster.scale(1)
        await house.beat(1, active=["w1-0"], closing=["w1-1", "w1-2"])
        await settle()
        assert house.driver.cancelled == []  # they end by themselves
        house.driver.end("w1-1")
        house.driver.end("w1-2")
        await settle()
        assert list(house.cluster.rows.states) == ["w1-0"]
        assert len(house.driver.submissions) == 2
        await house.cluster.stop()
        await house.cluster.wait_ended()
        assert len(house.driver.cancelled) == 1  # one for the scheduler and all workers


async def test_queued_workers_are_cancelled_when_not_wanted_any_more(autojump_clock, heard):
    async with open_house() as house:
        await house.running()
        await house.cluster.scale(5)
        await house.driver.wait_submissions(2)
        await house.cluster.scale(2)
        await settle()
        assert house.driver.cancelled == []  # perhaps they have connected: the scheduler knows
        await house.beat(2)
        await house.driver.wait_until(lambda: bool(house.driver.cancelled))
        await settle()
        assert len(house.driver.cancelled) == 1
        assert list(house.cluster.rows.states) == ["w1-0", "w1-1"]


async def test_scaling_is_clamped_and_says_so(autojump_clock, heard):
    async with open_house(overrides={"cluster_max_workers": 2}) as house:
        await house.running()
        assert "resource limit of 2 workers" in await house.cluster.scale(9)
        assert heard[-1][2] == {"op": "scale", "count": 2}
        assert "maximum=2, minimum=0" in await house.cluster.adapt(None, 9, True)
        assert heard[-1][2] == {"op": "adapt", "minimum": 0, "maximum": 2, "active": True}
        assert await house.cluster.adapt(1, None, True) == ""
        assert heard[-1][2] == {"op": "adapt", "minimum": 1, "maximum": 2, "active": True}


async def test_groups_are_as_large_as_one_submission_may_be(autojump_clock, heard):
    async with open_house(driver=FakeDriver(group_limit=2)) as house:
        await house.running()
        await house.cluster.scale(5)
        specs = await house.driver.wait_submissions(4)
        assert [(spec.group, spec.count) for spec in specs[1:]] == [("w1", 2), ("w2", 2), ("w3", 1)]


async def test_an_adaptive_scheduler_decides(autojump_clock, heard):
    async with open_house() as house:
        await house.running()
        await house.cluster.adapt(0, 10, True)
        await house.beat(4)
        await house.driver.wait_submissions(2)
        assert house.driver.submissions[1].count == 4


async def test_a_lost_worker_is_replaced(autojump_clock, heard):
    async with open_house() as house:
        await house.running()
        await house.cluster.scale(2)
        await house.driver.wait_submissions(2)
        house.driver.run("w1")
        await house.beat(2, active=["w1-0", "w1-1"])
        house.driver.end("w1-0", "NODE_FAIL")
        specs = await house.driver.wait_submissions(3)
        assert (specs[2].group, specs[2].count) == ("w2", 1)
        await house.beat(2, active=[])  # and the other one has left its scheduler
        await house.driver.wait_submissions(4)
        assert ("2_1",) in house.driver.cancelled
        assert "Worker w1-0 was lost: NODE_FAIL" in house.told


async def test_scaling_needs_a_running_cluster(autojump_clock, heard):
    async with open_house() as house:
        await house.open()
        with pytest.raises(Conflict, match="not running"):
            await house.cluster.scale(1)
        await house.driver.wait_submissions(1)
        await house.beat()
        heard.append("deaf")
        with pytest.raises(Conflict, match="does not take"):
            await house.cluster.scale(1)


async def test_why_workers_wait_is_told_with_scale(autojump_clock, heard):
    async with open_house() as house:
        await house.running()
        await house.cluster.scale(2)
        await house.driver.wait_submissions(2)
        house.driver.report("w1", JobState.QUEUED, "Resources")
        await settle()
        assert await house.cluster.scale(3) == "2 workers wait in the queue: Resources"
        assert "Workers wait in the queue: Resources" in house.told


def suspend(house, what):
    for job in house.driver.select(what):
        job.report = JobReport(JobState.RUNNING, "Preempted", suspended=True)
        house.driver.board.deliver({job.id: job.report})


async def test_a_suspended_scheduler_is_not_given_up(autojump_clock):
    async with open_house() as house:
        await house.open()
        await house.driver.wait_submissions(1)
        suspend(house, "scheduler")
        await trio.sleep(1000)
        house.driver.run("scheduler")
        await trio.sleep(50)
        await house.beat()
        suspend(house, "scheduler")
        await trio.sleep(1000)
        assert house.cluster.record.status is ClusterStatus.RUNNING
        assert "The batch system has suspended the scheduler: Preempted" in house.told
        house.driver.run("scheduler")
        await trio.sleep(29)
        assert house.cluster.record.status is ClusterStatus.RUNNING
        await house.status(ClusterStatus.FAILED)
        assert "not been heard of for 30 s" in house.cluster.record.reason


async def test_suspended_workers_are_not_given_up(autojump_clock, heard):
    async with open_house(rules=rules_with(cluster_heartbeat_period=10**6)) as house:
        await house.running()
        await house.cluster.scale(2)
        await house.driver.wait_submissions(2)
        house.driver.run("w1-0")
        await trio.sleep(50)
        suspend(house, "w1")
        await trio.sleep(500)
        house.driver.report("w1", JobState.UNKNOWN)
        await trio.sleep(500)
        house.driver.run("w1")
        await trio.sleep(59)
        assert house.driver.cancelled == []
        assert house.told.count("The batch system has suspended workers: Preempted") == 1
        await trio.sleep(2)
        assert house.driver.cancelled == [("2_0", "2_1")]


async def test_a_worker_that_was_lost_while_suspended_is_not_cancelled_before_it_runs_again(autojump_clock, heard):
    async with open_house(rules=rules_with(cluster_heartbeat_timeout=10**6)) as house:
        await house.running()
        await house.cluster.scale(2)
        await house.driver.wait_submissions(2)
        house.driver.run("w1")
        await house.beat(2, active=["w1-0", "w1-1"])
        suspend(house, "w1-0")
        await settle()
        await house.beat(2, active=["w1-1"])
        await trio.sleep(1000)
        assert house.cluster.rows.states["w1-0"] is RowState.LOST
        assert house.driver.cancelled == []
        house.driver.run("w1-0")
        await house.driver.wait_submissions(3)
        assert house.driver.cancelled == [("2_0",)]


@pytest.mark.parametrize("news_first", [True, False])
async def test_a_requeued_worker_keeps_its_job(autojump_clock, heard, news_first):
    async with open_house(config=JobQueueClusterConfig(requeue=True)) as house:
        await house.running()
        await house.cluster.scale(2)
        await house.driver.wait_submissions(2)
        house.driver.run("w1")
        await house.beat(2, active=["w1-0", "w1-1"])
        if news_first:
            house.driver.report("w1-0", JobState.QUEUED, "BeginTime")
            await settle()
        await house.beat(2, active=["w1-1"], closed=["w1-0"])
        await trio.sleep(10)
        if not news_first:
            assert house.cluster.rows.states["w1-0"] is RowState.LOST
            house.driver.report("w1-0", JobState.QUEUED, "BeginTime")
            await settle()
        assert house.cluster.rows.states["w1-0"] is RowState.QUEUED
        for _ in range(10):
            await trio.sleep(15)
            await house.beat(2, active=["w1-1"])
        house.driver.run("w1-0")
        await house.beat(2, active=["w1-0", "w1-1"])
        assert len(house.driver.submissions) == 2
        assert house.driver.cancelled == []


async def test_a_lost_worker_that_is_not_requeued_is_replaced_after_a_while(autojump_clock, heard):
    async with open_house(
        config=JobQueueClusterConfig(requeue=True), rules=rules_with(cluster_heartbeat_period=10**6)
    ) as house:
        await house.running()
        await house.cluster.scale(1)
        await house.driver.wait_submissions(2)
        house.driver.run("w1")
        await house.beat(1, active=["w1-0"])
        await house.beat(1)
        await trio.sleep(RULES.requeue_timeout - 1)
        assert house.driver.cancelled == []
        await trio.sleep(2)
        assert house.driver.cancelled == [("2_0",)]
        assert len(house.driver.submissions) == 3


async def test_a_scheduler_waits_for_its_turn_to_wait(autojump_clock):
    async with open_house(driver=FakeDriver(group_limit=0)) as house:
        await house.open()
        await trio.sleep(1000)
        assert house.driver.submissions == []
        assert [message for message in house.told if "as the site allows" in message]
        house.driver.group_limit = None
        await house.driver.wait_submissions(1)
        assert house.cluster.record.status is ClusterStatus.PENDING


async def test_workers_wait_for_their_turn_and_others_can_be_cancelled_meanwhile(autojump_clock, heard):
    async with open_house(rules=rules_with(cluster_heartbeat_timeout=10**6)) as house:
        await house.running()
        await house.cluster.scale(2)
        await house.driver.wait_submissions(2)
        house.driver.group_limit = 0
        await house.cluster.scale(5)
        await trio.sleep(1000)
        assert house.told[-1] == TOO_MANY_WAIT
        await house.cluster.scale(1)
        await house.beat(1)
        await settle()
        assert house.driver.cancelled == [("2_1",)]
        await house.cluster.scale(5)
        house.driver.group_limit = None
        await house.driver.wait_submissions(3)
        assert house.driver.submissions[2].count == 4
        assert house.cluster.record.status is ClusterStatus.RUNNING


async def test_clusters_that_were_taken_back_show_no_secrets(autojump_clock, heard):
    token = "0123456789abcdef"
    async with open_house() as house:
        house.record = evolve(house.record, token=token)
        await house.running()
        await house.cluster.scale(3)
        await house.driver.wait_submissions(2)
        record, submissions = house.cluster.record, list(house.store.submissions.values())
        house.scope.cancel()
        await settle()
        house.driver.run("w1")
        house.driver.explanations.update(dict.fromkeys(house.driver.jobs, f"the log says {token}"))
        await house.open(record, submissions)
        await settle()
        house.driver.end("w1")
        await house.status(ClusterStatus.FAILED)
        assert "Worker w1-0 failed to start: the log says [redacted]" in house.told
        assert token not in str(house.told) + house.cluster.record.reason


async def test_a_silent_scheduler_that_was_taken_back_shows_no_secrets(autojump_clock, heard):
    async with open_house() as house:
        house.record = evolve(house.record, token="0123456789abcdef")
        house.driver.explanations["1_0"] = "token 0123456789abcdef"
        await house.running()
        await house.status(ClusterStatus.FAILED)
        assert house.cluster.record.reason.endswith("for 30 s, and its port refuses\ntoken [redacted]")


# ---- failures


async def test_a_refused_scheduler(autojump_clock):
    async with open_house() as house:
        house.driver.refuse_next("invalid partition specified: nosuch")
        await house.open()
        with pytest.raises(ClusterFailed, match=r"failed to start: .* invalid partition specified: nosuch"):
            await house.cluster.wait_started(20)
        await house.cluster.wait_ended()
        assert house.cluster.record.status is ClusterStatus.FAILED
        assert house.driver.cancelled == []
        assert house.driver.cleaned == [("c0ffee", True)]


async def test_a_scheduler_that_cannot_be_reached_has_failed_meanwhile(autojump_clock, monkeypatch):
    async def tell(address, token, message, *, attempts):
        house.driver.explanations["1_0"] = "out of memory"
        house.driver.end("scheduler")
        await settle()
        raise SchedulerUnreachable("the scheduler does not take messages")

    monkeypatch.setattr(cluster_module, "tell_scheduler", tell)
    async with open_house() as house:
        await house.running()
        await settle()
        with pytest.raises(Conflict, match="is not running: it failed: the scheduler's job ended: out of memory"):
            await house.cluster.scale(1)


async def test_a_reason_is_bounded_and_has_no_control_characters(autojump_clock):
    async with open_house() as house:
        house.driver.refuse_next("\x1b[2Jno" + "o" * 100_000)
        await house.open()
        await house.status(ClusterStatus.FAILED)
        assert len(house.cluster.record.reason) < 10_000
        assert "\x1b" not in house.cluster.record.reason + str(house.told)
        assert any(message.startswith("Failed to start: ") for message in house.told)


async def test_a_scheduler_that_ends(autojump_clock):
    async with open_house() as house:
        await house.open()
        await house.driver.wait_submissions(1)
        house.driver.explanations["1_0"] = "FAILED, exit code 1\nno module named dask"
        house.driver.end("scheduler")
        with pytest.raises(ClusterFailed, match="no module named dask"):
            await house.cluster.wait_started(20)
        await house.cluster.wait_ended()
        assert "exit code 1" in house.store.clusters["c0ffee"].reason


async def test_a_scheduler_that_never_reports(autojump_clock):
    async with open_house() as house:
        await house.open()
        await house.driver.wait_submissions(1)
        await trio.sleep(10_000)  # waiting in the queue is not starting
        assert house.cluster.record.status is ClusterStatus.PENDING
        house.driver.run("scheduler")
        begun = trio.current_time()
        await house.status(ClusterStatus.FAILED)
        assert trio.current_time() - begun == pytest.approx(60, abs=1)
        assert "did not report within 60 s" in house.cluster.record.reason
        assert house.driver.cancelled == [("1_0",)]


async def test_a_queue_limit_tells_the_reason(autojump_clock):
    async with open_house(rules=rules_with(queue_timeout=100)) as house:
        await house.open()
        await house.driver.wait_submissions(1)
        house.driver.report("scheduler", JobState.QUEUED, "PartitionDown")
        await house.status(ClusterStatus.FAILED)
        assert "more than 100 s: PartitionDown" in house.cluster.record.reason
        assert trio.current_time() < 110
        assert "The scheduler waits in the queue: PartitionDown" in house.told


async def test_a_silent_scheduler_fails_but_not_while_nothing_is_known(autojump_clock):
    async with open_house() as house:
        await house.running()
        await settle()
        house.driver.unknown("the controller is away")
        await trio.sleep(500)
        assert house.cluster.record.status is ClusterStatus.RUNNING
        assert "not known at the moment: the controller is away" in house.told[-1]
        house.driver.run("scheduler")
        await house.status(ClusterStatus.FAILED)
        assert "not been heard of for 30 s" in house.cluster.record.reason


async def test_a_silent_scheduler_does_not_fail_while_a_question_hangs(autojump_clock):
    async with open_house() as house:
        await house.running()
        await settle()
        with house.driver.board.polling():
            await trio.sleep(60)  # the heartbeat's 30 s are over, the controller hangs
            assert house.cluster.record.status is ClusterStatus.RUNNING
            house.driver.unknown("no answer")
        await trio.sleep(60)
        assert house.cluster.record.status is ClusterStatus.RUNNING
        with house.driver.board.polling():
            house.driver.run("scheduler")
        await house.status(ClusterStatus.FAILED)


async def test_a_late_heartbeat_asks_the_batch_system_once(autojump_clock):
    async with open_house() as house:
        await house.running()
        await house.driver.board.wait_poll_requested()
        begun = trio.current_time()
        await house.driver.board.wait_poll_requested()
        assert trio.current_time() - begun == pytest.approx(22.5, abs=0.1)
        await house.beat()
        house.cluster.poll_now()
        await house.driver.board.wait_poll_requested()


async def test_the_batch_system_is_asked_often_while_something_starts_or_ends(autojump_clock, heard):
    async with open_house(driver=FakeDriver(ends_at_once=False)) as house:
        await house.open()
        await settle()
        assert house.driver.board.eager
        await house.beat()
        await settle()
        assert not house.driver.board.eager
        await house.cluster.scale(1)
        await settle()
        assert house.driver.board.eager
        await house.beat(1, active=["w1-0"])
        await settle()
        assert not house.driver.board.eager
        await house.cluster.stop()
        await settle()
        assert house.driver.board.eager


async def test_a_requeued_scheduler_is_routed_anew(autojump_clock):
    async with open_house() as house:
        await house.running()
        house.driver.report("scheduler", JobState.QUEUED)
        await trio.sleep(1000)
        house.driver.run("scheduler")
        await house.beat(host="node2")
        assert house.cluster.record.status is ClusterStatus.RUNNING
        assert house.routes.routes["c0ffee"][0] == "tls://node2:8786"


async def test_failing_workers_end_the_cluster_with_their_reason(autojump_clock, heard):
    def fail(job):
        if job.spec.role is Role.WORKER:
            house.driver.explanations[job.id] = "exit code 3\ndask: not found"
            house.driver.end(job.id)

    async with open_house(driver=FakeDriver(on_submit=fail)) as house:
        await house.running()
        await house.cluster.scale(1)
        begun = trio.current_time()
        await house.status(ClusterStatus.FAILED)
        assert trio.current_time() - begun < 5
        assert len(house.driver.submissions) == 4
        assert "3 workers in a row failed to start" in house.cluster.record.reason
        assert "dask: not found" in house.cluster.record.reason


async def test_failing_workers_beside_a_good_one_do_not_end_the_cluster(autojump_clock, heard):
    async with open_house() as house:
        await house.running()
        await house.cluster.scale(1)
        await house.driver.wait_submissions(2)
        await house.beat(1, active=["w1-0"])
        house.driver.on_submit = lambda job: house.driver.end(job.id)
        await house.cluster.scale(2)
        await trio.sleep(25)  # its delay doubles: 0.1 s, 0.2 s, ...
        assert house.cluster.record.status is ClusterStatus.RUNNING
        assert 8 <= len(house.driver.submissions) <= 11


async def test_workers_that_do_not_connect_are_given_up(autojump_clock, heard):
    async with open_house(
        driver=FakeDriver(runs_at_once=True), rules=rules_with(cluster_heartbeat_period=10_000)
    ) as house:
        await house.running()
        house.driver.cancel_errors.append(BackendUnavailable("away"))
        await house.cluster.scale(1)
        await house.status(ClusterStatus.FAILED)
        assert 180 < trio.current_time() < 200
        assert len(house.driver.submissions) == 4


async def test_refused_workers(autojump_clock, heard):
    async with open_house() as house:
        await house.running()
        for _ in range(3):
            house.driver.refuse_next("QOSMaxSubmitJobPerUserLimit")
        await house.cluster.scale(2)
        await house.status(ClusterStatus.FAILED)
        assert "QOSMaxSubmitJobPerUserLimit" in house.cluster.record.reason


async def test_refused_workers_beside_others_are_tried_again(autojump_clock, heard):
    async with open_house() as house:
        await house.running()
        await house.cluster.scale(1)
        await house.driver.wait_submissions(2)
        for _ in range(4):
            house.driver.refuse_next("too many jobs")
        await house.cluster.scale(2)
        await house.driver.wait_submissions(7)
        await settle()
        assert house.cluster.record.status is ClusterStatus.RUNNING
        assert len(house.cluster.rows.workers) == 2


# ---- lost answers, restarts, outages


async def test_a_lost_answer_is_looked_for_and_not_submitted_twice(autojump_clock):
    async with open_house() as house:
        house.driver.lose_next()
        house.driver.find_errors.append(BackendUnavailable("away"))
        await house.open()
        await house.driver.wait_until(lambda: len(house.driver.searched) == 2)
        await settle()
        assert len(house.driver.submissions) == 1
        assert house.store.submissions["c0ffee", "scheduler"].jobs == ("1_0",)


async def test_a_lost_submission_is_repeated_when_no_job_is_found(autojump_clock):
    async with open_house() as house:
        house.driver.lose_next(exists=False)
        house.driver.unavailable_next()
        await house.open()
        await house.driver.wait_submissions(3)
        await settle()
        assert house.driver.searched == ["dask-gateway-c0ffee-scheduler"]
        assert any("does not answer" in text for text in house.told)


async def test_a_submission_that_hangs_counts_as_a_lost_answer(autojump_clock):
    async with open_house() as house:
        house.driver.hang_next()
        await house.open()
        await house.driver.wait_until(lambda: bool(house.driver.searched))
        await settle()
        assert house.store.submissions["c0ffee", "scheduler"].jobs == ("1_0",)


async def test_a_stop_during_a_submission_leaves_no_job(autojump_clock):
    async with open_house() as house:
        release = house.driver.hang_next()
        await house.open()
        await house.driver.wait_submissions(1)
        await house.cluster.stop()
        release.set()
        await house.cluster.wait_ended()
        assert house.cluster.record.status is ClusterStatus.STOPPED
        assert house.driver.living == []


async def test_cancelled_is_not_stopped_and_a_restart_takes_the_jobs_back(autojump_clock, heard):
    async with open_house() as house:
        await house.running()
        await house.cluster.scale(3)
        await house.driver.wait_submissions(2)
        await house.beat(3, active=["w1-0", "w1-1", "w1-2"])
        await settle()
        house.scope.cancel()
        await settle()
        assert house.driver.cancelled == []
        house.driver.end("w1-2")  # while the gateway is away

        ((record, submissions),) = await house.store.load()
        house.routes.routes.clear()
        await house.open(record, submissions)
        await settle()
        assert house.cluster.record.status is ClusterStatus.RUNNING
        assert house.routes.routes["c0ffee"][0] == "tls://node1:8786"
        await house.driver.wait_submissions(3)  # the one that is missing
        assert (house.driver.submissions[2].group, house.driver.submissions[2].count) == ("w2", 1)
        await house.beat(3, active=["w1-0", "w1-1"], closed=["w1-2"])
        await settle()
        assert house.cluster.rows.states == {
            "w1-0": RowState.ACTIVE,
            "w1-1": RowState.ACTIVE,
            "w2-0": RowState.QUEUED,
        }
        assert not any("failed to start" in told for told in house.told)


async def test_a_restart_in_the_middle_of_submissions(autojump_clock, heard):
    async with open_house() as house:
        await house.running()
        house.driver.hang_next()
        house.driver.hang_next(exists=False)
        await house.cluster.scale(1)
        await house.driver.wait_submissions(2)
        await settle()
        house.scope.cancel()
        await trio.sleep(100)  # the shielded step has its deadline
        ((record, submissions),) = await house.store.load()
        lost = [evolve(s, jobs=None) if s.role is Role.WORKER else s for s in submissions]
        lost.append(evolve(lost[-1], group="w9"))
        await house.open(record, lost)
        await house.beat(1)
        await settle()
        assert list(house.cluster.rows.states) == ["w1-0"]
        assert house.store.groups() == {"scheduler", "w1"}


async def test_a_restart_while_stopping_goes_on_stopping(autojump_clock):
    async with open_house(driver=FakeDriver(ends_at_once=False)) as house:
        await house.running()
        await house.cluster.stop()
        await settle()
        house.scope.cancel()
        ((record, submissions),) = await house.store.load()
        assert record.status is ClusterStatus.STOPPING
        await house.open(record, submissions)
        await trio.sleep(100)
        assert len(house.driver.cancelled) > 2  # asked again for what is still there
        house.driver.end("scheduler")
        await house.cluster.wait_ended()
        assert house.cluster.record.status is ClusterStatus.STOPPED


async def test_an_ended_cluster_stays_ended(autojump_clock):
    async with open_house() as house:
        await house.open(evolve(house.record, status=ClusterStatus.STOPPED))
        await settle()
        assert house.driver.submissions == []
        assert house.cluster.ended


async def test_cancelling_is_repeated_while_the_batch_system_is_away(autojump_clock):
    async with open_house() as house:
        await house.running()
        house.driver.cancel_errors.extend([BackendUnavailable("away"), BackendUnavailable("away")])
        await house.cluster.stop()
        await house.cluster.wait_ended()
        assert len(house.driver.cancelled) == 3


async def test_a_refused_cancel_is_repeated(autojump_clock):
    async with open_house() as house:
        await house.running()
        house.driver.cancel_errors.append(JobRefused("no permission"))
        await house.cluster.stop()
        await house.cluster.wait_ended()
        assert "Jobs could not be cancelled: no permission" in house.told


async def test_nothing_is_acknowledged_before_it_is_durable(autojump_clock):
    async with open_house() as house:
        await house.open()
        await house.driver.wait_submissions(1)
        await settle()
        house.store.broken = GatewayError("disk full")
        with pytest.raises(TryAgainLater):
            await house.beat()
        assert house.cluster.record.status is ClusterStatus.PENDING
        house.store.broken = None
        await house.beat()
        assert house.cluster.record.status is ClusterStatus.RUNNING


async def test_a_task_that_keeps_failing_fails_this_cluster_only(autojump_clock, heard, monkeypatch):
    def broken(cluster, record, submission, rules):
        if submission.role is Role.WORKER:
            raise ZeroDivisionError("a bug")
        return job_spec(cluster, record, submission, rules)

    monkeypatch.setattr(errands, "job_spec", broken)
    async with open_house() as house:
        await house.running()
        await house.cluster.scale(1)
        await house.status(ClusterStatus.FAILED)
        assert "an error inside the gateway" in house.cluster.record.reason
        assert "a bug" in house.cluster.record.reason
        assert house.driver.living == []


async def test_decisions_that_cannot_be_carried_out_end_this_cluster_only(autojump_clock):
    class Broken:
        reason = ""
        failures = 0

        @property
        def deaf_at(self):
            self.failures += 1
            if 3 < self.failures < 20:
                raise ZeroDivisionError("a bug")
            return -inf

    async with open_house() as house:
        house.hearing = Broken()
        await house.open()
        await house.status(ClusterStatus.FAILED)
        assert "an error inside the gateway: decisions failed 5 times" in house.cluster.record.reason
        assert house.driver.living == []


async def test_wait_started_has_patience(autojump_clock):
    async with open_house() as house:
        await house.open()
        await house.cluster.wait_started(20)
        assert trio.current_time() >= 20
        house.nursery.start_soon(partial(trio.sleep, 0))
        await house.beat()
        await house.cluster.wait_started(20)
        assert trio.current_time() < 21
