"""A cluster's record: what is believed, what is durable, and nothing shown before it is.

`draft` is the newest belief, changed at once by whoever learns something. The
task `keep` writes it to the store and moves it to `record`, which is what
users see. Changes that come while one is being written are written together.
"""

from typing import Any

import trio
from attrs import evolve

from gateway.clusters.changes import Changes
from gateway.errors import TryAgainLater
from gateway.models import ClusterRecord
from gateway.store.writer import Store

#: Seconds that an API request waits for the store before it is told to try again.
RECORD_DEADLINE = 20.0


class Ledger:
    """The record of one cluster. `record` is durable, `draft` may be ahead of it."""

    def __init__(self, record: ClusterRecord, store: Store, changes: Changes) -> None:
        self.record = record
        self.draft = record
        self._store = store
        self._changes = changes
        self._revision = 0
        self._recorded = 0

    def change(self, **changes: Any) -> None:
        """Change fields of the draft, and tell everybody who waits for changes if it differs then."""
        draft = evolve(self.draft, **changes)
        if draft != self.draft:
            self.draft = draft
            self._revision += 1
            self._changes.notify()

    async def wait_durable(self) -> None:
        """Wait until the present draft is durable. Raises `TryAgainLater` when the store takes too long."""
        revision = self._revision
        if self._recorded >= revision:  # as after nearly every heartbeat, where a deadline would cost a tenth
            return
        seen = self._changes.count
        try:
            with trio.fail_after(RECORD_DEADLINE):
                while self._recorded < revision:
                    seen = await self._changes.wait(seen)
        except trio.TooSlowError:
            raise TryAgainLater("The gateway's database does not answer; please try again") from None

    async def keep(self) -> None:
        """Write every change of the draft to the store, in order, until cancelled. Raises what the store raises."""
        while True:
            seen = self._changes.count
            draft, revision = self.draft, self._revision
            if revision == self._recorded:
                await self._changes.wait(seen)
                continue
            await self._store.save(draft)
            self.record, self._recorded = draft, revision
            self._changes.notify()
