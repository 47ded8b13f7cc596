"""PBS as a backend: its options, and the driver they open."""

import os.path
import socket
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager
from typing import ClassVar

from gateway.backends.base import Driver
from gateway.backends.batch.driver import open_batch_driver
from gateway.backends.batch.node_daemon import runs_here
from gateway.backends.batch.options import JobQueueBackend
from gateway.backends.launcher.client import own_account
from gateway.backends.launcher.settings import Settings
from gateway.backends.launcher.site_commands import find_mistakes, own_commands, site_settings
from gateway.backends.pbs.dialect import PBS
from gateway.backends.pbs.launcher_rules import RULES
from gateway.backends.pbs.options import PBSClusterConfig
from gateway.config.cluster import ClusterConfig
from gateway.config.fields import configurable, setting

__all__ = ["PBSBackend", "PBSClusterConfig"]


@configurable
class PBSBackend(JobQueueBackend):
    """Clusters whose scheduler and workers are jobs of PBS (OpenPBS, PBS Pro)."""

    reads_options_of: ClassVar[type[ClusterConfig]] = PBSClusterConfig
    #: pbs_iff proves to the server who calls a command.
    setuid_helpers: ClassVar[bool] = True

    cluster_config_class: type[ClusterConfig] = setting(default=PBSClusterConfig)
    gateway_hostname: str = setting(
        default="",
        help="""The name of the gateway's host as PBS knows it, for reading the server's list of operators. Empty: the
        host's own name.""",
    )
    fail_on_can_never_run: bool = setting(
        default=False,
        help="""Whether jobs that PBS says can never run (they ask for more than any node has) are deleted, so that
        the cluster fails at once and says why. Otherwise they wait, with PBS's comment as their reason: nodes may be
        down for a while only.""",
    )

    @property
    def jobs_run_here(self) -> bool:
        """Whether this host is a node as well: its daemon runs here."""
        return runs_here("pbs_mom")

    def open_driver(self) -> AbstractAsyncContextManager[Driver]:
        """The driver at work, for as long as the context lasts."""
        settings = site_settings()
        return open_batch_driver(self, self.dialect(settings), settings)

    def dialect(self, settings: Settings) -> PBS:
        """The language of this site's PBS."""
        return PBS(
            folder=os.path.dirname(self.status_command),
            paths=own_commands(settings),
            account=own_account(),
            host=self.gateway_hostname or socket.gethostname(),
            fail_on_can_never_run=self.fail_on_can_never_run,
        )

    def find_mistakes(self) -> Iterator[tuple[str, str]]:
        """Options that the launcher would not obey, each with the reason."""
        return find_mistakes(RULES, self.submit_command, self.cancel_command)
