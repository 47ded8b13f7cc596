"""From configuration files and the command line to frozen values, or to one message with every mistake.

files ──► config_file.py ──┐
--Class.option=value ──────┴─► assignments ──► config_resolution.py ──► five instances: Config
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from attrs import frozen

from gateway.addresses import is_loopback
from gateway.auth import Authenticator
from gateway.backends.settings import Backend, DBBackendBase
from gateway.cluster_config import ClusterConfig
from gateway.compat import SECTION_ALIASES, install
from gateway.config_classes import builtin_classes
from gateway.config_file import Assignment, Recording
from gateway.config_resolution import Literal, Resolution
from gateway.errors import ConfigError
from gateway.settings import DaskGateway, Proxy

COMMAND_LINE = "command line"
_LAST = 1 << 30  # the order of what comes after every file
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
    resolution = Resolution(recording.classes, assignments)
    gateway, proxy = resolution.build(DaskGateway), resolution.build(Proxy)
    authenticator: Authenticator | None = None
    backend: DBBackendBase | None = None
    cluster_config: ClusterConfig | None = None
    if gateway is not None:
        if not issubclass(gateway.authenticator_class, Authenticator):
            resolution.refuse("DaskGateway", "authenticator_class", "must be a subclass of Authenticator")
        elif gateway.authenticator_class.authenticate is Authenticator.authenticate:
            resolution.refuse("DaskGateway", "authenticator_class", "is a base only: it has no authenticate()")
        if gateway.backend_class.open_driver is Backend.open_driver:
            resolution.refuse("DaskGateway", "backend_class", "is a base only: it has no open_driver()")
        authenticator = resolution.build(gateway.authenticator_class)
        backend = resolution.build(gateway.backend_class)
    if backend is not None:
        cluster_config = resolution.build(backend.cluster_config_class)
        for option, reason in backend.find_mistakes():
            resolution.refuse_for(type(backend), option, reason)
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
        resolution.refuse_for(type(authenticator), "password", reason)
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
