"""The small program that acts for one user: `dask-gateway-jobqueue-launcher`.

The gateway starts it as the user (`sudo -nHu USER dask-gateway-jobqueue-launcher`),
writes one JSON request to its standard input and reads one JSON answer from
its standard output. It has four actions:

    submit   make the cluster's directory, run the submit command (sbatch, qsub) with a script on stdin
    cancel   run the cancel command (scancel, qdel); touches no directory, so a missing one stops nothing
    tail     a part of a job's log in the cluster's directory, its end as a rule
    clean    remove the cluster's directory, or only those whose time is up

Answers are `{"ok": true, ...}` (with `returncode`, `stdout` and `stderr` of the
batch command) or `{"ok": false, "error": "<one sentence>"}`; `"lost": true`
in an error says that the command may have had its effect.

**What this program guards, and what it cannot.** A request comes from the
gateway's account, which may have been taken over. Submitting a job is running
code of the gateway's choice as the user *on the compute nodes*: that is what a
gateway is for, and it cannot be had with less. Such code can end any job of the
user, so it makes no difference that a cancel does the same: that an id is of a
job of ours is seen to by the gateway (backends/batch/driver.py), not here.
Beyond it a request gets nothing: no command but those two of a batch system
whose rules come with this program or from root, found where root alone can put
them, with arguments that each match the allow-list of these rules, and none in
the script; no environment that could change those commands, other than what
root has written into the launcher's settings (settings.py); no file read but
logs, no file written or removed but in directories that carry this program's
own marker; and nothing at all as root.

request.py reads a request, and commands.py runs what is allowed by the rules of
a batch system (rules.py, and launcher_rules.py in its folder); directories.py
keeps to directories of our own. The program starts anew for each submission, so
it imports only the standard library, and little of that. It has the user's
rights, no state, and keeps no secret: the script and the environment pass
through to the batch command.
"""

import errno
import json
import os
import pwd
import re
import stat
import sys
import time
from typing import Any

from gateway.backends.launcher import directories
from gateway.backends.launcher.commands import MAX_SECONDS, find_command, find_rules, run
from gateway.backends.launcher.request import Lost, Refused, arguments, environment, number, text
from gateway.backends.launcher.rules import CLUSTER, LOG, Rules, directive
from gateway.backends.launcher.settings import SETTINGS, Settings, SettingsError, read_settings

MAX_REQUEST = 16 * 2**20  # bytes; a script may have 4 MiB in Slurm
MAX_TAIL = 64 * 2**10  # bytes
MAX_OFFSET = 2**53  # bytes into a log: what every JSON library knows exactly

# --- directories -----------------------------------------------------------------------------------------------------


def staging(request: dict[str, Any]) -> str:
    """The directory that holds the user's cluster directories; `{home}` and `{username}` are filled in.

    Raises `Refused` when the request names none that can be used.
    """
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
    """Make the directory, then run the command with the script on its standard input.

    Raises `Refused` for what the rules do not pass.
    """
    rules = find_rules(text(request, "rules"))
    argv = command_line(request, rules, rules.submit, settings)
    variables, script = environment(request), text(request, "script")
    if line := directive(script):
        raise Refused(f"the launcher does not pass on a script with arguments of the batch system: {line!r:.200}")
    log = text(request, "log", rules.log)
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
    argv.append(rules.log_argument(directory, log))
    return run(
        request,
        argv,
        rules=rules,
        settings=settings,
        stdin=script,
        variables=variables,
        folder=directory,  # which becomes the jobs' working directory
    )


def cancel(request: dict[str, Any], settings: Settings) -> dict[str, Any]:
    """Run the command; nothing else, so that nothing else can stop it."""
    rules = find_rules(text(request, "rules"))
    return run(request, command_line(request, rules, rules.cancel, settings), rules=rules, settings=settings)


def command_line(request: dict[str, Any], rules: Rules, command: str, settings: Settings) -> list[str]:
    """A batch command with its arguments."""
    path = find_command(rules, command, text(request, "path", default=""), settings)
    return [path, *arguments(request, rules, command)]


def tail(request: dict[str, Any], _: Settings) -> dict[str, Any]:
    """At most `size` bytes of one log, as text; empty, and not `found`, when there is no such log.

    They are the last ones, or those from `start` on; `whole_lines` leaves an incomplete one for later. In the answer
    `start` and `end` are where they stand in the file.
    """
    parent, cluster, log = staging(request), text(request, "cluster", CLUSTER), text(request, "log", LOG)
    size = int(number(request, "size", 16 * 2**10, MAX_TAIL))
    start = None if request.get("start") is None else int(number(request, "start", 0, MAX_OFFSET))
    whole_lines = request.get("whole_lines") is True
    part = directories.read_log(parent, cluster, log, size, start, whole_lines=whole_lines)
    found, first, content = part is not None, *(part or (0, b""))
    return {
        "ok": True,
        "path": os.path.join(parent, cluster, log),
        "text": content.decode("utf-8", "replace"),
        "found": found,
        "start": first,
        "end": first + len(content),
    }


def clean(request: dict[str, Any], _: Settings) -> dict[str, Any]:
    """Remove the cluster's directory, or keep its logs for `retention` seconds; remove those whose time is up.

    `kept` in the answer is how many directories of ended clusters are left.
    Raises `Refused` for what is no directory of a cluster.
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
