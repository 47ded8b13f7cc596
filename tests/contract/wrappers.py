"""What sites put around their batch commands: banners, balances, caches, and refusals of their own.

`wrapped(bench)` gives a folder of root's in which every command of the bench is
there as it is; a test replaces some of them by shell scripts, which find the
real command as "$REAL", and opens a driver on that folder.
"""

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from pathlib import Path

import pytest
from attrs import frozen

from gateway.backends.base import Driver
from gateway.backends.pbs.backend import PBSBackend
from gateway.backends.slurm.backend import SlurmBackend
from tests.contract.backends import Bench, pbs, slurm
from tests.pbs.simulation import some_pbs
from tests.slurm.real import needs_slurm
from tests.support.users import is_root


@frozen(kw_only=True)
class Site:
    """A batch system behind a site's wrappers. `bench` is the same one without them."""

    bench: Bench
    folder: Path
    real: Path
    submit: str
    cancel: str
    status: str
    #: What the submit command prints for a plain job of this number.
    id_of: Callable[[int], str]
    #: Refusals in the batch system's own words, of each class.
    away: tuple[str, ...]
    full: tuple[str, ...]
    refused: tuple[str, ...]
    _backend: Callable[..., SlurmBackend | PBSBackend]

    def wrap(self, command: str, body: str) -> None:
        """Put a script of sh in the place of a command."""
        _write(self.folder / command, self.real / command, body)

    def open_driver(self) -> AbstractAsyncContextManager[Driver]:
        """A driver that knows the wrappers alone."""
        return self._backend(
            submit_command=str(self.folder / self.submit),
            cancel_command=str(self.folder / self.cancel),
            status_command=str(self.folder / self.status),
            eager_poll_period=0.5,
        ).open_driver()


def _write(file: Path, real: Path, body: str) -> None:
    file.write_text(f"#!/bin/sh\nREAL={real}\n{body}\n")
    file.chmod(0o755)


@contextmanager
def _folder(real: Path, *commands: str) -> Iterator[Path]:
    """A folder of root's that users may pass through, with wrappers that do nothing but call the real commands."""
    folder = Path(tempfile.mkdtemp(prefix="dask-gateway-commands-", dir="/var/tmp"))
    try:
        folder.chmod(0o755)
        for command in commands:
            _write(folder / command, real / command, 'exec "$REAL" "$@"')
        yield folder
    finally:
        shutil.rmtree(folder)


@contextmanager
def wrapped_slurm(tmp_path: Path) -> Iterator[Site]:
    """The real Slurm."""
    real = Path(shutil.which("sbatch") or "/usr/bin/sbatch").parent
    failed = "sbatch: error: Batch job submission failed: "
    policy = f"{failed}Job violates accounting/QOS policy (job submit limit, user's size and/or time limits)"
    with slurm(tmp_path) as bench, _folder(real, "sbatch", "scancel", "squeue", "scontrol", "sacct") as folder:
        yield Site(
            bench=bench,
            folder=folder,
            real=real,
            submit="sbatch",
            cancel="scancel",
            status="squeue",
            id_of=str,
            away=(
                f"{failed}Unable to contact slurm controller (connect failure)",
                "sbatch: error: Invalid user for SlurmUser slurm, ignored\n"
                "sbatch: fatal: Unable to process configuration file",
                "sbatch: error: fetch_config: DNS SRV lookup failed\n"
                "sbatch: fatal: Could not establish a configuration source",
            ),
            full=(f"sbatch: error: QOSMaxSubmitJobPerUserLimit\n{policy}", f"{failed}Invalid job array specification"),
            refused=(f"{failed}Invalid account or account/partition combination specified", "sbatch: error: not today"),
            backend=SlurmBackend,
        )


@contextmanager
def wrapped_pbs(tmp_path: Path) -> Iterator[Site]:
    """The PBS that PBS_EXEC names, else a simulated one."""
    with pbs(tmp_path) as bench, some_pbs() as real, _folder(real, *_PBS_COMMANDS) as folder:
        yield Site(
            bench=bench,
            folder=folder,
            real=real,
            submit="qsub",
            cancel="qdel",
            status="qstat",
            id_of=lambda number: f"{number}.{str(bench.unknown_job).partition('.')[2]}",
            away=("Connection refused\nqsub: cannot connect to server pbs (errno=15010)",),
            full=("qsub: Maximum number of jobs already in queue for user",),
            refused=("qsub: Unknown queue", "qsub: not today"),
            backend=PBSBackend,
        )


_PBS_COMMANDS = ("qsub", "qdel", "qstat", "qselect", "qmgr")

SITES = [
    pytest.param(wrapped_slurm, id="slurm", marks=needs_slurm),
    pytest.param(
        wrapped_pbs,
        id="pbs",
        marks=[pytest.mark.root, pytest.mark.skipif(not is_root(), reason="submits jobs of other users")],
    ),
]
