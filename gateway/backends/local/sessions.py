"""Sessions of processes, counted and ended without polling.

A job's processes are those of its session. Whoever has to know which of them
live takes a census, one pass over /proc in a thread; the end of each is then
waited for with its pidfd.
"""

from collections.abc import Collection, Mapping
from contextlib import ExitStack, closing
from signal import Signals

import trio

from gateway.backends.local.jobs import ProcessId
from gateway.backends.local.process import Process, read_sessions


class Census:
    """Who lives in which session. One pass over /proc answers all who asked before it began."""

    def __init__(self) -> None:
        self._lock = trio.Lock()
        self._asked = self._answered = 0
        self._sessions: Mapping[int, Collection[ProcessId]] = {}

    async def members(self, session: int) -> Collection[ProcessId]:
        """The living processes of a session."""
        self._asked += 1
        ticket = self._asked
        async with self._lock:
            if self._answered < ticket:
                answers = self._asked
                self._sessions = await trio.to_thread.run_sync(read_sessions)
                self._answered = answers
            return self._sessions.get(session, ())


def send_signal(processes: Collection[ProcessId], number: Signals) -> None:
    """Send a signal to those of the processes that are still there."""
    for id in processes:
        process = Process.open(id)
        if process is not None:
            with closing(process):
                process.send(number)


async def end_processes(processes: Collection[ProcessId], number: Signals) -> None:
    """Send a signal to these processes, and wait until all of them have ended."""
    with ExitStack() as stack:
        held = [stack.enter_context(closing(process)) for id in processes if (process := Process.open(id)) is not None]
        for process in held:
            process.send(number)
        for process in held:
            await trio.lowlevel.wait_readable(process.fd)
