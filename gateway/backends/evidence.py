"""From one look at the queue to what may be believed of our jobs (pure).

UNKNOWN is not GONE. A job is gone when the batch system says how it ended.
Absence is a suspicion: status commands are cached by some sites, and a list can
be incomplete for many reasons. A job is presumed gone when it is absent from
enough looks in a row *and* the batch system, asked for its id, does not know
it: the batch system forgets ended jobs, and elements of an array that were
cancelled in the queue vanish at once. A job that was never seen must be absent
once more, and is never presumed gone where the batch system may hide it.

What stays unknown for minutes is overdue: whoever waits goes by the clock then.
"""

from collections.abc import Callable, Iterable, Mapping

from attrs import field, frozen

from gateway.backends.dialect import Status
from gateway.models import JobId, JobReport, JobState

#: Looks in a row without a job after which it is presumed gone: one that was seen before, one that never was.
ABSENCES_SEEN = 2
ABSENCES_NEVER_SEEN = 3

#: Seconds after which a job that nothing is known of is overdue: one that was seen before, one that never was.
OVERDUE_SEEN = 300.0
OVERDUE_NEVER_SEEN = 60.0

_VANISHED = "it has left the queue, and the batch system does not remember how it ended"


@frozen
class Evidence:
    """What is known of the watched jobs that have not ended.

    Who was seen, who was missed how often in a row, and since when (in
    seconds of the caller's clock) nothing is known of whom.
    """

    seen: frozenset[JobId] = field(default=frozenset())
    absences: Mapping[JobId, int] = field(factory=dict)
    unknown_since: Mapping[JobId, float] = field(factory=dict)


def judge(
    evidence: Evidence,
    jobs: Mapping[JobId, str],
    status: Status,
    array_of: Callable[[JobId], JobId | None],
    hides_jobs: str = "",
    *,
    now: float,
) -> tuple[dict[JobId, JobReport], Evidence]:
    """What to report of `jobs` (each with its user) after one good answer, and the evidence so far.

    `jobs` are those that were watched before the question was asked, at `now`.
    """
    reports: dict[JobId, JobReport] = {}
    seen: set[JobId] = set()
    absences: dict[JobId, int] = {}
    unknown: dict[JobId, str] = {}
    for job in jobs:
        known = job in evidence.seen
        report = status.reports.get(job) or _end_of_array(status, array_of(job))
        if report is not None and report.state is not JobState.UNKNOWN:
            seen.add(job)
            reports[job] = report
            continue
        if known:
            seen.add(job)
        if report is not None:
            unknown[job] = report.reason
        elif job in status.doubtful:
            unknown[job] = status.doubtful[job]
        elif hides_jobs and not known:
            unknown[job] = hides_jobs
        elif job in status.nonexistent:
            absences[job] = evidence.absences.get(job, 0) + 1
            if absences[job] >= (ABSENCES_SEEN if known else ABSENCES_NEVER_SEEN):
                reports[job] = JobReport(JobState.GONE, _VANISHED, presumed=True)
        elif job in evidence.absences:  # it was not its turn to be asked for
            absences[job] = evidence.absences[job]
    more, evidence = _unknown(Evidence(frozenset(seen), absences, evidence.unknown_since), unknown, now)
    return reports | more, evidence


def no_answer(
    evidence: Evidence, jobs: Iterable[JobId], reason: str, *, now: float
) -> tuple[dict[JobId, JobReport], Evidence]:
    """What to report after a question without a good answer; absences are counted anew."""
    return _unknown(Evidence(evidence.seen, {}, evidence.unknown_since), dict.fromkeys(jobs, reason), now)


def _unknown(evidence: Evidence, unknown: Mapping[JobId, str], now: float) -> tuple[dict[JobId, JobReport], Evidence]:
    since = {job: evidence.unknown_since.get(job, now) for job in unknown}
    reports = {}
    for job, reason in unknown.items():
        patience = OVERDUE_SEEN if job in evidence.seen else OVERDUE_NEVER_SEEN
        reports[job] = JobReport(JobState.UNKNOWN, reason, overdue=now - since[job] >= patience)
    return reports, Evidence(evidence.seen, evidence.absences, since)


def _end_of_array(status: Status, array: JobId | None) -> JobReport | None:
    report = None if array is None else status.reports.get(array)
    return report if report is not None and report.state is JobState.GONE else None


def next_delay(*, eager: bool, failures: int, period: float, eager_period: float) -> float:
    """Seconds until the next look at the queue: longer after each failure in a row, but never beyond `period`."""
    if not failures:
        return eager_period if eager else period
    return min(period, eager_period * 2.0 ** min(failures - 1, 20))


def alive(jobs: Iterable[tuple[JobId, JobReport]]) -> list[JobId]:
    """The jobs that are not known to be gone; those that are presumed so may come back."""
    return [job for job, report in jobs if report.state is not JobState.GONE or report.presumed]
