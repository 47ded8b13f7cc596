"""A site's batch commands as the gateway sees them: root's settings, and the launcher's rule for configured paths.

The launcher decides what it runs for users; the gateway reads the same settings
for its own status commands, and asks the same rule, so that a path that would
be refused with the first job is found when the configuration is checked.
"""

from collections.abc import Iterator, Mapping

from gateway.backends.launcher.commands import find_command
from gateway.backends.launcher.request import Refused
from gateway.backends.launcher.rules import Rules
from gateway.backends.launcher.settings import SETTINGS, Settings, SettingsError, read_settings
from gateway.errors import StartError


def site_settings(path: str = SETTINGS) -> Settings:
    """Root's settings for batch commands. Raises StartError when they are there and cannot be obeyed."""
    try:
        return read_settings(path)
    except SettingsError as error:
        raise StartError(f"{error}") from None


def own_commands(settings: Settings) -> Mapping[str, str]:
    """The first path that the settings list for each command."""
    return {name: paths[0] for name, paths in settings.commands.items()}


def find_mistakes(rules: Rules, submit: str, cancel: str, path: str = SETTINGS) -> Iterator[tuple[str, str]]:
    """Options whose paths the launcher would not run, each with the reason; the settings' own mistake has no option.

    `submit` and `cancel` are the values of `submit_command` and `cancel_command`; what is empty is looked for at run
    time.
    """
    try:
        settings = read_settings(path)
    except SettingsError as error:
        yield "", str(error)
        return
    for option, command, value in (
        ("submit_command", rules.submit, submit),
        ("cancel_command", rules.cancel, cancel),
    ):
        if value or settings.policy.forbids(command):
            try:
                find_command(rules, command, value, settings)
            except Refused as refusal:
                yield option, f"would not be run: {refusal}"
