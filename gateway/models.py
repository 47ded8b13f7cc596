"""The values that travel between the rooms of the house: frozen, without behaviour beyond formatting.

Times in records are wall-clock milliseconds since the epoch (as on the wire);
everything that is waited for uses `trio.current_time()` instead.
"""

import enum
import re
from collections.abc import Iterable, Mapping
from typing import Any, NewType

from attrs import field, frozen

JobId = NewType("JobId", str)
"""How the batch system (or the local driver) names one job, for example `4711_3`."""

MOST_WORKERS = 100_000
"""More workers than any scheduler can manage: no single number that a user sends can make us grow beyond it."""


USER_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._@-]{0,127}")
"""As POSIX and LDAP accounts are called. No leading dash (an option), no leading dot (`..`)."""


class Role(enum.StrEnum):
    """What a job is for."""

    SCHEDULER = "scheduler"
    WORKER = "worker"


class JobState(enum.StrEnum):
    """What is believed of a job.

    UNKNOWN is not GONE: it says that the question could not be answered.
    GONE needs evidence (the batch system's final state, or absence from
    enough good polls).
    """

    QUEUED = "queued"
    RUNNING = "running"
    ENDING = "ending"
    GONE = "gone"
    UNKNOWN = "unknown"


class ClusterStatus(enum.StrEnum):
    """A cluster's state, in the words of the wire."""

    PENDING = "PENDING"
    RUNNING = "RUNNING"
    STOPPING = "STOPPING"
    STOPPED = "STOPPED"
    FAILED = "FAILED"


def _names(names: Iterable[str]) -> frozenset[str]:
    return frozenset(names)


@frozen
class User:
    """Somebody who has been authenticated."""

    name: str
    groups: frozenset[str] = field(default=frozenset(), converter=_names)
    admin: bool = False


@frozen
class JobReport:
    """What the batch system last said of a job.

    `reason` is one line in the batch system's own words (why a job waits, how
    it ended), empty when there is nothing to say. A RUNNING job may be
    `suspended`: it is stopped where it stands, and cannot report for duty.

    A GONE job was `deleted` when somebody ended it (scancel, qdel), rather
    than that it ended or failed by itself. It is only `presumed` gone when
    nobody has said so: it is absent from enough looks, and the batch system
    does not know its id when asked. A heartbeat refutes that, and so does a
    later look; whoever believes it sends a cancel all the same.

    An UNKNOWN job is `overdue` when nothing was learnt of it for minutes, so
    that whoever waits for it goes by the clock.
    """

    state: JobState
    reason: str = ""
    suspended: bool = False
    deleted: bool = False
    presumed: bool = False
    overdue: bool = False


@frozen
class Guest:
    """Somebody who was let into another's cluster: by which `share`, and by which routes of their own.

    `share` is one of the names in `share_view` or `share_use` of the cluster. `route` is the name of the route to the
    scheduler, which nobody else may know, `dashboard` that of the route to the dashboard, which stands in links.
    """

    user: str
    share: str
    route: str = field(repr=False)
    dashboard: str = field(repr=False)


@frozen(kw_only=True)
class ClusterRecord:
    """All that is remembered of a cluster across restarts of the gateway.

    `config` holds the effective values of the cluster's configuration as
    JSON values; `options` what the user asked for. `count` is the number of
    workers last wanted, `groups` the number of worker groups ever submitted
    (their names are never used twice). `reason` says why a cluster failed, and is
    empty for one that did not; `stopped` says why one that did not fail was stopped.
    `owner_groups` are those of its user when it was made. `running_since` is when its
    scheduler first reported.

    `share_view` and `share_use` are the users and "@groups" who may see it, or see and use it, `guests` those of them
    who came. `route` is the name of the owner's route to the scheduler; empty: that of the cluster.
    """

    name: str
    username: str
    token: str = field(repr=False)
    tls_cert: str = field(repr=False)
    tls_key: str = field(repr=False)
    options: Mapping[str, Any]
    config: Mapping[str, Any] = field(repr=False)
    status: ClusterStatus = ClusterStatus.PENDING
    reason: str = ""
    stopped: str = ""
    count: int = 0
    groups: int = 0
    scheduler_address: str = ""
    dashboard_address: str = ""
    api_address: str = ""
    owner_groups: tuple[str, ...] = ()
    start_time: int
    running_since: int | None = None
    stop_time: int | None = None
    share_view: tuple[str, ...] = ()
    share_use: tuple[str, ...] = ()
    guests: tuple[Guest, ...] = ()
    route: str = field(default="", repr=False)

    @property
    def secrets(self) -> tuple[str, ...]:
        """What no log line and no sentence may hold."""
        return self.token, self.tls_cert, self.tls_key


@frozen(kw_only=True)
class SubmissionRecord:
    """One submission to the batch system: the scheduler, or a group of workers.

    It is stored before the submission (`jobs` is None: an intent) and again
    with the jobs' ids. An intent found at a restart is looked for in the
    queue by its unique name instead of being submitted a second time.
    """

    cluster: str
    group: str
    role: Role
    count: int
    jobs: tuple[JobId, ...] | None = None


@frozen
class Document:
    """Something small that is remembered across restarts, beside clusters: JSON values under a kind and a name."""

    kind: str
    name: str
    content: Mapping[str, Any] = field(repr=False)


def alive(jobs: Iterable[tuple[JobId, JobReport]]) -> list[JobId]:
    """The jobs that are not known to be gone; those that are presumed so may come back."""
    return [job for job, report in jobs if report.state is not JobState.GONE or report.presumed]
