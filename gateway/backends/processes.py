"""Run one command and read its answer: with bounds on its output, and without ever waiting for what cannot end.

A deadline is the caller's (`trio.fail_after`). When it passes, the command's
whole process group is killed. A process that cannot be killed (another user's,
run by sudo, or stuck in the kernel) is left behind after a moment instead of
holding up the gateway; what it was asked to do may still happen.
"""

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence

import structlog
import trio

from gateway.backends.dialect import Answer

log = structlog.get_logger()

#: Seconds that a killed process gets to end, and that output may follow a process's end.
GRACE = 1.0

#: Bytes of standard output that are read; 100,000 jobs of squeue are about 5 MB.
MAX_OUTPUT = 256 * 2**20


class OutputTooLong(Exception):
    """The command printed more than MAX_OUTPUT bytes."""


async def run_command(argv: Sequence[str], *, environment: Mapping[str, str], stdin: bytes = b"") -> Answer:
    """Run a command to its end. Raises OSError when it cannot be started, OutputTooLong when it babbles.

    A background process that the command leaves with its output does not count as the command.
    """
    process = await trio.lowlevel.open_process(
        argv,
        env=dict(environment),
        cwd="/",
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        stdout, stderr = bytearray(), bytearray()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_feed, process.stdin, stdin)
            readers = _Readers(2)
            nursery.start_soon(readers.read, process.stdout, stdout)
            nursery.start_soon(readers.read, process.stderr, stderr)
            returncode = await process.wait()
            with trio.move_on_after(GRACE):
                await readers.done.wait()
            nursery.cancel_scope.cancel()
        return Answer(returncode, stdout.decode("utf-8", "replace"), stderr.decode("utf-8", "replace"))
    finally:
        await _end(process, argv[0])


class _Readers:
    """Counts the readers that have come to the end of their stream."""

    def __init__(self, count: int) -> None:
        self._left = count
        self.done = trio.Event()

    async def read(self, stream: trio.abc.ReceiveStream, into: bytearray) -> None:
        async for chunk in stream:
            into += chunk
            if len(into) > MAX_OUTPUT:
                raise OutputTooLong(f"more than {MAX_OUTPUT} bytes")
        self._left -= 1
        if not self._left:
            self.done.set()


async def _feed(stream: trio.abc.SendStream, data: bytes) -> None:
    try:
        async with stream:
            await stream.send_all(data)
    except trio.BrokenResourceError:
        await trio.lowlevel.checkpoint()  # the command has ended without reading it all: its exit code tells


async def _end(process: trio.Process, program: str) -> None:
    """Kill what is left of the process, and close our ends of its pipes."""
    if process.returncode is None:
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError) as error:
            log.warning("a command cannot be killed", program=program, pid=process.pid, error=str(error))
        with trio.move_on_after(GRACE, shield=True):
            await process.wait()
    with trio.move_on_after(GRACE, shield=True):
        for stream in (process.stdin, process.stdout, process.stderr):
            if stream is not None:
                await stream.aclose()
