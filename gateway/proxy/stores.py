"""What relays borrow to carry much: pipes, and large buffers. Few are enough for all.

Whoever borrows something keeps it only while bytes are inside. So however many
readers are slow, what waits for them in this process is bounded by the limits
here, and by one small piece for each of the others.
"""

import fcntl
import os
from collections.abc import Callable
from typing import Final, Generic, TypeVar

#: How many bytes a pipe may hold; an unprivileged process gets this size by default (pipe(7)).
PIPE_SIZE: Final = 1 << 20
#: Larger ones make each byte cheaper; the kernel takes no more than about this at once (tcp_wmem).
BUFFER_SIZE: Final = 4 << 20

Thing = TypeVar("Thing")


class Stock(Generic[Thing]):
    """At most `limit` things, made when first needed; those that come back are kept for the next borrower."""

    def __init__(self, make: Callable[[], Thing], limit: int) -> None:
        self.free: list[Thing] = []
        self._make = make
        self._limit = limit
        self._made = 0

    def borrow(self) -> Thing | None:
        """A thing, None when all are in use or none can be made."""
        if self.free:
            return self.free.pop()
        if self._made >= self._limit:
            return None
        try:
            thing = self._make()
        except (OSError, MemoryError):
            return None
        self._made += 1
        return thing

    def take_back(self, thing: Thing) -> None:
        """Return a thing."""
        self.free.append(thing)

    def write_off(self) -> None:
        """One that was lent does not come back."""
        self._made -= 1


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


class Stores:
    """All that is lent. `small` is for one read and its write: done with before anybody else has a turn."""

    def __init__(self, *, pipes: int = 32, buffers: int = 8) -> None:
        self.small = memoryview(bytearray(65536))
        self._pipes = Stock(Pipe, pipes)
        self._buffers = Stock(_buffer, buffers)
        self.borrow_pipe = self._pipes.borrow
        self.borrow_buffer = self._buffers.borrow
        self.take_back_buffer = self._buffers.take_back

    def take_back_pipe(self, pipe: Pipe) -> None:
        """Return a pipe; one with bytes inside is thrown away, with them."""
        if pipe.held:
            self._pipes.write_off()
            pipe.close()
        else:
            self._pipes.take_back(pipe)

    def close(self) -> None:
        """Close the pipes that are not lent."""
        for pipe in self._pipes.free:
            pipe.close()
        self._pipes.free.clear()


def _buffer() -> memoryview:
    return memoryview(bytearray(BUFFER_SIZE))
