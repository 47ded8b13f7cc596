"""qdel of several ids: in which order, what it refuses, and what it forgets.

All the oddities are recorded ones (qdel_subjobs.txt): with three or more
operands a subjob is forgotten when the next operand is a subjob that has
ended; an unknown id after a subjob makes qdel crash; unknown ids are only
reported while nothing else went wrong.
"""

from pbssim import errors
from pbssim.errors import Refused
from pbssim.jobs import Job, Target, parse_id
from pbssim.server import Server


class Crash(Exception):
    """The command aborts: text on stderr, exit code 134."""


def delete(
    server: Server, user: str, operands: list[str], *, purge: bool = False, force: bool = False
) -> list[Refused]:
    """Delete what can be deleted; returns the refusals in order."""
    refusals: list[Refused] = []
    found: list[tuple[Target, list[Job] | None]] = []
    for operand in operands:
        try:
            target = parse_id(operand, server.settings.server)
        except Refused as refusal:
            refusals.append(refusal)
        else:
            found.append((target, server.find(target)))
    subjobs = [jobs is not None and jobs[0].parent is not None for _, jobs in found]
    for position, (_, jobs) in enumerate(found):
        if jobs is None and any(subjobs[:position]):
            raise Crash("double free or corruption (fasttop)")
    silent = False
    for position, (target, jobs) in enumerate(found):
        if subjobs[position] and _is_ended_subjob(position + 1, found, subjobs):
            continue
        try:
            if jobs is not None:
                silent |= jobs[0].children is not None
                single = sum(subjobs) == 1 and len(jobs) == 1
                server.delete(user, jobs, purge=purge, force=force, single=single)
            elif not silent:
                raise _unknown(server, target)
        except Refused as refusal:
            silent = True
            if refusal is not errors.FINISHED_SUBJOB or (sum(subjobs) == 1 and len(jobs or ()) == 1):
                refusals.append(refusal.about(target.text))
    return refusals


def _is_ended_subjob(position: int, found: list[tuple[Target, list[Job] | None]], subjobs: list[bool]) -> bool:
    """Is the operand at this position, the third or a later one, a subjob that has ended?"""
    if not 2 <= position < len(found) or not subjobs[position]:
        return False
    return all(job.over for job in found[position][1] or ())


def _unknown(server: Server, target: Target) -> Refused:
    array = server.jobs.get(target.sequence)
    inside = target.indices and array is not None and array.children is not None
    return errors.BAD_SUBJOB if inside else errors.UNKNOWN_JOB
