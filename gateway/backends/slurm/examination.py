"""A look at a site's Slurm: whether it is as the gateway needs it, and as the configuration wants it (pure).

Facts: `scontrol show config` and sinfo answer everybody. sacctmgr answers where
there is an accounting database; whether an account is an operator is asked
there. A node has 1 MB of memory where slurm.conf does not say how much, so that
no job with `--mem` ever fits; there `directives_skip = ['--mem']` helps.
"""

import re
from collections.abc import Iterator, Mapping, Sequence

from attrs import frozen

from gateway.backends.batch.dialect import Command
from gateway.backends.batch.examination import Wishes
from gateway.backends.batch.option_values import walltime_seconds
from gateway.backends.commands import Answer
from gateway.backends.slurm.dialect import Slurm
from gateway.backends.slurm.options import SlurmClusterConfig
from gateway.backends.slurm.submission import resources
from gateway.config.finding import Finding, doubt, failure, fine
from gateway.models import Role

_CONFIG, _NODES, _OPERATOR = "configuration", "partitions", "operator"


@frozen
class Node:
    """A node in a partition, which may be the default one: a line of sinfo. Memory is in MiB."""

    partition: str
    is_up: bool
    cores: int
    memory: int
    limit: str
    is_default: bool = False


@frozen
class SlurmExamination:
    """Asks by the commands of a dialect."""

    dialect: Slurm

    def questions(self, wishes: Wishes) -> Mapping[str, Command]:
        """The configuration; nodes and partitions; the rights of the gateway's account."""
        path = self.dialect.path
        user = ("show", "user", wishes.account, "format=adminlevel")
        return {
            _CONFIG: self.dialect.limits_command(),
            _NODES: (path("sinfo"), "--noheader", "--Node", "--format=%P|%a|%c|%m|%l"),
            _OPERATOR: (path("sacctmgr"), "--noheader", "--parsable2", *user),
        }

    def findings(self, wishes: Wishes, answers: Mapping[str, Answer]) -> Iterator[Finding]:
        """What sites have configured otherwise."""
        config = answers[_CONFIG]
        settings = dict(re.findall(r"^(\w+)\s*= (.*?)\s*$", config.stdout, re.MULTILINE))
        yield _arrays(wishes, self.dialect.parse_limits(config).max_array_size)
        yield self._private_data(config, answers[_OPERATOR])
        yield _memory_of_jobs(wishes, settings)
        if not isinstance(wishes.config, SlurmClusterConfig):
            return
        nodes = nodes_in(answers[_NODES].stdout)
        for role in Role if nodes else ():
            yield from _jobs_fit(wishes.config, role, nodes)

    def _private_data(self, config: Answer, operator: Answer) -> Finding:
        hidden = self.dialect.parse_limits(config).hides_jobs
        if not hidden:
            return fine("jobs of others", "Slurm shows them to the gateway's account (PrivateData)")
        level = operator.stdout.strip()
        if level in ("Operator", "Administrator"):
            return fine("jobs of others", f"Slurm hides them from users, and the gateway's account is an {level}")
        said = f"; sacctmgr says of the account: {level or 'nothing'}"
        return failure(
            "jobs of others",
            f"Slurm hides them from the gateway's account (PrivateData has jobs{said})",
            "sacctmgr modify user NAME set adminlevel=operator",
        )


def _arrays(wishes: Wishes, size: int | None) -> Finding:
    if not wishes.backend.worker_job_arrays:
        return fine("job arrays", "are not used (worker_job_arrays)")
    if size is None:
        return doubt("job arrays", "Slurm does not say how large they may be (MaxArraySize)")
    if size < 2:
        return failure(
            "job arrays",
            f"Slurm takes none (MaxArraySize={size})",
            "c.JobQueueBackend.worker_job_arrays = False, or a larger MaxArraySize in slurm.conf",
        )
    return fine("job arrays", f"may have {size} workers (MaxArraySize)")


def _memory_of_jobs(wishes: Wishes, settings: Mapping[str, str]) -> Finding:
    """How long the controller remembers jobs that have ended."""
    subject, age = "ended jobs", settings.get("MinJobAge", "").partition(" ")[0]
    accounting = settings.get("AccountingStorageType", "") not in ("", "(null)", "accounting_storage/none")
    asked = 2 * wishes.backend.eager_poll_period
    if age.isdecimal() and 0 < int(age) < asked and not accounting:
        return doubt(
            subject,
            f"Slurm forgets them after {age} s (MinJobAge), and has no accounting database: how they ended is not told",
            "a larger MinJobAge in slurm.conf",
        )
    where = " and then by the accounting database" if accounting else ""
    return fine(subject, f"are remembered for {age or '?'} s (MinJobAge){where}")


def nodes_in(printed: str) -> list[Node]:
    """The lines of sinfo; what is none is left out."""
    found = []
    for line in printed.splitlines():
        partition, up, cores, memory, limit = (line.strip().split("|") + [""] * 5)[:5]
        if cores.isdecimal() and memory.isdecimal():
            found.append(
                Node(partition.rstrip("*"), up == "up", int(cores), int(memory), limit, partition.endswith("*"))
            )
    return found


@frozen
class _Jobs:
    """What a role's jobs ask for: `given` are the options of sbatch."""

    config: SlurmClusterConfig
    role: Role
    given: Mapping[str, str]

    @property
    def partitions(self) -> list[str]:
        return [name for name in self.given.get("partition", "").split(",") if name]

    def chosen(self, nodes: Sequence[Node]) -> list[Node]:
        """The nodes of the partitions that were asked for, else of the default one."""
        wanted = self.partitions
        return [node for node in nodes if (node.partition in wanted if wanted else node.is_default)]

    @property
    def subject(self) -> str:
        return f"partition of {'schedulers' if self.role is Role.SCHEDULER else 'workers'}"


def _jobs_fit(config: SlurmClusterConfig, role: Role, nodes: Sequence[Node]) -> Iterator[Finding]:
    """Whether the partitions of a role's jobs exist, and have nodes that such a job fits on."""
    options = config.submit_options(role, resources(config, role))
    jobs = _Jobs(config, role, dict(option.removeprefix("--").partition("=")[::2] for option in options))
    if "clusters" in jobs.given or config.for_role(role, "cluster"):
        return  # sinfo has told of this host's
    mine = jobs.chosen(nodes)
    if missing := _missing(jobs, sorted({node.partition for node in nodes}), mine):
        yield missing
        return
    troubles = (look(jobs, mine) for look in (_is_down, _too_much, _too_long))
    yield next(filter(None, troubles), None) or _fits(jobs, mine)


def _missing(jobs: _Jobs, there: Sequence[str], mine: Sequence[Node]) -> Finding | None:
    unknown = [name for name in jobs.partitions if name not in there]
    if not unknown and mine:
        return None
    what = (
        f"there is no partition {unknown[0]!r}" if unknown else "Slurm has no default partition, and none is configured"
    )
    return failure(
        jobs.subject, f"{what}: there are {', '.join(there)}", "c.SlurmClusterConfig.partition = one of these"
    )


def _is_down(jobs: _Jobs, nodes: Sequence[Node]) -> Finding | None:
    if any(node.is_up for node in nodes):
        return None
    names = ",".join(sorted({node.partition for node in nodes}))
    remedy = f"scontrol update partition={names} state=up"
    return failure(jobs.subject, f"{names} is down: jobs wait there for ever", remedy)


def _too_much(jobs: _Jobs, nodes: Sequence[Node]) -> Finding | None:
    memory, cores = jobs.config.job_memory(jobs.role) / 2**20, jobs.config.job_cores(jobs.role)
    largest, most = max(node.memory for node in nodes), max(node.cores for node in nodes)
    if "mem" in jobs.given and memory > largest:
        why = "Slurm was not told how much they have (RealMemory), or " if largest == 1 else ""
        return failure(
            jobs.subject,
            f"no node has the {memory:.0f} MiB that a job asks for: {why}they have {largest} MiB at most",
            f"c.ClusterConfig.{jobs.role}_memory, or c.JobQueueClusterConfig.directives_skip = ['--mem']",
        )
    if "cpus-per-task" in jobs.given and cores > most:
        evidence = f"no node has the {cores} cores that a job asks for: they have {most} at most"
        return failure(jobs.subject, evidence, f"c.ClusterConfig.{jobs.role}_cores")
    return None


def _too_long(jobs: _Jobs, nodes: Sequence[Node]) -> Finding | None:
    limits = [limit for node in nodes if (limit := _seconds(node.limit)) is not None]
    time = str(jobs.config.for_role(jobs.role, "time"))
    if not time or len(limits) < len(nodes) or walltime_seconds(time) <= max(limits):
        return None
    evidence = f"jobs ask for {time}, which is longer than the partition's limit {nodes[0].limit}"
    return failure(jobs.subject, evidence, f"c.JobQueueClusterConfig.{jobs.role}_time")


def _fits(jobs: _Jobs, nodes: Sequence[Node]) -> Finding:
    names = ", ".join(sorted({node.partition for node in nodes}))
    return fine(jobs.subject, f"{names}: {len(nodes)} nodes, {max(node.memory for node in nodes)} MiB at most")


def _seconds(limit: str) -> float | None:
    """A partition's limit; None where there is none."""
    try:
        return walltime_seconds(limit)
    except ValueError:
        return None
