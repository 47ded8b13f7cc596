"""The batch commands that the launcher runs: which rules hold for them, which file each is, and how it is run.

Standard library only, for the launcher.
"""

import importlib
import os
import pwd
import re
import signal
import subprocess
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from gateway.backends.launcher.output import exchange
from gateway.backends.launcher.request import Lost, Refused, number
from gateway.backends.launcher.rules import Rules
from gateway.backends.launcher.settings import SETTINGS, Settings
from gateway.trusted_files import unsafe

MAX_SECONDS = 600.0  # that a batch command may take

#: The file in a batch system's folder that holds its rules, as `RULES`.
RULES_FILE = "launcher_rules.py"


def find_rules(name: str) -> Rules:
    """The rules of a batch system: by its folder if it comes with the gateway, else by the path of its rules' file.

    Such a file is run as the user, so root alone must be able to change it.
    Raises `Refused` when there are none, or others could change them.
    """
    if re.fullmatch(r"[a-z_]{1,40}", name):
        try:
            rules: Rules = importlib.import_module(f"gateway.backends.{name}.launcher_rules").RULES
        except ModuleNotFoundError:
            raise Refused(f"the launcher knows no batch system {name!r}") from None
        return rules
    if not os.path.isabs(name) or os.path.basename(name) != RULES_FILE:
        raise Refused(
            f"the launcher takes rules only from an absolute path that ends in /{RULES_FILE}, not {name!r:.200}"
        )
    if why := unsafe(name):
        raise Refused(f"the launcher's rules {name} are not obeyed: {why}")
    namespace: dict[str, Any] = {"__file__": name, "__name__": "launcher_rules"}
    try:
        with open(name, encoding="utf-8") as file:
            exec(compile(file.read(), name, "exec"), namespace)  # noqa: S102 - it is root's
        rules = namespace["RULES"]
    except Exception as error:
        raise Refused(f"the launcher's rules {name} cannot be read: {type(error).__name__}: {error}") from error
    if not isinstance(rules, Rules):
        raise Refused(f"the launcher's rules {name} are no Rules")
    return rules


def find_command(rules: Rules, command: str, path: str, settings: Settings) -> str:
    """The file to run: `path` if given, else the site's own for this command, else the first on PATH.

    Its base name must be `command`, unless root has listed it in the launcher's settings.
    Raises `Refused` when there is none, others could change it, or root's policy is against it.
    """
    if settings.policy.forbids(command):
        raise Refused(f"{SETTINGS} names the commands that may be run, and {command} is not among them")
    listed = settings.commands.get(command, [])
    if path in ("", command):
        found = (os.path.join(folder, command) for folder in settings.environment.get("PATH", rules.path).split(":"))
        path = next((file for file in (*listed, *found) if os.access(file, os.X_OK)), "")
        if not path:
            raise Refused(
                f"the command {command} was not found in {rules.path}; say where it is with an option of the backend"
            )
    if not os.path.isabs(path) or (os.path.basename(path) != command and path not in listed):
        raise Refused(
            f"the launcher only runs an absolute path that ends in /{command}, or one that {SETTINGS} lists for it,"
            f" not {path!r:.200}"
        )
    if why := unsafe(path, program=True):
        raise Refused(f"{path} is not run as a user: {why}")
    return path


def run(
    request: dict[str, Any],
    argv: list[str],
    *,
    rules: Rules,
    settings: Settings,
    stdin: str = "",
    variables: Mapping[str, str] = MappingProxyType({}),
    folder: str = "/",
) -> dict[str, Any]:
    """Run a batch command within the request's deadline (`seconds`); all of its processes end with it.

    Raises `Lost` when it has not ended in time.
    """
    user, seconds = pwd.getpwuid(os.getuid()), number(request, "seconds", 60.0, MAX_SECONDS)
    with subprocess.Popen(
        argv,
        # This is also what a job starts with, hence the names that every program expects.
        env={
            "PATH": rules.path,
            "HOME": user.pw_dir,
            "USER": user.pw_name,
            "LOGNAME": user.pw_name,
            "SHELL": user.pw_shell or "/bin/sh",
            **settings.environment,
            **variables,
        },
        cwd=folder,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    ) as process:
        try:
            stdout, stderr = exchange(process, stdin.encode(), seconds)
        except TimeoutError:
            os.killpg(process.pid, signal.SIGKILL)
            raise Lost(f"{os.path.basename(argv[0])} did not answer within {seconds:g} seconds") from None
    return {
        "ok": True,
        "returncode": process.returncode,
        "stdout": stdout,
        "stderr": stderr,
    }
