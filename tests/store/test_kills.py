"""A database outlives a kill at any moment of an upgrade, of a new key, and of a backup."""

import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

ROOT = Path(__file__).parents[2]
#: Processes are killed here, and not the machine: a disk would show nothing more.
IN_MEMORY = Path("/dev/shm")


@pytest.mark.parametrize(("operation", "points"), [("upgrade", 25), ("rotation", 20), ("backup", 8)])
def test_killed_at_each_point(operation: str, points: int) -> None:
    environment = {**os.environ, "DASK_GATEWAY_ENCRYPT_KEYS": ""}
    with TemporaryDirectory(dir=IN_MEMORY if IN_MEMORY.is_dir() else None) as folder:
        command = [sys.executable, "-m", "tests.store.kill_points", operation, folder]
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) >= points  # else it was not killed where it matters
