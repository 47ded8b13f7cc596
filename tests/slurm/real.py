"""The real Slurm for tests: started by start.sh when it is first needed, stopped at the end if we started it."""

import atexit
import functools
import os
import shutil
import subprocess
from pathlib import Path

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
needs_slurm = [pytest.mark.slurm, pytest.mark.skipif(bool(why_not()), reason=why_not() or "-")]


@functools.cache
def ensure_slurm() -> None:
    """Have Slurm up. What was up before stays up afterwards."""
    running = subprocess.run(["pidof", "slurmctld"], check=False, capture_output=True).returncode == 0
    if not running:
        atexit.register(subprocess.run, [str(HERE / "stop.sh")], check=False, stdout=subprocess.DEVNULL)
    done = subprocess.run([str(HERE / "start.sh")], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def as_user(user: str, *argv: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """Run a command as a user of the system, from the root directory."""
    command = ["sudo", "-nHu", user, "--", *argv]
    return subprocess.run(command, check=False, capture_output=True, text=True, input=stdin, cwd="/", timeout=60)


def queue(*users: str) -> list[str]:
    """The ids of these users' jobs that have not ended."""
    listed = subprocess.run(
        ["squeue", "-h", "-r", "-o", "%i", "--user=" + ",".join(users)], check=True, capture_output=True, text=True
    )
    return listed.stdout.split()
