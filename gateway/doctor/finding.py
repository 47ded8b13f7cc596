"""What a check has found (pure)."""

import enum

from attrs import field, frozen

from gateway.user_text import one_line

#: Characters of evidence: sudo's words and a sentence around them.
_LONGEST = 1000


class Status(enum.StrEnum):
    """What a finding means for the gateway."""

    OK = "ok"
    WARNING = "warning"
    """It works, but not as well as it should, or not for ever."""
    FAILED = "failed"
    """Users will notice, or the gateway will not start."""
    SKIPPED = "skipped"
    """It could not be looked at, or there was no need to."""


def _line(text: str) -> str:
    return one_line(text, _LONGEST)


@frozen
class Finding:
    """What was looked at, what it means, what was seen, and the command (or the option) that mends it."""

    check: str
    status: Status
    evidence: str = field(converter=_line)
    remedy: str = field(default="", converter=_line)


def ok(check: str, evidence: str) -> Finding:
    """All is well."""
    return Finding(check, Status.OK, evidence)


def warning(check: str, evidence: str, remedy: str) -> Finding:
    """It works, but."""
    return Finding(check, Status.WARNING, evidence, remedy)


def failed(check: str, evidence: str, remedy: str) -> Finding:
    """It does not work."""
    return Finding(check, Status.FAILED, evidence, remedy)


def skipped(check: str, why: str, remedy: str = "") -> Finding:
    """It was not looked at, and why."""
    return Finding(check, Status.SKIPPED, why, remedy)
