"""What a job runs: the commands and the environment of schedulers and workers.

The options are those of `dask scheduler`, of the scheduler preload that comes
with the published `dask-gateway` client, and of `dask worker`. Certificate and
key travel as PEM text in environment variables: distributed takes text where
it expects a path, so no file system has to be shared. Later options win, so
what a site adds comes last.
"""

from gateway.backends.base import ClusterRef, JobSpec
from gateway.clusters.rules import Rules
from gateway.config.cluster import ClusterConfig
from gateway.models import ClusterRecord, Role, SubmissionRecord

SCHEDULER_GROUP = "scheduler"


def job_spec(cluster: ClusterRef, record: ClusterRecord, submission: SubmissionRecord, rules: Rules) -> JobSpec:
    """Return what a submission runs: the cluster's scheduler, or workers for the one that `record` knows."""
    tls, role = "DASK_DISTRIBUTED__COMM__TLS", submission.role
    return JobSpec(
        cluster=cluster,
        role=role,
        group=submission.group,
        count=submission.count,
        command=(_scheduler if role is Role.SCHEDULER else _worker)(cluster.config, record, rules),
        environment={
            **cluster.config.environment,
            "DASK_GATEWAY_API_URL": rules.api_url,
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


def _scheduler(config: ClusterConfig, record: ClusterRecord, rules: Rules) -> tuple[str, ...]:
    host = rules.host
    return (
        *config.scheduler_cmd,
        *("--protocol", "tls", "--port", "0", "--host", host, "--dashboard-address", f"{host}:0"),
        *("--preload", "dask_gateway.scheduler_preload", "--dg-api-address", f"{host}:0"),
        *("--dg-heartbeat-period", _number(rules.options.cluster_heartbeat_period)),
        *("--dg-adaptive-period", _number(config.adaptive_period)),
        *("--dg-idle-timeout", _number(config.idle_timeout)),
        *config.scheduler_arguments(),
    )


def _worker(config: ClusterConfig, record: ClusterRecord, rules: Rules) -> tuple[str, ...]:
    return (
        *config.worker_cmd,
        record.scheduler_address,
        *("--dashboard-address", f"{rules.host}:0"),
        *("--nthreads", str(config.worker_threads or config.worker_cores)),
        *("--memory-limit", str(config.worker_memory)),
        *config.worker_arguments(),
    )


def _number(seconds: float) -> str:
    """A number as a command line takes it: 15, not 15.0."""
    return str(int(seconds)) if seconds == int(seconds) else str(seconds)
