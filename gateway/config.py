"""From configuration files and the command line to frozen values, or to one message with every mistake.

files ──► config_file.py ──┐
--Class.option=value ──────┴─► assignments ──► config_resolution.py ──► five instances: Config
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from attrs import frozen

from gateway.auth import Authenticator
from gateway.backends.settings import Backend, DBBackendBase
from gateway.cluster_config import ClusterConfig
from gateway.compat import SECTION_ALIASES, install
from gateway.config_classes import builtin_classes
from gateway.config_file import Assignment, Recording
from gateway.config_resolution import Literal, Resolution
from gateway.errors import ConfigError
from gateway.log import SiteLog
from gateway.settings import DaskGateway, Proxy

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
        warnings=tuple(resolution.warnings),
        origins=resolution.origins,
    )


def _parse_overrides(overrides: Sequence[str]) -> Iterator[Assignment]:
    for override in overrides:
        match = OVERRIDE.fullmatch(override)
        if match is None:
            raise ConfigError(f"{override}: write --Class.option=value, for example --Proxy.address=:8000")
        section, option, text = match.groups()
        name = SECTION_ALIASES.get(section, section)
        yield Assignment(f"--{section}.{option}", name, option, Literal(text), COMMAND_LINE, _LAST)
