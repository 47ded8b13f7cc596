"""The gateway's side of the launcher: one request as a user, one answer, every failure as a sentence.

`sudo -nHu USER launcher` runs the launcher as the user; sudo's rule names that
one program and no arguments, which is why the request goes through standard
input. With impersonation "none" the launcher runs directly, for the gateway's
own account alone.
"""

import json
import os
import pwd
import re
from collections.abc import Mapping, Sequence
from typing import Any

import trio
from attrs import frozen

from gateway.backends.dialect import Answer
from gateway.backends.processes import OutputTooLong, run_command
from gateway.errors import AnswerLost, BackendUnavailable, JobRefused

#: Seconds that sudo and the launcher may take besides the batch command.
OVERHEAD = 10.0

#: What sudo and the launcher see. The locale keeps sudo's messages in the words that are looked for below.
ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"}

# Names that sudo, Slurm and PBS take for a name: no leading dash (an option), no # (sudo's prefix of a number).
_USERNAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@+-]{0,255}\$?")


@frozen
class Launcher:
    """Runs the launcher at `path`; `impersonate` is False when it runs as the gateway's own account."""

    path: str
    impersonate: bool
    own_name: str

    async def ask(self, username: str, request: Mapping[str, Any], *, seconds: float) -> dict[str, Any]:
        """The launcher's answer as a dictionary with `ok` being true.

        `seconds` is how long the batch command may take. Raises JobRefused, BackendUnavailable (the launcher
        could not be run) or AnswerLost.
        """
        argv = self._argv(username)
        stdin = json.dumps({**request, "seconds": seconds}).encode()
        try:
            with trio.fail_after(seconds + OVERHEAD):
                answer = await run_command(argv, environment=ENVIRONMENT, stdin=stdin)
        except trio.TooSlowError:
            raise AnswerLost(
                f"The launcher gave no answer for {username} within {seconds + OVERHEAD:g} seconds."
            ) from None
        except (OSError, OutputTooLong) as error:
            raise BackendUnavailable(f"{argv[0]} cannot be run: {error}.") from error
        return parse_answer(answer, username, self.path, self.own_name)

    def _argv(self, username: str) -> Sequence[str]:
        if not _USERNAME.fullmatch(username):
            raise JobRefused(f"{username!r} is no name of a user of this system.")
        if self.impersonate:
            return ("sudo", "-nHu", username, self.path)
        if username != self.own_name:
            raise JobRefused(
                f"This gateway runs jobs as {self.own_name} only (impersonation is 'none'), not as {username}."
            )
        return (self.path,)


def parse_answer(answer: Answer, username: str, path: str, gateway_user: str) -> dict[str, Any]:
    """The launcher's answer, or the error that stands for it."""
    try:
        result = json.loads(answer.stdout)
    except ValueError:
        result = None
    if not isinstance(result, dict) or "ok" not in result:
        raise _without_answer(answer, username, path, gateway_user)
    if result["ok"] is True:
        return result
    sentence = f"For user {username}: {result.get('error')}."
    raise AnswerLost(sentence) if result.get("lost") is True else JobRefused(sentence)


def _without_answer(answer: Answer, username: str, path: str, gateway_user: str) -> JobRefused | BackendUnavailable:
    """Why there is no answer: sudo said no, or the launcher broke. Nothing was submitted in either case."""
    stderr = answer.stderr
    if re.search(r"unknown user", stderr):
        return JobRefused(f"The user {username} is unknown on the gateway's host.")
    if re.search(r"password is required|not allowed to|not in the sudoers|may not run sudo", stderr):
        return JobRefused(
            f"The gateway may not run jobs as {username}: sudo has no rule that lets {gateway_user} run {path} as that"
            f" user without a password. An administrator can add it, or add {username} to the group that it names."
        )
    if re.search(r"command not found|No such file", stderr):
        return JobRefused(
            f"{path} does not exist; set dask_gateway_jobqueue_launcher to the path of dask-gateway-jobqueue-launcher."
        )
    return BackendUnavailable(f"The launcher failed for {username}: {answer.words[-500:]}.")


def own_account() -> str:
    """The name of the account that the gateway runs as."""
    return pwd.getpwuid(os.geteuid()).pw_name
