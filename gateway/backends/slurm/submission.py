"""One call of sbatch: its arguments, and the script of a job (pure)."""

import math
import re

from gateway.backends.base import ClusterRef, JobSpec
from gateway.backends.batch.dialect import Submission
from gateway.backends.batch.script import JobScript, render_script
from gateway.backends.slurm.options import SlurmClusterConfig
from gateway.models import Role


def submission_of(spec: JobSpec) -> Submission:
    """One sbatch: a plain job for one, an array for more."""
    config = config_of(spec.cluster)
    array = spec.count > 1
    secret = {name: value for name, value in spec.secrets.items() if _goes_with_sbatch(name, value)}
    script = JobScript(
        shebang=config.shebang,
        setup=config.setup(spec.role),
        environment={**spec.environment, **{k: v for k, v in spec.secrets.items() if k not in secret}},
        command=(*spec.command, "--name") if array else spec.argv(spec.names[0]),
        name=spec.group,
        job_variable="SLURM_JOB_ID",
        index_variable="SLURM_ARRAY_TASK_ID" if array else "",
        ports=config.scheduler_ports if spec.role is Role.SCHEDULER else None,
    )
    return Submission(
        arguments=(
            "--parsable",
            f"--job-name={spec.submission}",
            *clusters_option(str(config.for_role(spec.role, "cluster"))),
            *((f"--array=0-{spec.count - 1}",) if array else ()),
            "--export=ALL",
            "--open-mode=append",
            "--requeue" if config.requeue else "--no-requeue",
            *config.submit_options(spec.role, ("--propagate=NONE", *_resources(config, spec.role))),
        ),
        script=render_script(script),
        environment=secret,
        log=f"{spec.group}-%a.log" if array else log_name(spec.names[0]),
    )


def log_name(name: str) -> str:
    """The scheduler's log is `scheduler.log`, those of workers are `w3-0.log`."""
    return f"{name}.log"


def format_memory(size: int) -> str:
    """Bytes for --mem, rounded up to whole MiB."""
    return f"{math.ceil(size / 2**20)}M"


def config_of(cluster: ClusterRef) -> SlurmClusterConfig:
    """Raises TypeError for the options of another batch system."""
    if not isinstance(cluster.config, SlurmClusterConfig):
        raise TypeError(f"clusters on Slurm need a SlurmClusterConfig, not {type(cluster.config).__name__}")
    return cluster.config


def clusters_option(name: str) -> tuple[str, ...]:
    """The option that names a cluster other than the default one."""
    return (f"--clusters={name}",) if name else ()


def _resources(config: SlurmClusterConfig, role: Role) -> tuple[str, ...]:
    """The options that say what a job of this role needs."""
    options = [f"--cpus-per-task={config.job_cores(role)}", f"--mem={format_memory(config.job_memory(role))}"]
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
