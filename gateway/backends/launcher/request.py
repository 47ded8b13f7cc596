"""What a request to the launcher holds, field by field: of the right type, and nothing that is not allowed.

Standard library only, for the launcher.
"""

import re
from typing import Any

from gateway.backends.launcher.rules import VARIABLE, Rules


class Refused(Exception):
    """The request is not carried out; the text is a sentence for the user."""


class Lost(Refused):
    """The batch command was ended before it answered: it may have had its effect."""


def text(request: dict[str, Any], key: str, pattern: re.Pattern[str] | None = None, default: str | None = None) -> str:
    """A string of the request; refuses other types, NUL bytes, and what does not match all of `pattern`.

    Raises `Refused` for anything else.
    """
    value = request.get(key, default)
    if not isinstance(value, str) or "\0" in value or (pattern is not None and not pattern.fullmatch(value)):
        raise Refused(f"the launcher was given a bad value of {key!r}: {value!r:.100}")
    return value


def number(request: dict[str, Any], key: str, default: float, maximum: float) -> float:
    """A number between 0 and `maximum`. Raises `Refused` for anything else."""
    value = request.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= maximum:
        raise Refused(f"the launcher was given a bad value of {key!r}: {value!r:.100}")
    return float(value)


def arguments(request: dict[str, Any], rules: Rules, command: str) -> list[str]:
    """The command's arguments, each of which must match the command's allow-list.

    Raises `Refused` for anything else.
    """
    values = request.get("arguments")
    if not isinstance(values, list):
        raise Refused("the launcher was given no list of arguments")
    for value in values:
        if not isinstance(value, str) or not rules.allows(command, value):
            raise Refused(f"the launcher does not pass the argument {value!r:.200} to {command}")
    return values


def environment(request: dict[str, Any]) -> dict[str, str]:
    """Variables for the job: Dask's only, since others would change sbatch itself (SBATCH_*, SLURM_CONF, LD_*).

    Raises `Refused` for anything else.
    """
    values = request.get("environment", {})
    if not isinstance(values, dict):
        raise Refused("the launcher was given an environment that is no object")
    for name, value in values.items():
        if not VARIABLE.fullmatch(name) or not isinstance(value, str) or "\0" in value:
            raise Refused(f"the launcher does not pass the variable {name!r:.100} on")
    return values
