"""Processes of this machine: started, watched, signalled and counted, without ever mistaking one for another.

A process is held by a pidfd (pidfd_open(2), Linux 5.3): a file descriptor that
means this process even when its number is used again, and that becomes
readable when the process ends, whether it is a child or not. Who opens one for
a process that it did not start compares the start time afterwards.

A job leads its own session (setsid(2)). All of a session's processes are found
by one pass over /proc; the session's number is not given to another process
while a member lives, or while its leader has ended but was not reaped.
Nothing here blocks for longer than a few system calls; it knows no trio.
"""

import errno
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Self

from gateway.backends.local.jobs import Account, MarkedProcess, ProcessId, ProcessStatus, parse_marks
from gateway.backends.local.jobs import parse_process_status as parse_status
from gateway.errors import BackendUnavailable, JobRefused, StartError

#: Errors of a start that say "not now" instead of "never".
_SHORTAGES = (errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE)
#: Seconds before each reading of environments that were empty before.
_PAUSES = (0.0, 0.002, 0.02, 0.1)


class Process:
    """One process. `fd` is its pidfd: wait until it is readable, and the process has ended."""

    def __init__(self, id: ProcessId, fd: int) -> None:
        self.id = id
        self.fd = fd

    @classmethod
    def open(cls, id: ProcessId) -> Self | None:
        """Hold a process that somebody else started; None when it is gone, or was of another boot."""
        if id.boot != boot_id():
            return None
        try:
            fd = os.pidfd_open(id.pid)
        except OSError as error:
            if error.errno in (errno.ESRCH, errno.EINVAL, errno.ENOENT):  # the last two: it is a thread's number
                return None
            raise
        status = read_status(id.pid)
        if status is None or status.start != id.start:
            os.close(fd)
            return None
        return cls(id, fd)

    def send(self, number: signal.Signals) -> None:
        """Send a signal; nothing happens when the process has ended, or belongs to another user by now."""
        try:
            signal.pidfd_send_signal(self.fd, number)
        except (ProcessLookupError, PermissionError):
            return

    def reap(self) -> int | None:
        """The exit code of a child that has ended (minus the signal's number when one killed it), once.

        Only whoever started the process, or took it over, asks: afterwards nobody can. None for a process that
        runs, or that is no child of ours.
        """
        try:
            ended = os.waitid(os.P_PIDFD, self.fd, os.WEXITED | os.WNOHANG)
        except ChildProcessError:
            return None
        if ended is None:
            return None
        return ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status

    def close(self) -> None:
        """Let go of the process, whatever becomes of it."""
        os.close(self.fd)


def check_kernel() -> None:
    """Raise StartError when this system cannot hold processes as described above."""
    try:
        os.close(os.pidfd_open(os.getpid()))
    except (AttributeError, OSError) as error:
        raise StartError(f"Local jobs need Linux 5.4 or newer with /proc mounted (pidfd_open: {error}).") from None


def start_process(
    argv: Sequence[str], *, directory: str, environment: Mapping[str, str], output: int, account: Account
) -> Process:
    """Start a process as this account, as the leader of a session of its own, writing to the descriptor `output`.

    The account is only switched to when it is not the one that we run under. Raises JobRefused when the
    command cannot be executed, BackendUnavailable when the system is short of something.
    """
    switch = {"user": account.uid, "group": account.gid, "extra_groups": account.groups}
    try:
        child = subprocess.Popen(
            argv,
            cwd=directory,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            **(switch if account.uid != os.geteuid() else {}),  # type: ignore[call-overload]
        )
    except (OSError, ValueError) as error:  # ValueError: a NUL character, or a variable named "a=b"
        reason = getattr(error, "strerror", None) or str(error)
        text = f"The command {argv[0]!r} cannot be executed as user {account.name!r}: {reason}."
        if getattr(error, "errno", None) in _SHORTAGES:
            raise BackendUnavailable(text) from error
        raise JobRefused(text) from error
    try:
        status = read_status(child.pid)
        assert status is not None, "a child stays in /proc until it is reaped"
        process = Process(ProcessId(child.pid, status.start, boot_id()), os.pidfd_open(child.pid))
    except OSError as error:  # out of file descriptors
        child.kill()
        child.wait()
        raise BackendUnavailable(f"The command {argv[0]!r} cannot be watched: {error.strerror}.") from error
    # From here on the pidfd reaps; a Popen that believes its child has ended does not try to.
    child.returncode = 0
    return process


def boot_id() -> str:
    """The first digits of the number that the kernel makes up at each boot (random(4))."""
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        return file.read(8)


def read_status(pid: int) -> ProcessStatus | None:
    """What a process does at the moment; None when there is no such process."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return parse_status(file.read())
    except (FileNotFoundError, ProcessLookupError):
        return None


def read_sessions() -> dict[int, list[ProcessId]]:
    """The living processes of each session."""
    boot = boot_id()
    sessions: dict[int, list[ProcessId]] = {}
    for status in _statuses():
        if status.alive:
            sessions.setdefault(status.session, []).append(ProcessId(status.pid, status.start, boot))
    return sessions


def read_marked(directory: str) -> list[MarkedProcess]:
    """The living processes with the marks of this clusters directory, as far as we may look into them.

    While a process executes another program, its environment is empty for a moment; so that no job is missed
    in it, empty ones are read again. Kernel threads, which have none, belong to no session.
    """
    found = []
    boot = boot_id()
    processes = [status for status in _statuses() if status.alive and status.session]
    for pause in _PAUSES:
        time.sleep(pause)
        empty = []
        for status in processes:
            path = f"/proc/{status.pid}"
            try:
                uid = os.stat(path).st_uid
                with open(f"{path}/environ", "rb") as file:
                    environment = file.read()
            except (FileNotFoundError, ProcessLookupError, PermissionError):
                continue
            marks = parse_marks(environment, directory)
            if marks is not None:
                id = ProcessId(status.pid, status.start, boot)
                found.append(MarkedProcess(id, status.pid == status.session, uid, marks))
            elif not environment:
                empty.append(status)
        processes = empty
        if not processes:
            break
    return found


def _statuses() -> Iterator[ProcessStatus]:
    for name in os.listdir("/proc"):
        if name.isdigit():
            status = read_status(int(name))
            if status is not None:
                yield status
