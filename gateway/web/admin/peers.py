"""Which account is at the other end of a Unix socket, and whether it is an administrator's."""

import os
import pwd
import socket
import struct
from collections.abc import Collection

import trio

from gateway.auth.unix_groups import UnixGroups
from gateway.errors import Forbidden, TryAgainLater

#: Seconds that the system has to say what an account is called.
_DEADLINE = 10.0
_CREDENTIALS = struct.Struct("=iII")  # pid, uid, gid: SO_PEERCRED in unix(7)


def uid_of_peer(sock: socket.socket | trio.socket.SocketType) -> int:
    """Who had this connection opened, as the kernel noted it then. Raises OSError."""
    credentials = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    return int(_CREDENTIALS.unpack(credentials)[1])


class Administrators:
    """The accounts that may: those of `uids`, and the members of `group` (empty: none)."""

    def __init__(self, group: str = "", *, uids: Collection[int] = (), groups: UnixGroups | None = None) -> None:
        self._group = group
        self._uids = uids or (0, os.geteuid())
        self._groups = groups or UnixGroups()
        self._threads = trio.CapacityLimiter(4)

    async def name(self, uid: int) -> str:
        """What an administrator's account is called. Raises `Forbidden` for others, `TryAgainLater`."""
        name = await self._account(uid)
        if uid in self._uids or (self._group and self._group in await self._groups.of(name)):
            return name
        who = f"root, the gateway's account{f' and members of group {self._group}' if self._group else ''}"
        raise Forbidden(f"This socket is for {who}, and not for {name}")

    async def _account(self, uid: int) -> str:
        with trio.move_on_after(_DEADLINE):
            return await trio.to_thread.run_sync(_name_of, uid, limiter=self._threads, abandon_on_cancel=True)
        raise TryAgainLater(f"The system does not say what the account of user id {uid} is called")


def _name_of(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid-{uid}"
