"""Sentences for a cluster's user that know which jobs they are about (pure)."""

from collections.abc import Sequence

from gateway.models import JobId


class Told(str):
    """A sentence; `job` names what it is about for the log: a job's id, or the first of several and their number."""

    __slots__ = ("job",)
    job: str


def about(jobs: Sequence[JobId | None], sentence: str) -> Told:
    """Return the sentence, which is about these jobs, as far as they have ids."""
    told = Told(sentence)
    ids = [job for job in jobs if job is not None]
    told.job = f"{ids[0]} and {len(ids) - 1} more" if len(ids) > 1 else "".join(ids)
    return told
