"""Findings, as they are printed: a line each for people, objects for programs (pure)."""

from collections import Counter
from collections.abc import Sequence

from gateway.doctor.finding import Finding, Status

#: Exit codes above have meanings of their own to a shell.
MOST_FAILURES = 100


def exit_code(findings: Sequence[Finding]) -> int:
    """The number of failures, as far as an exit code can tell it."""
    return min(MOST_FAILURES, sum(finding.status is Status.FAILED for finding in findings))


def lines(findings: Sequence[Finding]) -> str:
    """A line for each finding, with columns that stand below each other, and one that counts them."""
    status = max((len(finding.status) for finding in findings), default=0)
    check = max((len(finding.check) for finding in findings), default=0)
    told = [
        f"{finding.status.ljust(status)}  {finding.check.ljust(check)}  {finding.evidence}{_remedy(finding)}"
        for finding in findings
    ]
    return "\n".join((*told, counts(findings)))


def _remedy(finding: Finding) -> str:
    return f"  → {finding.remedy}" if finding.remedy else ""


def counts(findings: Sequence[Finding]) -> str:
    """How many findings there are of each kind."""
    found = Counter(finding.status for finding in findings)
    return ", ".join(f"{found[status]} {status}" for status in Status)


def objects(findings: Sequence[Finding]) -> list[dict[str, str]]:
    """The same for programs."""
    return [
        {
            "check": finding.check,
            "status": str(finding.status),
            "evidence": finding.evidence,
            "remedy": finding.remedy,
        }
        for finding in findings
    ]
