"""A PBS for the tests below: the one that PBS_EXEC names, else a simulated one."""

import os
import pwd
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.pbs.simulation import Simulation
from tests.support.users import ensure_dask, ensure_users, is_root

REAL = os.environ.get("PBS_EXEC")


@pytest.fixture(scope="session")
def users() -> tuple[str, ...]:
    """Users whose jobs are run, and the gateway's account; made when they are missing."""
    if not is_root():
        pytest.skip("needs root, to run commands as several users")
    return (*ensure_users(), ensure_dask())


@pytest.fixture
def directory(users: tuple[str, ...]) -> Iterator[Path]:
    """A directory of alice's, as readable as /home."""
    path = Path(tempfile.mkdtemp(prefix="pbs-alice-", dir="/tmp"))
    account = pwd.getpwnam("alice")
    os.chown(path, account.pw_uid, account.pw_gid)
    path.chmod(0o755)
    yield path
    home = Path(account.pw_dir)
    for left in (path, home / "stage", *home.glob("pbs.*.x8z")):  # what the conversations make
        shutil.rmtree(left, ignore_errors=True)


@pytest.fixture
def simulation(users: tuple[str, ...]) -> Iterator[Simulation]:
    """A simulated PBS with the recorded timing, but for what takes longest."""
    timing = {"kill": 1.0, "poll": 0.5, "hold": 0.5, "stagein": 1.0, "exit": 0.3}
    with Simulation.start(timing=timing) as pbs:
        pbs.fault(qstat_pause=0.0, ports=1_000_000)  # the tests ask more often than anybody should
        yield pbs
