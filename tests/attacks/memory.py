"""How much memory this process takes, gateway and attackers together, and at most while something is done to it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

MEGABYTE = 1024 * 1024


def memory() -> int:
    """Bytes of this process that are in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def _kib(field: str) -> int:
    with open("/proc/self/status", encoding="ascii") as file:
        return next(int(line.split()[1]) for line in file if line.startswith(field))


@contextmanager
def peak_growth() -> Iterator[Callable[[], int]]:
    """A function that says by how many bytes the resident memory has exceeded what it was at the start."""
    with open("/proc/self/clear_refs", "w", encoding="ascii") as file:
        file.write("5")  # the peak begins anew; proc(5)
    before = _kib("VmRSS:")
    yield lambda: (_kib("VmHWM:") - before) * 1024
