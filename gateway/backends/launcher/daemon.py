"""The launcher as a daemon of root's: `dask-gateway-launcherd`, for gateways that do without sudo.

systemd listens at its socket and starts it with the first connection
(`dask-gateway-server systemd-unit --launcherd` writes both units). It takes
connections from the gateway's uid alone, which the kernel tells (SO_PEERCRED),
and holds each conversation in processes of its own (conversation.py), at most
`MOST` at once; further ones wait in the socket's queue. Nothing that is said
there reaches this process, and once it knows whom to obey it waits for nobody:
it takes connections, counts and reaps.

The policy is root's (policy.py). As whom it may act is read anew for each
conversation; whose requests are obeyed is found out once. Until that is known
(the policy is not written, the directory service is not up) everybody is told
why: a daemon that gave up would take its socket down for good.

SIGTERM ends it when the conversations that are under way have come to their
ends, or after `GRACE` seconds.

Standard library only, for the launcher.
"""

import os
import select
import signal
import socket
import struct
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial

from gateway.backends.launcher.children import arrivals, arrived, fork, reap
from gateway.backends.launcher.commands import find_rules
from gateway.backends.launcher.conversation import keep, refusal
from gateway.backends.launcher.identity import gateway_uid
from gateway.backends.launcher.request import Refused
from gateway.backends.launcher.settings import SETTINGS, SettingsError, read_settings

#: Conversations at once. A gateway has three for each slot of its `parallelism` at most.
MOST = 64
#: Seconds that conversations get to come to their ends when the daemon is stopped.
GRACE = 30.0
#: Seconds without new connections after one could not be taken.
PAUSE = 1.0

_FIRST_DESCRIPTOR = 3  # sd_listen_fds(3)
_CREDENTIALS = struct.Struct("=iII")  # pid, uid, gid; SO_PEERCRED in unix(7)
_ERROR, _WARNING, _INFO = 3, 4, 6  # sd-daemon(3)


class CannotStart(Exception):
    """The daemon cannot start; the text says why, and what to do."""


def say(level: int, text: str) -> None:
    """Write a line for the journal."""
    with suppress(OSError):
        print(f"<{level}>{text}", file=sys.stderr, flush=True)


class Daemon:
    """Takes connections of the uid that `find_uid` tells, and calls `hold` with each in a process of its own.

    `find_uid` raises Refused or SettingsError while it cannot tell, with the reason.
    """

    def __init__(
        self,
        find_uid: Callable[[], int],
        hold: Callable[[socket.socket], None] = keep,
        *,
        most: int = MOST,
        pause: float = PAUSE,
    ) -> None:
        self._find_uid = find_uid
        self._uid: int | None = None
        self._trouble = ""
        self._hold = hold
        self._most = most
        self._pause = pause
        self._keepers: set[int] = set()
        self._strangers: set[int] = set()
        self._resting_until = 0.0

    def serve(self, listener: socket.socket, grace: float = GRACE) -> None:
        """Take connections until SIGTERM; then wait for the conversations that are under way."""
        listener.setblocking(False)
        self._knows_uid()
        until: float | None = None
        with arrivals(signal.SIGCHLD, signal.SIGTERM, signal.SIGINT) as signals:
            while until is None or (self._keepers and time.monotonic() < until):
                if self._wait(signals, listener if until is None else None, until):
                    self._take(listener)
                heard = arrived(signals)
                self._keepers -= reap().keys()
                if until is None and heard & {signal.SIGTERM, signal.SIGINT}:
                    until = time.monotonic() + grace

    def _wait(self, signals: int, listener: socket.socket | None, until: float | None) -> bool:
        """Wait for a signal, or a connection that may be taken; true for the latter."""
        now, deadline = time.monotonic(), until
        poll = select.poll()
        poll.register(signals, select.POLLIN)
        if listener is not None and len(self._keepers) < self._most:
            if now >= self._resting_until:
                poll.register(listener, select.POLLIN)
            else:
                deadline = self._resting_until
        ready = dict(poll.poll(None if deadline is None else 1000 * max(0.0, deadline - now)))
        return listener is not None and listener.fileno() in ready

    def _take(self, listener: socket.socket) -> None:
        try:
            connection, _ = listener.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return
        except OSError as error:
            self._rest(f"no connection can be taken: {error.strerror}")
            return
        with connection:
            uid = peer_uid(connection)
            if not self._knows_uid():
                _answer(connection, refusal(self._trouble, away=True))
                return
            if uid != self._uid:
                self._refuse(connection, uid)
                return
            try:
                self._keepers.add(fork(partial(self._hold, connection)))
            except OSError as error:
                self._rest(f"no process can be started: {error.strerror}")
                _answer(connection, refusal(f"the launcher cannot start a process: {error.strerror}", away=True))

    def _knows_uid(self) -> bool:
        """Whether it is known whose requests are obeyed."""
        if self._uid is None:
            try:
                self._uid = self._find_uid()
            except (Refused, SettingsError) as error:
                if str(error) != self._trouble:
                    self._trouble = str(error)
                    say(_ERROR, f"nobody is obeyed: {error}")
            else:
                say(_INFO, f"requests of uid {self._uid} are obeyed")
        return self._uid is not None

    def _rest(self, reason: str) -> None:
        say(_ERROR, reason)
        self._resting_until = time.monotonic() + self._pause

    def _refuse(self, connection: socket.socket, uid: int) -> None:
        if uid not in self._strangers and len(self._strangers) < 1000:  # each is told of once
            self._strangers.add(uid)
            say(_WARNING, f"a connection of uid {uid} was refused: only uid {self._uid}, the gateway's, is obeyed")
        _answer(connection, refusal(f"the launcher daemon obeys uid {self._uid} only, not {uid}"))


def _answer(connection: socket.socket, answer: bytes) -> None:
    connection.setblocking(False)
    with suppress(OSError):
        connection.send(answer)


def peer_uid(connection: socket.socket) -> int:
    """The uid of the process that has connected, as the kernel knows it."""
    told = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    return int(_CREDENTIALS.unpack(told)[1])


def handed_over(environment: Mapping[str, str], pid: int) -> socket.socket:
    """The socket at which systemd listens for us. Raises CannotStart."""
    if environment.get("LISTEN_PID") != str(pid) or environment.get("LISTEN_FDS") != "1":
        raise CannotStart(
            "systemd has to hand over one socket: systemctl start dask-gateway-launcherd.socket, which starts this"
            " program when it is needed"
        )
    listener = socket.socket(fileno=_FIRST_DESCRIPTOR)
    listener.set_inheritable(False)
    listens = listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    if listener.family != socket.AF_UNIX or listener.type != socket.SOCK_STREAM or not listens:
        raise CannotStart("the socket that systemd has handed over is no listening Unix stream socket")
    return listener


def start(environment: Mapping[str, str], pid: int, settings_path: str = SETTINGS) -> None:
    """Serve. Raises CannotStart."""
    if os.geteuid() != 0:
        raise CannotStart("the launcher daemon has to be root, so that it can become your users")
    listener = handed_over(environment, pid)
    for name in ("slurm", "pbs"):
        find_rules(name)  # loaded once, and not for each conversation
    find_uid = partial(_find_uid, settings_path)
    Daemon(find_uid, partial(keep, settings_path=settings_path)).serve(listener)


def _find_uid(settings_path: str) -> int:
    return gateway_uid(read_settings(settings_path).policy)


def main() -> int:
    """The program `dask-gateway-launcherd`. The exit code is 1 when it cannot start."""
    try:
        start(os.environ, os.getpid())
    except CannotStart as error:
        say(_ERROR, str(error))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
