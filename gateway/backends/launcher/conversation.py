"""One conversation with the launcher daemon: a process that becomes the user, and one that watches over it.

    daemon ── keeper ── actor ── batch command ── whatever it starts
              root      the user

The gateway writes the user's name on a line, the launcher's request, and shuts
its side. The actor reads all of that as it came, becomes the user, and only
then looks at the request, with the launcher's own code. Until then it has
root's rights and has done nothing but look up one name.

The keeper touches nothing that the gateway or the user says. It waits until
the actor has ended, the gateway has gone away, or the time is up; then every
process that is left of the conversation is ended. It finds them because
orphans below it become its own children, however they were detached.

Standard library only, for the launcher.
"""

import json
import os
import select
import signal
import socket
import time
from contextlib import suppress
from functools import partial

from gateway.backends.launcher import program
from gateway.backends.launcher.children import arrivals, arrived, end_all, forget_signals, fork, reap
from gateway.backends.launcher.commands import MAX_SECONDS
from gateway.backends.launcher.identity import adopt_orphans, become, find_account
from gateway.backends.launcher.request import Refused
from gateway.backends.launcher.settings import SETTINGS, SettingsError, read_settings

#: Seconds that a conversation may last: those of its batch command, and some to say what is to be done.
LONGEST = MAX_SECONDS + 60.0

#: Bytes of the user's name, with its line end.
MAX_NAME = 300
_MOST = MAX_NAME + program.MAX_REQUEST + 1  # one more, to see that it is too much

_CONNECTION = 0  # the descriptor, in the processes of a conversation


def refusal(error: str, *, lost: bool = False, away: bool = False) -> bytes:
    """An answer that is none. `lost`: what was asked for may have happened; `away`: it is worth another try."""
    return json.dumps({"ok": False, "error": error, "lost": lost, "away": away}).encode()


def keep(connection: socket.socket, settings_path: str = SETTINGS, seconds: float = LONGEST) -> None:
    """Hold a conversation, in a process that is there for nothing else; returns when nothing is left of it."""
    os.dup2(connection.detach(), _CONNECTION)
    os.closerange(_CONNECTION + 3, os.sysconf("SC_OPEN_MAX"))
    forget_signals(signal.SIGCHLD)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)  # the daemon lets conversations come to their ends
    adopt_orphans()
    connection = socket.socket(fileno=_CONNECTION)
    with arrivals(signal.SIGCHLD) as children_ended:
        actor = fork(partial(_act, connection, settings_path))
        code = _wait(actor, children_ended, time.monotonic() + seconds)
        end_all()
    if code:
        how = f"by signal {-code}" if code < 0 else f"with exit code {code}"
        # On a line of its own, for there may be half an answer.
        _send(connection, b"\n" + refusal(f"the launcher was ended {how}", lost=True))


def _wait(actor: int, children_ended: int, until: float) -> int | None:
    """The actor's exit code, or minus its signal; None when the gateway has gone away or the time is up before."""
    poll = select.poll()
    poll.register(children_ended, select.POLLIN)
    poll.register(_CONNECTION, 0)  # a hangup is always told
    while (left := until - time.monotonic()) > 0:
        ready = dict(poll.poll(1000 * left))
        arrived(children_ended)
        ended = reap()  # orphans, too
        if actor in ended:
            return ended[actor]
        if _CONNECTION in ready:
            return None
    return None


def _act(connection: socket.socket, settings_path: str) -> None:
    forget_signals(signal.SIGCHLD, signal.SIGTERM, signal.SIGINT)
    os.setsid()
    _send(connection, answer(_receive(connection), settings_path))


def answer(said: bytes, settings_path: str) -> bytes:
    """Be the user who is named first, and give the launcher's answer to the rest. There is no way back."""
    name, _, request = said.partition(b"\n")
    try:
        policy = read_settings(settings_path).policy
        account = find_account(name.decode("utf-8", "replace"), policy)
        become(account, no_new_privileges=policy.no_new_privileges)
    except (Refused, SettingsError) as refused:
        return refusal(str(refused))
    except OSError as error:
        return refusal(f"the launcher cannot act as a user at the moment: {program.reason(error)}", away=True)
    return json.dumps(program.answer(request, settings_path)).encode()


def _receive(connection: socket.socket) -> bytes:
    """All that the gateway says, or as much as shows that it is too much."""
    said = bytearray()
    while len(said) < _MOST and (piece := connection.recv(min(2**20, _MOST - len(said)))):
        said += piece
    return bytes(said)


def _send(connection: socket.socket, data: bytes) -> None:
    with suppress(OSError):  # nobody waits for it any more
        connection.sendall(data)
