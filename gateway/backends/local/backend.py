"""Jobs as plain processes of this machine: for development, demonstrations, tests, and single fat nodes.

`LocalBackend` runs as root and starts each job as its cluster's user;
`UnsafeLocalBackend` starts all of them as the user it runs as itself. What is
done is in driver.py; this file holds the options.
"""

import hashlib
import os
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import ClassVar

from gateway.backends.local.accounts import account_of, group_id, own_account, smallest_uid
from gateway.backends.local.driver import LocalDriver, LocalOptions, open_local_driver
from gateway.backends.local.files import open_clusters_directory
from gateway.backends.local.jobs import Account
from gateway.backends.local.process import check_kernel
from gateway.config.backend import DBBackendBase
from gateway.config.cluster import ClusterConfig
from gateway.config.fields import SettingError, configurable, setting
from gateway.config.structure import ShellWord
from gateway.errors import StartError


@configurable
class LocalClusterConfig(ClusterConfig):
    """Options of each Dask cluster that runs as local processes."""

    def __attrs_post_init__(self) -> None:
        """Refuse programs that only a shell would find: no shell starts local processes."""
        super().__attrs_post_init__()
        for option in ("scheduler_cmd", "worker_cmd"):
            program = getattr(self, option)[0]
            if isinstance(program, ShellWord) or program.startswith("~"):
                reason = (
                    "must name its program by a path without variables and ~, or by a name that is found by PATH:"
                    " no shell reads the commands of local processes"
                )
                raise SettingError(option, reason, value=list(getattr(self, option)))


@configurable
class LocalBackend(DBBackendBase):
    """Clusters as processes of this machine, each under the account of its user. The gateway has to run as root."""

    default_host: ClassVar[str] = "127.0.0.1"
    stops_clusters_by_default: ClassVar[bool] = True
    starts_as_users: ClassVar[bool] = True

    cluster_config_class: type[ClusterConfig] = setting(default=LocalClusterConfig)
    sigint_timeout: float = setting(
        default=10,
        help="How long a process may take to end after SIGINT; then it gets SIGTERM.",
        unit="seconds",
        minimum=0,
    )
    sigterm_timeout: float = setting(
        default=5,
        help="How long a process may take to end after SIGTERM; then it gets SIGKILL.",
        unit="seconds",
        minimum=0,
    )
    sigkill_timeout: float = setting(
        default=5,
        help="How long a process may take to end after SIGKILL; then a warning is logged.",
        unit="seconds",
        minimum=0,
    )
    clusters_directory: str = setting(
        default="",
        help="""The folder below which each cluster gets a working directory, removed at its end; the logs of a
        cluster that failed stay. Only one gateway at a time may use it, and only its own user and root may
        write to it. The users of LocalBackend must be able to pass through it and the folders above. Empty: a
        folder below the system's temporary directory that is the same at each start with the same database
        (db_url).""",
    )
    inherited_environment: tuple[str, ...] = setting(
        default=("PATH", "PYTHONPATH", "CONDA_ROOT", "CONDA_DEFAULT_ENV", "VIRTUAL_ENV", "LANG", "LC_ALL"),
        help="Environment variables of the gateway that its schedulers and workers inherit.",
    )

    minimum_uid: int | None = setting(
        default=None,
        help="""The smallest user id that has clusters: those below belong to services (slurm, munge, www-data). None:
        UID_MIN of /etc/login.defs, 1000 without that file. Nobody (65534) never has any. LocalBackend only.""",
        minimum=1,
    )
    allowed_groups: tuple[str, ...] = setting(
        default=(),
        help="""The system groups whose members have clusters; empty: all users from minimum_uid on. LocalBackend
        only.""",
    )

    @asynccontextmanager
    async def open_driver(self) -> AsyncIterator[LocalDriver]:
        """Bring the backend to life. Raises StartError when it cannot work here."""
        self.check()
        check_kernel()
        path, strict = self.clusters_directory, self.shared
        if not path:
            path, strict = self._default_directory(), True
        options = LocalOptions(
            account_of=self.account_of,
            inherited={name: os.environ[name] for name in self.inherited_environment if name in os.environ},
            # The `dask` command beside the interpreter that runs the gateway serves jobs that know no other.
            programs=os.path.dirname(sys.executable),
            sigint_timeout=self.sigint_timeout,
            sigterm_timeout=self.sigterm_timeout,
            sigkill_timeout=self.sigkill_timeout,
            parallelism=self.parallelism,
        )
        with open_clusters_directory(path, shared=self.shared, strict=strict) as directory:
            async with open_local_driver(directory, options) as driver:
                yield driver

    @property
    def shared(self) -> bool:
        """Whether users other than the gateway's own have clusters."""
        return True

    def check(self) -> None:
        """Raise StartError when this process may not do what the backend has to."""
        if os.geteuid() != 0:
            raise StartError(
                "LocalBackend starts processes as the clusters' users, which only root may do. Run the gateway as"
                " root, or set c.DaskGateway.backend_class to UnsafeLocalBackend, which starts them as the gateway's"
                " own user."
            )

    def account_of(self, username: str) -> Account:
        """The account that a user's clusters run under. Raises JobRefused."""
        minimum = smallest_uid() if self.minimum_uid is None else self.minimum_uid
        return account_of(username, minimum_uid=minimum, groups=self.allowed_groups)

    def find_mistakes(self) -> Iterator[tuple[str, str]]:
        """Groups that this machine does not know."""
        for name in self.allowed_groups:
            if group_id(name) is None:
                yield "allowed_groups", f"has the group {name!r}, which does not exist on this machine"

    def _default_directory(self) -> str:
        """A folder of the gateway's own user, found again after a restart, and shared with no other database."""
        database = hashlib.sha256(f"{os.getcwd()}\n{self.db_url}".encode()).hexdigest()[:16]
        return os.path.join(tempfile.gettempdir(), f"dask-gateway-{os.geteuid()}", database)


@configurable
class UnsafeLocalBackend(LocalBackend):
    """Clusters as processes of this machine, all under the account of the gateway itself.

    Nothing protects users from each other, nor the gateway from them: for tests and for a gateway of one's own.
    """

    starts_as_users: ClassVar[bool] = False

    @property
    def shared(self) -> bool:
        """All clusters run under one account."""
        return False

    def check(self) -> None:
        """Any user may start processes of its own."""

    def account_of(self, username: str) -> Account:
        """The gateway's own account, whoever asks."""
        return own_account()
