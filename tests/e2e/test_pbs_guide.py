"""The PBS part of docs/install-hpc.md, word for word, on a simulated PBS; `bash pbs real` is for a real one only."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.gateway_process import open_gateway, schedulers_here
from tests.e2e.test_pbs import walkthrough
from tests.pbs.simulation import Simulation
from tests.slurm.real import allow_dask, folder_of_dask, installation
from tests.support.users import ensure_dask, ensure_users, is_root

pytestmark = [
    pytest.mark.root,
    pytest.mark.host,
    pytest.mark.skipif(not is_root(), reason="jobs of several users need root"),
    pytest.mark.timeout(300),
]

PAGE = Path(__file__).parents[2] / "docs" / "install-hpc.md"
COMMANDS, CONFIGURATIONS = (
    re.findall(rf"^```{language} pbs(.*)\n((?:.*\n)*?)^```$", PAGE.read_text(), re.MULTILINE)
    for language in ("bash", "python")
)


@pytest.fixture(scope="module")
def pbs():
    ensure_users()
    ensure_dask()
    allow_dask()
    with Simulation.start(history=False, operators=["root"], query_other_jobs=False) as simulation:
        yield simulation


def paths(pbs):
    """Where things are on this machine."""
    return f"""
c.Proxy.address = "127.0.0.1:0"
c.PBSBackend.submit_command = "{pbs.bin}/qsub"
c.PBSBackend.cancel_command = "{pbs.bin}/qdel"
c.PBSBackend.status_command = "{pbs.bin}/qstat"
c.PBSBackend.dask_gateway_jobqueue_launcher = "{installation()}/bin/dask-gateway-jobqueue-launcher"
"""


def test_the_page_from_its_first_command_to_a_computation(pbs):
    """In order, on a PBS that hides jobs and has no history, as some sites have it."""
    outputs = []
    for words, text in COMMANDS:
        if "real" in words:
            continue
        user = re.search(r"user=(\w+)", words)
        command = ["bash", "-euo", "pipefail", "-c", text]
        if user:
            command = ["sudo", "-nHu", user[1], "env", f"PATH={pbs.bin}:/usr/bin:/bin", *command]
        environment = {**os.environ, "PATH": f"{pbs.bin}:{os.environ['PATH']}"}
        done = subprocess.run(command, cwd="/", env=environment, check=False, capture_output=True, text=True)
        assert done.returncode == 0, f"{text}\n{done.stdout}{done.stderr}"
        outputs.append(done.stdout)
    assert outputs[0] == "1.pbs\n"
    assert "query_other_jobs = False" in outputs[1]
    settings = subprocess.run([pbs.bin / "qmgr", "-c", "print server"], check=True, capture_output=True, text=True)
    assert "set server operators = dask@*" in settings.stdout
    assert "set server job_history_enable = True" in settings.stdout
    config = CONFIGURATIONS[0][1].replace("/opt/dask", str(installation())) + paths(pbs) + schedulers_here()
    with (
        folder_of_dask() as folder,
        open_gateway(folder, config, base="", user="dask", python=installation() / "bin" / "python") as house,
    ):
        before, _, total, users, _ = house.client(walkthrough, timeout=120)
        assert "hides jobs" not in house.log
    assert (before, total, users) == (0, list(range(1, 11)), ["alice"])


@pytest.mark.parametrize("number", range(1, len(CONFIGURATIONS)))
def test_further_lines_of_configuration_are_right(number, tmp_path):
    (tmp_path / "config.py").write_text(CONFIGURATIONS[0][1] + CONFIGURATIONS[number][1])
    command = [sys.executable, "-m", "gateway", "check-config", "-f", str(tmp_path / "config.py")]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
