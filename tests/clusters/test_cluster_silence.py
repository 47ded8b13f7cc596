"""A scheduler that is not heard of: what the gateway makes of that, and what it asks before it believes anything."""

import pytest
import trio

from gateway.clusters.silence import Answer
from gateway.models import ClusterStatus, JobState
from tests.support.cluster_house import open_house, settle
from tests.support.fakes import RULES, rules_with


async def test_a_scheduler_that_answers_is_not_given_up(autojump_clock):
    async with open_house() as house:
        house.answers = [Answer.HERE]
        await house.running()
        await trio.sleep(1000)
        assert house.cluster.record.status is ClusterStatus.RUNNING
        assert house.told[-1] == "No heartbeat of the scheduler for 30 s, but it answers when it is asked; waiting"
        assert house.told.count(house.told[-1]) == 1
        assert [round(later - earlier) for earlier, later in zip(house.asked, house.asked[1:], strict=False)][:3] == [
            30,
            30,
            30,
        ]


async def test_whose_port_refuses_has_failed(autojump_clock):
    async with open_house() as house:
        house.answers = [Answer.HERE, Answer.REFUSED]
        await house.running()
        start = trio.current_time()
        await house.status(ClusterStatus.FAILED)
        assert trio.current_time() - start == pytest.approx(2 * RULES.options.heartbeat_timeout, abs=1)
        assert "the scheduler has not been heard of for 30 s, and its port refuses" in house.cluster.record.reason


async def test_who_does_not_answer_has_failed_after_a_while(autojump_clock):
    async with open_house(rules=rules_with(cluster_unreachable_timeout=40)) as house:
        house.answers = [Answer.SILENT]
        await house.running()
        start = trio.current_time()
        await trio.sleep(RULES.options.heartbeat_timeout + 40)
        assert house.cluster.record.status is ClusterStatus.RUNNING
        assert house.told[-1].endswith("and it does not answer (no answer); it will be asked again")
        await house.status(ClusterStatus.FAILED)
        assert len(house.asked) >= 3
        assert (
            trio.current_time() - start
            < RULES.options.heartbeat_timeout + 40 + 3 * 5 + RULES.options.cluster_heartbeat_period
        )
        assert "not been heard of for 30 s, and it does not answer (no answer)" in house.cluster.record.reason


async def test_an_answer_between_two_silences_begins_anew(autojump_clock):
    async with open_house() as house:
        house.answers = [Answer.SILENT, Answer.SILENT, Answer.HERE] * 10 + [Answer.HERE]
        await house.running()
        await trio.sleep(1000)
        assert house.cluster.record.status is ClusterStatus.RUNNING


async def test_a_heartbeat_during_the_question_is_what_counts(autojump_clock):
    async with open_house() as house:
        house.answers = [Answer.SILENT]
        await house.running()
        for _ in range(20):
            await trio.sleep(RULES.options.heartbeat_timeout + 3)  # within the five seconds of the question
            await house.beat()
        assert house.cluster.record.status is ClusterStatus.RUNNING
        assert len(house.asked) == 20


@pytest.mark.parametrize("answer", [Answer.SILENT, Answer.REFUSED])
async def test_nobody_fails_while_the_gateway_cannot_hear(autojump_clock, answer):
    async with open_house() as house:
        house.answers = [answer]
        await house.running()
        for _ in range(100):
            await trio.sleep(7)
            house.hearing.missed("connections were refused")
        assert house.cluster.record.status is ClusterStatus.RUNNING
        assert house.told[-1] == (
            "No heartbeat of the scheduler for 30 s, in which the gateway may have missed some "
            "(connections were refused); waiting"
        )
        start = trio.current_time()
        await house.status(ClusterStatus.FAILED)
        assert trio.current_time() - start >= RULES.options.heartbeat_timeout


@pytest.mark.parametrize("answer", [Answer.SILENT, Answer.REFUSED])
async def test_an_answer_that_may_have_been_missed_counts_for_nothing(autojump_clock, answer):
    async with open_house() as house:
        house.answers = [answer]
        ask = house.ask

        async def deaf(*about):
            asked = await ask(*about)
            if len(house.asked) < 20:
                house.hearing.missed("the gateway was busy")
            return asked

        house.ask = deaf
        await house.running()
        await house.status(ClusterStatus.FAILED)
        assert len(house.asked) >= 20


async def test_who_cannot_be_asked_is_waited_for(autojump_clock):
    async with open_house() as house:
        house.answers = [Answer.NOT_ASKED]
        await house.running()
        await trio.sleep(1000)
        assert house.cluster.record.status is ClusterStatus.RUNNING
        assert house.told[-1].endswith("and it cannot be asked; trying again")
        house.driver.end("scheduler", "exit code 1")
        await house.status(ClusterStatus.FAILED)
        assert house.cluster.record.reason == "the scheduler's job ended: exit code 1"


@pytest.mark.parametrize("answer", [Answer.HERE, Answer.NOT_ASKED])
async def test_a_missed_job_whose_scheduler_answers_is_there(autojump_clock, answer):
    async with open_house() as house:
        house.answers = [answer]
        await house.running()
        house.driver.report("scheduler", JobState.GONE, "it has left the queue", presumed=True)
        await trio.sleep(1000)
        assert house.cluster.record.status is ClusterStatus.RUNNING
        assert house.driver.cancelled == []
        house.answers = [Answer.SILENT]
        await house.status(ClusterStatus.FAILED)
        assert house.cluster.record.reason == "the scheduler's job ended: it has left the queue"


async def test_a_missed_job_is_waited_for_while_the_gateway_cannot_hear(autojump_clock):
    async with open_house() as house:
        house.answers = [Answer.SILENT]
        await house.running()
        house.driver.report("scheduler", JobState.GONE, "it has left the queue", presumed=True)
        for _ in range(100):
            await trio.sleep(7)
            house.hearing.missed("connections were refused")
        assert house.cluster.record.status is ClusterStatus.RUNNING


async def test_a_cluster_can_be_stopped_while_its_scheduler_is_asked(autojump_clock):
    async with open_house() as house:
        house.answers = [Answer.SILENT]
        await house.running()
        await trio.sleep(RULES.options.heartbeat_timeout + 1)
        assert len(house.asked) == 1
        await house.cluster.stop()
        await house.status(ClusterStatus.STOPPED)
        await settle()
        assert len(house.asked) == 1


async def test_a_scheduler_that_starts_while_the_gateway_cannot_hear_is_waited_for(autojump_clock):
    async with open_house() as house:
        await house.open()
        await house.driver.wait_submissions(1)
        house.driver.run("scheduler")
        for _ in range(100):
            await trio.sleep(RULES.options.heartbeat_timeout / 2)
            house.hearing.missed("full")
        assert house.cluster.record.status is ClusterStatus.PENDING
        await house.status(ClusterStatus.FAILED)  # it could be heard, and was not
        assert "did not report" in house.cluster.record.reason


async def test_workers_that_start_while_their_scheduler_is_silent_are_waited_for(autojump_clock):
    """It answers when it is asked, and sends no heartbeat: so nobody knows whether they have connected."""
    async with open_house() as house:
        house.answers = [Answer.HERE]
        await house.running()
        await house.beat(1)
        await house.driver.wait_submissions(2)
        house.driver.run("w1")
        await trio.sleep(10 * RULES.options.worker_start_timeout)
        assert house.driver.cancelled == []
        await house.beat(1)
        for _ in range(4):
            await trio.sleep(15)
            await house.beat(1)
        assert house.driver.cancelled == [("2_0",)]  # it could be heard of, and was not


async def test_workers_that_start_while_the_gateway_cannot_hear_are_waited_for(autojump_clock):
    async with open_house() as house:
        house.answers = [Answer.HERE]
        await house.running()
        await house.beat(1)
        await house.driver.wait_submissions(2)
        house.driver.run("w1")
        for _ in range(100):
            await trio.sleep(RULES.options.heartbeat_timeout / 2)
            house.hearing.missed("full")
        assert house.driver.cancelled == []
        await house.beat(1, active=["w1-0"])
        await trio.sleep(10 * RULES.options.worker_start_timeout)
        assert house.driver.cancelled == []
