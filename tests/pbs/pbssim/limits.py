"""Limits on how many jobs may be queued, as qmgr sets them and qsub is refused by them.

What was recorded, and no more: `max_queued` of the server and of queues, for
all (`[o:PBS_ALL=N]`), each user (`[u:PBS_GENERIC=N]`) and one user
(`[u:NAME=N]`); of queues also `max_queued_res.ncpus` for each user,
`max_queuable`, `max_array_size` and `resources_max.walltime`. Each subjob
counts, but for max_queuable.
"""

import re
from collections.abc import Sequence

from pbssim import errors
from pbssim.errors import Refused
from pbssim.jobs import Job, Resources, parse_duration
from pbssim.settings import Settings

_ENTITY = re.compile(r"\[(?P<kind>[ou]):(?P<name>\w+)=(?P<count>\d+)\]")


def is_known(owner: str, name: str, value: str) -> bool:
    """Is this a limit that is simulated? `owner` is `server`, or `queue` and its name."""
    if owner != "server" and name in ("max_queuable", "max_array_size"):
        return value.isdecimal()
    if owner != "server" and name == "resources_max.walltime":
        return True
    entity = _ENTITY.fullmatch(value)
    if entity is None:
        return False
    if name == "max_queued_res.ncpus":
        return owner != "server" and entity["name"] == "PBS_GENERIC" and entity["kind"] == "u"
    return name == "max_queued" and (entity["kind"] == "u" or entity["name"] == "PBS_ALL")


def check_array(settings: Settings, queue: str, size: int) -> None:
    """Raises the refusal of an array that is too large."""
    if size > min(settings.max_array_size, int(settings.limits.get(f"queue {queue} max_array_size", size))):
        raise errors.ARRAY_TOO_LARGE


def check_queued(
    settings: Settings, waiting: Sequence[Job], user: str, queue: str, resources: Resources, count: int
) -> None:
    """Raises the refusal of `count` more jobs of a user in a queue. `waiting` are all jobs that have not ended."""
    for owner, there in (("server", "complex"), (f"queue {queue}", f"queue {queue}")):
        jobs = [job for job in waiting if owner == "server" or job.queue == queue]
        mine = [job for job in jobs if job.owner == user]
        own = {name.removeprefix(f"{owner} "): value for name, value in settings.limits.items() if owner in name}
        walltime = own.get("resources_max.walltime")
        if walltime and (resources.walltime or 0) > parse_duration(walltime, "walltime")[0]:
            raise errors.OVER_WALLTIME
        submissions = {job.sequence for job in jobs}
        if len(submissions) + 1 > int(own.get("max_queuable", len(submissions) + 1)):
            raise Refused("Maximum number of jobs already in queue", 198)
        if limit := _ENTITY.fullmatch(own.get("max_queued", "")):
            most = int(limit["count"])
            if limit["kind"] == "o" and len(jobs) + count > most:
                raise Refused(f"Maximum number of jobs already in {there}", 38)
            if limit["name"] == "PBS_GENERIC" and len(mine) + count > most:
                raise Refused(f"would exceed {there if owner == 'server' else 'queue generic'}'s per-user limit", 38)
            if limit["name"] == user and len(mine) + count > most:
                raise Refused(f"Maximum number of jobs for user {user} already in {there}", 38)
        if limit := _ENTITY.fullmatch(own.get("max_queued_res.ncpus", "")):
            asked = sum(job.resources.ncpus for job in mine) + count * resources.ncpus
            if asked > int(limit["count"]):
                raise Refused(f"would exceed per-user limit on resource ncpus in {there}", 39)
