"""The last lines of a job's log, fit to be shown to its user (pure).

A log is whatever a job wrote: it may hold the job's own secrets (a script that
prints its environment), bytes that are no text, and control sequences aimed at
the terminal of whoever reads it. So, in this order: decode, remove control
characters, remove secrets, cut to the last lines. Redaction comes before the
cut, so that no half of a secret is left at the edge. A reader hands in more
than is shown (`READ_BYTES`), which makes a PEM block cut in two rare; its
lines are recognised all the same.
"""

import re
from collections.abc import Iterable

#: How much of a log's end to read, in bytes.
READ_BYTES = 64 * 1024
#: What is shown at most.
MAX_LINES = 20
MAX_BYTES = 4 * 1024

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
    text = _CONTROL.sub("", _OVERWRITTEN.sub("", data.decode("utf-8", "replace")))
    lines = [line.rstrip() for line in redact(text, secrets).split("\n")]
    tail = "\n".join(lines).strip("\n").split("\n")[-MAX_LINES:]
    return "\n".join(tail).encode()[-MAX_BYTES:].decode("utf-8", "ignore")


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
