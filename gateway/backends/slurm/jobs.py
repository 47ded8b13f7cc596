"""What Slurm tells of jobs: the output of squeue, scontrol and sacct, as reports and sentences (pure).

Nothing is expected of what users can write (names, comments): a line that does
not read as expected is left out, and of an answer about one job only what
bears that job's id is taken.
"""

import re
from collections.abc import Collection, Iterator, Mapping

from attrs import frozen

from gateway.backends.exit_words import COMMAND_NOT_FOUND, killed_by
from gateway.backends.slurm.ids import SlurmId, parse_id, parse_ranges
from gateway.models import JobId, JobReport, JobState

#: Slurm's states (`squeue -t`, job_state_string in its source) → ours. A word that is missing here counts as running:
#: a job is not lost for a word that is new to us.
_STATES = {
    JobState.QUEUED: "PENDING CONFIGURING POWER_UP_NODE REQUEUED REQUEUE_FED REQUEUE_HOLD RESV_DEL_HOLD SPECIAL_EXIT",
    JobState.RUNNING: "RUNNING SUSPENDED STOPPED SIGNALING RESIZING",
    JobState.ENDING: "COMPLETING STAGE_OUT",
    JobState.GONE: "BOOT_FAIL CANCELLED COMPLETED DEADLINE FAILED LAUNCH_FAILED NODE_FAIL OUT_OF_MEMORY PREEMPTED"
    " RECONFIG_FAIL REVOKED TIMEOUT",
}
_SUSPENDED = frozenset(("SUSPENDED", "STOPPED"))
STATES: Mapping[str, JobState] = {word: state for state, words in _STATES.items() for word in words.split()}

#: `%i|%T|%r` of squeue.
_LINE = re.compile(r"([0-9]+(?:_[0-9]+)?)\|([A-Z_]+)\|(.*)")
_RECORD = re.compile(
    r"^JobId=([0-9]+)(?: ArrayJobId=([0-9]+) ArrayTaskId=(\S+))?.*? JobName=(.*?)(?: UserId=.*)?$", re.M
)
_STATE = re.compile(r"^ +JobState=(\S+) Reason=(.*?) Dependency=", re.MULTILINE)


def parse_queue(text: str, cluster: str = "") -> tuple[dict[JobId, JobReport], list[str]]:
    """The reports in squeue's lines `id|STATE|reason`, and the lines that are none.

    Most jobs of a tick are in few states for few reasons, so equal ones share
    one report, and a line costs two cuts and two look-ups.
    """
    reports: dict[JobId, JobReport] = {}
    remarks: list[str] = []
    shared: dict[str, JobReport] = {}
    suffix = f";{cluster}" if cluster else ""
    for line in text.splitlines():
        job, bar, rest = line.partition("|")
        told = shared.get(rest) if bar else None
        if told is None or not job.replace("_", "0", 1).isdecimal():
            match = _LINE.fullmatch(line)
            if match is None:
                if line.strip() and not line.startswith("CLUSTER:"):  # which --clusters prints above the jobs
                    remarks.append(line)
                continue
            told = shared[rest] = report(match[2], match[3])
        reports[JobId(job + suffix)] = told
    return reports, remarks


def report(state: str, reason: str) -> JobReport:
    """What a state and a reason in Slurm's words say of a job."""
    known = STATES.get(state, JobState.RUNNING)
    if known is JobState.GONE:
        words = state if reason in ("", "None") else f"{state} ({reason})"
        return JobReport(known, words, deleted=state == "CANCELLED")
    return JobReport(known, "" if reason == "None" else reason, suspended=state in _SUSPENDED)


@frozen
class Record:
    """One paragraph of `scontrol show job`: a job, or the elements of an array that have no record of their own yet."""

    base: int
    indices: tuple[range, ...]
    name: str
    text: str

    def holds(self, job: SlurmId) -> bool:
        """Whether this paragraph is about that job, or about one of that array's."""
        if job.base != self.base:
            return False
        return job.index is None or any(job.index in indices for indices in self.indices)


def records(text: str) -> Iterator[Record]:
    """The paragraphs of `scontrol show job`, with one line each or with several."""
    starts = list(_RECORD.finditer(text))
    ends = [match.start() for match in starts[1:]] + [len(text)]
    for match, end in zip(starts, ends, strict=False):
        base, array, indices, name = match.groups()
        yield Record(int(array or base), tuple(parse_ranges(indices or "")), name.strip(), text[match.start() : end])


def reports_of(jobs: Collection[JobId], text: str) -> dict[JobId, JobReport]:
    """What `scontrol show job` says of these jobs; those that it does not mention are left out."""
    told: dict[JobId, JobReport] = {}
    known = list(records(text))
    for job in jobs:
        parts = parse_id(job)
        for record in known:
            state = _STATE.search(record.text)
            if state is not None and record.holds(parts):
                told[job] = report(state[1], state[2])
                break
    return told


def explanation_of(text: str) -> str:
    """How a job ended, from the first paragraph of `scontrol show job`; empty when it does not tell."""
    state = _STATE.search(text)
    if state is None:
        return ""
    code = re.search(r"^ +Requeue=.* ExitCode=(\d+:\d+)$", text, re.MULTILINE)
    nodes = re.search(r"^ +NodeList=(\S*)$", text, re.MULTILINE)
    return explanation(state[1], state[2], code[1] if code else "", nodes[1] if nodes else "")


def explanation_of_accounting(text: str) -> str:
    """The same from a line of sacct, `State|ExitCode|NodeList|Reason`; remarks around it are left out."""
    for line in text.splitlines():
        fields = line.split("|")
        if len(fields) == 4 and fields[0].partition(" ")[0] in STATES:
            return explanation(fields[0], fields[3], fields[1], fields[2])
    return ""


def explanation(state: str, reason: str, code: str, nodes: str) -> str:
    """How a job ended, in Slurm's words and then in ours: `FAILED (NonZeroExitCode), exit code 3, on node n1`."""
    parts = [state if reason in ("", "None", "(null)") else f"{state} ({reason})", _code(state, reason, code)]
    if nodes not in ("", "(null)", "None assigned"):
        parts.append(f"on node {nodes}")
    return ", ".join(filter(None, parts))


def _code(state: str, reason: str, code: str) -> str:
    """What `ExitCode=<exit code>:<signal>` means; empty when it says nothing."""
    exit_code, _, number = code.partition(":")
    if reason == "JobLaunchFailure" and number == "53":
        return "its log file could not be opened or its directory is missing on the node"
    if reason == "JobLaunchFailure" and number == "9" and state == "FAILED":
        return "killed by signal 9 (SIGKILL), as when it uses more memory than it has asked for"
    if number.isdecimal() and int(number):
        return killed_by(int(number))
    if exit_code.isdecimal() and (int(exit_code) or state == "COMPLETED"):
        return f"exit code {exit_code}" + (COMMAND_NOT_FOUND if exit_code == "127" else "")
    return ""
