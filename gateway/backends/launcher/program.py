"""The small program that acts for one user: `dask-gateway-jobqueue-launcher`.

The gateway starts it as the user (`sudo -nHu USER dask-gateway-jobqueue-launcher`),
writes one JSON request to its standard input and reads one JSON answer from
its standard output. It has four actions:

    submit   make the cluster's directory, run sbatch or qsub with a script on stdin
    cancel   run scancel or qdel; touches no directory, so a missing one stops nothing
    tail     the end of a job's log in the cluster's directory
    clean    remove the cluster's directory, or only those whose time is up

Answers are `{"ok": true, ...}` (with `returncode`, `stdout` and `stderr` of the
batch command) or `{"ok": false, "error": "<one sentence>"}`; `"lost": true`
in an error says that the command may have had its effect.

**What this program guards, and what it cannot.** A request comes from the
gateway's account, which may have been taken over. Submitting a job is running
code of the gateway's choice as the user *on the compute nodes*: that is what a
gateway is for, and it cannot be had with less. Such code can end any job of the
user, so it makes no difference that a cancel does the same: that an id is of a
job of ours is seen to by the gateway (backends/batch/driver.py), not here. Beyond it a request gets
nothing: no command but the four above, found where root alone can put them,
with arguments that each match an allow-list, and none in the script; no
environment that could change those commands, other than what root has written
into the launcher's settings (settings.py); no file read but logs, no file
written or removed but in directories that carry this program's own marker; and
nothing at all as root.

What is passed on is said in rules.py; directories.py keeps to
directories of our own. The program starts anew for
each submission, so it imports only the standard library, and little of that.
It has the user's rights, no state, and keeps no secret: the script and the
environment pass through to the batch command.
"""

import errno
import json
import os
import pwd
import re
import signal
import stat
import subprocess
import sys
import time
from typing import Any

from gateway.backends.launcher import directories
from gateway.backends.launcher.rules import CLUSTER, LOG, LOG_PATTERN, PATH, VARIABLE, allows, directive
from gateway.backends.launcher.settings import SETTINGS, Settings, SettingsError, read_settings
from gateway.trusted_files import unsafe

MAX_REQUEST = 16 * 2**20  # bytes; a script may have 4 MiB in Slurm
MAX_TAIL = 64 * 2**10  # bytes
MAX_WORDS = 80 * 2**10  # bytes of each stream of a batch command; as JSON at most six times as many, of 1 MiB
MAX_SECONDS = 600.0  # that a batch command may take

_ACTIONS = {"submit": ("sbatch", "qsub"), "cancel": ("scancel", "qdel")}
_LOG_OPTION = {"sbatch": "--output=", "qsub": "-o"}


class Refused(Exception):
    """The request is not carried out; the text is a sentence for the user."""


class Lost(Refused):
    """The batch command was ended before it answered: it may have had its effect."""


# --- the request -----------------------------------------------------------------------------------------------------


def text(request: dict[str, Any], key: str, pattern: re.Pattern[str] | None = None, default: str | None = None) -> str:
    """A string of the request; refuses other types, NUL bytes, and what does not match all of `pattern`."""
    value = request.get(key, default)
    if not isinstance(value, str) or "\0" in value or (pattern is not None and not pattern.fullmatch(value)):
        raise Refused(f"the launcher was given a bad value of {key!r}: {value!r:.100}")
    return value


def number(request: dict[str, Any], key: str, default: float, maximum: float) -> float:
    """A number between 0 and `maximum`."""
    value = request.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= maximum:
        raise Refused(f"the launcher was given a bad value of {key!r}: {value!r:.100}")
    return float(value)


def arguments(request: dict[str, Any], command: str) -> list[str]:
    """The command's arguments, each of which must match the command's allow-list."""
    values = request.get("arguments")
    if not isinstance(values, list):
        raise Refused("the launcher was given no list of arguments")
    for value in values:
        if not isinstance(value, str) or not allows(command, value):
            raise Refused(f"the launcher does not pass the argument {value!r:.200} to {command}")
    return values


def environment(request: dict[str, Any]) -> dict[str, str]:
    """Variables for the job: Dask's only, since others would change sbatch itself (SBATCH_*, SLURM_CONF, LD_*)."""
    values = request.get("environment", {})
    if not isinstance(values, dict):
        raise Refused("the launcher was given an environment that is no object")
    for name, value in values.items():
        if not VARIABLE.fullmatch(name) or not isinstance(value, str) or "\0" in value:
            raise Refused(f"the launcher does not pass the variable {name!r:.100} on")
    return values


# --- the commands ----------------------------------------------------------------------------------------------------


def find_command(command: str, path: str, settings: Settings) -> str:
    """The file to run: `path` if given, else the site's own for this command, else the first on PATH.

    Its base name must be `command`, unless root has listed it in the launcher's settings.
    """
    listed = settings.commands.get(command, [])
    if path in ("", command):
        found = (os.path.join(folder, command) for folder in settings.environment.get("PATH", PATH).split(":"))
        path = next((file for file in (*listed, *found) if os.access(file, os.X_OK)), "")
        if not path:
            raise Refused(
                f"the command {command} was not found in {PATH}; say where it is with an option of the backend"
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
    request: dict[str, Any], settings: Settings, argv: list[str], stdin: str, extra: dict[str, str], folder: str
) -> dict[str, Any]:
    """Run a batch command within the request's deadline (`seconds`); all of its processes end with it."""
    user, seconds = pwd.getpwuid(os.getuid()), number(request, "seconds", 60.0, MAX_SECONDS)
    with subprocess.Popen(
        argv,
        # This is also what a job starts with, hence the names that every program expects.
        env={
            "PATH": PATH,
            "HOME": user.pw_dir,
            "USER": user.pw_name,
            "LOGNAME": user.pw_name,
            "SHELL": user.pw_shell or "/bin/sh",
            **settings.environment,
            **extra,
        },
        cwd=folder,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    ) as process:
        try:
            stdout, stderr = process.communicate(stdin.encode(), timeout=seconds)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            raise Lost(f"{os.path.basename(argv[0])} did not answer within {seconds:g} seconds") from None
    return {
        "ok": True,
        "returncode": process.returncode,
        "stdout": shortened(stdout),
        "stderr": shortened(stderr),
    }


def shortened(output: bytes) -> str:
    """A command's output as text; of one that is too long, the first lines and the last ones."""
    if len(output) > MAX_WORDS:
        half = MAX_WORDS // 2
        output = output[:half].rpartition(b"\n")[0] + b"\n" + output[-half:].partition(b"\n")[2]
    return output.decode("utf-8", "replace")


# --- directories -----------------------------------------------------------------------------------------------------


def staging(request: dict[str, Any]) -> str:
    """The directory that holds the user's cluster directories; `{home}` and `{username}` are filled in."""
    user = pwd.getpwuid(os.getuid())
    template = text(request, "staging_directory")
    directory = os.path.normpath(template.replace("{home}", user.pw_dir).replace("{username}", user.pw_name))
    if not os.path.isabs(directory) or re.search(r"[\x00-\x1f\x7f\\]", directory):
        raise Refused(
            f"the staging directory must be an absolute path without control characters, not {directory!r:.200}"
        )
    return directory


def without_home(template: str) -> str:
    """Why there can be no directory in the user's home on this host; empty if there can, or if none is wanted."""
    user = pwd.getpwuid(os.getuid())
    if "{home}" not in template:
        return ""
    whose = f"the home directory {user.pw_dir} of user {user.pw_name}"
    try:
        status = os.stat(user.pw_dir)
    except FileNotFoundError:
        return f"{whose} does not exist on this host"
    except OSError as error:
        return f"{whose} cannot be reached on this host: {reason(error)}"
    return "" if stat.S_ISDIR(status.st_mode) else f"{whose} is no directory on this host"


def reason(error: OSError) -> str:
    """An operating system's error, with the next step where there is one."""
    if error.errno == errno.ENOSPC:
        return "the disk is full"
    if error.errno == errno.EDQUOT:
        return "your disk quota is used up"
    return error.strerror or str(error)


# --- the actions -----------------------------------------------------------------------------------------------------


def submit(request: dict[str, Any], settings: Settings) -> dict[str, Any]:
    """Make the directory, then run the command with the script on its standard input."""
    command = known_command(request, "submit")
    argv = [find_command(command, text(request, "path", default=""), settings), *arguments(request, command)]
    extra, script = environment(request), text(request, "script")
    if line := directive(script):
        raise Refused(f"the launcher does not pass on a script with arguments of the batch system: {line!r:.200}")
    log = text(request, "log", LOG_PATTERN)
    parent, cluster = staging(request), text(request, "cluster", CLUSTER)
    directory = os.path.join(parent, cluster)
    if problem := without_home(text(request, "staging_directory")):
        raise Refused(problem)
    try:
        directories.make(parent, cluster)
    except directories.NotOurs:
        raise Refused(f"{directory} exists and was not made by the gateway; it is left alone") from None
    except OSError as error:
        raise Refused(f"the directory {directory} cannot be made: {reason(error)}") from None
    shown = directory.replace("%", "%%") if command == "sbatch" else directory
    argv.append(_LOG_OPTION[command] + os.path.join(shown, log))
    return run(request, settings, argv, script, extra, directory)  # which becomes the jobs' working directory


def cancel(request: dict[str, Any], settings: Settings) -> dict[str, Any]:
    """Run the command; nothing else, so that nothing else can stop it."""
    command = known_command(request, "cancel")
    argv = [find_command(command, text(request, "path", default=""), settings), *arguments(request, command)]
    return run(request, settings, argv, "", {}, "/")


def tail(request: dict[str, Any], _: Settings) -> dict[str, Any]:
    """The last `size` bytes of one log, as text; empty, and not `found`, when there is no such log."""
    parent, cluster, log = staging(request), text(request, "cluster", CLUSTER), text(request, "log", LOG)
    size = int(number(request, "size", 16 * 2**10, MAX_TAIL))
    content = directories.read_end(parent, cluster, log, size)
    shown = (content or b"").decode("utf-8", "replace")
    return {"ok": True, "path": os.path.join(parent, cluster, log), "text": shown, "found": content is not None}


def clean(request: dict[str, Any], _: Settings) -> dict[str, Any]:
    """Remove the cluster's directory, or keep its logs for `retention` seconds; remove those whose time is up.

    `kept` in the answer is how many directories of ended clusters are left.
    """
    parent, cluster = staging(request), text(request, "cluster", CLUSTER)
    oldest = time.time() - number(request, "retention", 7 * 86400.0, 1e12)
    deadline = time.monotonic() + number(request, "seconds", 60.0, MAX_SECONDS)
    stays: list[str] = []
    try:
        if request.get("keep_logs") is True:
            directories.end(parent, cluster)
        else:
            stays = directories.remove(parent, cluster, deadline)
            if stays:
                directories.end(parent, cluster)  # so that the rest goes with those whose time is up
        kept = directories.sweep(parent, oldest, deadline)
    except FileNotFoundError:
        kept = 0  # the staging directory is gone, or something in it went while we looked: that is the aim
    except OSError as error:
        if without_home(text(request, "staging_directory")):
            return {"ok": True, "kept": 1}  # it may be there next time
        stays = [reason(error)]
    if stays:
        problem = f"the directory of cluster {cluster} in {parent} cannot be removed"
        raise Refused(f"{problem}: {'; '.join(stays)}")
    return {"ok": True, "kept": kept}


def known_command(request: dict[str, Any], action: str) -> str:
    """The batch command of a request, which must be one of the action's."""
    command = text(request, "command")
    if command not in _ACTIONS[action]:
        raise Refused(f"the launcher does not run {command!r:.100} to {action} jobs")
    return command


def is_root() -> bool:
    """Whether this program has root's rights, by whichever way."""
    return 0 in (os.getuid(), os.geteuid())


def answer(raw: bytes, settings_path: str = SETTINGS) -> dict[str, Any]:
    """The answer to a request, whatever it holds."""
    try:
        if is_root():
            raise Refused("jobs are not run as root; log in to the gateway as somebody else")
        if len(raw) > MAX_REQUEST:
            raise Refused(f"the launcher's request has more than {MAX_REQUEST} bytes")
        try:
            request = json.loads(raw)
        except (ValueError, RecursionError):
            raise Refused("the launcher's request is not JSON") from None
        actions = {"submit": submit, "cancel": cancel, "tail": tail, "clean": clean}
        action = request.get("action") if isinstance(request, dict) else None
        if not isinstance(action, str) or action not in actions:
            raise Refused(f"the launcher knows the actions {', '.join(actions)}, not {action!r:.100}")
        return actions[action](request, read_settings(settings_path))
    except Refused as refusal:
        return {"ok": False, "error": str(refusal), "lost": isinstance(refusal, Lost)}
    except SettingsError as error:
        return {"ok": False, "error": str(error), "lost": False}
    except OSError as error:
        return {"ok": False, "error": f"the launcher failed: {reason(error)}", "lost": False}
    except ValueError as error:  # text that no file name or variable can hold
        return {"ok": False, "error": f"the launcher failed: {error}", "lost": False}


def main() -> int:
    """Read one request, write one answer. The exit code is 0 whenever there is an answer."""
    json.dump(answer(sys.stdin.buffer.read(MAX_REQUEST + 1)), sys.stdout)
    sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
