"""Whether a batch system's jobs may run on this very host: whether its node daemon does.

A cluster's scheduler is then to be found at an address of this host's own, which
the gateway does not connect to where jobs run elsewhere. The answer is looked
up in /proc, and kept for a moment, since heartbeats can cause the question.
"""

import time
from pathlib import Path

#: Seconds for which an answer is kept.
KEPT = 10.0

_answers: dict[str, tuple[float, bool]] = {}


def runs_here(program: str, proc: Path = Path("/proc")) -> bool:
    """True while a process whose program is called `program` (15 characters at most) runs on this host."""
    until, answer = _answers.get(program, (0.0, False))
    if time.monotonic() >= until:
        answer = any(_name(process) == program for process in proc.glob("[0-9]*"))
        _answers[program] = time.monotonic() + KEPT, answer
    return answer


def _name(process: Path) -> str:
    try:
        return (process / "comm").read_text().rstrip("\n")
    except OSError:  # it has ended
        return ""
