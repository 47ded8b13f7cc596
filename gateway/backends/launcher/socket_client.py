"""The gateway's side of a conversation with the launcher daemon (daemon.py).

A conversation is one connection: the user's name on a line, the request as the
launcher takes it from sudo, then the answer, and the end. Whoever leaves it
ends what it has started, so an answer that does not come in time is lost.
"""

import json
import socket
import struct
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import structlog
import trio
from attrs import frozen

from gateway.backends.launcher.answers import MAX_ANSWER, OVERHEAD, check, find_answer
from gateway.backends.launcher.rules import USERNAME
from gateway.errors import AnswerLost, BackendUnavailable, JobRefused

_log = structlog.get_logger()

#: Seconds between two attempts to connect while the daemon's queue is full.
PAUSE = 0.1

_UNIT = "dask-gateway-launcherd"
_CREDENTIALS = struct.Struct("=iII")  # pid, uid, gid; SO_PEERCRED in unix(7)


@frozen
class SocketLauncher:
    """Has the launcher run by the daemon that listens at `path`, for which `server_uid` has made the socket."""

    path: str
    server_uid: int = 0

    async def request(self, username: str, request: Mapping[str, Any], *, seconds: float) -> dict[str, Any]:
        """The launcher's answer as a dictionary with `ok` being true.

        `seconds` is how long the batch command may take. Raises JobRefused, BackendUnavailable (the launcher
        could not be run) or AnswerLost.
        """
        if not USERNAME.fullmatch(username):
            raise JobRefused(f"{username!r} is no name of a user of this system.")
        said = username.encode() + b"\n" + json.dumps({**request, "seconds": seconds}).encode()
        try:
            with trio.fail_after(seconds + OVERHEAD):
                async with await self._connect(username) as connection:
                    printed = await _converse(connection, said)
        except trio.TooSlowError:
            raise AnswerLost(
                f"The launcher gave no answer for {username} within {seconds + OVERHEAD:g} seconds."
            ) from None
        if len(printed) > MAX_ANSWER:
            raise AnswerLost(f"The launcher's answer for {username} is not read: it has more than {MAX_ANSWER} bytes.")
        answer = find_answer(printed.decode("utf-8", "replace"))
        if answer is None:
            raise AnswerLost(f"The launcher has ended without an answer for {username}; see `journalctl -u {_UNIT}`.")
        return check(answer, username)

    async def _connect(self, username: str) -> trio.SocketStream:
        """Raises BackendUnavailable."""
        try:
            while True:
                connection = await trio.open_unix_socket(self.path)
                if _is_connected(connection):
                    break
                await connection.aclose()
                await trio.sleep(PAUSE)
        except OSError as error:
            unavailable = BackendUnavailable(
                f"The launcher daemon cannot be asked at {self.path}: {error.strerror or error}. An administrator finds"
                f" out why with `systemctl status {_UNIT}.socket`."
            )
            _log.warning("no answer of the launcher", user=username, reason=str(unavailable))
            raise unavailable from error
        uid = _server_uid(connection)
        if uid == self.server_uid:
            return connection
        await connection.aclose()  # requests hold secrets of users
        raise BackendUnavailable(f"The socket {self.path} is not the launcher daemon's: uid {uid} has made it.")


def _is_connected(connection: trio.SocketStream) -> bool:
    """False while the server's queue is full, which trio takes for a connection."""
    try:
        connection.socket.getpeername()
    except OSError:
        return False
    return True


def _server_uid(connection: trio.SocketStream) -> int:
    """The uid of the process that listens, as the kernel knows it."""
    told = connection.socket.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    return int(_CREDENTIALS.unpack(told)[1])


async def _converse(connection: trio.SocketStream, said: bytes) -> bytes:
    """What is answered, up to a little more than it may be."""
    printed = bytearray()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_say, connection, said)
        with suppress(trio.BrokenResourceError):  # it has ended without reading everything
            async for piece in connection:
                printed += piece
                if len(printed) > MAX_ANSWER:
                    break
        nursery.cancel_scope.cancel()
    return bytes(printed)


async def _say(connection: trio.SocketStream, said: bytes) -> None:
    with suppress(trio.BrokenResourceError):  # the answer says why
        await connection.send_all(said)
        await connection.send_eof()
