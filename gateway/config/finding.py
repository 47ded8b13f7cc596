"""What a look at a set-up finds; a value, for whoever looks (doctor/), and whoever knows what to look for."""

import enum

from attrs import frozen


class State(enum.StrEnum):
    """What is thought of it."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"
    SKIPPED = "skipped"


@frozen
class Finding:
    """One thing that was looked at: what was seen, and what mends it, a command or an option, if that is needed."""

    state: State
    subject: str
    evidence: str
    remedy: str = ""


def fine(subject: str, evidence: str) -> Finding:
    """Return that something is as it should be."""
    return Finding(State.OK, subject, evidence)


def doubt(subject: str, evidence: str, remedy: str = "") -> Finding:
    """Return that something may become a trouble, or is one for some."""
    return Finding(State.WARNING, subject, evidence, remedy)


def failure(subject: str, evidence: str, remedy: str = "") -> Finding:
    """Return that something keeps users from what they want."""
    return Finding(State.FAILED, subject, evidence, remedy)


def skipped(subject: str, why: str) -> Finding:
    """Return that something could not be looked at."""
    return Finding(State.SKIPPED, subject, why)
