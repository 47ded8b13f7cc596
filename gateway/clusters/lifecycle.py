"""Every state a cluster and a worker can be in, and what leads from one to the next.

These two tables are the only place where states change; the rest of the
gateway asks `next_cluster_status` and `next_worker_state`. A pair that is not
in a table changes nothing: late news about something that has moved on is
normal in a system where users, schedulers and a batch system speak at once.
"""

import enum

from gateway.models import ClusterStatus


class ClusterEvent(enum.StrEnum):
    """What can happen to a cluster."""

    HEARTBEAT = "heartbeat"
    """Its scheduler reports for duty."""
    END = "end"
    """A user, its own idle timeout, or a failure ends it."""
    FAILED_JOBS_GONE = "failed jobs gone"
    """It ends because of a failure, and nothing of it is left in the batch system."""
    STOPPED_JOBS_GONE = "stopped jobs gone"
    """It ends because somebody wanted that, and nothing of it is left."""


class WorkerState(enum.StrEnum):
    """Where a worker is between being asked for and being gone."""

    ADOPTED = "adopted"
    """Submitted before a restart of the gateway; nothing has been heard of it since."""
    QUEUED = "queued"
    """Submitted; the batch system has not started its job."""
    STARTING = "starting"
    """Its job runs, the scheduler has not seen it."""
    ACTIVE = "active"
    """Connected to the scheduler."""
    CLOSING = "closing"
    """The scheduler retires it; its job ends by itself."""
    LOST = "lost"
    """It left the scheduler without being asked to; its job is of no more use, unless it is run again."""
    ENDING = "ending"
    """We have asked the batch system to end its job."""


class WorkerEvent(enum.StrEnum):
    """What can happen to a worker. (That its job is gone removes it, see `ending_of`.)"""

    JOB_QUEUED = "job queued"
    JOB_RUNNING = "job running"
    CONNECTED = "connected"
    CLOSING = "closing"
    DISCONNECTED = "disconnected"
    CANCELLED = "cancelled"


class WorkerEnding(enum.StrEnum):
    """What the end of a worker's job means."""

    EXPECTED = "expected"
    """Retired, cancelled by us, or ended while the gateway was away: no failure."""
    LOST = "lost"
    """It worked, then its job ended: replace it while workers are wanted."""
    FAILED_START = "failed start"
    """It never connected: counts towards `worker_start_failure_limit`."""
    DELETED = "deleted"
    """Somebody ended its job before it had connected: replace it, it did not fail."""
    VANISHED = "vanished"
    """Its job was never in the queue, although it was given an id (a server that crashed): replace it likewise."""


_C, _E = ClusterStatus, ClusterEvent

CLUSTER_TABLE = {
    (_C.PENDING, _E.HEARTBEAT): _C.RUNNING,
    (_C.PENDING, _E.END): _C.STOPPING,
    (_C.RUNNING, _E.END): _C.STOPPING,
    (_C.STOPPING, _E.FAILED_JOBS_GONE): _C.FAILED,
    (_C.STOPPING, _E.STOPPED_JOBS_GONE): _C.STOPPED,
}

_W, _V = WorkerState, WorkerEvent

WORKER_TABLE = {
    (_W.ADOPTED, _V.JOB_QUEUED): _W.QUEUED,
    (_W.ADOPTED, _V.JOB_RUNNING): _W.STARTING,
    (_W.ADOPTED, _V.CONNECTED): _W.ACTIVE,
    (_W.ADOPTED, _V.CLOSING): _W.CLOSING,
    (_W.ADOPTED, _V.CANCELLED): _W.ENDING,
    (_W.QUEUED, _V.JOB_RUNNING): _W.STARTING,
    (_W.QUEUED, _V.CONNECTED): _W.ACTIVE,  # faster than the next poll
    (_W.QUEUED, _V.CLOSING): _W.CLOSING,
    (_W.QUEUED, _V.DISCONNECTED): _W.LOST,
    (_W.QUEUED, _V.CANCELLED): _W.ENDING,
    (_W.STARTING, _V.JOB_QUEUED): _W.QUEUED,  # requeued
    (_W.STARTING, _V.CONNECTED): _W.ACTIVE,
    (_W.STARTING, _V.CLOSING): _W.CLOSING,
    (_W.STARTING, _V.DISCONNECTED): _W.LOST,
    (_W.STARTING, _V.CANCELLED): _W.ENDING,
    (_W.ACTIVE, _V.CLOSING): _W.CLOSING,
    (_W.ACTIVE, _V.DISCONNECTED): _W.LOST,
    (_W.ACTIVE, _V.CANCELLED): _W.ENDING,
    (_W.CLOSING, _V.CONNECTED): _W.ACTIVE,  # the scheduler could not retire it after all
    (_W.CLOSING, _V.CANCELLED): _W.ENDING,
    (_W.LOST, _V.JOB_QUEUED): _W.QUEUED,  # requeued
    (_W.LOST, _V.CONNECTED): _W.ACTIVE,  # its nanny brought it back before its job was cancelled
    (_W.LOST, _V.CANCELLED): _W.ENDING,
}

#: States in which a worker counts as one of those that the user asked for.
LIVE_STATES = frozenset({_W.ADOPTED, _W.QUEUED, _W.STARTING, _W.ACTIVE})

#: States in which a worker is on its way, that is, not yet of use.
COMING_STATES = frozenset({_W.ADOPTED, _W.QUEUED, _W.STARTING})


def next_cluster_status(status: ClusterStatus, event: ClusterEvent) -> ClusterStatus:
    """The status after `event`; unchanged where the table says nothing."""
    return CLUSTER_TABLE.get((status, event), status)


def next_worker_state(state: WorkerState, event: WorkerEvent) -> WorkerState:
    """The state after `event`; unchanged where the table says nothing."""
    return WORKER_TABLE.get((state, event), state)


def ending_of(state: WorkerState, *, deleted: bool = False, seen: bool = True) -> WorkerEnding:
    """What it means that the job of a worker in `state` is gone: `deleted` by somebody or not, ever `seen` or not."""
    if state in (WorkerState.QUEUED, WorkerState.STARTING):
        if not seen:
            return WorkerEnding.VANISHED
        return WorkerEnding.DELETED if deleted else WorkerEnding.FAILED_START
    if state is WorkerState.ACTIVE:
        return WorkerEnding.LOST
    return WorkerEnding.EXPECTED


def is_active(status: ClusterStatus) -> bool:
    """True for what users call an active cluster: the default of their lists."""
    return status in (ClusterStatus.PENDING, ClusterStatus.RUNNING)


def is_ended(status: ClusterStatus) -> bool:
    """True when nothing more will happen to the cluster."""
    return status in (ClusterStatus.STOPPED, ClusterStatus.FAILED)
