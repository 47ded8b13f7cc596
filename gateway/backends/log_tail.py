"""The last lines of a job's log, fit to be shown to its user (pure).

A log is whatever a job wrote: it may hold the job's own secrets (a script that
prints its environment), bytes that are no text, and control sequences aimed at
the terminal of whoever reads it. So, in this order: decode, remove control
characters, remove secrets, cut to the last lines. Redaction comes before the
cut, so that no half of a secret is left at the edge. A reader hands in more
than is shown (`READ_BYTES`), which makes a PEM block cut in two rare; its
lines are recognised all the same.

The end of a log is not always what tells most: where it holds tracebacks, the
error that began it all comes first (tracebacks.py).
"""

import re
from collections.abc import Iterable

from gateway.backends.tracebacks import STARTED, cause

#: How much of a log's end to read, in bytes.
READ_BYTES = 64 * 1024
#: What is shown at most.
MAX_LINES = 20
MAX_BYTES = 4 * 1024
#: How a job ended that ended by itself.
_EXITED = re.compile(r"exit code \d+\b(?! \(killed)")
#: Characters of a whole reason: what happened, and the end of a log.
MAX_REASON = 8 * 1024

_REDACTED = "[redacted]"
#: Shorter values are no secrets, and removing them would riddle the text.
_SHORTEST_SECRET = 6
_PATTERNS = (
    # A whole PEM block, or one whose end is not written yet; with real or escaped line ends.
    re.compile(r"-----BEGIN [A-Z0-9 ]+-----.*?(?:-----END [A-Z0-9 ]+-----|\Z)", re.DOTALL),
    # The rest of a block that began before the text does.
    re.compile(r"\A(?:[A-Za-z0-9+/=\s]|\\n)*-----END [A-Z0-9 ]+-----"),
    # The body of a block whose both ends are missing: PEM lines have 64 characters (RFC 7468).
    re.compile(r"^[A-Za-z0-9+/]{64}$", re.MULTILINE),
    # Names of variables, headers and fields that carry secrets, whoever they belong to.
    re.compile(r"(?i)(?<=api_token)['\"]?\s*[=:]\s*\S+"),
    re.compile(r"(?i)(?<=authorization)['\"]?\s*[=:]\s*.+"),
)
#: Colours and the like, and every other control character but tab and line end; bidirectional overrides too.
_CONTROL = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
#: What a carriage return within a line overwrites: a progress bar leaves its last state.
_OVERWRITTEN = re.compile(r"[^\n]*\r(?!\n)")


def log_tail(data: bytes, secrets: Iterable[str] = ()) -> str:
    """The last lines in `data`, the end of a log: at most 20 lines and 4 KiB (UTF-8), without `secrets`.

    Empty when the job wrote nothing but space.
    """
    tail = "\n".join(_clean(data, secrets).strip("\n").split("\n")[-MAX_LINES:])
    return tail.encode()[-MAX_BYTES:].decode("utf-8", "ignore")


def explain_end(
    end: str, log: bytes, secrets: Iterable[str] = (), *, name: str = "", hint: str = "", killed: str = ""
) -> str:
    """How a job ended and what the end of its log tells, for its user, the cause first; empty if there is nothing.

    `end` is how it ended in the words of whoever ran it, a sentence; `name` is what the log is called for people;
    `hint` is what may have been the reason if the log names no cause; `killed` is a pattern of the lines by which the
    batch system shows that it ended the job.
    """
    found = cause(_clean(log, secrets), killed)
    tail = log_tail(log.replace(f"{STARTED}\n".encode(), b""), secrets)
    lines = [end] if end else []
    if found:
        # A job that was killed was killed by somebody, whatever its log says; one that exits has its reason.
        lines.insert(0 if not end or _EXITED.search(end) else 1, f"{found}, says its log.")
    elif hint:
        lines.append(f"Perhaps {hint}")
    if tail:
        lines += [f"The last lines of its log{f' ({name})' if name else ''}:", tail]
    return "\n".join(lines)


def bounded(text: str, limit: int = MAX_REASON) -> str:
    """The text without control characters, and not longer than `limit` characters: the middle of it is left out."""
    text = _CONTROL.sub("", text)
    half = limit // 2
    return text if len(text) <= limit else f"{text[:half]}\n[...]\n{text[-half:]}"


def _clean(data: bytes, secrets: Iterable[str]) -> str:
    text = _CONTROL.sub("", _OVERWRITTEN.sub("", data.decode("utf-8", "replace")))
    return "\n".join(line.rstrip() for line in redact(text, secrets).split("\n"))


def redact(text: str, secrets: Iterable[str] = ()) -> str:
    """The text without these secrets, without PEM blocks, and without what looks like a token."""
    for secret in sorted(secrets, key=len, reverse=True):
        if len(secret) >= _SHORTEST_SECRET:
            text = text.replace(secret, _REDACTED)
    for pattern in _PATTERNS:
        text = pattern.sub(lambda match: _keep_name(match.group()), text)
    return text


def _keep_name(found: str) -> str:
    """`=value` becomes `=[redacted]`; everything else goes as a whole."""
    assigned = re.match(r"['\"]?\s*[=:]\s*", found)
    return (assigned.group() if assigned else "") + _REDACTED
