"""No submission is lost, and none is made twice: at a slow, deaf or broken batch system, and cancelled anywhere."""

import trio
import trio.testing

from gateway.clusters.errands import SUBMIT_DEADLINE
from gateway.models import ClusterStatus, SubmissionRecord
from gateway.store.errors import StoreError
from tests.support.cluster_house import open_house, settle


def submissions_of(house):
    return [saved for saved in house.store.history if isinstance(saved, SubmissionRecord)]


async def test_an_intent_before_and_the_ids_after(autojump_clock, heard):
    async with open_house() as house:
        await house.running()
        await house.cluster.scale(2)
        await house.driver.wait_submissions(2)
        await settle()
        assert [(saved.group, saved.jobs) for saved in submissions_of(house)] == [
            ("scheduler", None),
            ("scheduler", ("1_0",)),
            ("w1", None),
            ("w1", ("2_0", "2_1")),
        ]


async def test_without_an_intent_on_record_nothing_is_submitted(autojump_clock):
    async with open_house() as house:
        await house.open()
        house.store.broken = StoreError("the disk is full")
        await trio.sleep(100)
        assert house.driver.submissions == []
        house.store.broken = None
        await house.driver.wait_submissions(1)


async def test_a_store_that_is_away_after_a_submission_ends_no_cluster(autojump_clock):
    """The ids are stored as soon as that can be done; after a while what was submitted is looked for."""
    async with open_house() as house:
        save = house.store.save

        async def broken_for_long(*records):
            ids = any(isinstance(saved, SubmissionRecord) and saved.jobs for saved in records)
            if ids and len(house.driver.searched) < 5:
                raise StoreError("the disk is full")
            await save(*records)

        house.store.save = broken_for_long
        await house.open()
        await house.driver.wait_until(lambda: len(house.driver.searched) == 5)
        await trio.sleep(5)
        assert len(house.driver.submissions) == 1
        assert submissions_of(house)[-1].jobs == tuple(house.driver.living)
        await house.beat()
        assert house.cluster.record.status is ClusterStatus.RUNNING


async def test_an_answer_that_never_comes(autojump_clock):
    async with open_house() as house:
        house.driver.hang_next(exists=True)
        await house.open()
        await house.driver.wait_until(lambda: bool(house.driver.searched))
        assert SUBMIT_DEADLINE <= trio.current_time() < SUBMIT_DEADLINE + 1
        await settle()
        assert len(house.driver.submissions) == 1
        assert submissions_of(house)[-1].jobs == ("1_0",)


async def test_cancelled_anywhere_no_job_is_lost_or_doubled(autojump_clock, heard):
    """The gateway is ended at each checkpoint of a submission; its next life takes up what it left."""
    lefts = set()
    for checkpoints in range(24):
        async with open_house() as house:
            await house.running()
            await settle()
            house.nursery.start_soon(house.cluster.scale, 2)
            for _ in range(checkpoints):
                await trio.lowlevel.checkpoint()
            house.scope.cancel()
            await settle()
            left = len(house.driver.living) - 1
            lefts.add(left)
            if left:  # the step is completed
                assert house.store.submissions["c0ffee", "w1"].jobs == ("2_0", "2_1")
            ((record, submissions),) = await house.store.load()
            await house.open(record, submissions)
            await house.beat(2)
            await settle()
            assert len(house.driver.living) == 3
            assert len(house.cluster.rows.workers) == 2
    assert lefts == {0, 2}
