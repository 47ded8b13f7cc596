"""What is to be on record of a cluster, and what is (pure).

The machine changes what is wanted; `write` tells the difference from what is
stored, again and again until somebody has written it. Users see nothing but
`durable`.
"""

from collections.abc import Iterable
from typing import Any

from attrs import evolve, frozen

from gateway.models import ClusterRecord, SubmissionRecord


@frozen
class Write:
    """A step for the store: save `records`, forget the submissions of `groups`."""

    records: tuple[ClusterRecord | SubmissionRecord, ...]
    groups: tuple[str, ...]


class Records:
    """A cluster's record and its submissions by group, the oldest first: as they are wanted, and as they are stored."""

    def __init__(self, cluster: ClusterRecord, submissions: Iterable[SubmissionRecord] = ()) -> None:
        self.cluster = cluster
        self.durable = cluster
        self.submissions = {submission.group: submission for submission in submissions}
        self._stored = dict(self.submissions)

    def change(self, **changes: Any) -> bool:
        """Change fields of the cluster's record; return whether that makes a difference."""
        if all(getattr(self.cluster, name) == value for name, value in changes.items()):
            return False  # as with nearly every heartbeat
        self.cluster = evolve(self.cluster, **changes)
        return True

    def stored(self, submission: SubmissionRecord) -> None:
        """Note a submission whose jobs are known, and which is stored already by whoever has learnt of them."""
        self.submissions[submission.group] = self._stored[submission.group] = submission

    def write(self) -> Write | None:
        """Return what is to be written; None when all is durable."""
        cluster = () if self.durable is self.cluster else (self.cluster,)
        changed = (new for group, new in self.submissions.items() if self._stored.get(group) is not new)
        obsolete = tuple(group for group in self._stored if group not in self.submissions)
        step = Write((*cluster, *changed), obsolete)
        return step if step.records or step.groups else None

    def written(self, step: Write) -> None:
        """Record that a step is durable."""
        for record in step.records:
            if isinstance(record, ClusterRecord):
                self.durable = record
            else:
                self._stored[record.group] = record
        for group in step.groups:
            self._stored.pop(group, None)
