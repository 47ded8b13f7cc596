"""The toy as a backend: what a configuration names."""

import os.path
import shlex
from typing import ClassVar

from toy.dialect import Toy
from toy.launcher_rules import RULES

from gateway.backends.batch.driver import open_batch_driver
from gateway.backends.batch.options import JobQueueBackend, JobQueueClusterConfig
from gateway.backends.batch.submit_options import Grammar
from gateway.config.cluster import ClusterConfig
from gateway.config.fields import configurable, setting

GRAMMAR = Grammar(
    rules=RULES,
    mark="#TOY",
    split=lambda words: tuple(shlex.split(" ".join(words))),
    kind=lambda option: option.partition("=")[0],
    named=lambda name: f"--{name.strip('-')}",
    exclusive={},
    replaceable=frozenset(("--queue",)),
)


@configurable
class ToyClusterConfig(JobQueueClusterConfig):
    """Options of clusters on the toy."""

    grammar: ClassVar[Grammar | None] = GRAMMAR
    queue: str = setting(default="", help="The queue of each job; empty: the only one there is.")


@configurable
class ToyBackend(JobQueueBackend):
    """Clusters whose scheduler and workers are jobs of the toy."""

    reads_options_of: ClassVar[type[ClusterConfig]] = ToyClusterConfig
    cluster_config_class: type[ClusterConfig] = setting(default=ToyClusterConfig)

    def open_driver(self):
        """The driver at work, for as long as the context lasts."""
        return open_batch_driver(self, Toy(folder=os.path.dirname(self.status_command)))
