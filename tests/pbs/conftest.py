"""A PBS for the tests below: the one that PBS_EXEC names, else a simulated one."""

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.pbs.simulation import Simulation

REAL = os.environ.get("PBS_EXEC")
USERS = ("alice", "bob", "dask")


@pytest.fixture(scope="session")
def users() -> tuple[str, ...]:
    """Users whose jobs are run; made when they are missing."""
    if os.getuid() != 0:
        pytest.skip("needs root, to run commands as several users")
    for name in USERS:
        try:
            pwd.getpwnam(name)
        except KeyError:
            subprocess.run(["useradd", "--create-home", "--shell", "/bin/bash", name], check=True)
    return USERS


@pytest.fixture
def directory(users: tuple[str, ...]) -> Iterator[Path]:
    """A directory of alice's, as readable as /home."""
    path = Path(tempfile.mkdtemp(prefix="pbs-alice-", dir="/tmp"))
    account = pwd.getpwnam("alice")
    os.chown(path, account.pw_uid, account.pw_gid)
    path.chmod(0o755)
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def simulation(users: tuple[str, ...]) -> Iterator[Simulation]:
    """A simulated PBS with the recorded timing, but for what takes longest."""
    with Simulation.start(timing={"kill": 1.0, "poll": 0.5, "hold": 0.5, "stagein": 1.0, "exit": 0.3}) as pbs:
        pbs.fault(qstat_pause=0.0, ports=1_000_000)  # the tests ask more often than anybody should
        yield pbs
