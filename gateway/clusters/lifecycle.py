"""Every state that a cluster and the row of a job can be in, and what leads from one to the next (pure).

These tables are the only place where states change; the rest of the
gateway asks `next_cluster_status` and `next_row_state`. A pair that is not
in a table changes nothing: late news about something that has moved on is
normal in a system where users, schedulers and a batch system speak at once.
"""

import enum

from gateway.models import ClusterStatus, Role


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


class RowState(enum.StrEnum):
    """Where a scheduler or a worker is between being asked for and being gone."""

    ADOPTED = "adopted"
    """A worker submitted before a restart of the gateway; nothing has been heard of it since."""
    QUEUED = "queued"
    """Submitted; the batch system has not started its job."""
    STARTING = "starting"
    """Its job runs; it has not reported (a scheduler), or has not connected (a worker)."""
    ACTIVE = "active"
    """A scheduler that sends heartbeats, or a worker that is connected to it."""
    CLOSING = "closing"
    """The scheduler retires this worker; its job ends by itself."""
    LOST = "lost"
    """The worker left its scheduler without being asked to; its job is of no more use, unless it is run again."""
    FAILED = "failed"
    """The worker did not connect in time; its job is of no more use."""
    GONE = "gone"
    """Its job is presumed to be gone, and not waited for any more. It is cancelled in case it is there after all."""
    ENDING = "ending"
    """The batch system was asked to end its job. (Rows show this state; what they were before is kept.)"""


class RowEvent(enum.StrEnum):
    """What can happen to a row. (That its job is gone removes it.)"""

    JOB_QUEUED = "job queued"
    JOB_RUNNING = "job running"
    CONNECTED = "connected"
    CLOSING = "closing"
    DISCONNECTED = "disconnected"
    GIVEN_UP = "given up"
    MISSED = "missed"


_C, _E = ClusterStatus, ClusterEvent

CLUSTER_TABLE = {
    (_C.PENDING, _E.HEARTBEAT): _C.RUNNING,
    (_C.PENDING, _E.END): _C.STOPPING,
    (_C.RUNNING, _E.END): _C.STOPPING,
    (_C.STOPPING, _E.FAILED_JOBS_GONE): _C.FAILED,
    (_C.STOPPING, _E.STOPPED_JOBS_GONE): _C.STOPPED,
}

_S, _V = RowState, RowEvent

#: Where each event leads, and from which states.
ROW_TABLE = {
    _V.JOB_QUEUED: (_S.QUEUED, {_S.ADOPTED, _S.STARTING, _S.LOST}),  # the latter two have been requeued
    _V.JOB_RUNNING: (_S.STARTING, {_S.ADOPTED, _S.QUEUED}),
    # A worker may connect before the next look at the queue, or after all: its scheduler could not retire it, its nanny
    # brought it back, it was late, or its job was only not listed; and its job has not been cancelled yet.
    _V.CONNECTED: (_S.ACTIVE, {_S.ADOPTED, _S.QUEUED, _S.STARTING, _S.CLOSING, _S.LOST, _S.FAILED, _S.GONE}),
    _V.CLOSING: (_S.CLOSING, {_S.ADOPTED, _S.QUEUED, _S.STARTING, _S.ACTIVE}),
    _V.DISCONNECTED: (_S.LOST, {_S.QUEUED, _S.STARTING, _S.ACTIVE}),
    _V.GIVEN_UP: (_S.FAILED, {_S.STARTING}),
    _V.MISSED: (_S.GONE, {_S.ADOPTED, _S.QUEUED, _S.STARTING, _S.CLOSING, _S.LOST, _S.FAILED}),
}

#: Of a scheduler its job tells: one that waits again has been requeued. Of a worker the scheduler tells, and a look at
#: the queue may be older than that.
_REQUEUED = (Role.SCHEDULER, _S.ACTIVE, _V.JOB_QUEUED)

#: States in which a worker counts as one of those that are wanted.
LIVE_STATES = frozenset({_S.ADOPTED, _S.QUEUED, _S.STARTING, _S.ACTIVE})

#: States in which a worker is on its way, that is, not yet of use.
COMING_STATES = frozenset({_S.ADOPTED, _S.QUEUED, _S.STARTING})


def next_cluster_status(status: ClusterStatus, event: ClusterEvent) -> ClusterStatus:
    """The status after `event`; unchanged where the table says nothing."""
    return CLUSTER_TABLE.get((status, event), status)


def next_row_state(role: Role, state: RowState, event: RowEvent) -> RowState:
    """Return the state after `event`; unchanged where the table says nothing."""
    after, before = ROW_TABLE[event]
    return after if state in before or (role, state, event) == _REQUEUED else state


def is_active(status: ClusterStatus) -> bool:
    """True for what users call an active cluster: the default of their lists."""
    return status in (ClusterStatus.PENDING, ClusterStatus.RUNNING)


def is_ended(status: ClusterStatus) -> bool:
    """True when nothing more will happen to the cluster."""
    return status in (ClusterStatus.STOPPED, ClusterStatus.FAILED)
