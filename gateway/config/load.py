"""From configuration files and the command line to frozen values, or to one message with every mistake.

files ──► file.py ─────────┐
--Class.option=value ──────┴─► assignments ──► resolve.py ──► five instances: Config
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from attrs import frozen

from gateway.config.backend import Backend, DBBackendBase
from gateway.config.checks import COMMAND_LINE, check_backend, check_bases, exposures, visible_secrets
from gateway.config.cluster import ClusterConfig
from gateway.config.compat import SECTION_ALIASES, install
from gateway.config.file import Assignment, Recording
from gateway.config.registry import builtin_classes
from gateway.config.resolve import Literal, Resolution
from gateway.config.server import DaskGateway, Proxy
from gateway.errors import ConfigError
from gateway.log import SiteLog

if TYPE_CHECKING:
    from gateway.auth.authenticator import Authenticator

T = TypeVar("T")
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
    authenticator: "Authenticator"
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
    shipped = builtin_classes()
    recording = Recording(shipped)
    if path is not None:
        recording.run(path)
    assignments = [*recording.assignments, *_parse_overrides(overrides)]
    resolution = Resolution(recording.classes, assignments, recording.files)
    gateway, proxy = resolution.build(DaskGateway), resolution.build(Proxy)
    authenticator: Authenticator | None = None
    backend: DBBackendBase | None = None
    cluster_config: ClusterConfig | None = None
    if gateway is not None:
        check_bases(resolution, gateway, shipped["Authenticator"])
        authenticator = resolution.build(gateway.authenticator_class)
        backend = resolution.build(gateway.backend_class)
    if backend is not None:
        cluster_config = resolution.build(backend.cluster_config_class)
        check_backend(resolution, backend, cluster_config)
    exposure: tuple[str, ...] = ()
    if gateway and proxy and backend and authenticator and isinstance(authenticator, shipped["Authenticator"]):
        exposure = exposures(resolution, gateway, proxy, authenticator, backend)

    mistakes = sorted((*recording.mistakes, *resolution.mistakes), key=lambda mistake: mistake.order)
    if mistakes:
        count = "a mistake" if len(mistakes) == 1 else f"{len(mistakes)} mistakes"
        raise ConfigError("\n".join((f"The configuration has {count}:", *(mistake.text for mistake in mistakes))))
    clusters = _built(cluster_config)
    return Config(
        gateway=_built(gateway),
        proxy=_built(proxy),
        authenticator=_built(authenticator),
        backend=_built(backend),
        cluster_config=clusters,
        warnings=(
            *exposure,
            *recording.warnings,
            *visible_secrets(resolution, assignments),
            *resolution.warnings,
            *clusters.warnings(),
        ),
        origins=resolution.origins,
    )


def _built(part: T | None) -> T:
    assert part is not None, "what could not be built is a mistake"
    return part


def _parse_overrides(overrides: Sequence[str]) -> Iterator[Assignment]:
    for override in overrides:
        match = OVERRIDE.fullmatch(override)
        if match is None:
            raise ConfigError(f"{override}: write --Class.option=value, for example --Proxy.address=:8000")
        section, option, text = match.groups()
        name = SECTION_ALIASES.get(section, section)
        yield Assignment(f"--{section}.{option}", name, option, Literal(text), COMMAND_LINE, _LAST)
