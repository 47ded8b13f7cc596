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

from gateway.backends.commands import Answer

_log = structlog.get_logger()

#: Seconds that a killed process gets to end, and that output may follow a process's end.
GRACE = 1.0

#: Bytes of standard output that are read; 100,000 jobs of squeue are about 5 MB.
MAX_OUTPUT = 256 * 2**20


class OutputTooLong(Exception):
    """The command printed more bytes than it may."""


async def run_command(
    argv: Sequence[str], *, environment: Mapping[str, str], stdin: bytes = b"", max_output: int | None = None
) -> Answer:
    """Run a command to its end.

    Both of its streams together may have `max_output` bytes (MAX_OUTPUT when None); what exceeds that is not kept.
    Raises OSError when the command cannot be started, OutputTooLong when it prints more.

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
        output = _Output(2, MAX_OUTPUT if max_output is None else max_output)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_feed, process.stdin, stdin)
            nursery.start_soon(output.read, process.stdout, nursery.cancel_scope)
            nursery.start_soon(output.read, process.stderr, nursery.cancel_scope)
            await process.wait()
            with trio.move_on_after(GRACE):
                await output.complete.wait()
            nursery.cancel_scope.cancel()
        if output.size > output.limit:
            raise OutputTooLong(f"it printed more than {output.limit} bytes")
        assert process.returncode is not None
        return Answer(process.returncode, output.text(process.stdout), output.text(process.stderr))
    finally:
        await _end(process, argv[0])


class _Output:
    """What comes out of a number of streams: at most `limit` bytes and one piece."""

    def __init__(self, streams: int, limit: int) -> None:
        self.limit = limit
        self._open = streams
        self._chunks: dict[trio.abc.ReceiveStream, bytearray] = {}
        self.complete = trio.Event()

    @property
    def size(self) -> int:
        """Bytes of all streams so far."""
        return sum(len(chunks) for chunks in self._chunks.values())

    def text(self, stream: trio.abc.ReceiveStream) -> str:
        """What came out of one stream."""
        return self._chunks[stream].decode("utf-8", "replace")

    async def read(self, stream: trio.abc.ReceiveStream, scope: trio.CancelScope) -> None:
        """Read to the end of the stream; give up on the scope when all is too long."""
        into = self._chunks[stream] = bytearray()
        async for chunk in stream:
            into += chunk
            if self.size > self.limit:
                scope.cancel()
                return
        self._open -= 1
        if not self._open:
            self.complete.set()


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
            _log.warning("a command cannot be killed", program=program, pid=process.pid, error=str(error))
        with trio.move_on_after(GRACE, shield=True):
            await process.wait()
    with trio.move_on_after(GRACE, shield=True):
        for stream in (process.stdin, process.stdout, process.stderr):
            if stream is not None:
                await stream.aclose()
