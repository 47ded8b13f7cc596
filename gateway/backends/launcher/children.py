"""Processes below this one, for the launcher daemon: started, told of when they end, and ended without exception.

Standard library only, for the launcher.
"""

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

#: Seconds that killed processes get to end. One that the kernel does not let go cannot be waited for.
GRACE = 5.0


def fork(run: Callable[[], None]) -> int:
    """Call `run` in a process of its own, which ends with it; returns its id. Raises OSError."""
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        run()
        code = 0
    except BaseException:  # noqa: BLE001 - nothing of the process that was copied may go on
        sys.excepthook(*sys.exc_info())
    finally:
        os._exit(code)


@contextmanager
def arrivals(*numbers: signal.Signals) -> Iterator[int]:
    """A descriptor that can be read when one of these signals has arrived: a byte each, which is its number."""
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    os.set_blocking(writing, False)
    before = {number: signal.signal(number, lambda *_: None) for number in numbers}
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    try:
        yield reading
    finally:
        signal.set_wakeup_fd(-1)
        for number, handler in before.items():
            signal.signal(number, handler)
        os.close(reading)
        os.close(writing)


def forget_signals(*numbers: signal.Signals) -> None:
    """Undo what a parent has set for these signals, after a fork."""
    signal.set_wakeup_fd(-1)
    for number in numbers:
        signal.signal(number, signal.SIG_DFL)


def arrived(reading: int) -> frozenset[int]:
    """The signals that have arrived since the last look."""
    try:
        return frozenset(os.read(reading, 4096))
    except BlockingIOError:
        return frozenset()


def reap() -> dict[int, int]:
    """The processes below this one that have ended: exit codes, or minus their signals, by id."""
    ended = {}
    with suppress(ChildProcessError):
        while (found := os.waitpid(-1, os.WNOHANG))[0]:
            ended[found[0]] = os.waitstatus_to_exitcode(found[1])
    return ended


def end_all(grace: float = GRACE) -> dict[int, int]:
    """Kill every process below this one, and those that become so; returns what `reap` does."""
    ended, pause, until = reap(), 0.001, time.monotonic() + grace
    while (children := _children()) and time.monotonic() < until:
        for pid in children:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(pause)
        pause = min(2 * pause, 0.05)
        ended |= reap()
    return ended


def _children() -> list[int]:
    try:
        with open("/proc/thread-self/children") as file:
            return [int(pid) for pid in file.read().split()]
    except FileNotFoundError:  # a kernel that does not tell (CONFIG_PROC_CHILDREN)
        return []
