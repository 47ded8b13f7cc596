"""What root says about a site's batch commands: `/etc/dask-gateway/launcher.conf`.

    [environment]
    SLURM_CONF = /opt/slurm/etc/slurm.conf

    [commands]
    sbatch = /opt/site/bin/submit-with-defaults

    [policy]
    gateway = dask
    groups = dask_users

Some commands need variables that the launcher takes from nobody else, since
they could change what those commands do; some sites have wrappers with names of
their own. Both are root's to decide: the file, and every folder on the way to
it, must be such that root alone can change it. The gateway reads it as well,
for its own status commands (`squeue`, `qstat` and so on may be listed too).
Whom the launcher daemon obeys stands here, too (policy.py). Without the file
nothing is set, nothing is listed, and nobody is obeyed.

Standard library only, for the launcher.
"""

import os
import re

from gateway.backends.launcher.policy import Policy
from gateway.trusted_files import unsafe

#: Where the settings are. Nobody who calls the launcher can choose another file.
SETTINGS = "/etc/dask-gateway/launcher.conf"

_SECTIONS = ("environment", "commands", "policy")
_MAX_SIZE = 64 * 2**10  # bytes


class SettingsError(Exception):
    """The settings are there and cannot be obeyed; the text says why and what to do."""


class Settings:
    """`environment` is added to that of batch commands; `commands` maps a command's name to paths of the site's own.

    `policy` is for the launcher daemon, except for the commands that it names.
    """

    def __init__(self) -> None:
        self.environment: dict[str, str] = {}
        self.commands: dict[str, list[str]] = {}
        self.policy = Policy()


def read_settings(path: str = SETTINGS) -> Settings:
    """The settings in a file; none when it does not exist. Raises SettingsError with the line that is wrong."""
    settings = Settings()
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return settings
    except OSError as error:
        raise SettingsError(f"the launcher's settings {path} cannot be read: {error.strerror}") from None
    with os.fdopen(descriptor, "rb") as file:
        if why := unsafe(path):
            raise SettingsError(f"the launcher's settings {path} are not obeyed: {why}")
        text = file.read(_MAX_SIZE).decode("utf-8", "replace")
    section = ""
    for number, line in enumerate(map(str.strip, text.splitlines()), 1):
        if line and line[0] not in "#;":
            section = _read_line(settings, section, line, f"{path}:{number}")
    return settings


def _read_line(settings: Settings, section: str, line: str, place: str) -> str:
    """Add what a line of a section says; returns the section of the next one. Raises SettingsError."""
    name, equals, value = (part.strip() for part in line.partition("="))
    if line[0] == "[":
        section = line.strip("[] ")
        if section not in _SECTIONS:
            raise SettingsError(f"{place}: there is no section {line}; there are [{'], ['.join(_SECTIONS)}]")
    elif not equals or not section:
        raise SettingsError(f"{place}: write NAME = VALUE, below [environment], [commands] or [policy]")
    elif section == "policy":
        try:
            settings.policy.read(name, value)
        except ValueError as error:
            raise SettingsError(f"{place}: {error}") from None
    elif section == "environment":
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
            raise SettingsError(f"{place}: {name!r} is no name of an environment variable")
        settings.environment[name] = value
    elif not os.path.isabs(value):
        raise SettingsError(f"{place}: the command {name} must be an absolute path, not {value!r}")
    else:
        settings.commands.setdefault(name, []).append(value)
    return section
