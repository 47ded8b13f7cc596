"""Options of clusters on Slurm. Everything here is a value; dialect.py makes arguments of sbatch from it."""

from typing import ClassVar

from gateway.backends.batch.options import JobQueueClusterConfig
from gateway.backends.batch.submit_options import Grammar
from gateway.backends.slurm.arguments import GRAMMAR
from gateway.backends.slurm.ids import CLUSTER_NAME
from gateway.config.fields import configurable, setting


def _word(value: str) -> None:
    if any(character < " " or character == "\x7f" for character in value):
        raise ValueError("must be one line without control characters")


def _cluster(name: str) -> None:
    if name and not CLUSTER_NAME.fullmatch(name):
        raise ValueError("must be the name of one cluster, as `sacctmgr show clusters` prints it")


@configurable
class SlurmClusterConfig(JobQueueClusterConfig):
    """Options of clusters on Slurm, besides those of all batch systems."""

    grammar: ClassVar[Grammar | None] = GRAMMAR

    cluster: str = setting(
        default="",
        help="The Slurm cluster of each job, where a site has several (-M); empty: that of the gateway's host.",
        validator=_cluster,
    )
    scheduler_cluster: str = setting(
        default="", help="The Slurm cluster of the scheduler's job; empty: as cluster.", validator=_cluster
    )
    worker_cluster: str = setting(
        default="", help="The Slurm cluster of the workers' jobs; empty: as cluster.", validator=_cluster
    )
    partition: str = setting(default="", help="The partition of each job; empty: Slurm's default.", validator=_word)
    scheduler_partition: str = setting(
        default="", help="The partition of the scheduler's job; empty: as partition.", validator=_word
    )
    worker_partition: str = setting(
        default="", help="The partition of the workers' jobs; empty: as partition.", validator=_word
    )
    qos: str = setting(default="", help="The quality of service (QOS) of each job.", validator=_word)
    scheduler_qos: str = setting(default="", help="The QOS of the scheduler's job; empty: as qos.", validator=_word)
    worker_qos: str = setting(default="", help="The QOS of the workers' jobs; empty: as qos.", validator=_word)
    account: str = setting(default="", help="The account that each job is charged to.", validator=_word)
    scheduler_account: str = setting(
        default="", help="The account of the scheduler's job; empty: as account.", validator=_word
    )
    worker_account: str = setting(
        default="", help="The account of the workers' jobs; empty: as account.", validator=_word
    )
    gres: str = setting(default="", help="Generic resources of each job, like gpu:1.", validator=_word)
    scheduler_gres: str = setting(
        default="", help="Generic resources of the scheduler's job; empty: as gres.", validator=_word
    )
    worker_gres: str = setting(
        default="", help="Generic resources of each worker's job; empty: as gres.", validator=_word
    )
    constraint: str = setting(default="", help="Features that the nodes must have.", validator=_word)
    scheduler_constraint: str = setting(
        default="", help="Features of the scheduler's node; empty: as constraint.", validator=_word
    )
    worker_constraint: str = setting(
        default="", help="Features of the workers' nodes; empty: as constraint.", validator=_word
    )
    reservation: str = setting(default="", help="The reservation to run in.", validator=_word)
    scheduler_reservation: str = setting(
        default="", help="The reservation of the scheduler's job; empty: as reservation.", validator=_word
    )
    worker_reservation: str = setting(
        default="", help="The reservation of the workers' jobs; empty: as reservation.", validator=_word
    )
    nodes: int | None = setting(
        default=None,
        help="Nodes of each job; None: as many as its one task needs, which is one. More only make sense with a setup "
        "that starts something on the others.",
        minimum=1,
    )
    scheduler_nodes: int | None = setting(default=None, help="Nodes of the scheduler's job; None: as nodes.", minimum=1)
    worker_nodes: int | None = setting(default=None, help="Nodes of each worker's job; None: as nodes.", minimum=1)
    exclusive: bool = setting(default=False, help="Whether each job has its nodes for itself.")
    scheduler_exclusive: bool | None = setting(
        default=None, help="Whether the scheduler's job has its node for itself; None: as exclusive."
    )
    worker_exclusive: bool | None = setting(
        default=None, help="Whether each worker's job has its node for itself; None: as exclusive."
    )
    extra_args: tuple[str, ...] = setting(
        default=(),
        help="""Further options of sbatch, as on its command line: ['--licenses=matlab', '-x', 'n7']. They replace the
        gateway's own of the same kind: with ['--mem-per-cpu=4G'] no --mem is given.""",
    )
