"""From configuration files and the command line to frozen values, or to one message with every mistake.

files ──► file.py ─────────┐
--Class.option=value ──────┴─► assignments ──► resolve.py ──► instances: Config
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from attrs import frozen

from gateway.config.backend import Backend, DBBackendBase
from gateway.config.checks import (
    COMMAND_LINE,
    check_authenticators,
    check_backend,
    check_bases,
    exposures,
    readable_passwords,
    visible_secrets,
)
from gateway.config.cluster import ClusterConfig
from gateway.config.compat import SECTION_ALIASES, install
from gateway.config.file import Assignment, Recording
from gateway.config.limits import GroupLimits, Limits, MemberLimits, TotalLimits, UserLimits
from gateway.config.proxy import Proxy
from gateway.config.registry import builtin_classes
from gateway.config.resolve import Literal, Resolution
from gateway.config.server import DaskGateway
from gateway.config.user_options import Options
from gateway.errors import ConfigError
from gateway.log import SiteLog

if TYPE_CHECKING:
    from gateway.auth.authenticator import Authenticator

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
    authenticators: tuple["Authenticator", ...]
    backend: DBBackendBase
    cluster_config: ClusterConfig
    limits: Limits
    warnings: tuple[str, ...]
    origins: Mapping[str, str]

    @property
    def depends_on_groups(self) -> bool:
        """Whether limits, or a function of the site's own, may give users something else by their groups."""
        hooks = (self.backend.before_create, getattr(self.backend, "extra_directives", None))
        options = isinstance(self.backend.cluster_options, Options)
        return self.limits.depends_on_groups or not options or any(hook is not None for hook in hooks)

    @property
    def parts(self) -> tuple[object, ...]:
        """The instances that together are the configuration."""
        return self.gateway, self.proxy, *self.authenticators, self.backend, self.cluster_config, *self.limits.parts


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
    parts, exposure = _build(resolution, shipped)
    mistakes = sorted((*recording.mistakes, *resolution.mistakes), key=lambda mistake: mistake.order)
    if mistakes:
        count = "a mistake" if len(mistakes) == 1 else f"{len(mistakes)} mistakes"
        raise ConfigError("\n".join((f"The configuration has {count}:", *(mistake.text for mistake in mistakes))))
    assert parts is not None, "what could not be built is a mistake"
    return Config(
        **parts,
        warnings=(
            *exposure,
            *recording.warnings,
            *visible_secrets(resolution, assignments),
            *resolution.warnings,
            *parts["gateway"].warnings(),
            *parts["cluster_config"].warnings(),
            *parts["limits"].warnings(parts["cluster_config"]),
        ),
        origins=resolution.origins,
    )


def _build(resolution: Resolution, shipped: Mapping[str, type]) -> tuple["dict[str, Any] | None", tuple[str, ...]]:
    """The parts of the configuration, None after mistakes; and what to warn of, if it is used."""
    gateway, proxy = resolution.build(DaskGateway), resolution.build(Proxy)
    if gateway is None:
        return None, ()
    check_bases(resolution, gateway, shipped["Authenticator"])
    authenticators = [resolution.build(cls) for cls in gateway.authenticator_classes]
    known = tuple(cast("Authenticator", one) for one in authenticators if isinstance(one, shipped["Authenticator"]))
    check_authenticators(resolution, known)
    backend = resolution.build(gateway.backend_class)
    if backend is None:
        return None, ()
    cluster_config = resolution.build(backend.cluster_config_class)
    check_backend(resolution, backend, cluster_config)
    exposure: tuple[str, ...] = ()
    if proxy is not None and len(known) == len(authenticators):
        exposure = tuple(
            text
            for one in known
            for text in (*exposures(resolution, gateway, proxy, one, backend), *readable_passwords(proxy, one))
        )
    parts = {
        "gateway": gateway,
        "proxy": proxy,
        "authenticators": known,
        "backend": backend,
        "cluster_config": cluster_config,
        "limits": _limits(resolution),
    }
    return (None if None in parts.values() else parts), exposure


def _limits(resolution: Resolution) -> Limits | None:
    users, members = resolution.build(UserLimits), resolution.build(MemberLimits)
    groups, total = resolution.build(GroupLimits), resolution.build(TotalLimits)
    if users is None or members is None or groups is None or total is None:
        return None
    return Limits(users=users, members=members, groups=groups, total=total)


def _parse_overrides(overrides: Sequence[str]) -> Iterator[Assignment]:
    for override in overrides:
        match = OVERRIDE.fullmatch(override)
        if match is None:
            raise ConfigError(f"{override}: write --Class.option=value, for example --Proxy.address=:8000")
        section, option, text = match.groups()
        name = SECTION_ALIASES.get(section, section)
        yield Assignment(f"--{section}.{option}", name, option, Literal(text), COMMAND_LINE, _LAST)
