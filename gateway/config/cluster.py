"""What one Dask cluster is given: commands, memory, cores, limits.

The site's values come from the configuration file; a user's options override
some of them for one cluster (user_options.py). Backends add options in subclasses.
"""

import re
from collections.abc import Mapping

from gateway.config.fields import Command, Memory, SettingError, ShareNames, configurable, setting
from gateway.models import Role


def _environment(variables: Mapping[str, str]) -> None:
    for name, value in variables.items():
        if not name or "=" in name or "\0" in name + value:
            raise ValueError(f"must hold names without '=' and values without NUL characters ({name!r} is wrong)")
        if name.startswith("-"):
            raise ValueError(f"must hold names that begin with no dash, as options of commands do ({name!r} is wrong)")


#: Words that only a shell understands, and the program's place taken by one of its builtins or by a variable's value.
_OPERATOR = re.compile(r"\|\|?|&&?|;|\d*[<>]{1,2}(?:&?\S*)|[^\s;]*;")
_BUILTINS = frozenset((".", "cd", "eval", "export", "module", "source"))


def _command(words: tuple[str, ...]) -> None:
    """Raise ValueError for what is a line of shell: a command is a program and its arguments."""
    where = "put lines of shell into scheduler_setup and worker_setup (of batch systems)"
    if re.match(r"[A-Za-z_]\w*=", words[0]):
        raise ValueError(f"must begin with a program, not with a variable ({words[0]!r}): set environment instead")
    if words[0] in _BUILTINS:
        raise ValueError(f"must begin with a program, which {words[0]!r} is not: {where}")
    for word in words:
        substituted = "-c" not in words and not re.search(r"\s", word) and ("$(" in word or "`" in word)
        if substituted or _OPERATOR.fullmatch(word):
            raise ValueError(f"must be one program and its arguments, without shell ({word!r}): {where}")


@configurable
class ClusterConfig:
    """Options of each Dask cluster, whatever runs it."""

    scheduler_cmd: Command = setting(
        default=("dask", "scheduler"),
        help="""The command that starts a scheduler: one string, split as a shell splits it, or a list. A
        `dask-scheduler` that does not exist means `dask scheduler`. In batch jobs variables ($NAME) are expanded, and
        ~ at the start of a word.""",
        validator=_command,
    )
    worker_cmd: Command = setting(
        default=("dask", "worker"),
        help="""The command that starts a worker: one string, split as a shell splits it, or a list. A
        `dask-worker` that does not exist means `dask worker`. Variables and ~ as in scheduler_cmd.""",
        validator=_command,
    )
    environment: Mapping[str, str] = setting(
        factory=dict,
        help="Environment variables of schedulers and workers, besides those that they need anyway.",
        validator=_environment,
    )
    worker_memory: Memory = setting(default="2 G", help="Memory of one worker.", unit="bytes", minimum=1)
    worker_cores: int = setting(default=1, help="Cores of one worker.", minimum=1)
    worker_threads: int | None = setting(
        default=None, help="Threads of one worker; None: as many as it has cores.", minimum=1
    )
    scheduler_memory: Memory = setting(default="2 G", help="Memory of the scheduler.", unit="bytes", minimum=1)
    scheduler_cores: int = setting(default=1, help="Cores of the scheduler.", minimum=1)
    adaptive_period: float = setting(
        default=3,
        help="""Time between the scheduler's decisions on how many workers it wants. Shorter reacts faster and
        costs more.""",
        unit="seconds",
        minimum=0,
    )
    idle_timeout: float = setting(
        default=0, help="An idle cluster is stopped after this time; 0: never.", unit="seconds", minimum=0
    )
    max_lifetime: float = setting(
        default=0,
        help="""A cluster is stopped when it has run for this time, which counts from when its scheduler first
        reports, over restarts of the gateway; 0: never. Its events announce that beforehand (a tenth of the time,
        ten minutes at most).""",
        unit="seconds",
        minimum=0,
    )
    client_disconnect_timeout: float = setting(
        default=0,
        help="""A cluster is stopped when no client was connected to its scheduler through the gateway for this time,
        whether or not it computes something; 0: never. The time begins anew at a restart of the gateway, and whenever
        the gateway could not hear everybody. Announced as with max_lifetime.""",
        unit="seconds",
        minimum=0,
    )
    cluster_max_memory: Memory | None = setting(
        default=None,
        help="Memory that a cluster may have in all, its scheduler included; None: no limit.",
        unit="bytes",
        minimum=0,
    )
    cluster_max_cores: float | None = setting(
        default=None, help="Cores that a cluster may have in all, its scheduler included; None: no limit.", minimum=0
    )
    cluster_max_workers: int | None = setting(
        default=None,
        help="""Workers that a cluster may have; None: no limit. The limits on memory and cores count as well,
        the smallest of the three holds.""",
        minimum=0,
    )

    share_view: ShareNames = setting(
        default=(),
        help="""Who may see the cluster and its dashboard, besides its owner: names of users, and of groups with an @ in
        front ("@support"), as a list or with commas between them. The owner can change it later. Needs
        c.Backend.sharing.""",
    )
    share_use: ShareNames = setting(
        default=(),
        help="""Who may also connect to the cluster and compute, written like share_view. They can run anything in the
        name of its owner. Needs c.Backend.sharing = "use".""",
    )

    def __attrs_post_init__(self) -> None:
        """Refuse a scheduler that is bigger than its whole cluster may be."""
        if self.cluster_max_memory is not None and self.scheduler_memory > self.cluster_max_memory:
            reason = f"must not exceed cluster_max_memory ({self.cluster_max_memory} bytes)"
            raise SettingError("scheduler_memory", reason, value=self.scheduler_memory)
        if self.cluster_max_cores is not None and self.scheduler_cores > self.cluster_max_cores:
            reason = f"must not exceed cluster_max_cores ({self.cluster_max_cores:g})"
            raise SettingError("scheduler_cores", reason, value=self.scheduler_cores)

    def warnings(self) -> tuple[str, ...]:
        """What an administrator should know of these options although they are no mistake."""
        return ()

    def scheduler_arguments(self) -> tuple[str, ...]:
        """What this kind of cluster adds to the scheduler's command; the last of two equal options wins."""
        return ()

    def worker_arguments(self) -> tuple[str, ...]:
        """What this kind of cluster adds to the workers' command; the last of two equal options wins."""
        return ()

    @property
    def jobs_may_run_again(self) -> bool:
        """Whether the batch system may run a job of this cluster again."""
        return False

    def job_cores(self, role: Role) -> int:
        """Cores that a job of this role asks for."""
        return self.scheduler_cores if role is Role.SCHEDULER else self.worker_cores

    def job_memory(self, role: Role) -> int:
        """Bytes of memory that a job of this role asks for."""
        return self.scheduler_memory if role is Role.SCHEDULER else self.worker_memory

    @property
    def worker_limits(self) -> Mapping[str, int]:
        """How many workers the cluster may have because of an option, by its name; after the scheduler's share."""
        limits = {}
        if self.cluster_max_workers is not None:
            limits["cluster_max_workers"] = self.cluster_max_workers
        if self.cluster_max_memory is not None:
            memory = self.cluster_max_memory - self.job_memory(Role.SCHEDULER)
            limits["cluster_max_memory"] = memory // self.job_memory(Role.WORKER)
        if self.cluster_max_cores is not None:
            cores = self.cluster_max_cores - self.job_cores(Role.SCHEDULER)
            limits["cluster_max_cores"] = int(cores // self.job_cores(Role.WORKER))
        return limits

    @property
    def max_workers(self) -> int | None:
        """Workers that the cluster may have: the smallest of its limits."""
        return min(self.worker_limits.values(), default=None)
