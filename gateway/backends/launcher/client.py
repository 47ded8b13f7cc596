"""The gateway's side of the launcher: one request as a user, one answer, every failure as a sentence.

`sudo -nHu USER launcher` runs the launcher as the user; sudo's rule names that
one program and no arguments, which is why the request goes through standard
input. With impersonation "none" the launcher runs directly, for the gateway's
own account alone; with "socket" a daemon of root's runs it (socket_client.py).
"""

import json
import os
import pwd
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import structlog
import trio
from attrs import frozen

from gateway.backends.commands import Answer
from gateway.backends.launcher.answers import MAX_ANSWER, OVERHEAD, check, find_answer
from gateway.backends.launcher.rules import USERNAME
from gateway.backends.launcher.sudo import Who, verdict
from gateway.backends.processes import OutputTooLong, run_command
from gateway.errors import AnswerLost, BackendUnavailable, JobRefused

_log = structlog.get_logger()

#: What sudo and the launcher see. The locale keeps sudo's messages in the words that are looked for below.
ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"}


class AsUsers(Protocol):
    """A way to the launcher: through sudo or directly (below), or through its daemon (socket_client.py)."""

    async def request(self, username: str, request: Mapping[str, Any], *, seconds: float) -> dict[str, Any]:
        """The launcher's answer to a request as this user, whose batch command may take so many seconds.

        Raises JobRefused, BackendUnavailable (the launcher could not be run) or AnswerLost.
        """
        ...


@frozen
class Launcher:
    """Runs the launcher at `path`; `impersonate` is False when it runs as the gateway's own account."""

    path: str
    impersonate: bool
    own_name: str

    async def request(self, username: str, request: Mapping[str, Any], *, seconds: float) -> dict[str, Any]:
        """The launcher's answer as a dictionary with `ok` being true.

        `seconds` is how long the batch command may take. Raises JobRefused, BackendUnavailable (the launcher
        could not be run) or AnswerLost.
        """
        argv = self._argv(username)
        stdin = json.dumps({**request, "seconds": seconds}).encode()
        try:
            with trio.fail_after(seconds + OVERHEAD):
                answer = await run_command(argv, environment=ENVIRONMENT, stdin=stdin, max_output=MAX_ANSWER)
        except trio.TooSlowError:
            raise AnswerLost(
                f"The launcher gave no answer for {username} within {seconds + OVERHEAD:g} seconds."
            ) from None
        except OutputTooLong as error:  # whatever it was asked to do may be done
            raise AnswerLost(f"The launcher's answer for {username} is not read: {error}.") from error
        except OSError as error:
            raise BackendUnavailable(f"{argv[0]} cannot be run: {error}.") from error
        return parse_answer(answer, username, self.path, self.own_name)

    def _argv(self, username: str) -> Sequence[str]:
        if not USERNAME.fullmatch(username):
            raise JobRefused(f"{username!r} is no name of a user of this system.")
        if self.impersonate:
            return ("sudo", "-nHu", username, self.path)
        if username != self.own_name:
            raise JobRefused(
                f"This gateway runs jobs as {self.own_name} only (impersonation is 'none'), not as {username}."
            )
        return (self.path,)


def parse_answer(answer: Answer, username: str, path: str, gateway_user: str) -> dict[str, Any]:
    """The launcher's answer, or the error that stands for it.

    Raises `JobRefused`, `BackendUnavailable`, or `AnswerLost` when jobs may have been submitted.
    """
    result = find_answer(answer.stdout)
    if result is None:
        raise _without_answer(answer, username, path, gateway_user)
    return check(result, username)


def _without_answer(answer: Answer, username: str, path: str, gateway_user: str) -> JobRefused | BackendUnavailable:
    """Why there is no answer: sudo said no, or the launcher broke. Nothing was submitted in either case."""
    found = verdict(answer.stderr, Who(username=username, gateway_user=gateway_user, path=path))
    if found is None:
        error: JobRefused | BackendUnavailable = BackendUnavailable(
            f"The launcher failed for {username}: {answer.words}."
        )
    else:
        error = JobRefused(found.sentence) if found.final else BackendUnavailable(found.sentence)
    _log.warning("no answer of the launcher", user=username, reason=str(error))
    return error


def own_account() -> str:
    """The name of the account that the gateway runs as; its number if it has none."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())
