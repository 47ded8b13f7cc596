"""What is examined: a configuration, and the machine and the account of whoever asks."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import trio
from attrs import frozen

from gateway.config.load import Config
from gateway.doctor.finding import Finding

Say = Callable[[Finding], None]
T = TypeVar("T")

#: Threads that look at files. One that hangs (a file server is away) is left behind.
_LOOKS = 8


@frozen(kw_only=True)
class Site:
    """The configuration, the file that it was read from, and the user for whom a job may be submitted (empty: none)."""

    config: Config
    file: Path | None = None
    submit_as: str = ""

    @property
    def command(self) -> str:
        """How the doctor is asked again."""
        return f"dask-gateway-server doctor{f' -f {self.file}' if self.file else ''}"


def is_root() -> bool:
    """Whether root asks, who may do what the gateway's own account may not."""
    return os.geteuid() == 0


_limiter: trio.lowlevel.RunVar[trio.CapacityLimiter] = trio.lowlevel.RunVar("doctor's looks")


async def looked_at(look: Callable[..., T], *arguments: object) -> T:
    """What a function that may block returns; it is left behind when the caller's deadline passes."""
    try:
        limiter = _limiter.get()
    except LookupError:
        limiter = trio.CapacityLimiter(_LOOKS)
        _limiter.set(limiter)
    return await trio.to_thread.run_sync(look, *arguments, abandon_on_cancel=True, limiter=limiter)
