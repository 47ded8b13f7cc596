"""What others have said, made fit for users to read (pure).

Jobs, batch systems, sites' wrappers and their code say whatever they like: the
job's own secrets (a script that prints its environment), control sequences
aimed at the terminal of whoever reads it, megabytes. All of it passes here
before it becomes part of a sentence: progress bars leave their last state,
control characters go, then secrets, and what is long loses its middle. Secrets
go before anything is cut, so that no half of one is left at an edge.
"""

import re
from collections.abc import Iterable

#: Characters of a whole reason: what happened, and the end of a log.
MAX_REASON = 8 * 1024
#: Characters of what a command has said, within a sentence.
MAX_WORDS = 2000

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
#: A personal token (auth/token_text.py), or what looks like one: only its id is no secret.
_TOKEN = re.compile(r"(dgt_(?:[0-9A-Za-z]{10}_)?)[0-9A-Za-z_]{8,}")
#: Colours and the like; what a terminal takes for its title, a link or a notice and does not show (ECMA-48 8.3.89, OSC,
#: within its line); its character sets and modes (ECMA-35 13.2: `tput sgr0` is one, then a colour); and every other
#: control character but tab and line end; bidirectional overrides too.
_CONTROL = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b[\]P^_X][^\x07\x1b\n]*(?:\x07|\x1b\\)|\x1b(?:[ -/]+[0-~]|[0-?])"
    r"|[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]"
)


def readable(text: str, secrets: Iterable[str] = ()) -> str:
    """Return the text as a terminal would leave it, without `secrets`. Its lines stay."""
    # What stands before a carriage return within a line is overwritten: a progress bar leaves its last state.
    left = "\n".join(line.rstrip("\r").rpartition("\r")[2] for line in text.split("\n"))
    return "\n".join(line.rstrip() for line in redact(_CONTROL.sub("", left), secrets).split("\n"))


def one_line(text: str, limit: int = MAX_WORDS) -> str:
    """Return the readable text on one line of at most about `limit` characters, for the middle of a sentence."""
    return " ".join(bounded(" ".join(readable(text).split()), limit).split())


def bounded(text: str, limit: int = MAX_REASON) -> str:
    """Return the text without control characters and its middle, if it is longer than `limit` characters."""
    text = _CONTROL.sub("", text)
    half = limit // 2
    return text if len(text) <= limit else f"{text[:half]}\n[...]\n{text[-half:]}"


def redact(text: str, secrets: Iterable[str] = ()) -> str:
    """Return the text without these secrets, without PEM blocks, and without what looks like a token."""
    for secret in sorted(secrets, key=len, reverse=True):
        if len(secret) >= _SHORTEST_SECRET:
            text = text.replace(secret, _REDACTED)
    for pattern in _PATTERNS:
        text = pattern.sub(lambda match: _keep_name(match.group()), text)
    return mask_tokens(text)


def mask_tokens(text: str) -> str:
    """Return the text with nothing but the ids of personal tokens."""
    return _TOKEN.sub(rf"\1{_REDACTED}", text)


def _keep_name(found: str) -> str:
    """`=value` becomes `=[redacted]`; everything else goes as a whole."""
    assigned = re.match(r"['\"]?\s*[=:]\s*", found)
    return (assigned.group() if assigned else "") + _REDACTED
