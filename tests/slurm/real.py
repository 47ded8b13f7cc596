"""The real Slurm for tests: started by start.sh when it is first needed, stopped at the end if we started it."""

import atexit
import fcntl
import functools
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

import pytest

HERE = Path(__file__).parent


def why_not() -> str:
    """Why there can be no real Slurm here; empty when there can."""
    if os.environ.get("SLURM") == "0":
        return "declined by SLURM=0"
    if os.geteuid() != 0:
        return "starting Slurm needs root"
    if shutil.which("slurmctld") is None and shutil.which("apt-get") is None:
        return "Slurm is not installed, and there is no apt-get to install it"
    return ""


#: For tests that need the real Slurm; they call `ensure_slurm` first.
needs_slurm = [pytest.mark.slurm, pytest.mark.host, pytest.mark.skipif(bool(why_not()), reason=why_not() or "-")]


@functools.cache
def ensure_slurm() -> None:
    """Have Slurm up until this process ends. What others have started, or still use, stays up."""
    users = open("/run/lock/dask-gateway-slurm", "w")  # noqa: SIM115 - held until the end
    fcntl.flock(users, fcntl.LOCK_SH)
    ours = not _has_started()
    atexit.register(_leave, users, ours)
    done = subprocess.run([str(HERE / "start.sh")], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def _has_started() -> bool:
    """Whether start.sh's controller runs already. Others on this machine, as in a container's, are not asked for."""
    try:
        pid = Path("/run/dask-gateway-slurm/slurmctld.pid").read_text().strip()
        return Path(f"/proc/{pid}/comm").read_text().strip() == "slurmctld"
    except OSError:
        return False


def _leave(users: TextIO, ours: bool) -> None:
    """Stop the Slurm that we have started, unless another process uses it."""
    with users:
        try:
            fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return
        if ours:
            subprocess.run([str(HERE / "stop.sh")], check=False, stdout=subprocess.DEVNULL)


def as_user(user: str, *argv: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """Run a command as a user of the system, from the root directory."""
    command = ["sudo", "-nHu", user, "--", *argv]
    return subprocess.run(command, check=False, capture_output=True, text=True, input=stdin, cwd="/", timeout=60)


def queue(*users: str, names: str = ".*") -> list[str]:
    """The ids of these users' jobs that have not ended, of those with names like this."""
    command = ["squeue", "-h", "-r", "-o", "%i %j", "--user=" + ",".join(users)]
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    return [job for job, _, name in (line.partition(" ") for line in lines) if re.fullmatch(names, name)]


# --- a gateway that runs as dask --------------------------------------------------------------------------------------


@functools.cache
def installation() -> Path:
    """The prefix of the Python that the tests run in. Every user must be able to read it; tests/run.sh sees to that."""
    readable = as_user("alice", sys.executable, "-c", "import gateway, dask_gateway")
    assert readable.returncode == 0, f"other users cannot use {sys.prefix} (`make test` can): {readable.stderr}"
    return Path(sys.prefix)


@functools.cache
def allow_dask(*prefixes: Path) -> None:
    """The rule of the guide: dask may run the launcher as every user of dask_users but root."""
    launcher = ", ".join(f"{prefix}/bin/dask-gateway-jobqueue-launcher" for prefix in (installation(), *prefixes))
    rule = Path(f"/etc/sudoers.d/dask-gateway-tests-{os.getpid()}")
    atexit.register(rule.unlink, missing_ok=True)
    rule.write_text(
        f"Cmnd_Alias DASK_GATEWAY_TEST_{os.getpid()} = {launcher}\n\n"
        f"dask ALL=(%dask_users,!root) NOPASSWD:DASK_GATEWAY_TEST_{os.getpid()}\n"
    )
    rule.chmod(0o440)
    subprocess.run(["visudo", "--check", "--quiet", "--file", str(rule)], check=True)


@contextmanager
def folder_of_dask() -> Iterator[Path]:
    """A folder that belongs to the gateway's account, and that others may pass through."""
    folder = Path(tempfile.mkdtemp(prefix="dask-gateway-", dir="/var/tmp"))
    folder.chmod(0o755)
    shutil.chown(folder, "dask", "dask")
    try:
        yield folder
    finally:
        shutil.rmtree(folder)
