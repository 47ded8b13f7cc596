"""How much memory this process has, gateway and attackers together."""

from pathlib import Path

MEGABYTE = 1024 * 1024


def memory() -> int:
    """Bytes of this process that are in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096
