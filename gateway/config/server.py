"""Options of the server itself."""

from typing import Any

from gateway.config.backend import DBBackendBase
from gateway.config.fields import configurable, retired, setting
from gateway.config.proxy import optional_listener

LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")


def _absolute_path(path: str) -> None:
    if path and not path.startswith("/"):
        raise ValueError("must be a path that begins with '/', or empty")


#: Further names of levels that Python and the original know.
LEVEL_ALIASES = {"WARN": "WARNING", "FATAL": "CRITICAL", "NOTSET": "DEBUG"}


def _log_level(level: int | str) -> str:
    """A level by name; the original also takes Python's numbers (10 for DEBUG, ...) and its other names."""
    if isinstance(level, int):
        name = {0: "DEBUG", **{10 * n: name for n, name in enumerate(LOG_LEVELS, 1)}}.get(level, "")
    else:
        name = LEVEL_ALIASES.get(level.strip().upper(), level.strip().upper())
    if name not in LOG_LEVELS:
        raise ValueError(f"must be one of {', '.join(LOG_LEVELS)}")
    return name


#: How log lines look; see `log_format`.
LOG_FORMATS = ("auto", "console", "json")


def _log_format(form: str) -> str:
    """One of `LOG_FORMATS`, or a format of Python's logging, as the original took it."""
    if form not in LOG_FORMATS and "%(" not in form:
        raise ValueError(f"must be one of {', '.join(LOG_FORMATS)}")
    return form


@configurable
class DaskGateway:
    """The server as a whole."""

    address: str = setting(
        default="",
        help="""A further address that serves the API alone, over plain HTTP: for jobs, or for a check from
        inside. Recommended, open to compute nodes only: whoever floods the public port does not reach this one. Empty:
        none, everything goes through Proxy.address. (In the original server, the private API server behind its
        proxy.)""",
        unit="host:port",
        validator=optional_listener,
    )
    authenticator_class: type | tuple[type, ...] = setting(
        default="gateway.auth.SimpleAuthenticator",
        help="""Who is who: a subclass of Authenticator, or its dotted name; or a list of several, of which the one is
        asked whom the scheme of a request's credentials is for. List that one first which users of the published client
        should use: it looks at the first challenge of a 401 only.""",
    )
    backend_class: type[DBBackendBase] = setting(
        default="gateway.backends.local.UnsafeLocalBackend",
        help="What runs the clusters: a subclass of DBBackendBase, or its dotted name.",
    )

    admin_socket: str | None = setting(
        default="",
        help="""The path of a Unix socket for the commands of administrators on this host (`dask-gateway-server
        tokens`): root, the gateway's own account and the members of admin_group. In a folder where nobody but root and
        that account can put files. Empty: admin.sock in the folder that systemd makes (RuntimeDirectory=), or none
        where there is no such folder. None: none.""",
        validator=_absolute_path,
    )
    admin_group: str = setting(
        default="",
        help="""A group of this host whose members may use admin_socket as well; the gateway's account has to be one of
        them, unless it is root. Empty: none.""",
    )
    token_max_age: int = setting(
        default=90 * 24 * 3600,
        minimum=0,
        unit="seconds",
        help="""How long the personal tokens live at most that users make, those included that they have made already;
        administrators make them for as long as they like. 0: users have none.""",
    )
    tokens_per_user: int = setting(default=20, minimum=1, help="Personal tokens that one user may have.")

    @property
    def authenticator_classes(self) -> tuple[type, ...]:
        """The classes of all authenticators, in their order."""
        given = self.authenticator_class
        return given if isinstance(given, tuple) else (given,)

    log_level: int | str = setting(
        default="INFO", help=f"What is logged at least: {', '.join(LOG_LEVELS)}.", convert=_log_level
    )

    log_format: str = setting(
        default="auto",
        help="""How log lines look: "console" is for people, "json" has one object a line, "auto" is "console" at a
        terminal and key=value elsewhere. Each event of a cluster is a line with the fields cluster, user and, if it is
        about jobs, job.""",
        convert=_log_format,
    )

    @property
    def log_style(self) -> str:
        """One of `LOG_FORMATS`."""
        return self.log_format if self.log_format in LOG_FORMATS else "auto"

    def warnings(self) -> tuple[str, ...]:
        """What an administrator should know."""
        if self.log_format in LOG_FORMATS:
            return ()
        return (
            "c.DaskGateway.log_format is a format of Python's logging, which has no effect: its values are"
            f" {', '.join(map(repr, LOG_FORMATS))}",
        )

    config_file: Any = retired("the file is named on the command line, with -f")
    show_config: Any = retired("the command is `dask-gateway-server show-config`")
    show_config_json: Any = retired("the command is `dask-gateway-server show-config`")
    log_datefmt: Any = retired("times are in UTC, as ISO 8601 has them")
    logging_config: Any = retired("the formats of log lines are those of log_format")
