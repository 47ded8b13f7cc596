"""A site whose doctor is asked as the gateway's account, with one thing broken at a time."""

import json
import shutil
import socket
import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path

from tests.slurm.real import folder_of_dask, installation

#: As the guide has it, on addresses of this host alone.
COMMON = """
c.Proxy.address = "127.0.0.1:{0}"
c.Proxy.tcp_address = "127.0.0.1:{1}"
c.DaskGateway.address = "127.0.0.1:{2}"
c.Backend.api_url = "http://127.0.0.1:{2}/api"
c.SimpleAuthenticator.password = "a password of the test"
c.JobQueueBackend.dask_gateway_jobqueue_launcher = "{prefix}/bin/dask-gateway-jobqueue-launcher"
c.JobQueueClusterConfig.scheduler_setup = "source {prefix}/bin/activate"
c.JobQueueClusterConfig.worker_setup = "source {prefix}/bin/activate"
c.JobQueueClusterConfig.worker_memory = "1 G"
c.JobQueueClusterConfig.scheduler_memory = "1 G"
"""


class Site:
    """A folder of the gateway's account, and a configuration in it; `safe` is a folder of root's."""

    def __init__(self, folder, safe, batch_system):
        self.folder = folder
        self.safe = safe
        self.ports = free_ports(3)
        self._text = COMMON.format(*self.ports, prefix=installation()) + batch_system

    def doctor(self, config="", *arguments, before=()):
        """What the doctor finds of this site with a few more lines of configuration, and its exit code."""
        file = self.folder / "config.py"
        file.write_text(self._text + config)
        shutil.chown(file, "root", "root")
        command = [*before, installation() / "bin" / "python", "-m", "gateway", "doctor", "-f", file, "--json"]
        done = subprocess.run(
            ["sudo", "-nHu", "dask", *command, *arguments],
            cwd=self.folder,
            check=False,
            capture_output=True,
            text=True,
            timeout=280,
        )
        assert "Traceback" not in done.stderr, done.stderr
        found = json.loads(done.stdout)
        assert done.returncode == sum(finding["status"] == "failed" for finding in found), done.stderr
        return found

    def wrapper(self, name, script):
        """A command of root's with this name; returns its path."""
        path = self.safe / name
        path.write_text(f"#!/bin/bash\n{script}\n")
        path.chmod(0o755)
        return path


@contextmanager
def open_site(batch_system):
    """A site as long as the body runs."""
    safe = Path(tempfile.mkdtemp(prefix="dask-gateway-doctor-", dir="/opt"))  # root alone can change what is above it
    safe.chmod(0o755)
    try:
        with folder_of_dask() as folder:
            yield Site(folder, safe, batch_system)
    finally:
        shutil.rmtree(safe)


def free_ports(count):
    """Ports of the loopback interface at which nobody listens."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def problems(found):
    """Check → what is wrong with it, and what mends it, in one text."""
    return {
        finding["check"]: f"{finding['status']}: {finding['evidence']} → {finding['remedy']}"
        for finding in found
        if finding["status"] in ("failed", "warning")
    }


def assert_found(found, check, *words):
    """That this check is the one with a problem, that it says so with these words, and how it is mended."""
    told = problems(found)
    assert check in told, told
    assert all(word in told[check] for word in words), told[check]
    assert not told[check].endswith("→ "), told[check]
