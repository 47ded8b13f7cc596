"""Questions for single jobs after a look at the queue, and what their answers add to it (pure).

qselect tells who waits and who runs, and nothing else. So some of the jobs that
are missing are asked for by their ids: whether they are there (and shown to us),
and how they ended if PBS remembers; and some of those that wait, why they do.
"""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

from attrs import define, evolve, field

from gateway.backends.batch.dialect import Command, Status
from gateway.backends.commands import Answer
from gateway.backends.pbs.ids import array_of, by_array
from gateway.backends.pbs.qstat import CAN_NEVER_RUN, Attributes, jobs_in, report, waiting
from gateway.models import JobId, JobReport, JobState

#: Missing jobs or arrays, and waiting ones, that are asked for after one look at the queue.
MAX_MISSING_ASKED, MAX_WAITING_ASKED = 5, 4
#: More missing elements of one array than this are asked for with the whole array.
FEW_ELEMENTS = 2
_UNKNOWN_ID = re.compile(r"Unknown Job Id|Job has finished")
#: Why nothing is known of jobs that PBS does not show.
HIDDEN = (
    "PBS does not show this job to the gateway's account; an administrator can make it an operator"
    ' (qmgr -c "set server operators += NAME@HOST") or set query_other_jobs.'
)


def questions(status: Status, known: Mapping[JobId, JobReport], turn: int) -> Iterator[tuple[str, ...]]:
    """Options and ids of qstat for some of the jobs that are missing or wait; another few at each turn.

    What is missing is asked for twice: whether it is there, and how it ended.
    """
    missing = [job for job in known if job not in status.reports]
    for job in list(_turned(sorted(_worth_asking(missing)), turn))[:MAX_MISSING_ASKED]:
        whole = ("-t",) if "[]" in job else ()
        yield (*whole, job)
        yield ("-x", *whole, job)
    yield from ((job,) for job in _waiting_ones(status, known, turn)[:MAX_WAITING_ASKED])


def _waiting_ones(status: Status, known: Mapping[JobId, JobReport], turn: int) -> list[JobId]:
    """Jobs and arrays that wait: those that nothing is known of come first, then by turns."""
    queued = [job for job, now in status.reports.items() if job in known and now.state is JobState.QUEUED]
    wait = list(_turned(sorted({array_of(job) or job for job in queued}), turn))
    told = {array_of(job) or job for job in queued if known[job].reason}
    return sorted(wait, key=lambda job: job in told)


@define
class _Told:
    """What the answers say: of each job its attributes, and of which of them that is out of a history.

    `denied` are jobs and arrays that PBS, asked whether they are there, does not know. `hidden`: it has answered
    without the job asked for, and without a complaint.
    """

    jobs: dict[str, Attributes] = field(factory=dict)
    remembered: set[str] = field(factory=set)
    denied: set[str] = field(factory=set)
    hidden: bool = False

    def add(self, command: Command, answer: Answer) -> None:
        """Take one more answer into account."""
        jobs, history = jobs_in(answer.stdout), "-x" in command
        self.jobs.update(jobs)
        if history:
            self.remembered.update(jobs)
            return
        self.hidden = self.hidden or _is_empty(answer)
        if _UNKNOWN_ID.search(answer.stderr) or (jobs and "-t" in command):
            self.denied.add(command[-1])


def with_answers(
    status: Status,
    known: Mapping[JobId, JobReport],
    answers: Sequence[tuple[Command, Answer]],
    *,
    fail_hopeless: bool,
) -> Status:
    """The look with ends of missing jobs and reasons of waiting ones. What was not asked for keeps the reason it had.

    `fail_hopeless`: jobs that PBS says can never run are to be deleted, and one that was has failed.
    """
    told = _Told()
    for command, answer in answers:
        told.add(command, answer)
    reports = dict(status.reports)
    nonexistent = set()
    for job, before in known.items():
        now = status.reports.get(job)
        if now is None:
            if found := _missing(job, before, told, fail_hopeless):
                reports[job] = found
            elif not told.denied.isdisjoint((job, array_of(job))):
                nonexistent.add(job)
        elif now.state is JobState.QUEUED:
            reports[job] = _waiting(job, before, told)
    hopeless = [job for job in known if fail_hopeless and job in reports and _is_hopeless(reports[job])]
    return evolve(status, reports=reports, nonexistent=frozenset(nonexistent), hopeless=frozenset(hopeless))


def _missing(job: JobId, before: JobReport, told: _Told, fail_hopeless: bool) -> JobReport | None:
    """What is told of a job that was not listed; None when nothing is."""
    if job in told.jobs:
        ended = report(told.jobs[job], history=job in told.remembered)
        # Deleted for us, as the site wants it: that is a failure all the same.
        return evolve(ended, deleted=ended.deleted and not (fail_hopeless and _is_hopeless(before)))
    return JobReport(JobState.UNKNOWN, HIDDEN) if told.hidden else None


def _waiting(job: JobId, before: JobReport, told: _Told) -> JobReport:
    """A job that waits, with its reason, or the one that it had before."""
    attributes = told.jobs.get(array_of(job) or job)
    last = before.reason if before.state is JobState.QUEUED else ""
    return JobReport(JobState.QUEUED, last if attributes is None else waiting(attributes))


def _is_hopeless(job: JobReport) -> bool:
    return job.state is JobState.QUEUED and CAN_NEVER_RUN in job.reason


def _is_empty(answer: Answer) -> bool:
    """An answer without the job asked for and without a complaint."""
    return answer.returncode == 0 and not jobs_in(answer.stdout) and '"pbs_server"' in answer.stdout


def _worth_asking(missing: Collection[JobId]) -> Iterator[JobId]:
    """What to ask for: jobs, a few elements of an array, or the whole array."""
    plain, arrays = by_array(missing)
    yield from plain
    for array, elements in arrays.items():
        yield from elements if len(elements) <= FEW_ELEMENTS else (array,)


def _turned(jobs: Sequence[JobId], turn: int) -> Iterable[JobId]:
    """The same jobs, beginning with another one at each turn."""
    start = turn % len(jobs) if jobs else 0
    return (*jobs[start:], *jobs[:start])
