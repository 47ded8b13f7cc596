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
  and exit code 0, even when that leaves nothing to print. Other lines on stderr
  are remarks, of which sites' configurations cause many ("error: Ignoring
  obsolete FastSchedule=1 option"); an answer that reads well is an answer.
- Some sites put a cache in front of squeue, for the controller's sake. So a job
  that it does not list is asked for by its id, with scontrol.
- With `--clusters` every command speaks of another cluster; the name is a part
  of our ids, and each cluster is asked by itself, since one may be away.
- Exit code 1 says nothing by itself: when the controller is away the reason
  stands on stderr.
"""

import os.path
import re
from collections.abc import Collection, Iterator, Mapping, Sequence

from attrs import evolve, field, frozen

from gateway.backends.base import ClusterRef, JobSpec, submission_name
from gateway.backends.batch.dialect import (
    EXIT_CODE,
    Command,
    LogWords,
    Refusal,
    SiteLimits,
    Status,
    StatusFailed,
    Submission,
)
from gateway.backends.commands import Answer
from gateway.backends.launcher.rules import Rules
from gateway.backends.slurm.ids import SlurmId, array_of, ids_of, parse_id, ranges, submitted_id
from gateway.backends.slurm.jobs import explanation_of, explanation_of_accounting, parse_queue, records, reports_of
from gateway.backends.slurm.launcher_rules import RULES
from gateway.backends.slurm.refusals import advice, classify
from gateway.backends.slurm.submission import clusters_option, config_of, log_name, submission_of
from gateway.models import JobId, JobReport, Role

#: Arguments of one scancel; ranges of array elements count as one.
MAX_CANCEL_ARGUMENTS = 1000

#: Missing jobs or arrays that are asked for by their ids after one look at the queue.
MAX_MISSING_ASKED = 10
#: More missing elements of one array than this are asked for with the whole array.
FEW_ELEMENTS = 2

_FORMAT = "%i|%T|%r"
#: With exit code 0 and some jobs printed, these lines say that others may be missing.
_INCOMPLETE = re.compile(
    r"Unable to contact slurm controller|slurm_load_jobs error|Socket timed out|Zero Bytes were transmitted"
    r"|can'?t be reached|Connection refused|Unable to establish control"
)
_UNKNOWN_USER = re.compile(r"Invalid user(?: ?name)?: '?([^\s']+)'?\s*$")
_UNKNOWN_ID = re.compile(r"Invalid job id specified|Job \S+ not found")


_WORDS = LogWords(
    killed=r"slurmstepd: error: .*(?:CANCELLED|oom.kill)",
    not_begun="slurmstepd: error",
    by_itself=rf"(?:\w+ \(NonZeroExitCode\), |(?:COMPLETED|FAILED), |\A){EXIT_CODE}|\ACOMPLETED\Z",
)


@frozen(kw_only=True)
class Slurm:
    """The dialect.

    `folder` is where squeue, scontrol and sacct are; empty: wherever PATH finds them. `paths` are those of a site's
    own commands, by the names that they stand for.
    """

    name: str = "Slurm"
    rules: Rules = RULES
    log_words: LogWords = _WORDS
    folder: str = ""
    paths: Mapping[str, str] = field(factory=dict)

    # --- submit and cancel -------------------------------------------------------------------------------------------

    def submission(self, spec: JobSpec) -> Submission:
        """One sbatch."""
        return submission_of(spec)

    def parse_submitted(self, spec: JobSpec, stdout: str) -> tuple[JobId, ...]:
        """`--parsable` prints the id, and `;cluster` behind it where a cluster was asked for.

        Raises ValueError when there is no id.
        """
        asked = str(config_of(spec.cluster).for_role(spec.role, "cluster"))
        printed = submitted_id(stdout)
        if asked and printed.cluster not in ("", asked):
            raise ValueError(f"sbatch submitted to {printed.cluster}, not to {asked}")
        # In a federation Slurm names a cluster although none was asked for: commands know the id without it.
        return ids_of(evolve(printed, cluster=asked), spec.count)

    def refusal(self, answer: Answer) -> Refusal:
        """By the words: the exit code is 1 for everything (8 for scancel)."""
        return classify(answer)

    def advice(self, answer: Answer) -> str:
        """Options of SlurmClusterConfig."""
        return advice(answer)

    def cancel_arguments(self, jobs: Collection[JobId]) -> tuple[tuple[str, ...], ...]:
        """Plain ids, and the elements of each array as ranges; one call a cluster."""
        plain: dict[str, list[int]] = {}
        arrays: dict[tuple[str, int], set[int]] = {}
        for job in map(parse_id, jobs):
            if job.index is None:
                plain.setdefault(job.cluster, []).append(job.base)
            else:
                arrays.setdefault((job.cluster, job.base), set()).add(job.index)
        calls: list[tuple[str, ...]] = []
        for cluster in sorted({*plain, *(cluster for cluster, _ in arrays)}):
            words = [str(base) for base in sorted(plain.get(cluster, ()))]
            words += [f"{base}_[{ranges(indices)}]" for (of, base), indices in arrays.items() if of == cluster]
            calls += [
                (*clusters_option(cluster), *words[start : start + MAX_CANCEL_ARGUMENTS])
                for start in range(0, len(words), MAX_CANCEL_ARGUMENTS)
            ]
        return tuple(calls)

    def cancel_failed(self, answer: Answer) -> bool:
        """Ids that are unknown or finished are no error to scancel; jobs that are ending are, in some versions."""
        complaints = [line for line in answer.stderr.splitlines() if "Kill job error" in line]
        complaints = complaints or [line for line in answer.stderr.splitlines() if "error" in line]
        return answer.returncode != 0 and not (
            complaints and all(re.search(r"already complet|Invalid job id", line) for line in complaints)
        )

    def name_commands(self, jobs: Collection[JobId]) -> tuple[Command, ...]:
        """One scontrol a job."""
        return tuple(self._show(job) for job in jobs)

    def parse_names(self, jobs: Collection[JobId], answers: Sequence[Answer]) -> Mapping[JobId, str]:
        """The names in the paragraphs about these ids. Raises `StatusFailed` when the command has failed."""
        names: dict[JobId, str] = {}
        for job, answer in zip(jobs, answers, strict=True):
            found = [record.name for record in records(answer.stdout) if record.base == parse_id(job).base]
            if not found and not (answer.returncode and _UNKNOWN_ID.search(answer.words)):
                raise StatusFailed(answer.words)
            names[job] = found[0] if found else ""
        return names

    # --- status ------------------------------------------------------------------------------------------------------

    def status_commands(self, jobs: Mapping[JobId, str]) -> tuple[Command, ...]:
        """One squeue for all jobs of all our users on a cluster, ended ones included as long as Slurm remembers."""
        return tuple(
            self._squeue(cluster, f"--user={','.join(sorted(set(mine.values())))}")
            for cluster, mine in _by_cluster(jobs)
        )

    def parse_status(self, jobs: Mapping[JobId, str], answers: Sequence[Answer]) -> Status:
        """Lines `id|STATE|reason`. A cluster that does not answer makes only its own jobs doubtful.

        Raises `StatusFailed` when the commands have failed.
        """
        reports: dict[JobId, JobReport] = {}
        doubtful: dict[JobId, str] = {}
        remarks: list[str] = []
        failures = []
        for (cluster, mine), answer in zip(_by_cluster(jobs), answers, strict=True):
            if _failed(answer):
                where = f"cluster {cluster}: " if cluster else ""
                failures.append(f"{where}{answer.words}")
                doubtful.update(dict.fromkeys(mine, f"Slurm does not answer: {failures[-1]}."))
                continue
            told, strange = parse_queue(answer.stdout, cluster)
            reports |= told
            unknown = set()
            for line in (*strange, *filter(str.strip, answer.stderr.splitlines())):
                if user := _UNKNOWN_USER.search(line):
                    unknown.add(user[1])
                else:
                    remarks.append(line)
            doubtful |= {
                job: f"The batch system does not know the user {user} at the moment."
                for job, user in mine.items()
                if user in unknown
            }
        if failures and len(failures) == len(answers):
            raise StatusFailed("; ".join(failures))
        return Status(reports=reports, doubtful=doubtful, remarks=tuple(remarks))

    def follow_up(self, status: Status, known: Mapping[JobId, JobReport], turn: int) -> tuple[Command, ...]:
        """Some of the jobs that squeue does not list, by their ids."""
        missing = [job for job in known if job not in status.reports and job not in status.doubtful]
        arrays: dict[JobId, list[JobId]] = {}
        for job in sorted(missing):
            arrays.setdefault(array_of(job) or job, []).append(job)
        asked = [job for array, few in arrays.items() for job in (few if len(few) <= FEW_ELEMENTS else [array])]
        start = turn * MAX_MISSING_ASKED % len(asked) if asked else 0
        return tuple(self._show(job) for job in (*asked[start:], *asked[:start])[:MAX_MISSING_ASKED])

    def parse_follow_up(
        self, status: Status, known: Mapping[JobId, JobReport], answers: Sequence[tuple[Command, Answer]]
    ) -> Status:
        """What scontrol says of those jobs, and which of them it does not know."""
        reports = dict(status.reports)
        nonexistent: set[JobId] = set()
        for command, answer in answers:
            asked = _shown(command)
            missing = [job for job in known if job not in status.reports and asked in (job, array_of(job))]
            told = reports_of(missing, answer.stdout)
            reports |= told
            if told or (answer.returncode != 0 and _UNKNOWN_ID.search(answer.words)):
                nonexistent.update(job for job in missing if job not in told)
        return evolve(status, reports=reports, nonexistent=frozenset(nonexistent))

    def array_of(self, job: JobId) -> JobId | None:
        """`30` for `30_4`."""
        return array_of(job)

    def find_commands(
        self, cluster: ClusterRef, role: Role, group: str, *, thorough: bool = False
    ) -> tuple[Command, ...]:
        """By name and user, since a name alone could be anybody's; thoroughly, of the controller itself."""
        where = str(config_of(cluster).for_role(role, "cluster"))
        if thorough:
            return ((self.program("scontrol"), *clusters_option(where), "--oneliner", "show", "job"),)
        return (self._squeue(where, f"--user={cluster.username}", f"--name={submission_name(cluster.name, group)}"),)

    def parse_found(
        self, cluster: ClusterRef, role: Role, group: str, count: int, answers: Sequence[Answer]
    ) -> tuple[JobId, ...]:
        """All ids of the submission: elements that are not listed (any more) have the array's id all the same.

        Raises `StatusFailed` when the command has failed.
        """
        (answer,) = answers
        if _failed(answer) or any(map(_UNKNOWN_USER.search, answer.stderr.splitlines())):
            raise StatusFailed(answer.words)
        listed, _ = parse_queue(answer.stdout)
        bases = {parse_id(job).base for job in listed}
        bases |= {
            record.base
            for record in records(answer.stdout)
            if record.name == submission_name(cluster.name, group) and f" UserId={cluster.username}(" in record.text
        }
        where = str(config_of(cluster).for_role(role, "cluster"))
        return ids_of(SlurmId(min(bases), None, where), count) if bases else ()

    def _squeue(self, cluster: str, *selection: str) -> Command:
        options = (*clusters_option(cluster), "--noheader", "--array", "--states=all", f"--format={_FORMAT}")
        return (self.program("squeue"), *options, *selection)

    # --- explain -----------------------------------------------------------------------------------------------------

    def explain_commands(self, job: JobId) -> tuple[Command, ...]:
        """scontrol while the controller remembers the job, then the accounting database where there is one."""
        parts = parse_id(job)
        return (
            self._show(job),
            (
                self.program("sacct"),
                *clusters_option(parts.cluster),
                *("--noheader", "--parsable2", "--allocations", f"--jobs={parts.bare}"),
                "--format=State,ExitCode,NodeList,Reason",
            ),
        )

    def parse_explanation(self, job: JobId, answer: Answer) -> str:
        """A sentence from the fields of `scontrol show job`, or from a line of sacct."""
        if answer.returncode != 0:
            return ""
        return explanation_of(answer.stdout) or explanation_of_accounting(answer.stdout)

    def log_name(self, name: str) -> str:
        """See submission.py."""
        return log_name(name)

    # --- site --------------------------------------------------------------------------------------------------------

    def limits_command(self) -> Command:
        """Everybody may ask for the configuration."""
        return (self.program("scontrol"), "show", "config")

    def parse_limits(self, answer: Answer) -> SiteLimits:
        """MaxArraySize is one more than the highest index; PrivateData says what users may not see of each other."""
        if answer.returncode != 0:
            return SiteLimits()
        size = re.search(r"^MaxArraySize\s*=\s*(\d+)", answer.stdout, re.MULTILINE)
        private = re.search(r"^PrivateData\s*=\s*(.*)$", answer.stdout, re.MULTILINE)
        hides = private is not None and "jobs" in private[1].split(",")
        return SiteLimits(
            max_array_size=max(1, int(size[1])) if size else None,
            hides_jobs="Slurm hides the jobs of other users from the gateway (PrivateData=jobs); make its account an"
            " operator: sacctmgr modify user NAME set adminlevel=operator."
            if hides
            else "",
        )

    def _show(self, job: JobId) -> Command:
        parts = parse_id(job)
        return (self.program("scontrol"), *clusters_option(parts.cluster), "show", "job", parts.bare)

    def program(self, command: str) -> str:
        """The file of one of the batch system's commands, or its name where PATH finds it."""
        return self.paths.get(command) or os.path.join(self.folder, command)


def _shown(command: Command) -> JobId:
    """The job that a command of `_show` asks for."""
    cluster = next((word.removeprefix("--clusters=") for word in command if word.startswith("--clusters=")), "")
    return evolve(parse_id(command[-1]), cluster=cluster).text


def _by_cluster(jobs: Mapping[JobId, str]) -> Iterator[tuple[str, dict[JobId, str]]]:
    """The jobs (job → user) of each Slurm cluster, in the order of the clusters' names."""
    clusters: dict[str, dict[JobId, str]] = {}
    for job, user in jobs.items():
        clusters.setdefault(job.partition(";")[2], {})[job] = user
    yield from sorted(clusters.items())


def _failed(answer: Answer) -> bool:
    """Whether this answer of squeue may not be believed."""
    return answer.returncode != 0 or _INCOMPLETE.search(answer.stderr) is not None
