"""Slurm as a backend: its options, and the driver they open."""

import os.path
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager
from typing import ClassVar

from gateway.backends.base import Driver
from gateway.backends.batch.driver import open_batch_driver
from gateway.backends.batch.node_daemon import runs_here
from gateway.backends.batch.options import JobQueueBackend
from gateway.backends.launcher.settings import Settings
from gateway.backends.launcher.site_commands import find_mistakes, own_commands, site_settings
from gateway.backends.slurm.dialect import Slurm
from gateway.backends.slurm.launcher_rules import RULES
from gateway.backends.slurm.options import SlurmClusterConfig
from gateway.config.cluster import ClusterConfig
from gateway.config.fields import configurable, setting

__all__ = ["SlurmBackend", "SlurmClusterConfig"]


@configurable
class SlurmBackend(JobQueueBackend):
    """Clusters whose scheduler and workers are jobs of Slurm."""

    reads_options_of: ClassVar[type[ClusterConfig]] = SlurmClusterConfig

    cluster_config_class: type[ClusterConfig] = setting(default=SlurmClusterConfig)

    @property
    def jobs_run_here(self) -> bool:
        """Whether this host is a node as well: its daemon runs here."""
        return runs_here("slurmd")

    def open_driver(self) -> AbstractAsyncContextManager[Driver]:
        """The driver at work, for as long as the context lasts."""
        settings = site_settings()
        return open_batch_driver(self, self.dialect(settings), settings)

    def dialect(self, settings: Settings) -> Slurm:
        """The language of this site's Slurm."""
        return Slurm(folder=os.path.dirname(self.status_command), paths=own_commands(settings))

    def find_mistakes(self) -> Iterator[tuple[str, str]]:
        """Options that the launcher would not obey, each with the reason."""
        return find_mistakes(RULES, self.submit_command, self.cancel_command)
