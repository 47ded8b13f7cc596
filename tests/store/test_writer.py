"""The trio half of the store: groups, outcomes, cancellation, health; and a crash of the whole process."""

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import pytest
import structlog
import trio
import trio.testing

from gateway.errors import StartError
from gateway.store.database import Change, Database
from gateway.store.writer import GROUP_LIMIT, PROBE_PERIOD, Store, StoreError, StoreUnavailable, open_store
from tests.support.store_records import a_cluster, a_submission


class FakeDatabase:
    """Notes the groups it is given. A test decides when a group is done, and how it ends."""

    def __init__(self) -> None:
        self.groups: list[list[str]] = []
        self.unavailable: StoreUnavailable | None = None
        self.refused: dict[str, Exception] = {}
        self.may_commit = threading.Event()
        self.may_commit.set()
        self.closed = False
        self.tables = self

    # What the store makes of these are changes: functions that a group is made of.

    def save(self, connection: Any, records: Sequence[Any]) -> str:
        return "+".join(record.name for record in records)

    def forget_clusters(self, connection: Any, names: Sequence[str]) -> str:
        return "-" + ",".join(names)

    def forget_submissions(self, connection: Any, cluster: str, groups: Sequence[str]) -> str:
        return f"-{cluster}/{','.join(groups)}"

    def probe(self, connection: Any) -> str:
        return "probe"

    def commit(self, changes: Sequence[Callable[[Any], Any]]) -> list[Exception | None]:
        names = [change(None) for change in changes]
        self.groups.append(names)
        assert self.may_commit.wait(60)
        if self.unavailable is not None:
            raise self.unavailable
        return [self.refused.get(name) for name in names]

    def close(self) -> None:
        assert not self.closed
        self.closed = True


@pytest.fixture
def database(monkeypatch: pytest.MonkeyPatch) -> FakeDatabase:
    fake = FakeDatabase()
    monkeypatch.setattr(Database, "open", lambda url, **options: fake)
    return fake


async def line_up(nursery: trio.Nursery, store: Store, *names: str) -> None:
    """Save a cluster of each name in a task of its own, in this order; return when all wait."""
    for name in names:
        nursery.start_soon(store.save, a_cluster(name))
        await trio.testing.wait_all_tasks_blocked()


async def until(condition: Callable[[], bool]) -> None:
    """Wait for what a thread brings about."""
    with trio.fail_after(60):
        while not condition():
            await trio.lowlevel.checkpoint()


@asynccontextmanager
async def busy_store(database: FakeDatabase) -> Any:
    """A store whose writer is on its way to the disk with a first group, until `may_commit` is set."""
    async with open_store("sqlite://") as store, trio.open_nursery() as nursery:
        database.may_commit.clear()
        nursery.start_soon(store.save, a_cluster("first"))
        await trio.testing.wait_all_tasks_blocked()
        try:
            yield store
        finally:
            database.may_commit.set()


async def test_a_lone_save_is_written_at_once(database: FakeDatabase) -> None:
    async with open_store("sqlite://") as store:
        await store.save(a_cluster("a"), a_cluster("b"))
        assert database.groups == [["a+b"]]
        await store.forget_clusters("a", "b")
        await store.forget_submissions("c", "w1")
        assert database.groups[1:] == [["-a,b"], ["-c/w1"]]
        assert not database.closed
    assert database.closed


async def test_what_gathers_meanwhile_is_one_group_in_order(database: FakeDatabase) -> None:
    async with busy_store(database) as store, trio.open_nursery() as nursery:
        await line_up(nursery, store, "a", "b", "c")
        database.may_commit.set()
    assert database.groups == [["first"], ["a", "b", "c"]]


async def test_groups_are_bounded(database: FakeDatabase) -> None:
    names = [f"c{number}" for number in range(GROUP_LIMIT + 1)]
    async with busy_store(database) as store, trio.open_nursery() as nursery:
        await line_up(nursery, store, *names)
        database.may_commit.set()
    assert database.groups == [["first"], names[:-1], names[-1:]]


async def test_a_refused_change_is_its_own_callers_error(database: FakeDatabase) -> None:
    database.refused = {"b": StoreError("no")}
    outcomes: dict[str, Exception | None] = {}

    async def save(store: Store, name: str) -> None:
        try:
            await store.save(a_cluster(name))
            outcomes[name] = None
        except StoreError as error:
            outcomes[name] = error

    async with busy_store(database) as store, trio.open_nursery() as nursery:
        for name in "abc":
            nursery.start_soon(save, store, name)
        await trio.testing.wait_all_tasks_blocked()
        database.may_commit.set()
        await trio.testing.wait_all_tasks_blocked()
    assert outcomes == {"a": None, "b": database.refused["b"], "c": None}
    assert store.healthy


async def test_save_returns_only_when_durable(database: FakeDatabase) -> None:
    done = trio.Event()

    async def save(store: Store) -> None:
        await store.save(a_cluster("a"))
        done.set()

    async with open_store("sqlite://") as store, trio.open_nursery() as nursery:
        database.may_commit.clear()
        nursery.start_soon(save, store)
        await until(lambda: database.groups == [["a"]])
        assert not done.is_set()
        database.may_commit.set()
        await done.wait()


async def test_a_cancelled_caller_breaks_nothing(database: FakeDatabase) -> None:
    database.refused = {"cancelled": StoreError("no")}
    with structlog.testing.capture_logs() as logs:
        async with busy_store(database) as store, trio.open_nursery() as nursery:
            await line_up(nursery, store, "a")
            async with trio.open_nursery() as cancelled:
                await line_up(cancelled, store, "cancelled")
                cancelled.cancel_scope.cancel()
            await line_up(nursery, store, "b")
            database.may_commit.set()
    assert database.groups == [["first"], ["a", "cancelled", "b"]]
    assert [(entry["event"], entry["error"]) for entry in logs] == [("a change was not stored", "no")]


async def test_failures_are_reported_and_health_returns(
    database: FakeDatabase, mock_clock: trio.testing.MockClock
) -> None:
    with structlog.testing.capture_logs() as logs:
        async with open_store("sqlite://") as store:
            cause = database.unavailable = StoreUnavailable("disk full")
            caught = []
            for _ in range(2):
                with pytest.raises(StoreUnavailable, match="disk full") as raised:
                    await store.save(a_cluster("a"))
                assert not store.healthy
                caught.append(raised.value)
            assert caught[0] is not caught[1]
            assert caught[0].__cause__ is cause
            while database.groups.count(["probe"]) < 3:
                mock_clock.jump(PROBE_PERIOD / 2)
                await trio.lowlevel.checkpoint()
            assert not store.healthy
            database.unavailable = None
            while not store.healthy:
                mock_clock.jump(PROBE_PERIOD / 2)
                await trio.lowlevel.checkpoint()
            await store.save(a_cluster("b"))
    assert [entry["event"] for entry in logs] == ["the database cannot be written", "the database can be written again"]
    assert database.groups[-1] == ["b"]


async def test_a_success_is_health(database: FakeDatabase) -> None:
    async with open_store("sqlite://") as store:
        database.refused = {"a": StoreUnavailable("disk full")}
        with pytest.raises(StoreUnavailable):
            await store.save(a_cluster("a"))
        assert not store.healthy
        await store.save(a_cluster("b"))
        assert store.healthy
        assert ["probe"] not in database.groups


async def test_an_unhealthy_store_closes(database: FakeDatabase) -> None:
    database.unavailable = StoreUnavailable("disk full")
    async with open_store("sqlite://") as store:
        with pytest.raises(StoreUnavailable):
            await store.save(a_cluster("a"))
    assert database.closed


async def test_a_cancelled_tree_still_saves_its_last_state(database: FakeDatabase) -> None:
    with trio.CancelScope() as scope:
        async with open_store("sqlite://") as store:
            scope.cancel()
            try:
                await trio.sleep_forever()
            finally:
                with trio.move_on_after(60, shield=True):
                    await store.save(a_cluster("last"))
    assert database.groups == [["last"]]
    assert database.closed


async def test_what_waits_when_the_body_ends_is_written(database: FakeDatabase) -> None:
    async with busy_store(database) as store, trio.open_nursery() as nursery:
        await line_up(nursery, store, "a")
        nursery.cancel_scope.cancel()
    assert database.groups == [["first"], ["a"]]
    assert database.closed


async def test_errors_of_the_body_pass_and_close_it(database: FakeDatabase) -> None:
    with pytest.raises(ExceptionGroup) as caught:
        async with open_store("sqlite://"):
            raise KeyError("body")
    assert caught.group_contains(KeyError)
    assert database.closed


async def test_a_bug_in_the_writer_leaves_nobody_waiting(database: FakeDatabase, monkeypatch: Any) -> None:
    def broken(changes: Sequence[Change]) -> list[Exception | None]:
        raise AssertionError("bug")

    monkeypatch.setattr(database, "commit", broken)
    with pytest.raises(ExceptionGroup) as caught:
        async with open_store("sqlite://") as store:
            await store.save(a_cluster("a"))
    assert caught.group_contains(AssertionError)
    assert database.closed


async def test_on_a_real_database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DASK_GATEWAY_ENCRYPT_KEYS", raising=False)
    url = f"sqlite:///{tmp_path}/test.sqlite"
    names = [f"c{number:03}" for number in range(300)]
    async with open_store(url) as store:
        async with trio.open_nursery() as nursery:
            for name in names:
                nursery.start_soon(store.save, a_cluster(name), a_submission(name))
        with pytest.raises(StoreError):
            await store.save(a_submission("unknown"))
        await store.forget_submissions("c000", "w1")
        await store.forget_clusters("c001")
    async with open_store(url) as store:
        stored = await store.load()
    assert stored == [
        (a_cluster(name), (a_submission(name),) if name != "c000" else ()) for name in names if name != "c001"
    ]


async def test_start_errors_come_bare() -> None:
    with pytest.raises(StartError):
        async with open_store("nonsense"):
            pass


WRITER = """
import sys, trio
from gateway.store.writer import open_store
from tests.support.store_records import a_cluster

async def main():
    async with open_store(sys.argv[1]) as store:
        for number in range(10_000_000):
            await store.save(a_cluster(f"c{number}"))
            print(f"c{number}", flush=True)

trio.run(main)
"""


def test_what_was_acknowledged_survives_a_kill(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/test.sqlite"
    command = [sys.executable, "-c", WRITER, url]
    root = Path(__file__).parents[2]
    environment = {**os.environ, "DASK_GATEWAY_ENCRYPT_KEYS": ""}
    with subprocess.Popen(command, cwd=root, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            acknowledged = [process.stdout.readline() for _ in range(50)]
            with pytest.raises(StartError, match=f"process {process.pid}"):
                Database.open(url, keys=(), environment={}, debug=False)
        finally:
            process.kill()
        acknowledged += process.stdout.readlines()
    with closing(Database.open(url, keys=(), environment={}, debug=False)) as database:  # the lock died with it
        stored = {cluster.name for cluster, _ in database.load()}
    assert stored >= {line.strip() for line in acknowledged if line.endswith("\n")}
