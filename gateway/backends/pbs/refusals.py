"""What it means that a command of PBS failed, by what it printed (pure).

The exit code is PBS's error number modulo 256, so that one code has many
meanings: 183 is a server that dies as well as "Batch protocol error", 162 one
that is not there as well as its full disk. It counts only where nothing was
printed, and where it says that the command was killed: PBS's numbers leave 128
to 151 free (15001 to 15231 are 153 to 255 and 0 to 127).

A command goes through stages, and the last line says how far it came:

    connect, authenticate   "cannot connect to server": nothing was sent yet             AWAY
    send, wait for answer   a line of the wire protocol: it may have arrived             LOST
    the server answers      a line of its table of messages, or of a site's hook         by the tables below

Lines are compared as a whole, with the command's name in front: a hook may say
anything in its own words ("... Connection refused, ask the helpdesk"), and that
is final. So is whatever is not in a table.

Read were all messages of OpenPBS 19.1 to 23.06 that qsub and qdel can print.
"""

import re
from collections.abc import Sequence

from gateway.backends.batch.dialect import Refusal
from gateway.backends.commands import Answer

#: The connection was not made. Whatever else is printed is about why.
_NOT_REACHED = (
    r"(qsub|qstat|qselect|qmgr|qdel): cannot connect to server .*\(errno=-?\d+\)",  # src/cmds; the name may be empty
    r"Couldn't connect to cluster: .*",  # src/cmds/qdel.c
)

#: Why the connection was not made. Usually a line above follows; qdel may forget it, and end with exit code 0.
_NO_CONNECTION = (
    # src/iff/iff2.c
    r"pbs_iff: (cannot connect to host|all reserved ports in use|unknown host .*)",
    r"pbs_iff: (thread|connect) initialization failed",
    # src/lib/Libifl/pbsD_connect.c, and what is behind it: auth.c, Libauth
    r"auth: .*",
    # src/lib/Libcmds/cnt2server.c
    r"Unknown Host\.",
    r"Too many open connections\.",
    r"No default server name\.",
    r"System call failure\.",
    r"No Permission\.",
    r"Communication failure\.",
)

#: The request may have arrived, or may not: the wire protocol broke.
_BROKEN = (
    # src/lib/Libdis/dis.c: dis_emsg
    r"Input value too large to convert to this type",
    r"Tried to write floating point infinity",
    r"Negative sign on an unsigned datum",
    r"Input count or value has leading zero",
    r"Non-digit found where a digit was expected",
    r"Input string has an embedded ASCII NUL",
    r"Premature end of message",
    r"Unable to malloc enough space for string",
    r"Supporting protocol failure",
    r"Protocol failure in commit",
    r"End of File",
    # src/lib/Liblog/pbs_messages.c
    r"Batch protocol error",
    # src/cmds/qsub.c and qsub_sup.c: an answer without words, a connection that is closed under it
    r"Error \(-?\d+\) submitting job",
    r"Error -?\d+",
    r"SIGPIPE received, job submission interrupted\..*",
)

#: Nothing was submitted, and another time it may be.
_AWAY = (
    # src/lib/Liblog/pbs_messages.c: the server goes down, has no room for connections, cannot write or is confused
    r"Request not allowed: Server shutting down",
    r"No free connections",
    r"Server connection table full",
    r"Resource temporarily unavailable",
    r"(\S+: )?System error: .*",
    r"PBS server internal error",
    r"Failed to save job/resv, refer server logs for details(: .*)?",
    r"Job with requested ID already exists",
    r"Invalid credential|Expired credential",  # the connection has lost its authentication
    r"Floating License unavailable",
    # src/server/hook_func.c: a hook took too long
    r"request rejected as filter hook '.*' got an alarm call\. Please inform Admin",
    # src/cmds/qsub.c and qsub_sup.c: the gateway's host has no memory, no room in its folder for scripts, no names
    r"out of memory",
    r"unable to initialize security library\.",
    r"cannot get full local host name",
    r"could not create/open tmp file .* for script",
    r"error writing copy of script, .*",
    r"copy of script to tmp failed on close: .*",
    r"cannot access script file",
)
#: The same, without the command's name in front (src/cmds/qsub.c).
_AWAY_NAMELESS = (
    r"Out of memory",
    r"Failed to duplicate attributes list\.?",
    r"Failed to duplicate (original )?-v value",
    r"Retry to submit a job exhausted\.",
)

_JOBS = r"Maximum number of jobs(?: in 'Q' state)?"
_WHOSE = r"(?:user|group|project)"
_QUEUED = r"(?: for jobs in 'Q' state)?"
#: A limit: another time, or with fewer jobs at once, it would be taken. All of src/lib/Liblog/pbs_messages.c.
_FULL = (
    rf"{_JOBS}(?: for {_WHOSE} .*)? already in (?:queue(?: .*)?|complex)",
    rf"would exceed (?:queue .*|complex)'s per-{_WHOSE} limit(?: of jobs in 'Q' state)?",
    rf"would exceed (?:per-{_WHOSE} |{_WHOSE} .*'s )?limit on resource .* in (?:queue .*|complex){_QUEUED}",
    r"Array job exceeds server or queue size limit",
)

#: A qsub in the background that was asked instead (not with -f) has died (src/cmds/qsub_sup.c).
_BROKEN_NAMELESS = (r"Failed to recv data from background qsub",)

#: The C library's last words, and a shell's when a command of its script was killed. (Most often the exit code tells.)
_CRASHED = (
    r"double free or corruption.*",
    r"corrupted (size|double-linked list|unsorted).*",
    r"\w+\(\): (invalid|corrupted|unaligned|mismatching|memory) .*",
    r"\*\*\* .* detected \*\*\*.*",
    r"(.*: line \d+: +\d+ )?(Aborted|Segmentation fault|Killed|Broken pipe)\b.*",
)

#: How a line begins that says how far the command came; some of qsub have a blank too many.
_PROGRAM = re.compile(r"(?:qsub|qdel|qselect|qstat|qmgr): {0,2}")


def _any(*patterns: str) -> re.Pattern[str]:
    return re.compile("|".join(f"(?:{pattern})" for pattern in patterns))


def _named(*patterns: str) -> re.Pattern[str]:
    return re.compile(f"{_PROGRAM.pattern}(?:{_any(*patterns).pattern})")


#: What a line means. An earlier entry counts for more: who never connected has submitted nothing, however it crashed.
_MEANINGS = (
    (Refusal.AWAY, _any(*_NOT_REACHED)),
    (Refusal.LOST, _any(*_CRASHED, *_BROKEN_NAMELESS)),
    (Refusal.LOST, _named(*_BROKEN)),
    (Refusal.AWAY, _named(*_AWAY)),
    (Refusal.FULL, _named(*_FULL)),
)
#: The same for what is only said on the way, where no line follows that says how far the command came.
_MEANINGS_UNNAMED = ((Refusal.AWAY, _any(*_NO_CONNECTION, *_AWAY_NAMELESS)),)


def classify(answer: Answer) -> Refusal:
    """What it means that a command failed. (For one that ended with 0, see `broke_off`.)"""
    lines = _lines(answer)
    meaning = _meaning(lines)
    killed = answer.returncode < 0 or 128 <= answer.returncode < 152
    if killed and meaning is not Refusal.AWAY:
        return Refusal.LOST
    return meaning or (Refusal.REFUSED if lines else Refusal.LOST)


def broke_off(answer: Answer) -> bool:
    """Does the text say that this command reached nobody, or got no answer, whatever its exit code? qdel's may be 0."""
    return _meaning(_lines(answer)) in (Refusal.AWAY, Refusal.LOST)


def _meaning(lines: Sequence[str]) -> Refusal | None:
    """What the lines mean by the tables; None for what is in none."""
    named = any(map(_PROGRAM.match, lines))
    for refusal, pattern in _MEANINGS if named else (*_MEANINGS, *_MEANINGS_UNNAMED):
        if any(map(pattern.fullmatch, lines)):
            return refusal
    return None


def _lines(answer: Answer) -> list[str]:
    return [line.strip() for line in answer.stderr.splitlines() if line.strip()]


#: What the words of a refusal have to do with our options.
_ADVICE = (
    (r"[Qq]ueue|route", "queue"),
    (r"resource limits|walltime", "queue, time, worker_memory, worker_cores, scheduler_memory or scheduler_cores"),
    (r"'select'|'place'|-l(select|place)?\b|[Rr]esource|chunk", "worker_resource_list, scheduler_resource_list, place,"
     " extra_args or directives_skip"),
    (r"[Pp]roject", "project"),
    (r"[Aa]ccount", "account"),
    (r"group_list|[Gg]roup", "extra_args such as ['-Wgroup_list=NAME']"),
    (r"PBS_CONF|pbs\.conf|shared librar(y|ies)", "the environment of batch commands (the launcher's settings)"),
)  # fmt: skip


def advice(answer: Answer) -> str:
    """The options of the cluster's configuration that a refusal is about; empty when none is known to be."""
    text = " ".join(_lines(answer))
    options = next((options for pattern, options in _ADVICE if re.search(pattern, text)), "")
    return f"What helps may be {options}." if options else ""
