"""No submission is lost, and none is made twice: at a slow, deaf or broken batch system, and cancelled anywhere."""

import pytest
import trio

from gateway.backends.base import ClusterRef, JobSpec
from gateway.clusters.submissions import SUBMIT_DEADLINE, Submissions
from gateway.config.cluster import ClusterConfig
from gateway.errors import BackendUnavailable, JobRefused
from gateway.models import JobId, Role, SubmissionRecord
from gateway.store.writer import StoreError
from tests.support.fake_store import FakeStore
from tests.support.fakes import FakeDriver

REF = ClusterRef(name="c0ffee", username="alice", config=ClusterConfig())


class House:
    def __init__(self, *known):
        self.driver = FakeDriver()
        self.store = FakeStore()
        self.told = []
        self.open(*known)

    def open(self, *known):
        """As after a restart of the gateway, with what the store knows."""
        self.submissions = Submissions(REF, self.driver, self.store, self.told.append, known)

    def restart(self):
        self.open(*self.store.submissions.values())

    async def submit(self, group="w1", count=2):
        return await self.submissions.submit(a_spec(group, count))

    @property
    def stored(self):
        return self.store.submissions["c0ffee", "w1"]


def a_spec(group="w1", count=2):
    return JobSpec(
        cluster=REF, role=Role.WORKER, group=group, count=count, command=("dask",), environment={}, secrets={}
    )


def a_submission(jobs=None, count=2):
    return SubmissionRecord(cluster="c0ffee", group="w1", role=Role.WORKER, count=count, jobs=jobs)


async def test_an_intent_before_and_the_ids_after():
    house = House()
    jobs = await house.submit()
    intent, answered = house.store.history
    assert (intent.jobs, answered.jobs) == (None, jobs)
    assert house.submissions.groups == ("w1",)
    assert "w1" in house.submissions
    assert "w2" not in house.submissions
    assert house.submissions["w1"] == answered
    await house.submissions.forget("w1")
    assert house.submissions.groups == ()
    assert house.store.submissions == {}


async def test_without_an_intent_on_record_nothing_is_submitted():
    house = House()
    house.store.broken = StoreError("the disk is full")
    with pytest.raises(StoreError):
        await house.submit()
    assert house.driver.submissions == []


async def test_a_refusal_is_forgotten():
    house = House()
    house.driver.refuse_next("no such partition")
    with pytest.raises(JobRefused, match="no such partition"):
        await house.submit()
    assert house.submissions.groups == ()
    assert house.store.submissions == {}


async def test_a_batch_system_that_is_away_is_waited_for(autojump_clock):
    house = House()
    for _ in range(7):
        house.driver.unavailable_next("slurmctld is down")
    await house.submit()
    assert len(house.driver.submissions) == 8
    assert trio.current_time() == pytest.approx(1 + 2 + 4 + 8 + 15 * 3, abs=1)
    assert "slurmctld is down" in house.told[0]
    assert house.driver.searched == []  # nothing was submitted, so nothing is looked for


async def test_a_lost_answer_is_found_by_name():
    house = House()
    house.driver.lose_next(exists=True)
    jobs = await house.submit()
    assert len(house.driver.submissions) == 1
    assert house.driver.searched == ["dask-gateway-c0ffee-w1"]
    assert house.stored.jobs == jobs


async def test_a_submission_that_was_lost_before_it_arrived_is_repeated():
    house = House()
    house.driver.lose_next(exists=False)
    jobs = await house.submit()
    assert len(house.driver.submissions) == 2
    assert len(house.driver.living) == len(jobs) == 2


async def test_an_answer_that_never_comes(autojump_clock):
    house = House()
    house.driver.hang_next(exists=True)
    jobs = await house.submit()
    assert trio.current_time() == pytest.approx(SUBMIT_DEADLINE, abs=1)
    assert len(house.driver.submissions) == 1
    assert house.stored.jobs == jobs


async def test_looking_for_jobs_waits_for_the_batch_system(autojump_clock):
    house = House()
    house.driver.lose_next()
    house.driver.find_errors.extend([BackendUnavailable("down")] * 3)
    await house.submit()
    assert len(house.driver.submissions) == 1
    assert len(house.driver.searched) == 4


async def test_known_ids_are_not_asked_for():
    house = House(a_submission(jobs=(JobId("7"), JobId("8"))))
    assert await house.submissions.recover("w1") == ("7", "8")
    assert house.driver.searched == []


async def test_an_intent_without_jobs():
    house = House(a_submission())
    assert await house.submissions.recover("w1") == ()
    assert house.store.history == []


async def test_cancelled_anywhere_no_job_is_lost_or_doubled():
    """A submission is cancelled at each of its checkpoints; the next life of the gateway takes up what it left."""
    lefts = set()
    for checkpoints in range(12):
        house = House()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(house.submit)
            for _ in range(checkpoints):
                await trio.lowlevel.checkpoint()
            nursery.cancel_scope.cancel()
        if house.driver.submissions:
            assert house.stored.jobs == tuple(house.driver.living)  # the step is completed
        house.restart()
        if "w1" in house.submissions and not await house.submissions.recover("w1"):
            await house.submissions.forget("w1")
        lefts.add(len(house.driver.living))
        assert len(house.driver.submissions) <= 1
        assert house.submissions.groups == (("w1",) if house.driver.living else ())
    assert lefts == {0, 2}


async def test_a_crash_between_the_answer_and_its_record():
    house = House()

    async def broken_after_the_intent(*records):
        if records[0].jobs is not None:
            raise StoreError("the disk is full")
        house.store.submissions[records[0].cluster, records[0].group] = records[0]

    house.store.save = broken_after_the_intent
    with pytest.raises(StoreError):
        await house.submit()
    del house.store.save
    assert house.stored.jobs is None
    house.restart()
    assert list(await house.submissions.recover("w1")) == house.driver.living
    assert house.stored.jobs is not None
    assert len(house.driver.submissions) == 1
