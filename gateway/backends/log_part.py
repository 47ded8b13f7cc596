"""A part of a job's log, read from an open file.

Whoever follows a log is handed whole lines, so that nothing is cut in two that
has to be recognised as a whole before it is shown.

Standard library only, for the launcher.
"""

import os
from typing import BinaryIO, NamedTuple


class LogPart(NamedTuple):
    """Bytes of a log, the first of which stands at `start`."""

    start: int
    content: bytes

    @property
    def end(self) -> int:
        """Where the next part begins."""
        return self.start + len(self.content)


def read_part(file: BinaryIO, size: int, start: int | None = None, *, whole_lines: bool = False) -> LogPart:
    """At most `size` bytes from `start` on, or of the end; raises OSError.

    A file that is shorter than `start` by now is another one, and is read from its beginning. With `whole_lines` a line
    that is not complete yet is left for later, unless it is longer than `size`; and the end of a log begins with a
    line.
    """
    total = file.seek(0, os.SEEK_END)
    first = max(0, total - size) if start is None else start if start <= total else 0
    file.seek(first)
    content = file.read(size)
    if not whole_lines:
        return LogPart(first, content)
    if start is None and first:
        cut = content.find(b"\n") + 1
        first, content = first + cut, content[cut:]
    end = content.rfind(b"\n") + 1
    return LogPart(first, content[:end] if end or len(content) < size else content)
