"""What a batch command says: read to its end, while no more is kept than is passed on.

Its user could have it print without end. Of too much the first lines and the
last ones are kept.

Standard library only, for the launcher.
"""

import os
import select
import selectors
import subprocess
import time

#: Bytes of each stream of a batch command; as JSON at most six times as many, of 1 MiB.
MAX_WORDS = 80 * 2**10

_PIECE = 2**16


class Output:
    """One stream: all of it, or both of its ends."""

    def __init__(self) -> None:
        self._first = bytearray()
        self._last = bytearray()

    def add(self, piece: bytes) -> None:
        """Take what comes next."""
        fits = MAX_WORDS - len(self._first)
        self._first += piece[:fits]
        self._last += piece[fits:]
        if len(self._last) > MAX_WORDS + _PIECE:
            del self._last[:-MAX_WORDS]

    def text(self) -> str:
        """What is passed on."""
        output = bytes(self._first)
        if self._last:
            half = MAX_WORDS // 2
            last = bytes((self._first + self._last)[-half:])
            output = output[:half].rpartition(b"\n")[0] + b"\n" + last.partition(b"\n")[2]
        return output.decode("utf-8", "replace")


def exchange(process: "subprocess.Popen[bytes]", stdin: bytes, seconds: float) -> tuple[str, str]:
    """Give a process its input, and read what it says until it has ended: its stdout and stderr.

    Raises TimeoutError when that takes longer.
    """
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    until, rest = time.monotonic() + seconds, memoryview(stdin)
    outputs = {process.stdout.fileno(): Output(), process.stderr.fileno(): Output()}
    with selectors.DefaultSelector() as streams:
        streams.register(process.stdin, selectors.EVENT_WRITE)
        for descriptor in outputs:
            streams.register(descriptor, selectors.EVENT_READ)
        while streams.get_map():
            for key, _ in streams.select(_left(until)):
                if key.fileobj is process.stdin:
                    rest = _written(key.fd, rest)
                    if not rest:
                        streams.unregister(process.stdin)
                        process.stdin.close()
                elif piece := os.read(key.fd, _PIECE):
                    outputs[key.fd].add(piece)
                else:
                    streams.unregister(key.fd)
    try:
        process.wait(_left(until))
    except subprocess.TimeoutExpired:
        raise TimeoutError from None
    stdout, stderr = (output.text() for output in outputs.values())
    return stdout, stderr


def _left(until: float) -> float:
    left = until - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


def _written(descriptor: int, data: memoryview) -> memoryview:
    """What is left of the data after a write that does not block; nothing, when nobody reads it."""
    try:
        return data[os.write(descriptor, data[: select.PIPE_BUF]) :]
    except BrokenPipeError:
        return data[:0]
