"""Options that all batch systems share: what a cluster's jobs are like, and how the gateway deals with the system.

Everything here is a value. Options of one role (`scheduler_time`,
`worker_time`) win over the common one (`time`) for that role's jobs. A batch
system adds its own options in subclasses, and the dialect reads them.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from gateway.backends.batch.option_values import (
    check_socket_path,
    check_variable_names,
    check_walltime,
    directory_template,
    port_range,
    shebang_line,
    walltime_seconds,
)
from gateway.backends.batch.submit_options import (
    Grammar,
    directive_options,
    late_directives,
    merged,
    site_options,
    skipped,
)
from gateway.config.backend import DBBackendBase
from gateway.config.callables import function_of
from gateway.config.cluster import ClusterConfig
from gateway.config.fields import SettingError, SettingErrors, configurable, retired, setting
from gateway.models import Role

if TYPE_CHECKING:
    from gateway.backends.batch.dialect import Dialect
    from gateway.backends.launcher.settings import Settings


@configurable
class JobQueueClusterConfig(ClusterConfig):
    """Options of clusters whose scheduler and workers are batch jobs."""

    #: How the submit command's options are written; None where there is no such command.
    grammar: ClassVar[Grammar | None] = None

    scheduler_setup: str = setting(
        default="",
        help="""Lines of shell that run in the scheduler's job before the scheduler starts. Directives at its top
        (#SBATCH, #PBS) become arguments of the submit command, in the place of the gateway's own of the same kind.""",
    )
    worker_setup: str = setting(
        default="",
        help="""Lines of shell that run in each worker's job before the worker starts; with directives at its top as in
        scheduler_setup.""",
    )
    staging_directory: str = setting(
        default="{home}/.dask-gateway/",
        help="""Where each cluster has a directory of its own, which holds the logs of its jobs and is removed when
        the cluster has ended. The fields are {home} and {username}. Must be reachable from the compute nodes.""",
        convert=directory_template,
    )
    log_directory: str = setting(
        default="",
        help="""Where the logs go instead of staging_directory, with the same fields; again each cluster has a
        directory of its own in it.""",
        convert=directory_template,
    )
    shebang: str = setting(
        default="#!/bin/bash -l",
        help="The first line of each job script. The default is a login shell, so users find their environment.",
        convert=shebang_line,
    )
    pass_environment: tuple[str, ...] = setting(
        default=(),
        help="Names of the gateway's own environment variables that jobs get too; those that are not set are left out.",
        validator=check_variable_names,
    )
    time: str = setting(
        default="",
        help="""The time limit of each job, in the forms of sbatch: minutes, H:MM:SS, D-HH. Workers retire before it
        is over, see worker_lifetime_margin. Empty: the batch system's own limit, and workers do not retire.""",
        validator=check_walltime,
    )
    scheduler_time: str = setting(
        default="", help="The time limit of the scheduler's job; empty: as time.", validator=check_walltime
    )
    worker_time: str = setting(
        default="", help="The time limit of each worker's job; empty: as time.", validator=check_walltime
    )
    worker_lifetime_margin: float = setting(
        default=120,
        help="""How long before its time limit a worker retires, so that its data can move on; for short limits, less
        (a quarter of the limit).""",
        unit="seconds",
        minimum=0,
    )
    worker_lifetime_stagger: float = setting(
        default=60,
        help="Workers retire up to this much earlier, so that not all go at once.",
        unit="seconds",
        minimum=0,
    )
    requeue: bool = setting(
        default=False, help="Whether the batch system may run a job again after a failed node or a preemption."
    )
    worker_start_patience: Any = retired("workers start as soon as their jobs run")
    worker_processes: int = setting(
        default=1,
        help="""Workers (processes) in each worker job; the job asks for this many times worker_cores and
        worker_memory.""",
        minimum=1,
    )
    worker_extra_args: tuple[str, ...] = setting(default=(), help="Further arguments of `dask worker`.")
    scheduler_extra_args: tuple[str, ...] = setting(default=(), help="Further arguments of `dask scheduler`.")
    scheduler_port: str = setting(
        default="0",
        help="""The port of the scheduler, or a range like 9000:9100 from which free ones are taken for the scheduler,
        its dashboard and its API: for sites with a firewall between the gateway and the compute nodes. 0: any.""",
        validator=port_range,
    )
    scheduler_interface: str = setting(
        default="", help="The network interface of the scheduler, like ib0; empty: all, and the node's main address."
    )
    worker_interface: str = setting(
        default="", help="The network interface of workers, like ib0; empty: the one that leads to the scheduler."
    )
    extra_args: tuple[str, ...] = setting(
        default=(), help="Further options of the submit command; they replace the gateway's own of the same kind."
    )
    directives_skip: tuple[str, ...] = setting(
        default=(),
        help="""Options of the submit command that the gateway gives by itself and that are to be left out, like
        ['--mem'] on a Slurm that does not take it or ['-lselect'] on PBS.""",
    )

    def __attrs_post_init__(self) -> None:
        """Refuse options of the submit command that could not be passed on."""
        super().__attrs_post_init__()
        grammar = self.grammar
        if grammar is None:
            return
        checks: tuple[tuple[str, Callable[[], object]], ...] = (
            ("extra_args", lambda: site_options(grammar, self.extra_args)),
            ("directives_skip", lambda: skipped(grammar, self.directives_skip)),
            ("scheduler_setup", lambda: directive_options(grammar, self.scheduler_setup)),
            ("worker_setup", lambda: directive_options(grammar, self.worker_setup)),
        )
        errors = []
        for option, check in checks:
            try:
                check()
            except ValueError as error:
                errors.append(SettingError(option, str(error), value=getattr(self, option)))
        if errors:
            raise errors[0] if len(errors) == 1 else SettingErrors(*errors)

    def setup(self, role: Role) -> str:
        """The setup text of a role's jobs."""
        return self.scheduler_setup if role is Role.SCHEDULER else self.worker_setup

    def submit_options(self, role: Role, own: Sequence[str]) -> tuple[str, ...]:
        """The options of a role's submission: the gateway's own, with what the site puts in their place."""
        assert self.grammar is not None
        return merged(
            self.grammar,
            skipped(self.grammar, self.directives_skip),
            own,
            directive_options(self.grammar, self.setup(role)),
            site_options(self.grammar, self.extra_args),
        )

    def warnings(self) -> tuple[str, ...]:
        """What an administrator should know of these options although they are no mistake."""
        if self.grammar is None:
            return ()
        texts = {role: late_directives(self.grammar, self.setup(role)) for role in Role}
        return tuple(f"{type(self).__name__}.{role}_setup {text}" for role, text in texts.items() if text)

    def for_role(self, role: Role, option: str) -> object:
        """The value of an option for a role's jobs: the role's own if there is one, else the common one."""
        own = getattr(self, f"{role}_{option}")
        return getattr(self, option) if own is None or own == "" else own

    def job_cores(self, role: Role) -> int:
        """Cores that a job of this role asks for: for all its processes."""
        return super().job_cores(role) * (self.worker_processes if role is Role.WORKER else 1)

    def job_memory(self, role: Role) -> int:
        """Bytes of memory that a job of this role asks for: for all its processes."""
        return super().job_memory(role) * (self.worker_processes if role is Role.WORKER else 1)

    @property
    def jobs_may_run_again(self) -> bool:
        """Whether the batch system may run a job of this cluster again: the option `requeue`."""
        return self.requeue

    @property
    def scheduler_ports(self) -> tuple[int, int] | None:
        """First and last port to choose the scheduler's ports from; None when there is nothing to choose."""
        first, last = port_range(self.scheduler_port)
        return (first, last) if first != last else None

    def scheduler_arguments(self) -> tuple[str, ...]:
        """Port, interface, and what the site adds."""
        arguments: list[str] = []
        if self.scheduler_ports is None and self.scheduler_port != "0":
            arguments += "--port", str(port_range(self.scheduler_port)[0])
        if self.scheduler_interface:
            # distributed refuses an interface beside a host; the empty host takes back the one given before.
            arguments += "--host", "", "--interface", self.scheduler_interface
        return (*arguments, *self.scheduler_extra_args)

    def worker_arguments(self) -> tuple[str, ...]:
        """Processes, lifetime, interface, and what the site adds."""
        arguments: list[str] = []
        if self.worker_processes > 1:
            arguments += "--nworkers", str(self.worker_processes)
        if limit := str(self.for_role(Role.WORKER, "time")):
            lifetime, stagger = self._lifetime(walltime_seconds(limit))
            arguments += "--lifetime", f"{lifetime:g}s", "--lifetime-stagger", f"{stagger:g}s"
        if self.worker_interface:
            arguments += "--interface", self.worker_interface
        return (*arguments, *self.worker_extra_args)

    def _lifetime(self, limit: int) -> tuple[float, float]:
        """Lifetime and stagger in seconds. distributed adds the stagger times a random number from -1 to 1."""
        margin = min(self.worker_lifetime_margin, limit / 4)
        stagger = min(self.worker_lifetime_stagger, limit / 4) / 2
        return round(limit - margin - stagger, 1), round(stagger, 1)


@configurable
class JobQueueBackend(DBBackendBase):
    """How the gateway deals with a batch system."""

    reads_options_of: ClassVar[type[ClusterConfig]] = JobQueueClusterConfig
    #: Whether the batch system's commands need rights of setuid programs.
    setuid_helpers: ClassVar[bool] = False

    cluster_config_class: type[ClusterConfig] = setting(default=JobQueueClusterConfig)
    impersonation: str = setting(
        default="sudo",
        help="""How jobs become the user's: "sudo" runs the launcher as the user, which takes a rule in sudoers;
        "socket" has dask-gateway-launcherd, a daemon of root's, do so by root's policy in
        /etc/dask-gateway/launcher.conf, which needs no sudo and logs no session for each submission; "none" runs it as
        the gateway's own account and accepts that account's clusters only, for a private gateway.""",
        choices=("sudo", "socket", "none"),
    )
    launcher_socket: str = setting(
        default="/run/dask-gateway-launcherd.sock",
        help="""Where dask-gateway-launcherd listens, as ListenStream in dask-gateway-launcherd.socket says; for
        impersonation "socket".""",
        validator=check_socket_path,
    )
    dask_gateway_jobqueue_launcher: str = setting(
        default="",
        help="""The path of dask-gateway-jobqueue-launcher, as it stands in sudoers. Empty: beside the Python that
        runs the gateway.""",
    )
    submit_command: str = setting(
        default="",
        help="""The path of the submit command (sbatch, qsub). It and all folders above it must belong to root and be
        writable by root alone. Empty: looked for in the usual folders.""",
    )
    cancel_command: str = setting(
        default="", help="The path of the cancel command (scancel, qdel), see submit_command."
    )
    status_command: str = setting(
        default="",
        help="The path of the status command (squeue, qstat); its folder holds the others of its kind.",
    )
    poll_period: float = setting(
        default=15,
        help="""Time between two looks at the queue while nothing changes; after a change it grows from
        eager_poll_period to this.""",
        unit="seconds",
        minimum=0.1,
    )
    eager_poll_period: float = setting(
        default=2, help="Time between two looks while a job starts or ends, or is missed.", unit="seconds", minimum=0.1
    )
    command_timeout: float = setting(
        default=30,
        help="""A command of the batch system that takes longer is ended and counts as unanswered. Slurm's own
        commands take up to 18 seconds to say that the controller is away.""",
        unit="seconds",
        minimum=1,
        maximum=60,
    )
    worker_job_arrays: bool = setting(
        default=True, help="Whether workers are submitted as job arrays; False: one submission each."
    )
    max_workers_per_submit: int = setting(
        default=500, help="Workers in one submission; the batch system's own limit on arrays counts as well.", minimum=1
    )
    max_pending_jobs_per_user: int | None = setting(
        default=None,
        help="Further submissions of a user wait while this many of the user's jobs do; None: no limit.",
        minimum=1,
    )
    extra_directives: Callable[..., Any] | None = setting(
        default=None,
        help="""A function of the user, the cluster's configuration and the role ("scheduler" or "worker") of a
        submission. It returns a list of further options of the submit command, as in extra_args, which they replace
        where they are of the same kind. It may be async; docs/migrating.md has an example. None: there are none.""",
        validator=function_of("user", "config", "role"),
    )
    log_retention: float = setting(
        default=7 * 86400, help="Logs of failed clusters are removed after this time.", unit="seconds", minimum=0
    )

    def dialect(self, settings: "Settings") -> "Dialect | None":
        """The batch system's language, with root's settings for its commands; None leaves `doctor` without one."""
        return None

    def __attrs_post_init__(self) -> None:
        """Refuse a hurry that is slower than leisure."""
        super().__attrs_post_init__()
        if self.eager_poll_period > self.poll_period:
            reason = f"must not exceed poll_period ({self.poll_period:g} seconds)"
            raise SettingError("eager_poll_period", reason, value=self.eager_poll_period)
        if self.extra_directives is not None and getattr(self.cluster_config_class, "grammar", None) is None:
            reason = f"cannot be used: {self.cluster_config_class.__name__} knows of no submit command's options"
            raise SettingError("extra_directives", reason)
