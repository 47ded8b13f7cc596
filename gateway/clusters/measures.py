"""What is counted and timed of the life of clusters."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import trio

from gateway import metrics
from gateway.clusters.events import time_ms
from gateway.clusters.lifecycle import RowState, is_ended
from gateway.clusters.rows import Row
from gateway.errors import AnswerLost, BackendUnavailable, JobError, QueueFull
from gateway.models import ClusterRecord, ClusterStatus

_OUTCOMES: Mapping[type[JobError], str] = {AnswerLost: "lost", BackendUnavailable: "unavailable", QueueFull: "full"}


@contextmanager
def queue_wait(row: Row | None) -> Iterator[None]:
    """Time how long a job has waited, if the body learns that it runs."""
    since = row.since if row is not None and row.state is RowState.QUEUED else None
    yield
    if row is not None and since is not None and row.state in (RowState.STARTING, RowState.ACTIVE):
        metrics.QUEUE_WAIT.labels(row.role.value).observe(trio.current_time() - since)


@contextmanager
def submission() -> Iterator[None]:
    """Time a submission, whatever comes of it."""
    with metrics.timed(metrics.SUBMISSIONS, failed="lost") as outcome:
        try:
            yield
        except JobError as error:
            outcome[:] = [_OUTCOMES.get(type(error), "refused")]
            raise
        outcome[:] = ["accepted"]


def progress(before: ClusterRecord, after: ClusterRecord) -> None:
    """Count what has become of a cluster between two of its records."""
    if after.status is before.status:
        return
    if after.status is ClusterStatus.RUNNING:
        metrics.CLUSTER_START.observe((time_ms() - after.start_time) / 1000)
    elif is_ended(after.status):
        metrics.ENDED_CLUSTERS.labels(after.status.lower()).inc()
