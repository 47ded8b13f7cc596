"""PBS's language: arguments of qsub and qdel, and what qselect, qstat and qmgr print (pure).

Facts that shape this file, seen with OpenPBS 23.06 (tests/data/pbs holds the
recordings):

- Everybody may read the variables and arguments of a job (`-v`, `-V`, `qstat
  -f`), and qsub mangles values with quotes or crashes. So nothing goes through
  them: environment and secrets are in the script, which only root and the user
  can read. `-f` keeps qsub from leaving a process behind that holds its pipes.
- `-koed`: output goes straight to the log, which is read while the job runs.
  The log's directory must exist, or the job is tried 21 times and held; the
  launcher makes it. PBS starts jobs in the home directory, hence the `cd`.
- Who is there is asked of qselect: one connection however many jobs, whole
  ids, nothing of what users write. The states are told by asking again. A job
  may move between two questions, so running is asked after waiting, and one
  that went back to the queue is missed once. `B`, an array's own state, is in
  both lists. Those that are suspended run as well, and are asked for last.
- qstat takes one connection and one reserved port for each id (300 ids twice:
  62 seconds), prints only the first of several ids as JSON, and sleeps when
  it is called twice within a second. It is asked for single ids, and for few:
  those that are missing, and some of those that wait.
- An empty answer with exit code 0 says that the job is hidden from us
  (query_other_jobs), or, with `-x`, that there is no history: neither says
  that a job is gone.
- An array is always rerunnable, or qsub refuses it. Where the site does not
  want jobs to be run again, a worker whose job was is cancelled and replaced.
- qdel with several elements of arrays forgets some when others have ended, and
  crashes (nothing deleted) when an unknown id follows. Each call has plain
  jobs only, or one range of an array, or one whole array.
"""

import fnmatch
import os.path
import re
from collections.abc import Collection, Mapping, Sequence

from attrs import field, frozen

from gateway.backends.base import ClusterRef, JobSpec, submission_name
from gateway.backends.batch.dialect import Command, LogWords, Refusal, SiteLimits, Status, StatusFailed, Submission
from gateway.backends.commands import Answer
from gateway.backends.launcher.rules import Rules
from gateway.backends.pbs.follow_up import HIDDEN, questions, with_answers
from gateway.backends.pbs.ids import array_of, by_array, ids_of, is_id, ranges, submitted_id
from gateway.backends.pbs.launcher_rules import RULES
from gateway.backends.pbs.qstat import SUSPENDED, ending, jobs_in, report, waiting
from gateway.backends.pbs.refusals import advice, broke_off, classify
from gateway.backends.pbs.submission import log_name, submission_of
from gateway.models import JobId, JobReport, JobState, Role

#: States of qselect. M (moved) and F (finished) are history, which may be switched off; follow-ups see them.
WAITING, RUNNING = "QHWTB", "RSUEB"
#: What is said of the jobs in the answers of qselect; later answers count for more.
_TOLD = (
    JobReport(JobState.QUEUED),
    JobReport(JobState.RUNNING),
    JobReport(JobState.RUNNING, suspended=True),
)

#: Ids in one qdel: some 20 kB of arguments.
MAX_CANCEL_ARGUMENTS = 1000

#: Jobs whose names are asked for one by one.
MAX_NAMES_ASKED = 20
#: Refusals of qdel that mean that there is nothing to delete (any more).
_GONE_ALREADY = re.compile(
    r"Unknown Job Id|Job has finished|Request invalid for (state of job|finished array subjob)|Invalid request \d+\["
)
_GONE_CODES = frozenset((35, 153, 55, 168))
_WORDS = LogWords(killed="=>> PBS: job killed", not_begun="pbs_mom: ")


@frozen(kw_only=True)
class PBS:
    """The dialect.

    `folder` is where qselect, qstat and qmgr are; empty: wherever PATH finds
    them. `paths` are those of a site's own commands, by the names that they
    stand for. `account` and `host` are what PBS calls the gateway (`dask@login1`).
    """

    name: str = "PBS"
    rules: Rules = RULES
    log_words: LogWords = _WORDS
    folder: str = ""
    account: str = ""
    host: str = ""
    paths: Mapping[str, str] = field(factory=dict)
    fail_on_can_never_run: bool = False

    # --- submit and cancel -------------------------------------------------------------------------------------------

    def submission(self, spec: JobSpec) -> Submission:
        """One qsub."""
        return submission_of(spec)

    def parse_submitted(self, spec: JobSpec, stdout: str) -> tuple[JobId, ...]:
        """qsub prints the id in a line of its own; whatever a site's hooks print stands beside it."""
        return ids_of(submitted_id(stdout), spec.count)

    def refusal(self, answer: Answer) -> Refusal:
        """By the text: the exit codes have other meanings, too."""
        return classify(answer)

    def advice(self, answer: Answer) -> str:
        """Options of PBSClusterConfig."""
        return advice(answer)

    def cancel_arguments(self, jobs: Collection[JobId]) -> tuple[tuple[str, ...], ...]:
        """Calls with plain ids only, and one for each whole array and each range."""
        plain, arrays = by_array(jobs)
        calls = _chunks([job for job in plain if "[]" not in job], MAX_CANCEL_ARGUMENTS)
        calls += [(job,) for job in plain if "[]" in job]
        calls += [(word,) for array, elements in arrays.items() for word in ranges(array, elements)]
        return tuple(calls)

    def cancel_failed(self, answer: Answer) -> bool:
        """The exit code is that of the last refusal, so each refusal is read.

        A qdel that reached nobody may end with 0, even without a word: what is still there long after a cancel is
        cancelled again (backends/batch/cancellations.py).
        """
        refusals = [line for line in answer.stderr.splitlines() if line.strip()]
        if answer.returncode == 0:
            return broke_off(answer)
        if not refusals and answer.returncode in _GONE_CODES:
            return False
        return not refusals or not all(_GONE_ALREADY.search(line) for line in refusals)

    def name_commands(self, jobs: Collection[JobId]) -> tuple[Command, ...]:
        """One qstat a job; all jobs at once when there are many, since each id takes a connection."""
        return (self._all_jobs(),) if len(jobs) > MAX_NAMES_ASKED else tuple(self._qstat(job) for job in jobs)

    def parse_names(self, jobs: Collection[JobId], answers: Sequence[Answer]) -> Mapping[JobId, str]:
        """Job_Name of those that are there; what has ended needs no name.

        Raises `StatusFailed` when the command has failed.
        """
        for answer in answers:
            if answer.returncode != 0 and not _GONE_ALREADY.search(answer.stderr):
                raise StatusFailed(answer.words)
        told = {job: attributes for answer in answers for job, attributes in jobs_in(answer.stdout).items()}
        return {job: str(told[job].get("Job_Name", "")) if job in told else "" for job in jobs}

    # --- status ------------------------------------------------------------------------------------------------------

    def status_commands(self, jobs: Mapping[JobId, str]) -> tuple[Command, ...]:
        """Who waits, then who runs, then who is suspended."""
        who = ",".join(sorted(set(jobs.values())))
        return tuple(
            (self.program("qselect"), "-T", "-u", who, "-s", states) for states in (WAITING, RUNNING, SUSPENDED)
        )

    def parse_status(self, jobs: Mapping[JobId, str], answers: Sequence[Answer]) -> Status:
        """One id a line; a job that waits in one answer and runs in the next has started in between."""
        reports: dict[JobId, JobReport] = {}
        for answer, told in zip(answers, _TOLD, strict=False):
            reports.update(dict.fromkeys(_ids(answer), told))
        return Status(reports=reports)

    def follow_up(self, status: Status, known: Mapping[JobId, JobReport], turn: int) -> tuple[Command, ...]:
        """See follow_up.py."""
        return tuple(self._qstat(*words) for words in questions(status, known, turn))

    def parse_follow_up(
        self, status: Status, known: Mapping[JobId, JobReport], answers: Sequence[tuple[Command, Answer]]
    ) -> Status:
        """See follow_up.py."""
        return with_answers(status, known, answers, fail_hopeless=self.fail_on_can_never_run)

    def array_of(self, job: JobId) -> JobId | None:
        """`30[].pbs` for `30[4].pbs`."""
        return array_of(job)

    def find_commands(
        self, cluster: ClusterRef, role: Role, group: str, *, thorough: bool = False
    ) -> tuple[Command, ...]:
        """By name and user, since a name alone could be anybody's; in the history, too, if there is one.

        Thoroughly, all jobs are looked at: a site may have put a cache before qselect.
        """
        if thorough:
            return (self._all_jobs(),)
        who = ("-u", cluster.username, "-N", submission_name(cluster.name, group))
        return ((self.program("qselect"), *who), (self.program("qselect"), "-x", *who))

    def parse_found(
        self, cluster: ClusterRef, role: Role, group: str, count: int, answers: Sequence[Answer]
    ) -> tuple[JobId, ...]:
        """The first submission of that name; arrays are listed by their own id.

        Raises `StatusFailed` when the command has failed.
        """
        bases = [job for answer in answers for job in _ids(answer)]
        for job, attributes in jobs_in(answers[0].stdout).items():
            owner = str(attributes.get("Job_Owner", "")).partition("@")[0]
            if (attributes.get("Job_Name"), owner) == (submission_name(cluster.name, group), cluster.username):
                bases.append(JobId(job))
        bases = [job for job in bases if is_id(job) and array_of(job) is None]
        if not bases:
            return ()
        try:
            return ids_of(min(bases, key=lambda job: int(re.split(r"\D", job)[0])), count)
        except ValueError as error:
            raise StatusFailed(str(error)) from None

    # --- explain -----------------------------------------------------------------------------------------------------

    def explain_commands(self, job: JobId) -> tuple[Command, ...]:
        """With the history; where there is none, without: elements that ended are shown while their array lives."""
        return (self._qstat("-x", job), self._qstat(job))

    def parse_explanation(self, job: JobId, answer: Answer) -> str:
        """A sentence from the job's attributes."""
        attributes = jobs_in(answer.stdout).get(job)
        if attributes is None:
            return ""
        return ending(attributes) if report(attributes).state is JobState.GONE else waiting(attributes)

    def log_name(self, name: str) -> str:
        """See submission.py."""
        return log_name(name)

    # --- site --------------------------------------------------------------------------------------------------------

    def limits_command(self) -> Command:
        """Everybody may read the server's settings."""
        return (self.program("qmgr"), "-c", "print server")

    def parse_limits(self, answer: Answer) -> SiteLimits:
        """max_array_size, and whether we may see the jobs of others: all may, or we are an operator."""
        if answer.returncode != 0:
            return SiteLimits()
        settings: dict[str, list[str]] = {}
        for name, value in re.findall(r"^set server (\w+) \+?= (.*)$", answer.stdout, re.MULTILINE):
            settings.setdefault(name, []).extend(part.strip() for part in value.split(","))
        if not settings:
            return SiteLimits()
        size = settings.get("max_array_size", [""])[-1]
        privileged = settings.get("operators", []) + settings.get("managers", [])
        shown = settings.get("query_other_jobs") == ["True"] or any(map(self.is_us, privileged))
        return SiteLimits(
            max_array_size=max(1, int(size)) if size.isdecimal() else None, hides_jobs="" if shown else HIDDEN
        )

    def is_us(self, pattern: str) -> bool:
        """Does this entry of an access list mean us? It has a whole name, our host may know its first label only."""
        user, _, host = pattern.partition("@")
        us, them = self.host.lower(), host.lower() or "*"
        same = fnmatch.fnmatchcase(us, them) or fnmatch.fnmatchcase(us.partition(".")[0], them)
        if "." not in us:
            same = same or fnmatch.fnmatchcase(us, them.partition(".")[0])
        return user == self.account and same

    def _all_jobs(self) -> Command:
        """All jobs that have not ended, in one connection; some kilobytes each."""
        return (self.program("qstat"), "-f", "-F", "json")

    def _qstat(self, *arguments: str) -> Command:
        *options, job = arguments
        return (self.program("qstat"), *options, "-f", "-F", "json", job)

    def program(self, command: str) -> str:
        """The file of one of the batch system's commands, or its name where PATH finds it."""
        return self.paths.get(command) or os.path.join(self.folder, command)


def _ids(answer: Answer) -> list[JobId]:
    """The ids in an answer of qselect. Raises StatusFailed when it is none; one that broke off may end with 0."""
    if answer.returncode != 0 or broke_off(answer):
        raise StatusFailed(answer.words)
    return [JobId(line) for line in map(str.strip, answer.stdout.splitlines()) if is_id(line)]


def _chunks(words: Sequence[str], size: int) -> list[tuple[str, ...]]:
    return [tuple(words[start : start + size]) for start in range(0, len(words), size)]
