"""Why a cluster does not run, in sentences for its user (pure).

A cluster's record says what became of it: `reason` is why it failed, `stopped`
why it was stopped without a failure, and a scheduler's address shows that it
ran at some time. One place makes the sentences of all routes from that, so
that whoever asks for the same cluster twice is told the same, also after a
restart of the gateway.

"is not running" and "failed to start" are words that people's scripts look for.
"""

from gateway.clusters.lifecycle import is_ended
from gateway.models import ClusterRecord, ClusterStatus

#: What `ClusterRecord.stopped` may say; each completes "it has stopped: ...".
BY_USER = "its user has stopped it"
BY_GATEWAY = "the gateway stopped all clusters when it was shut down"
BY_SCHEDULER = "its own scheduler asked for that"


_UNITS = ((86400, "d"), (3600, "h"), (60, "min"))


def span(seconds: float) -> str:
    """A time as people say it, with its two largest units: 90 s are "1 min 30 s"."""
    for place, (size, unit) in enumerate(_UNITS):
        if seconds >= size:
            smaller, name = (*_UNITS, (1, "s"))[place + 1]
            whole, rest = divmod(round(seconds / smaller), size // smaller)
            return f"{whole} {unit}" + (f" {rest} {name}" if rest else "")
    return f"{seconds:.3g} s"


def outlived(max_lifetime: float) -> str:
    """Why a cluster was stopped that has run for so many seconds."""
    return f"it has run for {span(max_lifetime)}, as long as it may (max_lifetime)"


def without_client(client_disconnect_timeout: float) -> str:
    """Why a cluster was stopped to which no client was connected for so many seconds."""
    return f"no client was connected to it for {span(client_disconnect_timeout)} (client_disconnect_timeout)"


def by_scheduler(idle_timeout: float) -> str:
    """Why a scheduler has ended its own cluster. `idle_timeout` is in seconds, 0 without one.

    The published scheduler plugin does so for one reason only, that nothing was computed for that long.
    """
    if not idle_timeout:
        return BY_SCHEDULER
    return f"it was idle for {span(idle_timeout)} (its idle timeout) and stopped itself"


def by_administrator(name: str, reason: str) -> str:
    """Why a cluster was stopped by somebody who is not its owner."""
    return f"an administrator ({name}) has stopped it: {reason}"


def has_run(record: ClusterRecord) -> bool:
    """True when the cluster's scheduler has reported at some time."""
    return bool(record.scheduler_address)


def failed(record: ClusterRecord) -> str:
    """What became of a cluster that failed, without the reason: "failed", or "failed to start"."""
    return "failed" if has_run(record) else "failed to start"


def failure(record: ClusterRecord) -> str:
    """The sentence for whoever waits for a cluster that failed; empty for one that did not."""
    return f"Cluster {record.name} {failed(record)}: {record.reason}" if record.reason else ""


def cannot_start(record: ClusterRecord) -> str:
    """The sentence for whoever waits for a cluster that will not run any more.

    Empty for one that may, and for one that a user stopped: for that the published client has words of its own.
    """
    if record.reason:
        return failure(record)
    if record.stopped and record.stopped != BY_USER:
        return f"Cluster {record.name} is already stopped: {record.stopped}"
    return ""


def not_running(record: ClusterRecord) -> str:
    """The sentence for whoever wants something of a cluster that only a running one can do."""
    begin = f"Cluster {record.name} is not running"
    if record.status is ClusterStatus.PENDING:
        return f"{begin} yet: its scheduler has not reported"
    if record.reason:
        return f"{begin}: it {failed(record)}: {record.reason}"
    state = "it has stopped" if is_ended(record.status) else "it is being stopped"
    return f"{begin}: {state}" + (f": {record.stopped}" if record.stopped else "")
