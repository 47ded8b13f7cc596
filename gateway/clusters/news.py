"""What a user is told of a job's report (pure)."""

from gateway.clusters.lifecycle import RowState
from gateway.clusters.rows import Row
from gateway.models import JobReport, JobState, Role


def news_of(row: Row, report: JobReport, *, was_suspended: bool) -> list[str]:
    """Return what is to be told about a report of a job that has not ended."""
    scheduler, why = row.role is Role.SCHEDULER, report.reason
    if report.presumed and scheduler and row.state is RowState.ACTIVE:
        return ["The scheduler's job is not in the queue any more; its next heartbeat decides"]
    if report.suspended and not was_suspended:
        return [f"The batch system has suspended {'the scheduler' if scheduler else 'workers'}{because(why)}"]
    return _news_of_state(report, scheduler=scheduler) if why else []


def _news_of_state(report: JobReport, *, scheduler: bool) -> list[str]:
    if report.state is JobState.QUEUED:
        return [f"{'The scheduler waits' if scheduler else 'Workers wait'} in the queue: {report.reason}"]
    if report.state is JobState.UNKNOWN and scheduler:
        known = "has not been known for minutes" if report.overdue else "is not known at the moment"
        return [f"The state of the scheduler's job {known}: {report.reason}"]
    return []


def because(reason: str) -> str:
    """Return what a reason adds to the end of a sentence."""
    return f": {reason}" if reason else ""


def workers(count: int, singular: str, plural: str) -> str:
    """Return the beginning of a sentence about so many workers."""
    return f"1 worker {singular}" if count == 1 else f"{count} workers {plural}"
