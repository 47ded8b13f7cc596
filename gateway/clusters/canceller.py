"""Which jobs are being cancelled, and when that is tried again (pure)."""

from collections.abc import Collection, Iterator
from math import inf

from gateway.clusters.actions import Cancel
from gateway.clusters.lifecycle import RowState
from gateway.clusters.rows import Row
from gateway.clusters.timing import Moment, Retry

#: Seconds until a cancel is repeated for jobs of an ending cluster that are still there.
CANCEL_AGAIN = 30.0


class Canceller:
    """The cancels that are under way."""

    def __init__(self) -> None:
        self.under_way: set[Cancel] = set()
        self._retry = Retry(2.0, CANCEL_AGAIN)

    def cancel(self, rows: Collection[Row], moment: Moment, *, ending: bool) -> tuple[Cancel, ...]:
        """Return the cancels to be made now, of those of these jobs for which that is not done; now they are under way.

        At the end of a cluster one is made for all.
        """
        if not moment.due(self._retry.at):
            return ()
        rows = [row for row in rows if row.job and (not row.cancelled or moment.due(row.cancelled_at + CANCEL_AGAIN))]
        cancels = [Cancel(tuple(part), what) for what, part in _parts(rows, ending=ending) if part]
        self.under_way.update(cancels)
        for row in rows:
            row.cancelled, row.cancelled_at = True, inf
        return tuple(cancels)

    def answered(self, cancel: Cancel, now: float, *, accepted: bool) -> None:
        """Record what came of a cancel that is under way."""
        self.under_way.remove(cancel)
        if accepted:
            self._retry.succeeded()
        else:
            self._retry.failed(now)
        for row in cancel.rows:
            row.cancelled, row.cancelled_at = accepted, now if accepted else inf


def _parts(rows: Collection[Row], *, ending: bool) -> Iterator[tuple[str, list[Row]]]:
    """What is cancelled together, after what it is called."""
    if ending:
        yield "Jobs", list(rows)
        return
    yield "Workers", [row for row in rows if row.state is not RowState.GONE]
    yield "Jobs that are not in the queue any more", [row for row in rows if row.state is RowState.GONE]
