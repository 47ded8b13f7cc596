"""Pipes to be lent: a small stock that all relays share.

Whoever borrows a pipe keeps it only while bytes are inside. So however many
readers are slow, what is pending for them is bounded by the limit here, and by
one buffer of `BUFFER_SIZE` bytes for each of the others.
"""

import fcntl
import os
from typing import Final

#: How many bytes a pipe may hold; an unprivileged process gets this size by default (pipe(7)).
PIPE_SIZE: Final = 1 << 20
#: Bytes of the buffer for what is too small for a pipe.
BUFFER_SIZE: Final = 1 << 16


class Pipe:
    """A pipe that blocks nobody: its two ends, its `size` in bytes, and `held`, how many bytes are inside.

    Raises OSError when none can be made, for want of descriptors or memory.
    """

    __slots__ = ("held", "read", "size", "write")

    def __init__(self) -> None:
        self.read, self.write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self.held = 0
        try:
            self.size = fcntl.fcntl(self.write, fcntl.F_SETPIPE_SZ, PIPE_SIZE)
        except OSError:  # the user's share of pipe pages is used up: the pipe is as small as the kernel made it
            self.size = fcntl.fcntl(self.write, fcntl.F_GETPIPE_SZ)

    def close(self) -> None:
        """Close both ends; what is inside is lost."""
        os.close(self.read)
        os.close(self.write)


class Pipes:
    """At most `limit` pipes, made when first needed; those that come back empty are kept for the next borrower.

    `buffer`, of `BUFFER_SIZE` bytes, is for what is too small for a pipe: one read and its write, done with before
    anybody else has a turn.
    """

    def __init__(self, limit: int = 32) -> None:
        self.buffer = memoryview(bytearray(BUFFER_SIZE))
        self._limit = limit
        self._free: list[Pipe] = []
        self._made = 0

    def borrow(self) -> Pipe | None:
        """Return an empty pipe; None when all are in use or none can be made."""
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
        """End a loan. A pipe with bytes inside is closed, for they are nobody else's."""
        if pipe.held:
            self._made -= 1
            pipe.close()
        else:
            self._free.append(pipe)

    def close(self) -> None:
        """Close the pipes that are not lent."""
        while self._free:
            self._free.pop().close()
            self._made -= 1
