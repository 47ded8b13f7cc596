"""What PBS tells of single jobs: from `qstat -f -F json` to reports and sentences (pure).

JSON is the one format in which a user cannot put lines of his own among those
of others: `-f` prints newlines within variables raw, so a job may contain
whole `Job Id:` paragraphs. Even so nothing is expected of its values: numbers
may stand for strings, and bytes that are no UTF-8 arrive replaced.

How jobs end is seen with OpenPBS 23.06: Exit_status is the exit code, 256 + N
for signal N, or a negative number of PBS's own (JOB_EXEC_* in its job.h).

PBS does not have a record of each subjob. It makes one up from the array's,
with a comment that begins with `Subjob` and the Exit_status of whichever
subjob changed last:

- of a subjob that was deleted before it ran;
- of one that had ended, when it is named by a qdel later, alone in a range or
  with its array;
- without a history, of each one that ends.

Such an Exit_status is nobody's, so it is not believed. There is none while no
subjob has ended by itself; so without one, this one was deleted as it waited.
"""

import json
import re
from collections.abc import Mapping
from typing import Any

from gateway.backends.exit_words import COMMAND_NOT_FOUND, killed_by
from gateway.models import JobReport, JobState

Attributes = Mapping[str, Any]

#: Letters of PBS → what they mean to us. A new letter counts as running: a job is not lost for a word that is unknown.
_STATES = {
    JobState.QUEUED: "QHWT",
    JobState.RUNNING: "RSUB",
    JobState.ENDING: "E",
    JobState.GONE: "FX",
    JobState.UNKNOWN: "M",
}
SUSPENDED = "SU"
STATES: Mapping[str, JobState] = {letter: state for state, letters in _STATES.items() for letter in letters}

CAN_NEVER_RUN = "Can Never Run"

_OWN_CODES = {
    -3: "it could not be started",
    -10: "it could not be run as this user on the node",
    -11: "it was to be run again",
    -14: "it was to be run again",
    -16: "it was to be run again",
    -18: "it was to be run again",
    -24: "it used more CPUs than it had asked for",
    -25: "it used more CPUs than it had asked for",
    -26: "it used more virtual memory than it had asked for (vmem)",
    -27: "it used more memory than it had asked for (mem)",
    -28: "it used more CPU time than it had asked for (cput)",
    -29: "its time was over (walltime)",
}
_HOLDS = {"u": "by its user", "o": "by an operator", "s": "by PBS", "p": "for a bad password"}
#: Comments that say no more than state and Exit_status do.
_ORDINARY = re.compile(
    r"Job (run|was sent for execution) at .*? on \(.*?\)( and (failed|finished|terminated|exceeded resource \w+))?"
    r"|Job Array Began at .*"
    r"|Subjob (finished|failed|terminated)( and (failed|finished|terminated))?"  # an array may keep that of a subjob
)
#: How the comments of records begin that PBS has made up (stat_job.c in its source).
_MADE_UP = re.compile(r"Subjob (finished|failed|terminated)\b")
_TERMINATED = 91  # the substate of jobs that were deleted


def jobs_in(text: str) -> Mapping[str, Attributes]:
    """The jobs of a JSON answer by id; none if there are none, or if it is no such answer.

    The document begins with a line that is an opening brace, after whatever a site's wrapper prints.
    """
    start = re.search(r"^\{", text, re.MULTILINE)
    try:
        document, _ = json.JSONDecoder(strict=False).raw_decode(text, start.start() if start else 0)
    except (ValueError, RecursionError):
        return {}
    jobs = document.get("Jobs") if isinstance(document, dict) else None
    if not isinstance(jobs, dict):
        return {}
    return {job: attributes for job, attributes in jobs.items() if isinstance(attributes, dict)}


def report(attributes: Attributes, *, history: bool = True) -> JobReport:
    """What to believe of a job with these attributes. `history`: whether PBS remembers jobs that have ended."""
    letter = _text(attributes, "job_state")
    state = STATES.get(letter, JobState.RUNNING)
    if state is JobState.GONE:
        return JobReport(state, ending(attributes), deleted=_was_deleted(attributes, history=history))
    if state is JobState.UNKNOWN:
        return JobReport(state, "PBS has moved the job to another server.")
    return JobReport(
        state, waiting(attributes) if state is JobState.QUEUED else "", suspended=bool(letter) and letter in SUSPENDED
    )


def waiting(attributes: Attributes) -> str:
    """Why a job waits, on one line, in PBS's own words where it has any."""
    letter, comment = _text(attributes, "job_state"), _text(attributes, "comment")
    parts = []
    holders = " and ".join(_HOLDS[hold] for hold in _text(attributes, "Hold_Types") if hold in _HOLDS)
    if letter == "H" or holders:  # the waiting subjobs of a held array are in Q
        parts.append(f"held {holders}".strip())
    if letter == "W":
        if _number(attributes, "substate") == 37:
            parts.append("its files could not be staged in")
        if until := _text(attributes, "Execution_Time"):
            parts.append(f"not before {until}")
    if comment and not _ORDINARY.fullmatch(comment):
        parts.append(comment)
    return "; ".join(parts)


def ending(attributes: Attributes) -> str:
    """How a job ended: `exit code 3, on node n1`."""
    code, comment = _number(attributes, "Exit_status"), _text(attributes, "comment")
    if _is_made_up(attributes):
        return "deleted while it waited" if code is None else "PBS does not remember how it ended"
    deleted = re.search(r"terminated by (\S+)$", comment)
    node = _text(attributes, "exec_host").partition("/")[0]
    runs = _number(attributes, "run_count") or 0
    parts = (
        f"deleted by {deleted[1]}" if deleted else _deletion(attributes, code),
        "" if code is None else exit_status(code),
        f"on node {node}" if node else "",
        f"started {runs} times" if runs > 1 else "",
        "" if deleted or _ORDINARY.fullmatch(comment) or not comment else f"PBS says: {comment}",
    )
    return ", ".join(filter(None, parts)) or "ended; PBS does not say how"


def _deletion(attributes: Attributes, code: int | None) -> str:
    """That somebody of whom PBS does not tell has deleted the job; empty when nobody has."""
    if _number(attributes, "substate") != _TERMINATED:
        return ""
    return "deleted" if code is not None else "deleted while it waited"


def _is_made_up(attributes: Attributes) -> bool:
    """Did PBS make this up from the array's record? (After a restart the array itself may have such a comment.)"""
    return _MADE_UP.match(_text(attributes, "comment")) is not None and "array" not in attributes


def _was_deleted(attributes: Attributes, *, history: bool) -> bool:
    """Did somebody end this job? Where there is a history, only a qdel makes PBS forget a subjob's own record."""
    if _is_made_up(attributes):
        return history or _number(attributes, "Exit_status") is None
    return _number(attributes, "substate") == _TERMINATED


def exit_status(code: int) -> str:
    """An Exit_status in words."""
    if code < 0:
        return f"{_OWN_CODES.get(code, 'PBS could not run it')} (Exit_status {code})"
    if code > 256:
        return killed_by(code - 256)
    hints = {
        127: COMMAND_NOT_FOUND,
        254: " (PBS could not run the program: was it not found?)",
    }
    if 128 < code < 128 + 65:
        return f"exit code {code} ({killed_by(code - 128)})"
    return f"exit code {code}{hints.get(code, '')}"


def _text(attributes: Attributes, name: str) -> str:
    """An attribute as one line of text; empty when it is none."""
    value = attributes.get(name)
    return " ".join(re.sub(r"[\x00-\x1f\x7f-\x9f]", " ", value).split())[:500] if isinstance(value, str) else ""


def _number(attributes: Attributes, name: str) -> int | None:
    """An attribute as a whole number; None when it is none."""
    value = attributes.get(name)
    if isinstance(value, str) and re.fullmatch(r"-?\d{1,9}", value, re.ASCII):
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None
