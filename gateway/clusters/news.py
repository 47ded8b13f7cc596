"""What a user is told of a job's report (pure)."""

from gateway.clusters.lifecycle import RowState
from gateway.clusters.rows import Row
from gateway.models import JobReport, JobState, Role


def news_of(row: Row, report: JobReport, *, was_suspended: bool) -> str:
    """Return a sentence about a report of a job that has not ended, or an empty text."""
    scheduler = row.role is Role.SCHEDULER
    if report.presumed:
        heard_of = scheduler and row.state is RowState.ACTIVE
        return "The scheduler's job is not in the queue any more; its next heartbeat decides" if heard_of else ""
    if report.suspended:
        who = "the scheduler" if scheduler else "workers"
        return "" if was_suspended else f"The batch system has suspended {who}{because(report.reason)}"
    return _news_of_state(report, scheduler=scheduler) if report.reason else ""


def _news_of_state(report: JobReport, *, scheduler: bool) -> str:
    if report.state is JobState.QUEUED:
        return f"{'The scheduler waits' if scheduler else 'Workers wait'} in the queue: {report.reason}"
    if report.state is JobState.UNKNOWN and scheduler:
        since = "has not been known for minutes" if report.overdue else "is not known at the moment"
        return f"The state of the scheduler's job {since}: {report.reason}"
    return ""


def because(reason: str) -> str:
    """Return what a reason adds to the end of a sentence."""
    return f": {reason}" if reason else ""


def workers(count: int, singular: str, plural: str) -> str:
    """Return the beginning of a sentence about so many workers."""
    return f"1 worker {singular}" if count == 1 else f"{count} workers {plural}"


def taken(sentences: list[str]) -> tuple[str, ...]:
    """Return the sentences that have gathered, and begin anew."""
    told = tuple(sentences)
    sentences.clear()
    return told
