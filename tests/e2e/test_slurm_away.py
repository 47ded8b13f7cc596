"""Slurm's controller is away, or frozen, while users go on: nothing is lost, nothing is submitted twice."""

import os
import re
import shutil
import signal
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.e2e.test_slurm import (
    compute,
    connect_fails,
    create,
    events,
    open_house,
    scale,
    scale_when_running,
    slurm,
    slurm_ids,
    status,
    stopped,
    told_that_nobody_answers,
    wait_until,
)
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
        old = house.client(create, {})
        house.client(scale_when_running, old, 1, timeout=90)
        assert house.client(compute, old, 1, timeout=120)
        with trouble():
            began = time.monotonic()
            assert house.client(scale, old, 3) == []
            new = house.client(create, {}, user="bob")
            assert house.client(compute, old, 1, timeout=60) == [1, 2, 3, 4, 5]
            wait_until(lambda: told_that_nobody_answers(house, old, "alice"))
            wait_until(lambda: told_that_nobody_answers(house, new, "bob"))
            wait_until(lambda: time.monotonic() - began > seconds, seconds + 60)
            assert house.client(status, old) == "RUNNING", events(house, old)
            assert house.client(status, new, user="bob") == "PENDING", events(house, new, "bob")
        assert house.client(compute, old, 3, timeout=150) == [1, 2, 3, 4, 5]
        wait_until(lambda: house.client(status, new, user="bob") == "RUNNING", 120)
        assert len(slurm_ids(old)) == 4
        assert len(slurm_ids(new)) == 1
        assert house.client(connect_fails, old) is None
        stopped(house, old)
        stopped(house, new, "bob")
