"""What the gateway takes of its host: disk, inodes, open files, the clock."""

import os
import resource
from collections.abc import AsyncGenerator

import trio

from gateway.backends.processes import run_command
from gateway.config.finding import Finding, doubt, failure, fine, skipped
from gateway.server.doctor.patient import Patient

#: What should be free where the database is: bytes, and files.
_BYTES, _INODES = 512 * 2**20, 1000
#: Open files that a gateway with a few hundred users may need.
_FILES = 8192


async def disk(patient: Patient) -> AsyncGenerator[Finding, None]:
    """Room for the database, and whether its folder can be written."""
    await trio.lowlevel.checkpoint()
    file = patient.config.backend.database_file
    yield _room_for(file) if file else skipped("disk", "the database is not on this host, or in memory")


def _room_for(file: str) -> Finding:
    folder = os.path.dirname(os.path.abspath(file))
    if not os.path.isdir(folder):
        return failure("disk", f"{folder}, where the database is to be, does not exist", f"install -d -m 700 {folder}")
    if not os.access(folder, os.W_OK | os.X_OK):
        return failure("disk", f"{folder}, where the database is to be, cannot be written", f"ls -ld {folder}")
    about = os.statvfs(folder)
    free, inodes = about.f_bavail * about.f_frsize, about.f_favail
    evidence = f"{free / 2**30:.1f} GiB and {inodes} files are free in {folder}"
    if free < _BYTES or (about.f_files and inodes < _INODES):
        return failure("disk", evidence, f"df -h {folder}; df -i {folder}")
    return fine("disk", evidence)


async def open_files(patient: Patient) -> AsyncGenerator[Finding, None]:
    """How many connections there may be."""
    await trio.lowlevel.checkpoint()
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if most != resource.RLIM_INFINITY and most < _FILES:
        evidence = f"{most} may be open, three of which a relayed connection takes"
        yield doubt("open files", evidence, f"LimitNOFILE={_FILES} in the unit; ulimit -Hn elsewhere")
    else:
        yield fine("open files", f"{'any number' if most == resource.RLIM_INFINITY else most} may be open")


async def clock(patient: Patient) -> AsyncGenerator[Finding, None]:
    """Whether the clock is kept right, on which tickets, credentials and certificates depend."""
    try:
        with trio.fail_after(10):
            argv = ("timedatectl", "show", "--property=NTPSynchronized", "--value")
            answer = await run_command(argv, environment={"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"})
    except (OSError, trio.TooSlowError):
        yield skipped("clock", "there is no systemd to ask")
        return
    said = answer.stdout.strip()
    if answer.returncode or said not in ("yes", "no"):
        yield skipped("clock", "systemd does not say whether it is synchronized")
    elif said == "no":
        yield doubt("clock", "is not synchronized", "timedatectl set-ntp true")
    else:
        yield fine("clock", "is synchronized")
