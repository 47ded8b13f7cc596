"""Options that all backends share. A backend adds its own, and `open_driver`, in a subclass.

Timers of the original that polled are retired: an event does their work here.
"""

import base64
import binascii
import re
from abc import abstractmethod
from collections.abc import Callable, Iterable
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any, ClassVar

from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from gateway.config.callables import function_of
from gateway.config.cluster import ClusterConfig
from gateway.config.fields import SettingError, configurable, retired, setting
from gateway.config.user_options import Options

if TYPE_CHECKING:
    from gateway.backends.base import Driver


def encryption_keys(keys: tuple[str | bytes, ...]) -> tuple[str, ...]:
    """Keys as Fernet takes them (base64, the URL-safe kind), from 32 bytes in either kind of base64 or as they are.

    Raises ValueError when one is not 32 bytes long; the text says which, never the key.
    """
    return tuple(_encryption_key(number, key) for number, key in enumerate(keys, start=1))


def _encryption_key(number: int, key: str | bytes) -> str:
    raw = key if isinstance(key, bytes) else key.encode("utf-8", "replace")
    if len(raw) != 32:
        try:
            raw = base64.b64decode(raw.strip().replace(b"-", b"+").replace(b"_", b"/"), validate=True)
        except (binascii.Error, ValueError):
            raw = b""
    if len(raw) != 32:
        raise ValueError(f"must be 32 bytes each, in base64 as `openssl rand -base64 32` prints them (key {number})")
    return base64.urlsafe_b64encode(raw).decode("ascii")


def _database_url(url: str) -> None:
    match = re.match(r"(?:(sqlite)(?:\+pysqlite)?|postgresql(?:\+psycopg)?)://", url)
    if match is None:
        raise ValueError("must begin with sqlite:// or postgresql://")
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):  # whose text would show the password
        raise ValueError("must be a database's URL, such as postgresql://USER:PASSWORD@HOST/NAME") from None
    if match[1] and (parsed.host or parsed.port or parsed.username):
        raise ValueError("must have three slashes before the file's path (sqlite:///FILE), as SQLite has no host")


def _url(url: str) -> str:
    if url and not re.match(r"https?://[^/]", url):
        raise ValueError("must begin with http:// or https:// and a host, or be empty")
    url = url.rstrip("/")
    if url and not url.endswith("/api"):
        raise ValueError("must end in /api, below which jobs send their heartbeats")
    return url


@configurable
class Backend:
    """What every backend has: where its clusters' options come from, and how they reach the gateway."""

    #: Whether this process starts others as its users, so that whoever can be anybody can run anything as anybody.
    starts_as_users: ClassVar[bool] = False
    #: The host under which jobs reach a gateway that listens on all interfaces; empty: this host's own name.
    default_host: ClassVar[str] = ""

    #: The class whose options a backend reads: its `cluster_config_class` has to be a subclass.
    reads_options_of: ClassVar[type[ClusterConfig]] = ClusterConfig

    #: A logger of the standard library, for classes of a site's own; load.py puts it here.
    log: ClassVar[Any]

    cluster_options: Options | Callable[..., Any] = setting(
        factory=Options,
        help="""What users may set on a cluster: an Options value, or a function of the user that returns one and
        may be async.""",
    )
    cluster_config_class: type[ClusterConfig] = setting(
        default=ClusterConfig, help="The class of a cluster's options: a class, or its dotted name."
    )
    before_create: Callable[..., Any] | None = setting(
        default=None,
        help="""A function of the user and of the configuration that a new cluster is to have. It returns that
        configuration, or another one (`with_overrides(config, {"worker_cores": 2})`), or it raises an error, whose text
        the user reads. It may be async; docs/migrating.md has an example. None: nothing is done.""",
        validator=function_of("user", "config"),
    )
    api_url: str = setting(
        default="",
        help="""The URL under which jobs reach the gateway's API, ending in `/api`. Empty: made from
        Proxy.address, this host's name, and Proxy.prefix.""",
        convert=_url,
    )

    sharing: str = setting(
        default="off",
        choices=("off", "view", "use"),
        help="""What owners of clusters may let others do. "off": nothing. "view": see a cluster and its dashboard.
        "use": connect to it and compute as well, which is to run anything in the name of its owner. With "use" the
        name in the report of a single cluster is longer than the cluster's own (docs/authentication.md says why).""",
    )

    @property
    def jobs_run_here(self) -> bool:
        """Whether jobs are processes of this host, which reach the gateway by its loopback interface."""
        return self.default_host == "127.0.0.1"

    def refuses_sharing(self, view: Iterable[str], use: Iterable[str]) -> str:
        """Why clusters cannot be shared with these; empty when they can."""
        if self.sharing == "use" or not (*view, *use):
            return ""
        if self.sharing == "off":
            return "clusters cannot be shared here, unless c.Backend.sharing allows it"
        return "clusters can only be shared for viewing here, unless c.Backend.sharing allows use" if (*use,) else ""

    @abstractmethod
    def open_driver(self) -> "AbstractAsyncContextManager[Driver]":
        """Bring the backend to life: `async with backend.open_driver() as driver`.

        Raises NotImplementedError here: each backend has its own.
        """
        raise NotImplementedError

    def find_mistakes(self) -> Iterable[tuple[str, str]]:
        """What this machine makes of these options: those that would not work, each with the reason.

        An option may be empty: the reason then says all. Called when a configuration is checked, before anything runs.
        """
        return ()


@configurable
class DBBackendBase(Backend):
    """Backends whose clusters are recorded in a database and watched over here."""

    #: What an unset `stop_clusters_on_shutdown` means: True for jobs that die with the gateway anyway.
    stops_clusters_by_default: ClassVar[bool] = False

    db_url: str = setting(
        default="sqlite:///dask_gateway.sqlite",
        help="""The database: `sqlite:///FILE` (relative to the working directory; four slashes for an absolute
        path), `sqlite://` for one in memory, or `postgresql://USER:PASSWORD@HOST/NAME`.""",
        validator=_database_url,
        secret=True,
    )
    db_encrypt_keys: tuple[str | bytes, ...] = setting(
        default=(),
        help="""Keys that encrypt the secrets in the database, each 32 random bytes in base64
        (`openssl rand -base64 32`), as text or as bytes; the first encrypts, all decrypt. Empty: those in the
        environment variable DASK_GATEWAY_ENCRYPT_KEYS (separated by `;`), or else a key file beside the database.""",
        convert=encryption_keys,
        secret=True,
    )
    db_debug: bool = setting(default=False, help="Log every statement to the database.")
    db_cleanup_period: float = setting(
        default=600,
        help="Time between removals of old records. Should be much shorter than db_cluster_max_age.",
        unit="seconds",
        minimum=0.01,
    )
    db_cluster_max_age: float = setting(
        default=86400, help="Ended clusters are forgotten after this time.", unit="seconds", minimum=0
    )
    clusters_per_user: int = setting(
        default=1000,
        minimum=1,
        help="""Clusters that a user may have, counting those that have ended and are not forgotten yet
        (db_cluster_max_age). Each is held in memory, stored, and told in lists.""",
    )
    max_clusters: int = setting(
        default=20000, minimum=1, help="Clusters that all users may have together, counted in the same way."
    )
    stop_clusters_on_shutdown: bool | None = setting(
        default=None,
        help="""Whether clusters are stopped when the gateway stops. None: the backend decides; local clusters are
        stopped, batch jobs go on and are taken back at the next start.""",
    )
    cluster_status_period: Any = retired("the end of a scheduler's job is heard of when the backend learns of it")
    worker_status_period: Any = retired("the end of a worker's job is heard of when the backend learns of it")
    cluster_heartbeat_period: float = setting(
        default=15, help="Time between two heartbeats of a scheduler.", unit="seconds", minimum=0.1
    )
    cluster_heartbeat_timeout: float | None = setting(
        default=None,
        help="""A scheduler that sends no heartbeat for this time is asked whether it is there. When its port refuses,
        its cluster has failed; when it answers, the gateway waits on. More than cluster_heartbeat_period; None: twice
        of it.""",
        unit="seconds",
        minimum=0.1,
    )
    cluster_unreachable_timeout: float = setting(
        default=30,
        help="""A cluster has failed whose scheduler sends no heartbeat and gives no answer, in this time after
        cluster_heartbeat_timeout, when it is asked again and again (three times at least). Time in which the gateway
        could not hear everybody does not count.""",
        unit="seconds",
        minimum=1,
    )
    cluster_start_timeout: float = setting(
        default=60,
        help="""A cluster whose scheduler is not heard of within this time has failed. The time counts from when
        its job runs; waiting in a queue is not starting.""",
        unit="seconds",
        minimum=0.001,
    )
    worker_start_timeout: float = setting(
        default=60,
        help="""A worker that does not join its scheduler within this time is given up. The time counts from when
        its job runs; waiting in a queue is not starting. While its scheduler sends no heartbeats nobody knows who has
        joined, and none is given up.""",
        unit="seconds",
        minimum=0.001,
    )
    queue_timeout: float = setting(
        default=0,
        help="""A cluster whose scheduler waits longer than this in the batch system's queue has failed; 0: it may
        wait for ever.""",
        unit="seconds",
        minimum=0,
    )
    check_timeouts_period: Any = retired("timeouts are waited for, not looked for")
    worker_start_failure_limit: int = setting(
        default=3,
        help="A cluster fails when this many of its workers in a row have failed to start.",
        minimum=1,
    )
    parallelism: int = setting(
        default=20,
        help="""Submissions that may be under way at once, and cancellations. One user has a quarter of them at most, so
        that nobody waits for others whose commands hang.""",
        minimum=1,
    )
    backoff_base_delay: float = setting(
        default=0.1,
        help="Delay before what failed is tried again; it doubles with each failure up to backoff_max_delay.",
        unit="seconds",
        minimum=0.001,
    )
    backoff_max_delay: float = setting(
        default=300, help="The longest delay before what failed is tried again.", unit="seconds", minimum=0.001
    )

    def __attrs_post_init__(self) -> None:
        """Refuse a timeout that every heartbeat misses, and jobs that nobody would remember."""
        if self.heartbeat_timeout <= self.cluster_heartbeat_period:
            reason = f"must be more than cluster_heartbeat_period ({self.cluster_heartbeat_period:g} seconds)"
            raise SettingError("cluster_heartbeat_timeout", reason, value=self.cluster_heartbeat_timeout)
        if self.database_in_memory and self.stop_clusters_on_shutdown is False:
            reason = "must be True for a database in memory (db_url), which forgets the clusters"
            raise SettingError("stop_clusters_on_shutdown", reason, value=False)

    @property
    def heartbeat_timeout(self) -> float:
        """Seconds without a heartbeat after which a scheduler is asked whether it is there."""
        return self.cluster_heartbeat_timeout or 2 * self.cluster_heartbeat_period

    @property
    def database_in_memory(self) -> bool:
        """Whether the database is gone with the process."""
        return bool(re.fullmatch(r"sqlite(\+\w+)?://(/(:memory:)?)?(\?.*)?", self.db_url))

    @property
    def database_file(self) -> str:
        """The file of an SQLite database; empty when the database is another, or in memory."""
        url = make_url(self.db_url)
        return (url.database or "") if url.get_backend_name() == "sqlite" and not self.database_in_memory else ""

    @property
    def stops_clusters(self) -> bool:
        """Whether clusters are stopped when the gateway stops: the option, or else what suits the backend."""
        if self.stop_clusters_on_shutdown is None:
            return self.stops_clusters_by_default or self.database_in_memory
        return self.stop_clusters_on_shutdown
