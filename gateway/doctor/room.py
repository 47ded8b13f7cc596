"""Whether there is room on a file system (pure)."""

from collections.abc import Iterator
from typing import Protocol

from gateway.doctor.finding import Finding, failed, ok, warning

#: Bytes and inodes below which it is full soon, and as good as full.
LITTLE, NOTHING = 2**30, 64 * 2**20
FEW, NONE = 10_000, 500
#: statvfs(3): ST_RDONLY.
_READ_ONLY = 1


class FileSystem(Protocol):
    """What `os.statvfs` returns, as far as it is needed."""

    @property
    def f_bavail(self) -> int: ...
    @property
    def f_frsize(self) -> int: ...
    @property
    def f_files(self) -> int: ...
    @property
    def f_favail(self) -> int: ...
    @property
    def f_flag(self) -> int: ...


def verdicts(what: str, path: str, system: FileSystem) -> Iterator[Finding]:
    """Whether files can be made and can grow in the folder `path`."""
    if system.f_flag & _READ_ONLY:
        yield failed(f"{what}: disk", f"the file system of {path} is mounted read-only", f"mount -o remount,rw {path}")
        return
    size = system.f_bavail * system.f_frsize
    shown = f"{size / 2**20:.0f} MiB free in {path}"
    if size < LITTLE:
        say = failed if size < NOTHING else warning
        yield say(f"{what}: disk", shown, f"make room: du -xsh {path}/* | sort -h")
    else:
        yield ok(f"{what}: disk", shown)
    if system.f_files:  # else the file system does not count them
        shown = f"{system.f_favail} inodes free in {path}"
        if system.f_favail < FEW:
            say = failed if system.f_favail < NONE else warning
            yield say(f"{what}: inodes", shown, f"remove small files: du --inodes -x {path} | sort -n | tail")
        else:
            yield ok(f"{what}: inodes", shown)
