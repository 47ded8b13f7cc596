"""docs/install-hpc.md, word for word: its commands run, its files are written, its service starts, its user computes.

A block of the page says in its first line what it is: `sh` for root, `sh
user=dask`, `sh background` for what stays running, `... file=PATH` for a file,
`python check` for lines of configuration, `... append=PATH` for more of a file.
What is marked `systemd` or `launcherd` takes a systemd, and is run in
`tests/systemd`; here the unit is verified, and its command is started against a
notify socket of the test's own.
"""

import base64
import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import pytest
from attrs import evolve

from tests.e2e.gateway_process import open_notify_socket, wait_ready
from tests.e2e.guide import REPOSITORY, blocks
from tests.slurm.real import ensure_slurm, needs_slurm, queue
from tests.support.users import dask_to_be_made

pytestmark = [*needs_slurm, pytest.mark.timeout(900)]

MADE = ["/opt/dask-gateway", "/opt/dask", "/etc/dask-gateway", "/var/dask-gateway"]
UNITS = [Path("/etc/systemd/system/dask-gateway.service"), Path("/etc/systemd/system/dask-gateway.socket")]


@pytest.fixture(scope="module")
def installed():
    """The page up to its first start."""
    ensure_slurm()
    taken = [path for path in (*MADE, *UNITS) if os.path.exists(path)]
    if taken:
        pytest.skip(f"would overwrite {', '.join(map(str, taken))}")
    written = []
    try:
        # The guide begins before the account exists.
        with dask_to_be_made() as missing:
            for block in blocks():
                if path := block.get("file"):
                    written.append(Path(path))
                    Path(path).write_text(block.text)
                elif block.language == "sh" and not {"background", "systemd", "launcherd"} & set(block.words):
                    run_block(block if missing else evolve(block, text=re.sub("^adduser .*\n", "", block.text)))
        yield
    finally:
        for path in MADE:
            shutil.rmtree(path, ignore_errors=True)
        for path in (*written, *UNITS):
            path.unlink(missing_ok=True)


def run_block(block):
    user = block.get("user")
    command = ["bash", "-euo", "pipefail", "-c", block.text]
    if user:
        command = ["sudo", "-nHu", user, *command]
    done = subprocess.run(command, cwd=REPOSITORY, check=False, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, f"{block.text}\n{done.stdout}\n{done.stderr}"


def the(language, *words):
    (block,) = [
        block for block in blocks() if block.language == language and all(word in block.words for word in words)
    ]
    return block


def test_the_service_starts_as_its_unit_says_and_a_user_computes(installed, tmp_path):
    verified = subprocess.run(["systemd-analyze", "verify", *UNITS], check=False, capture_output=True, text=True)
    assert (verified.returncode, verified.stdout) == (0, ""), verified.stderr
    with the_service(tmp_path):
        validate()


def doctors_findings():
    """What is wrong with the guide's set-up, by the doctor, who is asked as the page has it."""
    block = next(block for block in blocks() if " doctor " in block.text and block.language == "sh")
    done = subprocess.run(
        ["sudo", "-nHu", block.get("user"), "bash", "-c", f"{block.text.rstrip()} --json || true"],
        check=True,
        capture_output=True,
        text=True,
        timeout=280,
    )
    found = json.loads(done.stdout)
    assert {"job's Python", "api_url", "sudo rule", "unit", "launcher"} <= {one["check"] for one in found}
    return [(one["check"], one["evidence"]) for one in found if one["status"] in ("failed", "warning")]


@pytest.fixture
def with_password(installed):
    """The page's configuration and the password that it advises; without it the doctor says what the page says."""
    ((check, evidence),) = doctors_findings()
    assert (check, evidence.partition(":")[0]) == ("configuration", "ANYBODY CAN ACT AS ANYBODY")
    file = Path(the("python", "file=/etc/dask-gateway/dask_gateway_config.py").get("file"))
    text = file.read_text()
    file.write_text(f'{text}c.SimpleAuthenticator.password = "a password of the test"\n')
    try:
        yield
    finally:
        file.write_text(text)


def test_the_doctor_finds_nothing_but_a_line_that_breaks_sudo(with_password, tmp_path):
    assert doctors_findings() == []
    with the_service(tmp_path):
        assert doctors_findings() == []
    folder = Path(f"{UNITS[0]}.d")
    folder.mkdir()
    try:
        (folder / "hardened.conf").write_text("[Service]\nProtectKernelTunables=yes\n")
        ((check, evidence),) = doctors_findings()
    finally:
        shutil.rmtree(folder)
    assert check == "unit"
    assert "ProtectKernelTunables=yes, which implies NoNewPrivileges" in evidence


def test_by_hand(installed):
    block = the("sh", "background")
    process = subprocess.Popen(
        shlex.split(block.text), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    try:
        wait_port(8000, process)
        validate()
    finally:
        (server,) = descendants(process.pid, "dask-gateway-se")
        os.kill(server, signal.SIGTERM)
        output = process.communicate(timeout=60)[0]
    assert "stopped" in output


def descendants(pid, name):
    """The processes below `pid` that are called `name`."""
    found, below = [], [pid]
    while below:
        pid = below.pop()
        for thread in Path(f"/proc/{pid}/task").glob("*/children"):
            below += [int(child) for child in thread.read_text().split()]
        if Path(f"/proc/{pid}/comm").read_text().strip() == name:
            found.append(pid)
    return found


@contextmanager
def the_service(folder):
    """What systemd does with the unit, to the letter of its [Service] section."""
    unit = UNITS[0].read_text()
    service = dict(re.findall(r"^(\w+)=(.*)$", unit.partition("[Service]")[2], re.MULTILINE))
    assert service["Type"] == "notify"
    folder.chmod(0o755)
    channel_path = Path("/run/dask-gateway-notify")
    with open_notify_socket(channel_path) as channel:
        process = subprocess.Popen(
            shlex.split(service["ExecStart"]),
            user=service["User"],
            group=service["User"],
            extra_groups=[],
            cwd=service["WorkingDirectory"],
            env={**dict([service["Environment"].split("=", 1)]), "NOTIFY_SOCKET": str(channel_path)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        try:
            ready = wait_ready(channel, process, int(service["TimeoutStartSec"]))
            assert ready is not None, process.communicate(timeout=10)[0]
            with socket.create_connection(("127.0.0.1", 8000), timeout=30):
                pass  # it answers when it says so
            yield
        finally:
            process.terminate()
            process.communicate(timeout=60)
            channel_path.unlink()
    assert process.returncode == 0


def validate():
    block = next(block for block in blocks() if block.language == "python" and block.get("user"))
    done = subprocess.run(
        ["sudo", "-nHu", block.get("user"), block.get("python"), "-c", block.text],
        cwd="/",
        check=False,
        capture_output=True,
        text=True,
        timeout=180,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["[]", "6"]
    deadline = time.monotonic() + 120
    while queue("alice", names=f"dask-gateway-({'|'.join(clusters_here())})-.*"):  # others may use this Slurm
        assert time.monotonic() < deadline
        time.sleep(0.2)


def clusters_here():
    """The clusters that alice has, or had, from the gateway at work."""
    request = urllib.request.Request("http://localhost:8000/api/v1/clusters/?status=RUNNING,STOPPING,STOPPED,FAILED")
    request.add_header("Authorization", f"Basic {base64.b64encode(b'alice:').decode()}")
    with urllib.request.urlopen(request, timeout=30) as answer:
        names = list(json.load(answer))
    assert names
    return names


def wait_port(port, process):
    for _ in range(300):
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=30):
                return
        except OSError:
            assert process.poll() is None, process.communicate()[0]
            time.sleep(0.1)
    raise AssertionError(f"nothing answers at port {port}")


@pytest.mark.parametrize("number", range(len([block for block in blocks() if "check" in block.words])))
def test_lines_of_configuration_are_right(number, tmp_path):
    block = [block for block in blocks() if "check" in block.words][number]
    (tmp_path / "config.py").write_text(
        the("python", "file=/etc/dask-gateway/dask_gateway_config.py").text + block.text
    )
    command = [sys.executable, "-m", "gateway", "check-config", "-f", str(tmp_path / "config.py")]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
