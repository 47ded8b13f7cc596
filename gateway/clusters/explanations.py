"""Whose end is being explained, and whose is to be (pure).

The batch system is asked why a scheduler was given up, and why workers failed
to start: of a wave of failures only a few, since they fail alike, and of the
next wave when these have been explained.
"""

from gateway.clusters.rows import Row

#: At most so many workers of one wave of failures are asked about.
EXPLAINED_AT_ONCE = 3


class Explanations:
    """Those of one cluster."""

    def __init__(self) -> None:
        self._waiting: list[Row] = []
        self._under_way: list[Row] = []

    @property
    def pending(self) -> bool:
        """True while somebody's end is not explained."""
        return bool(self._waiting or self._under_way)

    def add(self, worker: Row) -> None:
        """Have it explained why a worker has failed to start."""
        self._waiting.append(worker)

    def begin(self, given_up: Row | None) -> tuple[Row, ...]:
        """Return whose end is to be explained now, from then on under way: first a scheduler's that was `given_up`."""
        new: list[Row] = []
        if given_up is not None:
            new = [given_up] if given_up not in self._under_way else []
        elif not self._under_way:
            new, self._waiting = self._waiting[:EXPLAINED_AT_ONCE], []
        self._under_way += new
        return tuple(new)

    def end(self, row: Row) -> bool:
        """Record that the end of a row is explained; return whether that was under way."""
        awaited = row in self._under_way
        self._under_way = [other for other in self._under_way if other is not row]
        return awaited
