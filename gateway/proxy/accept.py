"""Taking connections off a listener, in batches, whatever is scarce."""

import errno
import socket
from collections.abc import Callable
from typing import Any

#: In one turn; the kernel keeps the others.
_BATCH = 64
#: Running out of file descriptors or memory is no fault of the listener: it is asked again a little later.
_SCARCE = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM))


class Acceptor:
    """The watcher of a listener, of which it has a duplicate: the caller's is the caller's to close.

    `accepted(sock, name)` is called with each new connection and its peer's name, `exhausted(acceptor, reason)` when
    none can be accepted for the time being: whoever is called adds the acceptor again later.
    """

    def __init__(
        self,
        listener: socket.socket,
        accepted: Callable[[socket.socket, Any], None],
        exhausted: "Callable[[Acceptor, OSError], None]",
    ) -> None:
        self.listener = listener.dup()
        self.listener.setblocking(False)
        self._accepted = accepted
        self._exhausted = exhausted

    def ready(self, mask: int) -> None:
        """Accept the connections that wait, `_BATCH` of them at most."""
        for _ in range(_BATCH):
            try:
                sock, name = self.listener.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in _SCARCE:
                    self._exhausted(self, error)
                    return
                continue  # the client has gone again (ECONNABORTED and its kind, accept(2))
            self._accepted(sock, name)

    def abort(self) -> None:
        """Close the duplicate. (What goes wrong in one connection has its boundary in `accepted`.)"""
        self.listener.close()
