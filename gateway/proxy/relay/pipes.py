"""Pipes to be lent: a small stock that all relays share.

Whoever borrows a pipe keeps it only while bytes are inside. So however many
readers are slow, what waits for them in this process is bounded by the limit
here, and by one small piece for each of the others.
"""

import fcntl
import os
from typing import Final

#: How many bytes a pipe may hold; an unprivileged process gets this size by default (pipe(7)).
PIPE_SIZE: Final = 1 << 20


class Pipe:
    """Both ends, and how many bytes are inside."""

    __slots__ = ("held", "read", "size", "write")

    def __init__(self) -> None:
        self.read, self.write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self.held = 0
        try:
            self.size = fcntl.fcntl(self.write, fcntl.F_SETPIPE_SZ, PIPE_SIZE)
        except OSError:  # the user's share of pipe pages is used up: the pipe is as small as the kernel made it
            self.size = fcntl.fcntl(self.write, fcntl.F_GETPIPE_SZ)

    def close(self) -> None:
        """Close both ends, and throw away what is inside."""
        os.close(self.read)
        os.close(self.write)


class Pipes:
    """At most `limit` pipes, made when first needed; those that come back empty are kept for the next borrower.

    `small` is for what is too small for a pipe: one read and its write, done with before anybody else has a turn.
    """

    def __init__(self, limit: int = 32) -> None:
        self.small = memoryview(bytearray(65536))
        self._limit = limit
        self._free: list[Pipe] = []
        self._made = 0

    def borrow(self) -> Pipe | None:
        """An empty pipe, None when all are in use or none can be made."""
        if self._free:
            return self._free.pop()
        if self._made >= self._limit:
            return None
        try:
            pipe = Pipe()
        except OSError:
            return None
        self._made += 1
        return pipe

    def take_back(self, pipe: Pipe) -> None:
        """Return a pipe; one with bytes inside is thrown away, with them."""
        if pipe.held:
            self._made -= 1
            pipe.close()
        else:
            self._free.append(pipe)

    def close(self) -> None:
        """Close those that are not lent."""
        while self._free:
            self._free.pop().close()
            self._made -= 1
