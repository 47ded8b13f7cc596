"""From one look at the queue to what may be believed of our jobs (pure).

UNKNOWN is not GONE. A job is gone when the batch system says how it ended, or
when it is absent from enough good answers in a row: the batch system forgets
ended jobs, and elements of an array that were cancelled in the queue vanish
at once. A job that was never seen must be absent once more, and is never
believed to be gone where the batch system may hide it from us.
"""

from collections.abc import Callable, Iterable, Mapping

from attrs import field, frozen

from gateway.backends.dialect import Status
from gateway.models import JobId, JobReport, JobState

#: Good answers in a row without a job after which it is gone: one that was seen before, one that never was.
ABSENCES_SEEN = 2
ABSENCES_NEVER_SEEN = 3

_VANISHED = "It has left the queue, and the batch system does not remember how it ended."


@frozen
class Evidence:
    """What is known of the watched jobs that have not ended: who was seen, and who was missed how often in a row."""

    seen: frozenset[JobId] = field(default=frozenset())
    absences: Mapping[JobId, int] = field(factory=dict)


def judge(
    evidence: Evidence,
    jobs: Mapping[JobId, str],
    status: Status,
    array_of: Callable[[JobId], JobId | None],
    hides_jobs: str = "",
) -> tuple[dict[JobId, JobReport], Evidence]:
    """What to report of `jobs` (each with its user) after one good answer, and the evidence so far.

    `jobs` are those that were watched before the question was asked.
    """
    reports: dict[JobId, JobReport] = {}
    seen: set[JobId] = set()
    absences: dict[JobId, int] = {}
    for job, user in jobs.items():
        report = status.reports.get(job) or _end_of_array(status, array_of(job))
        if report is not None:
            seen.add(job)
            reports[job] = report
            continue
        known = job in evidence.seen
        if known:
            seen.add(job)
        if user in status.doubtful_users:
            reports[job] = JobReport(JobState.UNKNOWN, f"The batch system does not know the user {user} at the moment.")
        elif hides_jobs and not known:
            reports[job] = JobReport(JobState.UNKNOWN, hides_jobs)
        else:
            absences[job] = evidence.absences.get(job, 0) + 1
            if absences[job] >= (ABSENCES_SEEN if known else ABSENCES_NEVER_SEEN):
                reports[job] = JobReport(JobState.GONE, _VANISHED)
    return reports, Evidence(frozenset(seen), absences)


def _end_of_array(status: Status, array: JobId | None) -> JobReport | None:
    report = None if array is None else status.reports.get(array)
    return report if report is not None and report.state is JobState.GONE else None


def forget_absences(evidence: Evidence) -> Evidence:
    """After a question without a good answer, absences are counted anew."""
    return Evidence(evidence.seen)


def next_delay(*, eager: bool, failures: int, period: float, eager_period: float) -> float:
    """Seconds until the next look at the queue: longer after each failure in a row, but never beyond `period`."""
    if not failures:
        return eager_period if eager else period
    return min(period, eager_period * 2.0 ** min(failures - 1, 20))


def alive(jobs: Iterable[tuple[JobId, JobReport]]) -> list[JobId]:
    """The jobs that are not known to be gone."""
    return [job for job, report in jobs if report.state is not JobState.GONE]
