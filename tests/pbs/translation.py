"""Recorded words and those of today: numbers of jobs, names, places, and what differs from run to run.

Recorded were a server and a host that are both called pbs, and /home/alice/p
where conversations now have a new directory. A simulation has all names and
numbers of the recordings; a real PBS has its own.
"""

import re
from dataclasses import dataclass, field
from pathlib import Path

JOB = re.compile(r"(\d+)(\[\d*\])?\.(\w[\w.-]*)")
_UNWRAPPED = re.compile(r"\n\t(?![\t\"}])")  # where -f breaks lines
_REPLACEMENTS = [
    (r"[A-Z][a-z]{2} [A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d \d{4}", "DATE"),
    (r"[A-Z][a-z]{2} [A-Z][a-z]{2} [ \d]\d at \d\d:\d\d", "DATE"),
    (r"\b1[78]\d{8}\b", "STAMP"),
    (r"\b00:00:\d\d\b", "00:00:00"),
    (r"(resources_used\.\w+ =).*", r"\1 N"),
    (r"\b\d+kb\b(?!\))", "Nkb"),
    (r"(exec_host = |\"exec_host\":\t\")pbs/\d+", r"\1pbs/N"),
    (r"(session_id = |\"session_id\":\t)\d+", r"\1N"),
    (r"(JOBCOOKIE=)\w+", r"\1COOKIE"),
    (r"@vm:", "@pbs:"),  # the recorded host had two names
    (r" +", " "),
    (r" $", ""),
    # An array's Exit_status is that of whichever subjob changed last: subjobs that run side by side end in any order.
    (r"^( Exit_status = )[012](\n Submit_arguments = .*-J )", r"\1N\2"),
    (r"^(\t+\"Exit_status\":\t)[012](,\n\t+\"Submit_arguments\":\t\".*-J )", r"\1N\2"),
]
#: What depends on the moment of a question, the machine and the version: a real PBS does not wait for us.
_MOMENTS = [
    (r"(substate = |\|substate=|\"substate\":\t)41\b", r"\g<1>42"),
    (r"^(\d\S* \S+ \S+) 0 (?=[A-Z] )", r"\1 00:00:00 "),  # the table
    (r"^ (resources_used\.\w+|session_id|jobdir) = .*\n", ""),
    (r"\|(resources_used\.\w+|session_id|jobdir)=[^|\n]*", ""),
    (r"^\t+\"resources_used\":\t\{[^}]*\},\n", ""),
    (r"^\t+\"(session_id|jobdir)\":\t.*\n", ""),
    (r"\bA: \d+ T: \d+\)", "A: N T: N)"),  # CPUs that are free, and all
    (r"(?<=\"pbs_version\":\t).*", "VERSION,"),
    (r"^(\d+\[\d{7})\d*(\]\S*|\*)", r"\1"),  # the table cuts ids, those with longer numbers sooner
    # A job that was just deleted may have ended already.
    (r"^(\d\S* \S+ \S+ \S+) E ", r"\1 R "),
    (r"(job_state = |\"job_state\":\t\")E\b", r"\1R"),
    (r"(substate = |\"substate\":\t)5[0-3]\b", r"\g<1>42"),
    (r"(and terminated by \S+\n(?: .*\n)*?) Stageout_status = .*\n", r"\1"),
]


@dataclass
class Words:
    """How to say today what was recorded, and the other way round."""

    directory: Path
    bin: Path
    simulated: Path | None  # the directory of a simulation
    numbers: dict[str, str] = field(default_factory=dict)  # recorded → given now
    server: str = "pbs"
    host: str = "pbs"

    def now(self, text: str) -> str:
        """A recorded command with the numbers, names and places of today."""
        where = r"(?<![\w.])\d+(?=(?:\[[\d-]*\])?\.pbs\b)|(?<=\.[oe])\d+\b"
        if re.match(r"q(stat|del)\b", text):  # these take numbers without the server's name, too
            where += r"|(?<=[ '])\d+(?=(?:\[[\d-]*\])?(?:'|$| ))"
        text = re.sub(where, lambda match: self.numbers.get(match[0], match[0]), text)
        text = re.sub(r"(?<=[\d\]\\])\.pbs\b", f".{self.server}", text)
        text = re.sub(r"(?<= @)pbs\b", self.server, text).replace("@vm:", f"@{self.host}:")
        return text.replace("/home/alice/p", str(self.directory)).replace("~/p", str(self.directory))

    def then(self, text: str) -> str:
        """An answer of today with recorded numbers, names and places."""
        text = _UNWRAPPED.sub("", text)
        text = text.replace(str(self.directory), "/home/alice/p").replace(str(self.bin), "/opt/pbs/bin")
        if self.simulated is not None:
            places = {"tmp": "/var/tmp", "aux": "/var/spool/pbs/aux", "jobs": "/var/spool/pbs/mom_priv/jobs"}
            for part, real in places.items():
                text = text.replace(f"{self.simulated}/{part}", real)
            return self.normal(text)
        text = _whole_ids(text, self.server)
        back = {new: old for old, new in self.numbers.items()}
        where = rf"(?<![\w.])\d+(?=\[|\.{re.escape(self.server)})|(?<=\.[oe])\d+\b"
        text = re.sub(where, lambda match: back.get(match[0], match[0]), text)
        names = {self.server, self.host, self.host.partition(".")[0]}
        any_name = "|".join(re.escape(name) for name in sorted(names, key=len, reverse=True))
        return self.normal(re.sub(rf"(?<![\w-])(?:{any_name})(?![\w-])", "pbs", text))

    def normal(self, text: str) -> str:
        """Text without what differs from run to run; on a real PBS, from moment to moment."""
        text = _UNWRAPPED.sub("", text)
        text = re.sub(r"PBS_O_PATH=[^,\n]*|PBS_O_PATH\":\t\"[^\"]*|^PATH=.*$", "PATH", text, flags=re.MULTILINE)
        if self.simulated is None:
            text = _whole_ids(text, "pbs")
        for pattern, replacement in _REPLACEMENTS + (_MOMENTS if self.simulated is None else []):
            text = re.sub(pattern, replacement, text, flags=re.MULTILINE)
        return text.strip("\n")

    def ours(self, text: str) -> str:
        """A listing without the jobs that others have on this server; a unit of it begins with an id."""
        kept, known, seen = [], True, set()
        for line in text.split("\n"):
            if match := re.match(r"(?:Job Id: |\s*\")?(\d+)(?:\[|\.)", line):
                known = match[1] in self.numbers.values()
                seen.add(known)
            if known:
                kept.append(line)
        return "" if seen == {False} else "\n".join(kept)  # no jobs, no header


def _whole_ids(text: str, server: str) -> str:
    """The table with whole names of the server: how much of them fits depends on their lengths."""
    return re.sub(r"^(\d+(?:\[\d*\])?)\.?[\w.-]*\* ", rf"\1.{server} ", text, flags=re.MULTILINE)


def uncut(command: str) -> tuple[str, str]:
    """A command without the `head` or `cut` at its end, and that: it must not act before the translation."""
    match = re.search(r" \| (cut -c1-\d+|head -\d+)$", command)
    return (command[: match.start()], match[1]) if match else (command, "")


def shortened(text: str, by: str) -> str:
    """What `head -4` or `cut -c1-60` leaves of text."""
    if not by:
        return text
    size = int(re.findall(r"\d+", by)[-1])
    lines = text.split("\n")
    return "\n".join(lines[:size] if by.startswith("head") else [line[:size] for line in lines])
