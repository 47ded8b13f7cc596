"""What a job runs: the commands and the environment of schedulers and workers.

The options are those of `dask scheduler`, of the scheduler preload that comes
with the published `dask-gateway` client, and of `dask worker`. Certificate and
key travel as PEM text in environment variables: distributed takes text where
it expects a path, so no file system has to be shared. Later options win, so
what a site adds comes last.
"""

from gateway.backends.base import ClusterRef, JobSpec
from gateway.models import ClusterRecord, Role

SCHEDULER_GROUP = "scheduler"


def scheduler_spec(
    cluster: ClusterRef, record: ClusterRecord, *, api_url: str, host: str, heartbeat_period: float
) -> JobSpec:
    """The scheduler's job. `host` is the interface it listens on, `heartbeat_period` is in seconds."""
    config = cluster.config
    command = (
        *config.scheduler_cmd,
        *("--protocol", "tls", "--port", "0", "--host", host, "--dashboard-address", f"{host}:0"),
        *("--preload", "dask_gateway.scheduler_preload", "--dg-api-address", f"{host}:0"),
        *("--dg-heartbeat-period", _number(heartbeat_period)),
        *("--dg-adaptive-period", _number(config.adaptive_period)),
        *("--dg-idle-timeout", _number(config.idle_timeout)),
        *config.scheduler_arguments(),
    )
    return _spec(cluster, record, api_url, Role.SCHEDULER, SCHEDULER_GROUP, 1, command)


def worker_spec(
    cluster: ClusterRef, record: ClusterRecord, *, api_url: str, host: str, group: str, count: int
) -> JobSpec:
    """A group of `count` workers for the scheduler that `record` knows."""
    config = cluster.config
    command = (
        *config.worker_cmd,
        record.scheduler_address,
        *("--dashboard-address", f"{host}:0"),
        *("--nthreads", str(config.worker_threads or config.worker_cores)),
        *("--memory-limit", str(config.worker_memory)),
        *config.worker_arguments(),
    )
    return _spec(cluster, record, api_url, Role.WORKER, group, count, command)


def _spec(
    cluster: ClusterRef,
    record: ClusterRecord,
    api_url: str,
    role: Role,
    group: str,
    count: int,
    command: tuple[str, ...],
) -> JobSpec:
    tls = "DASK_DISTRIBUTED__COMM__TLS"
    return JobSpec(
        cluster=cluster,
        role=role,
        group=group,
        count=count,
        command=command,
        environment={
            **cluster.config.environment,
            "DASK_GATEWAY_API_URL": api_url,
            "DASK_GATEWAY_CLUSTER_NAME": cluster.name,
            "DASK_DISTRIBUTED__COMM__REQUIRE_ENCRYPTION": "True",
        },
        secrets={
            "DASK_GATEWAY_API_TOKEN": record.token,
            f"{tls}__CA_FILE": record.tls_cert,
            f"{tls}__{role.upper()}__CERT": record.tls_cert,
            f"{tls}__{role.upper()}__KEY": record.tls_key,
        },
    )


def _number(seconds: float) -> str:
    """A number as a command line takes it: 15, not 15.0."""
    return str(int(seconds)) if seconds == int(seconds) else str(seconds)
