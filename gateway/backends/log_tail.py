"""The last lines of a job's log, fit to be shown to its user (pure).

A log is whatever a job wrote: it may hold the job's own secrets (a script that
prints its environment), bytes that are no text, and control sequences aimed at
the terminal of whoever reads it. So it is made readable (user_text.py) before
it is cut to its last lines. A reader hands in more than is shown
(`READ_BYTES`), which makes a PEM block cut in two rare; its lines are
recognised all the same.

The end of a log is not always what tells most: where it holds tracebacks, the
error that began it all comes first (tracebacks.py).
"""

import re
from collections.abc import Iterable

from gateway.backends.tracebacks import STARTED, cause
from gateway.user_text import readable

#: How much of a log's end to read, in bytes.
READ_BYTES = 64 * 1024
#: What is shown at most.
MAX_LINES = 20
MAX_BYTES = 4 * 1024
#: How a job ended that ended by itself.
_EXITED = re.compile(r"exit code \d+\b(?! \(killed)")


def log_tail(log: str, secrets: Iterable[str] = ()) -> str:
    """The last lines in the end of a log: at most 20 lines and 4 KiB (UTF-8), without `secrets`.

    Empty when the job wrote nothing but space.
    """
    tail = "\n".join(shown(log, secrets).strip("\n").split("\n")[-MAX_LINES:])
    return tail.encode()[-MAX_BYTES:].decode("utf-8", "ignore")


def explain_end(
    end: str, log: str, secrets: Iterable[str] = (), *, name: str = "", hint: str = "", killed: str = ""
) -> str:
    """How a job ended and what the end of its log tells, for its user, the cause first; empty if there is nothing.

    `end` is how it ended in the words of whoever ran it, a sentence; `name` is what the log is called for people;
    `hint` is what may have been the reason if the log names no cause; `killed` is a pattern of the lines by which the
    batch system shows that it ended the job.
    """
    found = cause(readable(log, secrets), killed)
    tail = log_tail(log, secrets)
    lines = [end] if end else []
    if found:
        # A job that was killed was killed by somebody, whatever its log says; one that exits has its reason.
        lines.insert(0 if not end or _EXITED.search(end) else 1, f"{found}, says its log.")
    elif hint:
        lines.append(f"Perhaps {hint}")
    if tail:
        lines += [f"The last lines of its log{f' ({name})' if name else ''}:", tail]
    return "\n".join(lines)


def shown(log: str, secrets: Iterable[str] = ()) -> str:
    """A part of a log as its user sees it: readable, without `secrets`, and without what we write there ourselves."""
    return readable(log.replace(f"{STARTED}\n", ""), secrets)
