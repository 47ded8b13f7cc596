"""From one look at the queue to what may be believed of our jobs (pure).

UNKNOWN is not GONE. A job is gone when the batch system says how it ended.
Absence is a suspicion: status commands are cached by some sites, and a list can
be incomplete for many reasons. A job is presumed gone when it is absent from
enough looks in a row *and* the batch system, asked for its id, does not know
it: the batch system forgets ended jobs, and elements of an array that were
cancelled in the queue vanish at once. A job that was never seen must be absent
once more, and is never presumed gone where the batch system may hide it. Of a
job that we have cancelled absence is enough: that is what was asked for.

What is absent but cannot be asked for is unknown after a while. What stays
unknown for minutes is overdue: whoever waits goes by the clock then.
"""

from collections.abc import Callable, Collection, Iterable, Mapping

from attrs import define, evolve, field, frozen

from gateway.backends.batch.dialect import Status
from gateway.backoff import backoff
from gateway.models import JobId, JobReport, JobState

#: Looks in a row without a job after which it is presumed gone: one that was seen before, one that never was.
ABSENCES_SEEN = 2
ABSENCES_NEVER_SEEN = 3

#: Looks in a row without a job, and without an answer about its id, after which nothing is known of it.
ABSENCES_UNKNOWN = 5

#: Seconds after which a job that nothing is known of is overdue: one that was seen before, one that never was.
OVERDUE_SEEN = 300.0
OVERDUE_NEVER_SEEN = 60.0

_NOT_LISTED = "The batch system does not list the job, and does not answer when it is asked for it."
_VANISHED = "it has left the queue, and the batch system does not remember how it ended"


@frozen
class Evidence:
    """What is known of the watched jobs that have not ended.

    Who was seen, who was missed how often in a row (and who of those was
    known not to exist), and since when (in seconds of the caller's clock)
    nothing is known of whom.
    """

    seen: frozenset[JobId] = field(default=frozenset())
    absences: Mapping[JobId, int] = field(factory=dict)
    unlisted: Mapping[JobId, int] = field(factory=dict)
    unknown_since: Mapping[JobId, float] = field(factory=dict)

    @property
    def suspicious(self) -> bool:
        """Whether the next look may show that a job is gone which this one has missed."""
        return any(
            count < _enough(known=job in self.seen) for job, count in self.absences.items() if job not in self.unlisted
        )


def infer_states(
    evidence: Evidence,
    jobs: Mapping[JobId, str],
    status: Status,
    array_of: Callable[[JobId], JobId | None],
    hides_jobs: str = "",
    *,
    cancelled: Collection[JobId] = (),
    now: float,
) -> tuple[dict[JobId, JobReport], Evidence]:
    """What to report of `jobs` (each with its user) after one good answer, and the evidence so far.

    `jobs` are those that were watched before the question was asked, at `now`; some may have been `cancelled`.
    """
    look = _Look(evidence, status, hides_jobs, cancelled)
    for job in jobs:
        look.at(job, status.reports.get(job) or _end_of_array(status, array_of(job)))
    seen = Evidence(frozenset(look.seen), look.absences, look.unlisted, evidence.unknown_since)
    more, evidence = _unknown(seen, look.unknown, now)
    return look.reports | more, evidence


@define
class _Look:
    """One good answer, beside the evidence before it; what follows from them."""

    before: Evidence
    status: Status
    hides_jobs: str
    cancelled: Collection[JobId]
    reports: dict[JobId, JobReport] = field(factory=dict)
    seen: set[JobId] = field(factory=set)
    absences: dict[JobId, int] = field(factory=dict)
    unlisted: dict[JobId, int] = field(factory=dict)
    unknown: dict[JobId, str] = field(factory=dict)

    def at(self, job: JobId, report: JobReport | None) -> None:
        """Take a job into account, of which the answer has this report."""
        if report is not None and report.state is not JobState.UNKNOWN:
            self.seen.add(job)
            self.reports[job] = report
            return
        known = job in self.before.seen
        if known:
            self.seen.add(job)
        if report is not None:
            self.unknown[job] = report.reason
        elif job in self.status.doubtful:
            self.unknown[job] = self.status.doubtful[job]
        elif self.hides_jobs and not known:
            self.unknown[job] = self.hides_jobs
        elif job in self.status.nonexistent or job in self.cancelled:
            self._absent(job, known=known)
        else:
            self._not_listed(job)

    def _absent(self, job: JobId, *, known: bool) -> None:
        self.absences[job] = self.before.absences.get(job, 0) + 1
        if self.absences[job] >= _enough(known=known):
            self.reports[job] = JobReport(JobState.GONE, _VANISHED, presumed=True)

    def _not_listed(self, job: JobId) -> None:
        """It was not its turn to be asked for, or there was no answer."""
        self.unlisted[job] = self.before.unlisted.get(job, 0) + 1
        if job in self.before.absences:
            self.absences[job] = self.before.absences[job]
        if self.unlisted[job] >= ABSENCES_UNKNOWN:
            self.unknown[job] = _NOT_LISTED


def no_answer(
    evidence: Evidence, jobs: Iterable[JobId], reason: str, *, now: float
) -> tuple[dict[JobId, JobReport], Evidence]:
    """What to report after a question without a good answer; absences are counted anew."""
    before = Evidence(evidence.seen, unknown_since=evidence.unknown_since)
    return _unknown(before, dict.fromkeys(jobs, reason), now)


def _unknown(evidence: Evidence, unknown: Mapping[JobId, str], now: float) -> tuple[dict[JobId, JobReport], Evidence]:
    since = {job: evidence.unknown_since.get(job, now) for job in unknown}
    reports = {}
    for job, reason in unknown.items():
        timeout = OVERDUE_SEEN if job in evidence.seen else OVERDUE_NEVER_SEEN
        reports[job] = JobReport(JobState.UNKNOWN, reason, overdue=now - since[job] >= timeout)
    return reports, evolve(evidence, unknown_since=since)


def _enough(*, known: bool) -> int:
    return ABSENCES_SEEN if known else ABSENCES_NEVER_SEEN


def _end_of_array(status: Status, array: JobId | None) -> JobReport | None:
    report = None if array is None else status.reports.get(array)
    return report if report is not None and report.state is JobState.GONE else None


def next_delay(*, calm: int, failures: int, period: float, eager_period: float) -> float:
    """Seconds until the next look at the queue, never more than `period`.

    They become more after each failure in a row, and after each look in a row that nobody was eager for (`calm`): what
    has just begun is what most often ends.
    """
    return backoff(failures or calm + 1, base=eager_period, longest=period)
