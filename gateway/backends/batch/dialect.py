"""What the driver must know of a batch system: the values and the interface of a dialect (pure).

A dialect turns wishes into command lines and texts into values. It runs
nothing and waits for nothing, so that it can be tested with recorded answers.
What differs between batch systems is said here; the driver has no `if`.
"""

import enum
from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

from attrs import field, frozen

from gateway.backends.base import ClusterRef, JobSpec
from gateway.backends.commands import Answer
from gateway.backends.launcher.rules import Rules
from gateway.errors import GatewayError
from gateway.models import JobId, JobReport, Role

Command = tuple[str, ...]
"""A question to the batch system: an argv."""


class Refusal(enum.StrEnum):
    """What it means that the submit command failed."""

    AWAY = "away"
    """Nothing was submitted: the batch system, or something it needs, is not there at the moment. Try again."""
    LOST = "lost"
    """A job may have been submitted: look for it by its name before trying again."""
    FULL = "full"
    """A limit on the number of jobs, or on arrays: fewer jobs may fit, and more later."""
    REFUSED = "refused"
    """Final, in the batch system's own words."""


class StatusFailed(GatewayError):
    """The batch system did not answer the question; nothing is known of any job. The text is its own words."""


#: A part of `LogWords.by_itself`: a program or its interpreter was found, and nobody killed it.
EXIT_CODE = r"exit code (?!126\b|127\b|254\b)\d+(?! \(killed)\b"


@frozen(kw_only=True)
class LogWords:
    """What a batch system writes into a job's log, and says of its end: patterns.

    `killed` is in the lines by which it shows that it ended the job, `not_begun` where it could not begin with the
    script. `by_itself` is in the explanation of an end (`parse_explanation`) for which nobody but the job is the
    reason.
    """

    killed: str
    not_begun: str
    by_itself: str = rf"\A{EXIT_CODE}"


@frozen(kw_only=True)
class Submission:
    """One call of the submit command. `log` is a file name with the batch system's mark for the array index in it."""

    arguments: tuple[str, ...]
    script: str = field(repr=False)
    environment: Mapping[str, str] = field(repr=False)
    log: str


@frozen(kw_only=True)
class Status:
    """What one look at the queue tells.

    `reports` may hold whole arrays beside their elements. Nothing is known of
    the jobs in `doubtful` (job → why): their absence means nothing. The jobs
    in `nonexistent` were asked for by their ids, and the batch system does
    not know them; of the other absent ones it has not said so. Jobs that are
    `hopeless` wait, but can never run, and the site wants them ended.
    `remarks` are lines that the commands printed beside their answers.
    """

    reports: Mapping[JobId, JobReport]
    doubtful: Mapping[JobId, str] = field(factory=dict)
    nonexistent: frozenset[JobId] = frozenset()
    hopeless: frozenset[JobId] = frozenset()
    remarks: tuple[str, ...] = ()


@frozen(kw_only=True)
class SiteLimits:
    """What the batch system says of its own configuration.

    `max_array_size` is the number of elements in one array, None when it is
    not known. `hides_jobs` is why the gateway's account may not see the jobs
    of others, empty when it may.
    """

    max_array_size: int | None = None
    hides_jobs: str = ""


class Dialect(Protocol):
    """A batch system's language. Commands are argvs; those of the launcher leave out the program."""

    @property
    def name(self) -> str:
        """The batch system's name, for people."""
        ...

    @property
    def rules(self) -> Rules:
        """What the launcher passes on to the submit and the cancel command, which are named there."""
        ...

    @property
    def log_words(self) -> LogWords:
        """What the batch system writes into the logs of jobs."""
        ...

    def submission(self, spec: JobSpec) -> Submission:
        """The call that submits `spec`."""
        ...

    def parse_submitted(self, spec: JobSpec, stdout: str) -> tuple[JobId, ...]:
        """One id a job, in the order of `spec.names`. Raises ValueError for an answer that holds no id."""
        ...

    def refusal(self, answer: Answer) -> Refusal:
        """What it means that a submission (or a cancel) ended with an exit code other than 0."""
        ...

    def advice(self, answer: Answer) -> str:
        """The options that help against a refusal, as a sentence for the administrator; empty if none is known to."""
        ...

    def cancel_arguments(self, jobs: Collection[JobId]) -> tuple[tuple[str, ...], ...]:
        """As few calls of the cancel command as possible."""
        ...

    def cancel_failed(self, answer: Answer) -> bool:
        """Did this call leave jobs alone that are not gone already?"""
        ...

    def name_commands(self, jobs: Collection[JobId]) -> tuple[Command, ...]:
        """The commands that ask for the names of these plain jobs and whole arrays, by their ids."""
        ...

    def parse_names(self, jobs: Collection[JobId], answers: Sequence[Answer]) -> Mapping[JobId, str]:
        """The names of the jobs asked for; empty for those that the batch system does not know.

        Raises StatusFailed when an answer does not tell.
        """
        ...

    def status_commands(self, jobs: Mapping[JobId, str]) -> tuple[Command, ...]:
        """The commands that ask for all jobs of the users of these jobs (job → user); few, however many jobs."""
        ...

    def parse_status(self, jobs: Mapping[JobId, str], answers: Sequence[Answer]) -> Status:
        """What these answers tell, one a status command. Raises StatusFailed when they tell nothing of any job."""
        ...

    def follow_up(self, status: Status, known: Mapping[JobId, JobReport], turn: int) -> tuple[Command, ...]:
        """Further commands that are worth asking after this look, a small number that depends on nothing.

        `known` are the watched jobs with what was last reported of each. `turn` counts the looks, so that all jobs
        get their turn although few are asked for at once.
        """
        ...

    def parse_follow_up(
        self, status: Status, known: Mapping[JobId, JobReport], answers: Sequence[tuple[Command, Answer]]
    ) -> Status:
        """The look with what these answers add; those to the last commands may be lacking."""
        ...

    def array_of(self, job: JobId) -> JobId | None:
        """The array that a job is an element of: the array's end is the end of elements that are not listed."""
        ...

    def find_commands(
        self, cluster: ClusterRef, role: Role, group: str, *, thorough: bool = False
    ) -> tuple[Command, ...]:
        """The commands that look for a submission by its unique name.

        The `thorough` ones cost more, and are not answered from any cache that a site has put before the others.
        """
        ...

    def parse_found(
        self, cluster: ClusterRef, role: Role, group: str, count: int, answers: Sequence[Answer]
    ) -> tuple[JobId, ...]:
        """The ids of the submission looked for, empty if there is none. Raises StatusFailed."""
        ...

    def explain_commands(self, job: JobId) -> tuple[Command, ...]:
        """Commands that tell how a job ended, the best first."""
        ...

    def parse_explanation(self, job: JobId, answer: Answer) -> str:
        """How the job ended, in a sentence; empty when this answer does not tell."""
        ...

    def log_name(self, name: str) -> str:
        """The file name of the log of the job called `name`."""
        ...

    def limits_command(self) -> Command:
        """The command that prints the batch system's configuration."""
        ...

    def parse_limits(self, answer: Answer) -> SiteLimits:
        """What matters to us in that configuration; what is not told stays at its default."""
        ...
