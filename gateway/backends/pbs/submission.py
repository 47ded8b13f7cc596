"""One call of qsub: its arguments, and the script of a job (pure)."""

import math
from collections.abc import Iterator

from gateway.backends.base import JobSpec
from gateway.backends.batch.dialect import Submission
from gateway.backends.batch.option_values import walltime_seconds
from gateway.backends.batch.script import JobScript, render_script
from gateway.backends.pbs.options import PBSClusterConfig
from gateway.models import Role


def submission_of(spec: JobSpec) -> Submission:
    """One qsub: a plain job for one, an array for more. Raises TypeError for the options of another batch system."""
    config = spec.cluster.config
    if not isinstance(config, PBSClusterConfig):
        raise TypeError(f"clusters on PBS need a PBSClusterConfig, not {type(config).__name__}")
    array = spec.count > 1
    scheduler = spec.role is Role.SCHEDULER
    setup = config.setup(spec.role)
    script = JobScript(
        shebang=config.shebang,
        setup=setup if config.use_stagein else f'cd "$PBS_O_WORKDIR" || exit\n{setup}',
        environment={**spec.environment, **spec.secrets},
        command=(*spec.command, "--name") if array else spec.argv(spec.names[0]),
        name=spec.group,
        job_variable="PBS_JOBID",
        index_variable="PBS_ARRAY_INDEX" if array else "",
        ports=config.scheduler_ports if scheduler else None,
    )
    return Submission(
        arguments=(
            "-f",
            f"-N{spec.submission}",
            *((f"-J0-{spec.count - 1}",) if array else ()),
            "-Wsandbox=PRIVATE" if config.use_stagein else "-koed",
            "-joe",
            # qsub refuses arrays that are not rerunnable, also where its server's default arguments say so.
            "-ry" if array or config.requeue else "-rn",
            *config.submit_options(spec.role, tuple(_resources(config, spec.role))),
        ),
        script=render_script(script),
        environment={},
        log=f"{spec.group}-^array_index^.log" if array else log_name(spec.names[0]),
    )


def log_name(name: str) -> str:
    """The scheduler's log is `scheduler.log`, those of workers are `w3-0.log`."""
    return f"{name}.log"


def format_memory(size: int) -> str:
    """Bytes as PBS writes sizes, rounded up to whole MiB."""
    return f"{math.ceil(size / 2**20)}mb"


def _resources(config: PBSClusterConfig, role: Role) -> Iterator[str]:
    """The options that say what a job of this role needs and where it goes."""
    template = config.scheduler_resource_list if role is Role.SCHEDULER else config.worker_resource_list
    yield "-l" + template.format(cores=config.job_cores(role), memory=format_memory(config.job_memory(role)))
    if limit := str(config.for_role(role, "time")):
        yield f"-lwalltime={walltime_seconds(limit)}"
    for option, flag in (("place", "-lplace="), ("queue", "-q"), ("account", "-A"), ("project", "-P")):
        if value := config.for_role(role, option):
            yield f"{flag}{value}"
