"""The real Slurm for tests: started by start.sh when it is first needed, stopped at the end if we started it."""

import atexit
import functools
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

HERE = Path(__file__).parent
REPOSITORY = HERE.parent.parent


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


# --- an installation that other users can read ------------------------------------------------------------------------


@functools.cache
def installation() -> Path:
    """The prefix of a Python with the gateway, Dask and the client that every user can read.

    That is the one the tests run in, unless it lies in a folder of root's: then a copy below /var/tmp. Its own
    interpreter must be readable in any case, as Debian's /usr/bin/python3 is.
    """
    here, base = Path(sys.prefix), os.path.realpath(sys.executable)
    readable = as_user("alice", base, "-c", f"import sys; sys.path.insert(0, {str(REPOSITORY)!r}); import gateway")
    if readable.returncode == 0 and as_user("alice", sys.executable, "-c", "import gateway, dask").returncode == 0:
        return here
    assert as_user("alice", base, "-c", "").returncode == 0, f"other users cannot run {base}: use Debian's python3"
    there = Path(tempfile.mkdtemp(prefix="dask-gateway-", dir="/var/tmp"))
    atexit.register(shutil.rmtree, there, ignore_errors=True)
    there.chmod(0o755)
    subprocess.run([base, "-m", "venv", "--without-pip", str(there)], check=True)
    packages = Path(sysconfig.get_path("purelib"))
    copy = there / packages.relative_to(here)
    shutil.copytree(packages, copy, dirs_exist_ok=True)
    shutil.copytree(REPOSITORY / "gateway", copy / "gateway")
    for link in copy.glob("__editable__*"):
        link.unlink()
    for script in ("dask", "dask-gateway-server", "dask-gateway-jobqueue-launcher"):
        text = (here / "bin" / script).read_text()
        (there / "bin" / script).write_text(text.replace(str(here), str(there)))
        (there / "bin" / script).chmod(0o755)
    return there


@functools.cache
def allow_dask(*prefixes: Path) -> None:
    """The rule of the guide: dask may run the launcher as every user of dask_users but root."""
    launcher = ", ".join(f"{prefix}/bin/dask-gateway-jobqueue-launcher" for prefix in (installation(), *prefixes))
    rule = Path("/etc/sudoers.d/dask-gateway-tests")
    atexit.register(rule.unlink, missing_ok=True)
    rule.write_text(
        f"Cmnd_Alias DASK_GATEWAY_TEST_LAUNCHER = {launcher}\n\n"
        "dask ALL=(%dask_users,!root) NOPASSWD:DASK_GATEWAY_TEST_LAUNCHER\n"
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
