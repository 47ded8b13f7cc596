"""Durable records: what must survive the gateway is here, and nowhere else.

Many tasks save, one task writes. A save puts its change in line and sleeps;
the writer takes all that wait, makes them in one transaction in a worker
thread (database.py), and wakes each with its own outcome. While one
group is on its way to the disk the next one gathers, so the number of commits
adapts to the disk by itself: a lone save is written at once, and a crowd
shares one `fsync`. Changes are made in the order in which they were asked for.

`save` returns when the change is durable, or raises. A caller that is
cancelled while it sleeps breaks nothing: its change is made all the same, in
its turn, and a failure of it is logged. Nothing is retried here: a failure is
reported to the caller, who knows whether it still matters. While writing
fails, `healthy` is False, and the writer tries something harmless every few
seconds to see whether it is over.

The writer does not belong to the cancellation of its surroundings, but to the
body of `open_store`: trees that were cancelled still save their last state
(under shields with deadlines of their own) before the store closes.
"""

import math
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial

import structlog
import trio
from attrs import define, field

from gateway import metrics
from gateway.models import Document
from gateway.store.database import Change, Database
from gateway.store.errors import StoreError, StoreUnavailable
from gateway.store.tables import Record, StoredCluster

__all__ = ["Store", "StoreError", "StoreUnavailable", "open_store"]

#: Changes in one transaction: enough to share the cost of a commit, few enough for an answer within moments.
GROUP_LIMIT = 500
#: Seconds between two attempts to write while writing fails.
PROBE_PERIOD = 5.0

_log = structlog.get_logger()


@asynccontextmanager
async def open_store(url: str, *, keys: Sequence[str] = (), debug: bool = False) -> AsyncIterator["Store"]:
    """Open the database at `url` and write to it as long as the body runs.

    `url` is `sqlite:///<file>`, `sqlite://` (in memory, nothing survives) or
    `postgresql://...`; `keys` are those of `DBBackendBase.db_encrypt_keys`
    (keys.py says what stands in for them); `debug` prints all statements.
    Raises `StartError` when the database cannot be used, or is in use.
    """
    database = await trio.to_thread.run_sync(
        partial(Database.open, url, keys=keys, environment=os.environ, debug=debug)
    )
    try:
        store = Store(database)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(store._write_groups)
            try:
                yield store
            finally:
                store._close()
    finally:
        database.close()


def _nothing() -> None:
    pass


@define(eq=False)
class _Write:
    """One change in line, and later its outcome."""

    change: Change
    done: trio.Event = field(factory=trio.Event)
    error: Exception | None = None
    abandoned: bool = False  # nobody waits for the outcome any more


class Store:
    """An open store; `open_store` makes one."""

    def __init__(self, database: Database) -> None:
        #: False while the database cannot be written.
        self.healthy = True
        self._database = database
        self._thread = trio.CapacityLimiter(1)  # the database is for one thread at a time
        self._line: list[_Write] = []
        self._wakeup = trio.Event()
        self._closing = False

    async def load(self) -> list[StoredCluster]:
        """All clusters, the oldest first, each with its submissions in the order of their groups' names.

        Raises `StoreError`, or `StartError` when a record cannot be read.
        """
        return await trio.to_thread.run_sync(self._database.load, limiter=self._thread)

    async def save(self, *records: Record) -> None:
        """Store these records, all or none, in place of what is stored of them; they are durable when it returns.

        A submission needs its cluster stored before or along with it. Raises `StoreError`.
        """
        await self._write(partial(self._database.tables.save, records=records))

    async def forget_submissions(self, cluster: str, *groups: str) -> None:
        """Delete submissions of a cluster; unknown ones are fine. Raises `StoreError`."""
        await self._write(partial(self._database.tables.forget_submissions, cluster=cluster, groups=groups))

    async def forget_clusters(self, *names: str) -> None:
        """Delete clusters with their submissions; unknown ones are fine. Raises `StoreError`."""
        await self._write(partial(self._database.tables.forget_clusters, names=names))

    async def load_documents(self) -> list[Document]:
        """All documents, by kind and name. Raises `StoreError`, or `StartError` when one cannot be read."""
        return await trio.to_thread.run_sync(self._database.load_documents, limiter=self._thread)

    async def forget_documents(self, kind: str, *names: str) -> None:
        """Delete documents of a kind; unknown ones are fine. Raises `StoreError`."""
        await self._write(partial(self._database.tables.forget_documents, kind=kind, names=names))

    def derive_keys(self, purpose: bytes) -> tuple[bytes, ...]:
        """Keys of 32 bytes for one purpose, the same after a restart: make with the first, try them all."""
        return self._database.cipher.derive(purpose)

    async def respond(self) -> None:
        """Return when the database's thread has had a moment for us, whether writing works or not."""
        await trio.to_thread.run_sync(_nothing, limiter=self._thread)

    async def _write(self, change: Change) -> None:
        write = _Write(change)
        self._line.append(write)
        self._wakeup.set()
        try:
            await write.done.wait()
        except trio.Cancelled:
            write.abandoned = True
            raise
        if write.error is not None:
            raise write.error

    def _close(self) -> None:
        self._closing = True
        self._wakeup.set()

    async def _write_groups(self) -> None:
        with trio.CancelScope(shield=True):  # until _close; each round is bounded by the database's own timeouts
            while await self._wait_work():
                group, self._line = self._line[:GROUP_LIMIT], self._line[GROUP_LIMIT:]
                await self._write_group(group or [_Write(self._database.tables.probe)])

    async def _wait_work(self) -> bool:
        """Wait for a change, or while writing fails for the time to try again; False when the store closes."""
        if not self._line and not self._closing:
            self._wakeup = trio.Event()
            with trio.move_on_after(math.inf if self.healthy else PROBE_PERIOD):
                await self._wakeup.wait()
        return bool(self._line) or not self._closing

    async def _write_group(self, group: Sequence[_Write]) -> None:
        changes = [write.change for write in group]
        errors: list[Exception | None]
        try:
            with metrics.COMMITS.time():
                errors = await trio.to_thread.run_sync(self._database.commit, changes, limiter=self._thread)
        except StoreUnavailable as failure:
            errors = [failure.again() for _ in group]
        self._judge(errors)
        failed = sum(error is not None for error in errors)
        metrics.CHANGES.labels("failed").inc(failed)
        metrics.CHANGES.labels("stored").inc(len(errors) - failed)
        for write, error in zip(group, errors, strict=True):
            write.error = error
            write.done.set()
            if write.abandoned and error is not None:
                _log.error("a change was not stored", error=str(error))

    def _judge(self, errors: Sequence[Exception | None]) -> None:
        trouble = next((error for error in errors if isinstance(error, StoreUnavailable)), None)
        if trouble is not None and self.healthy:
            _log.error("the database cannot be written", error=str(trouble))
        elif trouble is None and not self.healthy:
            _log.info("the database can be written again")
        self.healthy = trouble is None
