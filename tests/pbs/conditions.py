"""Can the tests run on this real PBS? Says what is lacking, before tests fail for reasons that are hard to see.

    PBS_EXEC=/opt/pbs python -m tests.pbs.conditions

`make test-pbs` asks this first. The conditions are those of docs/install-hpc.md.
"""

import os
import pwd
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from tests.pbs.simulation import server_of
from tests.slurm.real import as_user
from tests.support.users import ensure_dask, ensure_users, is_root

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 60.0


#: So many jobs run at the same time: a scheduler and twenty workers, each of 1 CPU and this much memory.
ROOM, MEMORY = 21, "500mb"


def lacking(commands: Path, *, patience: float = PATIENCE) -> Iterator[str]:
    """What is wrong, the first of what stands in the way of looking further last.

    `patience`: seconds that jobs have to start.
    """
    if not is_root():
        yield "run this as root: jobs of several users are submitted"
        return
    missing = [name for name in ("qsub", "qstat", "qselect", "qdel", "qmgr") if not os.access(commands / name, os.X_OK)]
    if missing:
        yield f"{', '.join(missing)}: not found in {commands}; PBS_EXEC is the folder above bin"
        return
    try:
        server_of(commands)
    except AssertionError as error:
        yield str(error)
        return
    if shutil.which("sudo") is None:
        yield "sudo is not installed"
        return
    users = (*ensure_users(), ensure_dask())
    yield from (f"the home of {user} is not /home/{user}" for user in users if _home(user) != Path("/home", user))
    if as_user(
        "alice", sys.executable, "-c", f"import sys; sys.path[0:0] = ['{ROOT}']; import gateway.server.cli"
    ).returncode:
        yield f"other users cannot read {ROOT} or {sys.prefix}: move them out of private folders, chmod -R go+rX"
    settings = _run(commands / "qmgr", "-c", "print server").stdout
    if "set server job_history_enable = True" not in settings:
        yield "the server keeps no history of jobs: qmgr -c 'set server job_history_enable = True'"
    if not re.search(r"^set server (operators|managers) \+?= dask@", settings, re.MULTILINE):
        yield "dask is no operator of the server: qmgr -c 'set server operators += dask@*'"
    if wrong := list(_no_job_here(commands, patience)):
        yield from wrong
    else:
        yield from _no_room(commands, patience)


def _no_job_here(commands: Path, patience: float) -> Iterator[str]:
    """Whether a job of alice leaves a file on this host."""
    folder = Path(tempfile.mkdtemp(prefix="pbs-conditions-", dir="/tmp"))
    shutil.chown(folder, "alice")
    job = ["-N", "dask-gateway-conditions", "-j", "oe", "-o", f"{folder}/out", "--", "/bin/touch", f"{folder}/here"]
    try:
        done = as_user("alice", str(commands / "qsub"), *job)
        if done.returncode:
            yield f"alice cannot submit jobs: {done.stderr.strip()}"
            return
        end = time.monotonic() + patience
        while not (folder / "here").exists():
            if time.monotonic() > end:
                yield f"{done.stdout.strip()}, a job of alice, did not run on this host within {patience:.0f} s"
                _run(commands / "qdel", done.stdout.strip())
                return
            time.sleep(0.1)
    finally:
        shutil.rmtree(folder)


def _no_room(commands: Path, patience: float) -> Iterator[str]:
    """Whether as many jobs as the tests start run at the same time."""
    asked = ["-N", "dask-gateway-conditions", "-J", f"0-{ROOM - 1}", f"-lselect=1:ncpus=1:mem={MEMORY}"]
    done = as_user(
        "alice", str(commands / "qsub"), "-f", "-koed", "-joe", "-o/dev/null", *asked, "--", "/bin/sleep", "600"
    )
    job = done.stdout.strip()
    if done.returncode:
        yield f"alice cannot submit an array of {ROOM} jobs: {done.stderr.strip()}"
        return
    running, end = 0, time.monotonic() + patience
    try:
        while running < ROOM and time.monotonic() < end:
            time.sleep(0.2)
            ids = _run(commands / "qselect", "-T", "-u", "alice", "-N", "dask-gateway-conditions", "-s", "R").stdout
            running = len(ids.split())
    finally:
        _run(commands / "qdel", job)
    if running < ROOM:
        yield (
            f"only {running} of {ROOM} jobs with 1 CPU and {MEMORY} of memory each ran at the same time within"
            f" {patience:.0f} s: the tests need room for {ROOM}"
            " (qmgr -c 'set node NAME resources_available.ncpus = 32' lets a small node say that it has more)"
        )


def _home(user: str) -> Path:
    return Path(pwd.getpwnam(user).pw_dir)


def _run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, check=False, capture_output=True, text=True)


if __name__ == "__main__":
    if wrong := list(lacking(Path(os.environ["PBS_EXEC"], "bin"))):
        sys.exit("The tests cannot run on this PBS (conditions: docs/install-hpc.md):\n- " + "\n- ".join(wrong))
