"""Taking connections off a listener, in batches, whatever is scarce."""

import errno
import socket
from typing import Any, Protocol

#: In one turn; the kernel keeps the others.
_BATCH = 64
#: Running out of file descriptors or memory is no fault of the listener: it is asked again a little later.
_SCARCE = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM))


class Lobby(Protocol):
    """Where accepted connections go."""

    def arrive(self, sock: socket.socket, name: Any) -> None:
        """A new connection, and its peer's name."""

    def pause(self, acceptor: "Acceptor", reason: OSError) -> None:
        """Nothing can be accepted just now; add the acceptor again later."""


class Acceptor:
    """The watcher of a listener, of which it has a duplicate: the caller's is the caller's to close."""

    def __init__(self, lobby: Lobby, listener: socket.socket) -> None:
        self.lobby = lobby
        self.listener = listener.dup()
        self.listener.setblocking(False)

    def ready(self, mask: int) -> None:
        """Accept what waits."""
        for _ in range(_BATCH):
            try:
                sock, name = self.listener.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in _SCARCE:
                    self.lobby.pause(self, error)
                    return
                continue  # the client has gone again (ECONNABORTED and its kind, accept(2))
            self.lobby.arrive(sock, name)

    def abort(self) -> None:
        """The port closes. (What goes wrong in one connection has its boundary in `Lobby.arrive`.)"""
        self.listener.close()
