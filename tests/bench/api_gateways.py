"""Two gateways to measure side by side: this one and the original, each with a running cluster.

Both are set up through their public APIs, without Dask: the local backend runs
a shell script (`JOB`) in place of schedulers and workers. As a scheduler it
leaves its cluster's name, token and API address in a file, and as a worker its
name; whoever reads them then sends the heartbeats that a scheduler would send.

The original is `dask-gateway-server==2026.3.0` in a virtual environment of its
own; `ORIGINAL_GATEWAY` is the path of its command:

    python3 -m venv ~/.cache/dask-gateway-original
    ~/.cache/dask-gateway-original/bin/pip install 'dask-gateway-server[local]==2026.3.0'
    export ORIGINAL_GATEWAY=~/.cache/dask-gateway-original/bin/dask-gateway-server

Clients and schedulers reach it through its proxy, as they do at a site.
"""

import base64
import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpcore
from attrs import frozen

from tests.e2e.gateway_process import open_gateway

#: The commands of above, for somebody who has no original.
HOW_TO_GET = "\n".join(line for line in (__doc__ or "").splitlines() if line.startswith("    "))

#: Workers that the cluster has, and that each heartbeat names.
WORKERS = 10

#: Seconds until something that does not happen is a failure.
PATIENCE = 30.0

#: As a worker: `... --name NAME`. The file appears at once and whole.
JOB = """#!/bin/sh
folder=$(dirname "$0")/jobs
name=
while [ $# -gt 0 ]; do [ "$1" = --name ] && name=$2; shift; done
if [ -n "$name" ]; then
    : > "$folder/worker:$name"
else
    printf '%s\\n' "$DASK_GATEWAY_CLUSTER_NAME" "$DASK_GATEWAY_API_TOKEN" > "$folder/scheduler.part"
    mv "$folder/scheduler.part" "$folder/scheduler"
fi
exec sleep 1000000
"""

#: What both understand alike. Nobody sends heartbeats while lists are measured, so they may be rare.
CONFIG = """
c.DaskGateway.backend_class = "dask_gateway_server.backends.local.UnsafeLocalBackend"
c.LocalBackend.clusters_directory = {directory!r} + "/clusters"
c.LocalBackend.cluster_heartbeat_period = 3600
c.LocalBackend.cluster_start_timeout = 3600
c.LocalBackend.worker_start_timeout = 3600
c.LocalBackend.sigint_timeout = 0
c.LocalBackend.sigterm_timeout = 1
c.ClusterConfig.scheduler_cmd = [{directory!r} + "/job.sh"]
c.ClusterConfig.worker_cmd = [{directory!r} + "/job.sh"]
"""


@frozen
class Gateway:
    """A gateway with one running cluster. `processes` are those whose CPU time is its own."""

    name: str
    url: str
    processes: tuple[int, ...]
    cookie: str
    cluster: str
    token: str
    heartbeat: str
    """The body of a heartbeat that says that all workers are connected, in JSON."""

    def cpu(self) -> float:
        """Seconds of CPU time that its processes have used so far."""
        return sum(cpu_seconds(process) for process in self.processes)


def cpu_seconds(process: int) -> float:
    """CPU time of a process, in user and kernel mode."""
    fields = Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident_mib(process: int) -> float:
    """Memory that a process has in RAM."""
    lines = dict(line.split(":", 1) for line in Path(f"/proc/{process}/status").read_text().splitlines())
    return int(lines["VmRSS"].split()[0]) / 1024


@contextmanager
def open_ours(directory: Path, name: str = "this", config: str = "") -> Iterator[Gateway]:
    """This gateway, with a running cluster, and more in its configuration."""
    _write_job(directory)
    with open_gateway(directory, f'c.Proxy.address = "127.0.0.1:0"\n{config}', base=CONFIG) as house:
        yield _with_cluster(name, house.url, (house.process.pid,), directory)


@contextmanager
def open_original(command: str, directory: Path) -> Iterator[Gateway]:
    """The original gateway and its proxy, with a running cluster."""
    _write_job(directory)
    public, private = _free_port(), _free_port()
    own = f"""
c.Proxy.address = "127.0.0.1:{public}"
c.DaskGateway.address = "127.0.0.1:{private}"
c.DBBackendBase.db_url = "sqlite:///{directory}/original.sqlite"
c.DBBackendBase.db_encrypt_keys = ["{base64.b64encode(os.urandom(32)).decode()}"]
"""
    config = directory / "config.py"
    config.write_text(CONFIG.format(directory=str(directory)) + own)
    with ExitStack() as stack:
        log = stack.enter_context(open(directory / "gateway.log", "w"))
        process = subprocess.Popen([command, "-f", str(config)], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        stack.callback(process.wait, 60)
        stack.callback(process.send_signal, signal.SIGTERM)
        url = f"http://127.0.0.1:{public}"
        _wait(lambda: _answers(url), f"the original gateway does not start, {directory}/gateway.log says why", process)
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        proxies = [int(child) for child in children if "proxy" in Path(f"/proc/{child}/comm").read_text()]
        yield _with_cluster("original", url, (process.pid, *proxies), directory)


def _write_job(directory: Path) -> None:
    (directory / "jobs").mkdir(parents=True)
    job = directory / "job.sh"
    job.write_text(JOB)
    job.chmod(0o755)


def _with_cluster(name: str, url: str, processes: tuple[int, ...], directory: Path) -> Gateway:
    """Create a cluster, be its scheduler until all its workers are there."""
    jobs = directory / "jobs"
    with httpcore.ConnectionPool() as pool:
        basic = [("Authorization", "Basic " + base64.b64encode(b"alice:").decode())]
        listed = pool.request("GET", f"{url}/api/v1/clusters/", headers=basic)
        cookie = next(value for key, value in listed.headers if key.lower() == b"set-cookie").decode().split(";")[0]
        headers = [("Cookie", cookie), ("Content-Type", "application/json")]
        created = pool.request("POST", f"{url}/api/v1/clusters/", headers=headers, content=b"{}")
        assert created.status == 201, created.content
        _wait((jobs / "scheduler").exists, "no scheduler was started")
        cluster, token = (jobs / "scheduler").read_text().split()

        def beat(workers: list[str]) -> str:
            body = json.dumps(
                {
                    "scheduler_address": "tls://127.0.0.1:9786",
                    "dashboard_address": "http://127.0.0.1:9787",
                    "api_address": "http://127.0.0.1:9788",
                    "count": WORKERS,
                    "active_workers": workers,
                    "closing_workers": [],
                    "closed_workers": [],
                }
            )
            heartbeats = f"{url}/api/v1/clusters/{cluster}/heartbeat"
            answer = pool.request(
                "POST", heartbeats, headers=[("Authorization", f"token {token}")], content=body.encode()
            )
            assert answer.status == 200, answer.content
            return body

        beat([])
        _wait(lambda: len(list(jobs.glob("worker:*"))) == WORKERS, "the workers were not started")
        heartbeat = beat(sorted(path.name.partition(":")[2] for path in jobs.glob("worker:*")))
        shown = pool.request("GET", f"{url}/api/v1/clusters/", headers=headers)
        assert json.loads(shown.content)[cluster]["status"] == "RUNNING", shown.content
    return Gateway(name, url, processes, cookie, cluster, token, heartbeat)


def _wait(happened: Callable[[], bool], problem: str, process: subprocess.Popen[bytes] | None = None) -> None:
    end = time.monotonic() + PATIENCE
    while not happened():
        if time.monotonic() > end or (process and process.poll() is not None):
            raise RuntimeError(problem)
        time.sleep(0.05)


def _answers(url: str) -> bool:
    try:
        return httpcore.request("GET", f"{url}/api/health").status == 200
    except httpcore.ConnectError:
        return False


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])
