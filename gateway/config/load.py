"""From configuration files and the command line to frozen values, or to one message with every mistake.

files ──► file.py ─────────┐
--Class.option=value ──────┴─► assignments ──► resolve.py ──► five instances: Config
"""

import inspect
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from attrs import frozen

from gateway.addresses import is_loopback
from gateway.auth.authenticator import Authenticator
from gateway.backends.batch.options import JobQueueBackend
from gateway.config.backend import Backend, DBBackendBase
from gateway.config.cluster import ClusterConfig
from gateway.config.compat import SECTION_ALIASES, install
from gateway.config.fields import default_of, settings_of
from gateway.config.file import Assignment, Recording
from gateway.config.registry import builtin_classes
from gateway.config.resolve import Literal, Resolution
from gateway.config.server import DaskGateway, Proxy
from gateway.config.site_errors import described
from gateway.config.user_options import Options
from gateway.errors import ConfigError, nearest
from gateway.log import SiteLog

COMMAND_LINE = "command line"
_LAST = 1 << 30  # the order of what comes after every file
Backend.log = SiteLog()  # here, since the module of the options does without logging
OVERRIDE = re.compile(r"(?:--)?([A-Za-z]\w*)\.([A-Za-z]\w*)=(.*)", re.DOTALL)


@frozen(kw_only=True)
class Config:
    """Everything that a site has chosen. `cluster_config` is what clusters get unless their users choose otherwise.

    `origins` maps "Class.option" (the class of the instance here) to where its value was set; options that
    are not in it have their defaults. `warnings` are sentences for the log.
    """

    gateway: DaskGateway
    proxy: Proxy
    authenticator: Authenticator
    backend: DBBackendBase
    cluster_config: ClusterConfig
    warnings: tuple[str, ...]
    origins: Mapping[str, str]

    @property
    def parts(self) -> tuple[object, ...]:
        """The instances that together are the configuration."""
        return self.gateway, self.proxy, self.authenticator, self.backend, self.cluster_config


def load(path: Path | None, overrides: Sequence[str] = ()) -> Config:
    """Read a configuration file (None: only defaults), then overrides such as `--Proxy.address=:8000`.

    An override replaces the same `Class.option` of a file. Raises ConfigError that names every mistake with
    its file and line, in the order of the files.
    """
    install()
    recording = Recording(builtin_classes())
    if path is not None:
        recording.run(path)
    assignments = [*recording.assignments, *_parse_overrides(overrides)]
    resolution = Resolution(recording.classes, assignments, recording.files)
    gateway, proxy = resolution.build(DaskGateway), resolution.build(Proxy)
    authenticator: Authenticator | None = None
    backend: DBBackendBase | None = None
    cluster_config: ClusterConfig | None = None
    if gateway is not None:
        if not issubclass(gateway.authenticator_class, Authenticator):
            resolution.refuse(DaskGateway, "authenticator_class", "must be a subclass of Authenticator")
        elif gateway.authenticator_class.authenticate is Authenticator.authenticate:
            resolution.refuse(DaskGateway, "authenticator_class", "is a base only: it has no authenticate()")
        if gateway.backend_class.open_driver is Backend.open_driver:
            resolution.refuse(DaskGateway, "backend_class", "is a base only: it has no open_driver()")
        authenticator = resolution.build(gateway.authenticator_class)
        backend = resolution.build(gateway.backend_class)
    if backend is not None:
        cluster_config = resolution.build(backend.cluster_config_class)
    if backend is not None and cluster_config is not None:
        wanted = _shipped_config_class(type(backend))
        if not isinstance(cluster_config, wanted):
            reason = f"must be a subclass of {wanted.__name__}, whose options {type(backend).__name__} reads"
            resolution.refuse(type(backend), "cluster_config_class", reason)
        reason = _unusable(backend.cluster_options, cluster_config)
        if reason:
            resolution.refuse(type(backend), "cluster_options", reason)
    if backend is not None:
        for option, reason in backend.find_mistakes():
            resolution.refuse(type(backend), option, reason)
    exposure: tuple[str, ...] = ()
    if gateway is not None and proxy is not None and authenticator is not None and backend is not None:
        exposure = _exposure(resolution, gateway, proxy, authenticator, backend)

    mistakes = sorted((*recording.mistakes, *resolution.mistakes), key=lambda mistake: mistake.order)
    if (
        mistakes
        or gateway is None
        or proxy is None
        or authenticator is None
        or backend is None
        or cluster_config is None
    ):
        count = "a mistake" if len(mistakes) == 1 else f"{len(mistakes)} mistakes"
        raise ConfigError("\n".join((f"The configuration has {count}:", *(mistake.text for mistake in mistakes))))
    return Config(
        gateway=gateway,
        proxy=proxy,
        authenticator=authenticator,
        backend=backend,
        cluster_config=cluster_config,
        warnings=(
            *exposure,
            *recording.warnings,
            *_visible_secrets(resolution, assignments),
            *resolution.warnings,
            *cluster_config.warnings(),
        ),
        origins=resolution.origins,
    )


def _shipped_config_class(backend: type) -> type:
    """The class of clusters' options that a backend was made for; for local processes any will do."""
    shipped = next(base for base in backend.__mro__ if base.__module__.split(".")[0] == "gateway")
    if not issubclass(shipped, JobQueueBackend):
        return ClusterConfig
    named: type = default_of(settings_of(shipped)["cluster_config_class"])
    return named


def _unusable(options: object, cluster_config: ClusterConfig) -> str:
    """Why no cluster could be made with what the site has for `cluster_options`; empty when nothing is known."""
    if isinstance(options, type):
        return f"is the class {options.__name__}: write {options.__name__}(...)"
    if not isinstance(options, Options):
        try:
            inspect.signature(options).bind(None)  # type: ignore[arg-type]
        except ValueError:  # one of those whose arguments Python does not tell
            return ""
        except TypeError:
            return "must be a function of one argument, the user"
        return ""
    try:
        json.dumps(options.get_specification())
    except Exception as error:  # noqa: BLE001 - fields of a site's own may raise anything
        return f"cannot be shown to users: {described(error)}"
    own = (type(options).get_configuration, type(options).configuration, type(options).transform_options)
    if options.handler is None and own == (Options.get_configuration, Options.configuration, Options.transform_options):
        known = settings_of(type(cluster_config))
        for field in options.fields:
            if field.target not in known:
                return (
                    f"cannot be used without a handler, since {type(cluster_config).__name__} has no option"
                    f" {field.target!r}{nearest(field.target, known)}: name another target, or give Options a handler"
                )
    return ""


def _exposure(
    resolution: Resolution, gateway: DaskGateway, proxy: Proxy, authenticator: object, backend: DBBackendBase
) -> tuple[str, ...]:
    """What to warn of when anybody can be anybody; where that means to run anything as anybody, a mistake."""
    if not isinstance(authenticator, Authenticator) or not authenticator.believes_anybody:
        return ()
    addresses = [address for address in (proxy.address, gateway.address) if address and not is_loopback(address)]
    name = type(authenticator).__name__
    where = f"{' and '.join(addresses)}, which other machines may reach" if addresses else "a loopback address"
    who = f"ANYBODY CAN ACT AS ANYBODY: {name}.password is not set, and the gateway listens at {where}"
    advice = f"Set c.{name}.password, or c.DaskGateway.authenticator_class to an authenticator of your site"
    if not addresses:
        if not backend.starts_as_users:
            return ()
        return (f"{who}. Each user of this machine can run anything as each other one. {advice}.",)
    if backend.starts_as_users:
        reason = (
            f"must be set: without it, whoever reaches {' or '.join(addresses)} runs anything as any user of this"
            " machine. Set it, or c.DaskGateway.authenticator_class to an authenticator of your site, or listen at"
            " 127.0.0.1 only (c.Proxy.address)"
        )
        resolution.refuse(type(authenticator), "password", reason)
    return (f"{who}. {advice}, or listen at 127.0.0.1 only (c.Proxy.address).",)


def _visible_secrets(resolution: Resolution, assignments: Sequence[Assignment]) -> Iterator[str]:
    """Secrets on the command line, which each user of the machine can read as long as the gateway runs (ps)."""
    for given in assignments:
        without = given.option == "db_url" and "@" not in str(given.value)  # a database that needs no password
        if given.origin == COMMAND_LINE and given.option in resolution.secret_options and not without:
            yield (
                f"{given.text} on the command line can be read by each user of this machine: set it in the"
                " configuration file, and replace the secret"
            )


def _parse_overrides(overrides: Sequence[str]) -> Iterator[Assignment]:
    for override in overrides:
        match = OVERRIDE.fullmatch(override)
        if match is None:
            raise ConfigError(f"{override}: write --Class.option=value, for example --Proxy.address=:8000")
        section, option, text = match.groups()
        name = SECTION_ALIASES.get(section, section)
        yield Assignment(f"--{section}.{option}", name, option, Literal(text), COMMAND_LINE, _LAST)
