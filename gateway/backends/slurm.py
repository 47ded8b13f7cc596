"""Slurm's language: arguments of sbatch and scancel, and what squeue, scontrol and sacct print (pure).

Facts that shape this file, seen with Slurm 22.05:

- `--export=ALL` with the environment that the launcher builds. The other way,
  a list of names, makes the node run the user's login shell once more to
  collect an environment, which is slow and can fail; and names of variables
  that sbatch reads itself (SBATCH_*) are not for a gateway to choose. So
  secrets are in sbatch's environment, which neither other users nor command
  lines show, and all other variables are in the script.
- `--propagate=NONE`: limits of open files and the like are those of the
  compute node, not those of the gateway's service.
- One group of workers is one job array. squeue unfolds it with `-r`. Elements
  that are cancelled while they wait vanish at once; when all are, the array
  itself is listed, under its own id.
- squeue forgets an ended job after MinJobAge and, without `-t all`, at once.
  It is asked for users, never for ids: an unknown id is an error, and a list
  of ids has no end. A user that has no account (any more) is a line on stderr
  and exit code 0, even when that leaves nothing to print.
- Exit code 1 says nothing by itself: when the controller is away the reason
  stands on stderr.
"""

import math
import os.path
import re
from collections.abc import Collection, Mapping, Sequence

from attrs import frozen

from gateway.backends.base import ClusterRef, JobSpec, submission_name
from gateway.backends.dialect import Answer, Command, Refusal, Site, Status, StatusFailed, Submission
from gateway.backends.script import JobScript, render_script
from gateway.backends.slurm_config import SlurmClusterConfig
from gateway.models import JobId, JobReport, JobState, Role

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

#: Arguments of one scancel; ranges of array elements count as one.
MAX_CANCEL_ARGUMENTS = 1000

_FORMAT = "%i|%T|%r"
# The controller was not reached, or says itself that it cannot serve yet.
_AWAY = re.compile(
    r"Unable to contact slurm controller|Connection refused|No route to host|connect failure|in standby mode"
    r"|slurmctld.*(not responding|is down)|[Tt]emporarily unable to accept|Resource temporarily unavailable|[Mm]unge"
    r"|authentication"
)
# The controller was reached, but its answer was not heard: it may have done what it was asked for.
_LOST = re.compile(r"Socket timed out|Zero Bytes were transmitted|Transport endpoint|Unexpected message received")
_UNKNOWN_USER = re.compile(r"^squeue: error: Invalid user: (\S+)\s*$", re.MULTILINE)
_ID = re.compile(r"(\d+)(?:_(\d+))?")
_SIGNALS = {2: "SIGINT", 6: "SIGABRT", 7: "SIGBUS", 9: "SIGKILL", 11: "SIGSEGV", 15: "SIGTERM"}


@frozen(kw_only=True)
class Slurm:
    """The dialect. `folder` is where squeue, scontrol and sacct are; empty: wherever PATH finds them."""

    name: str = "Slurm"
    submit_command: str = "sbatch"
    cancel_command: str = "scancel"
    folder: str = ""

    # --- submit and cancel -------------------------------------------------------------------------------------------

    def submission(self, spec: JobSpec) -> Submission:
        """One sbatch: a plain job for one, an array for more."""
        config = spec.cluster.config
        if not isinstance(config, SlurmClusterConfig):
            raise TypeError(f"clusters on Slurm need a SlurmClusterConfig, not {type(config).__name__}")
        array = spec.count > 1
        secret = {name: value for name, value in spec.secrets.items() if _goes_with_sbatch(name, value)}
        script = JobScript(
            shebang=config.shebang,
            setup=config.scheduler_setup if spec.role is Role.SCHEDULER else config.worker_setup,
            environment={**spec.environment, **{k: v for k, v in spec.secrets.items() if k not in secret}},
            command=(*spec.command, "--name") if array else spec.argv(spec.names[0]),
            name=spec.group,
            index_variable="SLURM_ARRAY_TASK_ID" if array else "",
            patience=config.worker_start_patience,
            ports=config.scheduler_ports if spec.role is Role.SCHEDULER else None,
        )
        return Submission(
            arguments=(
                "--parsable",
                f"--job-name={spec.submission}",
                *((f"--array=0-{spec.count - 1}",) if array else ()),
                "--export=ALL",
                "--open-mode=append",
                "--propagate=NONE",
                "--requeue" if config.requeue else "--no-requeue",
                *_resources(config, spec.role),
                *config.extra_args,
            ),
            script=render_script(script),
            environment=secret,
            log=f"{spec.group}-%a.log" if array else self.log_name(spec.names[0]),
        )

    def parse_submitted(self, spec: JobSpec, stdout: str) -> tuple[JobId, ...]:
        """`--parsable` prints the id, and `;cluster` in a federation; whatever a site's plugin prints comes before."""
        lines = stdout.split()
        job = lines[-1].partition(";")[0] if lines else ""
        if not job.isdecimal():
            raise ValueError(f"sbatch printed no job id but {stdout!r:.200}")
        return _ids(job, spec.count)

    def refusal(self, answer: Answer) -> Refusal:
        """By the text."""
        if self.is_lost(answer):
            return Refusal.LOST
        return Refusal.AWAY if self.is_away(answer) else Refusal.REFUSED

    def is_away(self, answer: Answer) -> bool:
        """By the text: the exit code is 1 for everything (8 for scancel)."""
        return answer.returncode != 0 and _AWAY.search(answer.stderr) is not None

    def is_lost(self, answer: Answer) -> bool:
        """ "Socket timed out on send/recv operation" is known to hide jobs that were submitted."""
        return answer.returncode != 0 and _LOST.search(answer.stderr) is not None

    def cancel_arguments(self, jobs: Collection[JobId]) -> tuple[tuple[str, ...], ...]:
        """Plain ids, and the elements of each array as ranges."""
        plain: list[str] = []
        arrays: dict[str, set[int]] = {}
        for job in jobs:
            base, _, index = job.partition("_")
            if index:
                arrays.setdefault(base, set()).add(int(index))
            else:
                plain.append(base)
        words = sorted(plain, key=int) + [f"{base}_[{ranges(indices)}]" for base, indices in arrays.items()]
        return tuple(
            tuple(words[start : start + MAX_CANCEL_ARGUMENTS]) for start in range(0, len(words), MAX_CANCEL_ARGUMENTS)
        )

    def cancel_failed(self, answer: Answer) -> bool:
        """Ids that are unknown or finished are no error to scancel; jobs that are ending are, in some versions."""
        complaints = [line for line in answer.stderr.splitlines() if "error" in line]
        return answer.returncode != 0 and not (
            complaints and all(re.search(r"already complet|Invalid job id", line) for line in complaints)
        )

    # --- status ------------------------------------------------------------------------------------------------------

    def status_commands(self, users: Collection[str]) -> tuple[tuple[str, ...], ...]:
        """One squeue for all jobs of all our users, ended ones included as long as Slurm remembers them."""
        return (self._squeue(f"--user={','.join(sorted(users))}"),)

    def parse_status(self, answers: Sequence[Answer]) -> Status:
        """Lines `id|STATE|reason`. Other complaints than about a user mean that the list may be incomplete."""
        answer = answers[0]
        doubtful = frozenset(_UNKNOWN_USER.findall(answer.stderr))
        if answer.returncode != 0 or "error" in _UNKNOWN_USER.sub("", answer.stderr):
            raise StatusFailed(answer.words)
        return Status(reports=parse_queue(answer.stdout), doubtful_users=doubtful)

    def follow_up(self, status: Status, known: Mapping[JobId, JobReport], turn: int) -> tuple[Command, ...]:
        """Nothing: squeue has told states and reasons."""
        return ()

    def parse_follow_up(
        self, status: Status, known: Mapping[JobId, JobReport], answers: Sequence[tuple[Command, Answer]]
    ) -> Status:
        """Nothing is added."""
        return status

    def array_of(self, job: JobId) -> JobId | None:
        """`30` for `30_4`."""
        base, underscore, _ = job.partition("_")
        return JobId(base) if underscore else None

    def find_commands(self, cluster: ClusterRef, group: str) -> tuple[tuple[str, ...], ...]:
        """By name and user: a name alone could be anybody's."""
        return (self._squeue(f"--user={cluster.username}", f"--name={submission_name(cluster.name, group)}"),)

    def parse_found(self, role: Role, group: str, count: int, answers: Sequence[Answer]) -> tuple[JobId, ...]:
        """All ids of the submission: elements that are not listed (any more) have the array's id all the same."""
        status = self.parse_status(answers)
        if status.doubtful_users:
            raise StatusFailed(answers[0].words)
        bases = {int(job.partition("_")[0]) for job in status.reports}
        return _ids(str(min(bases)), count) if bases else ()

    def _squeue(self, *selection: str) -> tuple[str, ...]:
        return (self._path("squeue"), "--noheader", "--array", "--states=all", f"--format={_FORMAT}", *selection)

    # --- explain -----------------------------------------------------------------------------------------------------

    def explain_commands(self, job: JobId) -> tuple[tuple[str, ...], ...]:
        """scontrol while the controller remembers the job, then the accounting database where there is one."""
        return (
            (self._path("scontrol"), "show", "job", job),
            (
                self._path("sacct"),
                *("--noheader", "--parsable2", "--allocations", f"--jobs={job}"),
                "--format=State,ExitCode,NodeList,Reason",
            ),
        )

    def parse_explanation(self, job: JobId, answer: Answer) -> str:
        """A sentence from the fields of `scontrol show job`, or from a line of sacct."""
        if answer.returncode != 0:
            return ""
        state = re.search(r"^ +JobState=(\S+) Reason=(.*?) Dependency=", answer.stdout, re.MULTILINE)
        if state is not None:
            code = re.search(r"^ +Requeue=.* ExitCode=(\d+:\d+)$", answer.stdout, re.MULTILINE)
            nodes = re.search(r"^ +NodeList=(\S*)$", answer.stdout, re.MULTILINE)
            return explanation(state[1], state[2], code[1] if code else "", nodes[1] if nodes else "")
        line = answer.stdout.splitlines()[:1]
        fields = line[0].split("|") if line else []
        return explanation(fields[0], fields[3], fields[1], fields[2]) if len(fields) == 4 else ""

    def log_name(self, name: str) -> str:
        """The scheduler's log is `scheduler.log`, those of workers are `w3-0.log`."""
        return f"{name}.log"

    # --- site --------------------------------------------------------------------------------------------------------

    def site_command(self) -> tuple[str, ...]:
        """Everybody may ask for the configuration."""
        return (self._path("scontrol"), "show", "config")

    def parse_site(self, answer: Answer) -> Site:
        """MaxArraySize is one more than the highest index; PrivateData says what users may not see of each other."""
        if answer.returncode != 0:
            return Site()
        size = re.search(r"^MaxArraySize\s*=\s*(\d+)", answer.stdout, re.MULTILINE)
        private = re.search(r"^PrivateData\s*=\s*(.*)$", answer.stdout, re.MULTILINE)
        hides = private is not None and "jobs" in private[1].split(",")
        return Site(
            max_array_size=max(1, int(size[1])) if size else None,
            hides_jobs="Slurm hides the jobs of other users from the gateway (PrivateData=jobs); make its account an"
            " operator: sacctmgr modify user NAME set adminlevel=operator."
            if hides
            else "",
        )

    def _path(self, command: str) -> str:
        return os.path.join(self.folder, command)


def parse_queue(text: str) -> dict[JobId, JobReport]:
    """The reports in squeue's lines `id|STATE|reason`; lines that are none are left out.

    Most jobs of a tick are in few states for few reasons, so equal ones share
    one report, and a line costs two cuts and two look-ups.
    """
    reports: dict[JobId, JobReport] = {}
    shared: dict[str, JobReport] = {}
    for line in text.splitlines():
        job, bar, rest = line.partition("|")
        report = shared.get(rest)
        if report is None:
            if not bar or "|" not in rest:
                continue
            report = shared[rest] = _report(*rest.split("|", 1))
        reports[JobId(job)] = report
    return reports


def _report(state: str, reason: str) -> JobReport:
    known = STATES.get(state, JobState.RUNNING)
    if known is JobState.GONE:
        return JobReport(known, state if reason in ("", "None") else f"{state} ({reason})")
    return JobReport(known, "" if reason == "None" else reason, suspended=state in _SUSPENDED)


def explanation(state: str, reason: str, code: str, nodes: str) -> str:
    """How a job ended, in Slurm's words and then in ours: `FAILED (NonZeroExitCode), exit code 3, on node n1`."""
    parts = [state if reason in ("", "None", "(null)") else f"{state} ({reason})"]
    exit_code, _, number = code.partition(":")
    if reason == "JobLaunchFailure" and number == "53":
        parts.append("its log file could not be opened or its directory is missing on the node")
    elif reason == "JobLaunchFailure" and number == "9" and state == "FAILED":
        parts.append("killed by signal 9 (SIGKILL), as when it uses more memory than it has asked for")
    elif number.isdecimal() and int(number):
        signal = int(number)
        parts.append(f"killed by signal {signal}" + (f" ({_SIGNALS[signal]})" if signal in _SIGNALS else ""))
    elif exit_code.isdecimal() and (int(exit_code) or state == "COMPLETED"):
        hint = " (a command was not found: is the environment activated?)" if exit_code == "127" else ""
        parts.append(f"exit code {exit_code}{hint}")
    if nodes not in ("", "(null)", "None assigned"):
        parts.append(f"on node {nodes}")
    return ", ".join(parts)


def ranges(indices: Collection[int]) -> str:
    """Numbers as Slurm writes them: 0-3,7,9-10."""
    parts: list[str] = []
    first = last = -1
    for index in sorted(indices):
        if first >= 0 and index == last + 1:
            last = index
            continue
        if first >= 0:
            parts.append(f"{first}" if first == last else f"{first}-{last}")
        first = last = index
    if first >= 0:
        parts.append(f"{first}" if first == last else f"{first}-{last}")
    return ",".join(parts)


def format_memory(size: int) -> str:
    """Bytes for --mem, rounded up to whole MiB."""
    return f"{math.ceil(size / 2**20)}M"


def _resources(config: SlurmClusterConfig, role: Role) -> tuple[str, ...]:
    """The options that say what a job of this role needs."""
    if role is Role.SCHEDULER:
        cores, memory = config.scheduler_cores, int(config.scheduler_memory)
    else:
        cores, memory = config.worker_cores * config.worker_processes, config.worker_memory * config.worker_processes
    options = [f"--cpus-per-task={cores}", f"--mem={format_memory(memory)}"]
    for option in ("partition", "qos", "account", "time", "gres", "constraint", "reservation", "nodes"):
        value = config.for_role(role, option)
        if value not in ("", None):
            options.append(f"--{option}={value}")
    if config.for_role(role, "exclusive"):
        options.append("--exclusive")
    return tuple(options)


def _goes_with_sbatch(name: str, value: str) -> bool:
    """The launcher takes Dask's own variables for sbatch's environment."""
    return re.fullmatch(r"DASK_[A-Z0-9_]{1,100}", name) is not None and "\0" not in value


def _ids(base: str, count: int) -> tuple[JobId, ...]:
    """The ids of a submission: the plain id of one job, or the elements of an array."""
    return (JobId(base),) if count == 1 else tuple(JobId(f"{base}_{index}") for index in range(count))
