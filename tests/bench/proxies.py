"""The proxies that benchmarks compare: ours, and the Go proxy of dask-gateway-server where there is one.

The peer is the binary that GO_PROXY names, or else the one in the wheel
`dask-gateway-server==2026.3.0`, fetched with pip. Both get the same routes.
"""

import http.server
import json
import os
import re
import resource
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

#: Where `gateway` and `tests` are.
ROOT = Path(__file__).resolve().parents[2]

GO_WHEEL = "dask-gateway-server==2026.3.0"
GO_BINARY = "dask_gateway_server/proxy/dask-gateway-proxy"
_TICK = os.sysconf("SC_CLK_TCK")
#: Arguments of `load` that keep a relay as busy as it can be: a terabyte each way, and chat that lasts for minutes.
SATURATION = (("up", "1000000"), ("down", "1000000"), ("ping", "1000000", "200", "50"))
_NONE: Mapping[str, int] = {}


class Proxy:
    """A proxy under test: where it takes scheduler connections and HTTP, and the process whose cost is counted."""

    def __init__(self, name: str, port: int, web_port: int, pid: int) -> None:
        self.name, self.port, self.web_port, self.pid = name, port, web_port, pid

    def cpu(self) -> float:
        """Seconds of processor time so far."""
        words = Path(f"/proc/{self.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(words[11]) + int(words[12])) / _TICK

    def resident(self) -> int:
        """KiB of memory."""
        found = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{self.pid}/status").read_text())
        assert found
        return int(found[1])


def raise_file_limit(wanted: int) -> int:
    """Let this process and its children open `wanted` files, or as many as they may; returns how many that is."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    for limit in (max(hard, wanted), hard):
        with suppress(ValueError):  # raising the hard limit takes CAP_SYS_RESOURCE, which root may lack
            resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
            return limit
    return hard


@contextmanager
def process(*words: object, **options: object) -> Iterator[subprocess.Popen]:
    """A process that is terminated in the end."""
    running = subprocess.Popen([str(word) for word in words], text=True, **options)
    try:
        yield running
    finally:
        running.terminate()
        running.wait(20)
        for pipe in (running.stdin, running.stdout):
            if pipe:
                pipe.close()


@contextmanager
def at_low_priority(*words: object, niceness: int = 19) -> Iterator[subprocess.Popen]:
    """A process that leaves the machine to what is measured."""
    with process("nice", "-n", niceness, *words, stdout=subprocess.PIPE) as running:
        yield running


def compile_tools(work: Path) -> None:
    """Make `backend` and `load` in a directory; takes gcc."""
    for tool in ("backend", "load"):
        source = Path(__file__).with_name(f"{tool}.c")
        subprocess.run(["gcc", "-O2", "-pthread", "-o", work / tool, source], check=True)


@contextmanager
def our_proxy(schedulers: Mapping[str, int], dashboards: Mapping[str, int] = _NONE) -> Iterator[Proxy]:
    """Ours, with routes to these ports: by the names of clusters."""
    words = [sys.executable, "-m", "gateway.proxy", "--address", "127.0.0.1:0", "--max-per-address", "20000"]
    words += [f"--route={name}=127.0.0.1:{port}" for name, port in schedulers.items()]
    words += [f"--dashboard={name}=127.0.0.1:{port}" for name, port in dashboards.items()]
    with process(*words, stdout=subprocess.PIPE, cwd=ROOT) as running:
        port = int(running.stdout.readline().rsplit(", ", 1)[1].rstrip(")\n"))
        yield Proxy("ours", port, port, running.pid)


def go_binary(work: Path) -> Path | None:
    """The peer, if it can be had; says so if not."""
    if given := os.environ.get("GO_PROXY"):
        return Path(given)
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:", "--dest", str(work)]
    if subprocess.run([*pip, GO_WHEEL], capture_output=True, check=False).returncode:
        print("no Go proxy to compare with: set GO_PROXY, or let pip reach an index")
        return None
    with zipfile.ZipFile(next(work.glob("dask_gateway_server*.whl"))) as wheel:
        path = Path(wheel.extract(GO_BINARY, work))
    path.chmod(0o755)
    return path


class _RouteFeed(http.server.BaseHTTPRequestHandler):
    """What the Go proxy asks for its routes; a question for changes is answered late."""

    routes: bytes = b""

    def do_GET(self) -> None:
        if "watch" in self.path:
            time.sleep(3600)
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.routes)))
        self.end_headers()
        self.wfile.write(self.routes)

    def log_message(self, *_: object) -> None: ...


def _free_port() -> int:
    with http.server.HTTPServer(("127.0.0.1", 0), _RouteFeed) as server:
        return server.server_port


@contextmanager
def go_proxy(binary: Path, schedulers: Mapping[str, int], dashboards: Mapping[str, int] = _NONE) -> Iterator[Proxy]:
    """The peer, with the same routes as `our_proxy`."""
    routes = [{"kind": "SNI", "sni": name, "target": f"127.0.0.1:{port}"} for name, port in schedulers.items()]
    routes += [
        {"kind": "PATH", "path": f"/clusters/{name}", "target": f"http://127.0.0.1:{port}"}
        for name, port in dashboards.items()
    ]
    _RouteFeed.routes = json.dumps({"routes": routes, "id": 0}).encode()
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _RouteFeed) as feed:
        feed.daemon_threads = True
        threading.Thread(target=feed.serve_forever, daemon=True).start()
        web_port, port = _free_port(), _free_port()
        words = [binary, "-address", f"127.0.0.1:{web_port}", "-tcp-address", f"127.0.0.1:{port}"]
        words += ["-api-url", f"http://127.0.0.1:{feed.server_port}/api", "-log-level", "error"]
        environment = os.environ | {"DASK_GATEWAY_PROXY_TOKEN": "bench"}
        with process(*words, env=environment, stderr=subprocess.DEVNULL) as running:
            time.sleep(1)
            yield Proxy("go", port, web_port, running.pid)
        feed.shutdown()
