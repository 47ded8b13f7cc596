"""A line about the whole, and parts that must never stop."""

import threading

import trio

from gateway.backends.watch import LONGEST_QUESTION, WatchBoard
from gateway.clusters.hearing import Hearing
from gateway.clusters.vital_signs import parts, status_line, vital_parts
from gateway.store.writer import open_store
from tests.support.fakes import FakeDriver


class Clusters:
    """The manager, as far as it is asked."""

    def __init__(self, active=0, trouble=""):
        self.active = active
        self.trouble = trouble
        self.hearing = Hearing()


class Database:
    def __init__(self, healthy=True):
        self.healthy = healthy


async def test_the_line_says_what_is_served_and_what_fails():
    assert status_line(":8000", Clusters(), Database()) == "serving at :8000"
    assert status_line(":8000", Clusters(1), Database()) == "serving at :8000; 1 cluster"
    assert (
        status_line(":8000", Clusters(12, "Slurm does not answer"), Database(healthy=False))
        == "serving at :8000; 12 clusters; the database cannot be written; Slurm does not answer"
    )


async def test_what_has_passed_is_told_for_a_minute(autojump_clock):
    clusters = Clusters()
    clusters.hearing.missed("full")
    clusters.hearing.stalled("busy")
    troubled = [(part.name, part.affects_users) for part in parts(clusters, Database()) if part.trouble]
    assert troubled == [("listeners", False), ("event loop", False)]
    assert status_line(":8000", clusters, Database()) == (
        "serving at :8000; connections were turned away; the gateway stood still for seconds"
    )
    await trio.sleep(61)
    assert not any(part.trouble for part in parts(clusters, Database()))


async def test_a_database_answers_unless_its_thread_hangs():
    async with open_store("sqlite://") as store:
        database = vital_parts(FakeDriver(), store)["database"]
        assert await database() == ""
        store.healthy = False  # it fails, and answers
        assert await database() == ""
        release = threading.Event()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(store._write, lambda connection: release.wait(20) and None)
            await trio.testing.wait_all_tasks_blocked(0.05)
            with trio.move_on_after(0.1) as waiting:
                await database()
            assert waiting.cancelled_caught
            release.set()
        assert await database() == ""


async def test_a_driver_says_itself_when_it_has_come_to_a_halt():
    driver = FakeDriver()
    part = vital_parts(driver, None)["batch system's driver"]
    assert await part() == ""
    driver.halted = "it hangs"
    assert await part() == "it hangs"


async def test_a_question_that_is_open_for_too_long_is_a_halt(autojump_clock):
    board = WatchBoard()
    await trio.sleep(2 * LONGEST_QUESTION)
    assert board.stalled == ""
    with board.polling():
        await trio.sleep(LONGEST_QUESTION - 1)
        assert board.stalled == ""
        await trio.sleep(2)
        assert board.stalled == "a look at the batch system's queue has not ended for 900 seconds"
    assert board.stalled == ""
