"""Slurm's controller is away, or frozen, while users go on: nothing is lost, nothing is submitted twice."""

import os
import re
import shutil
import signal
import subprocess
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.e2e.outage import live_through
from tests.e2e.test_slurm import connect_fails, open_house, slurm, slurm_ids, stopped, wait_until
from tests.slurm.real import folder_of_dask, needs_slurm

__all__ = ["slurm"]  # the fixture

pytestmark = [*needs_slurm, pytest.mark.timeout(600)]


def pid_file():
    """Where slurmctld, whoever has started it, writes its pid."""
    config = subprocess.run(["scontrol", "show", "config"], check=True, capture_output=True, text=True).stdout
    return Path(re.search(r"^SlurmctldPidFile\s*=\s*(\S+)", config, re.MULTILINE)[1])


@contextmanager
def away():
    """No controller: commands fail after 9 to 18 seconds."""
    file = pid_file()
    pid = int(file.read_text())
    os.kill(pid, signal.SIGTERM)
    try:
        wait_until(lambda: not os.path.exists(f"/proc/{pid}"))
        yield
    finally:
        file.touch()  # its folder is root's, while slurmctld is not
        shutil.chown(file, "slurm", "slurm")
        subprocess.run(["setsid", "slurmctld", "-i"], check=True, stdin=subprocess.DEVNULL, capture_output=True)


@contextmanager
def frozen():
    """A controller that accepts connections and says nothing: commands hang."""
    pid = int(pid_file().read_text())
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


@pytest.mark.parametrize(
    ("trouble", "seconds", "config"),
    [
        pytest.param(away, 0, "", id="away"),
        pytest.param(frozen, 0, "c.JobQueueBackend.command_timeout = 8\n", id="frozen"),
        pytest.param(away, 120, "", id="away-two-minutes", marks=pytest.mark.soak),
        pytest.param(frozen, 60, "", id="frozen-a-minute", marks=pytest.mark.soak),
    ],
)
def test_users_go_on_while_the_controller_does_not(slurm, trouble, seconds, config):
    with folder_of_dask() as folder, open_house(folder, config) as house:
        old, new = live_through(house, trouble(), seconds)
        assert len(slurm_ids(old)) == 4
        assert len(slurm_ids(new)) == 1
        assert house.client(connect_fails, old) is None
        stopped(house, old)
        stopped(house, new, "bob")
