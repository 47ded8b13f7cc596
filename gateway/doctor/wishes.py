"""The jobs that a site's clusters are made of, as far as a look at the batch system needs them (pure)."""

from collections.abc import Mapping

from gateway.backends.base import ClusterRef, JobSpec
from gateway.backends.batch.dialect import Dialect
from gateway.config.cluster import ClusterConfig
from gateway.models import Role

#: Elements of an array that is tried.
FEW = 2


def job(
    config: ClusterConfig,
    role: Role,
    *,
    command: tuple[str, ...],
    username: str,
    cluster: str,
    environment: Mapping[str, str],
    count: int = 1,
) -> JobSpec:
    """A job with the resources of this role, and another command."""
    return JobSpec(
        cluster=ClusterRef(name=cluster, username=username, config=config),
        role=role,
        group="scheduler" if role is Role.SCHEDULER else "w1",
        count=count,
        command=command,
        environment={**config.environment, **environment},
        secrets={},
    )


def asked(dialect: Dialect, config: ClusterConfig, role: Role) -> tuple[str, ...]:
    """The arguments of the submit command for a job of this role, with what a site adds and leaves out."""
    spec = job(config, role, command=("true",), username="nobody", cluster="doctor", environment={})
    return dialect.submission(spec).arguments
