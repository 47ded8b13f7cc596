"""Measure the public port's relay, beside the Go proxy of dask-gateway-server where there is one.

    python tests/bench/relay.py [--rounds 5] [--only ping,conn] [--check] [--idle 5000]

The same load goes through each proxy in one run, interleaved, so that a busy
machine hurts both alike; figures are medians over the rounds. What counts are
the ratios: `--check` compares them with the goals below, and exits with 1 when
one is missed. The peer is the binary that GO_PROXY names, or else the one in
the wheel `dask-gateway-server==2026.3.0`, fetched with pip; without it only our
own figures are printed. gcc is needed.
"""

import argparse
import http.server
import json
import os
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent.parent))

from tests.hellos import openssl_hello  # noqa: E402

GO_WHEEL = "dask-gateway-server==2026.3.0"
GO_BINARY = "dask_gateway_server/proxy/dask-gateway-proxy"
TICK = os.sysconf("SC_CLK_TCK")

#: case → (arguments of `load`, operations, unit of the rate)
CASES = {
    "ping 200 B x 50": (("ping", "1000", "200", "50"), 50_000, "1/s"),
    "ping 200 B x 1": (("ping", "5000", "200", "1"), 5_000, "1/s"),
    "ping 64 KiB x 4": (("ping", "2000", "65536", "4"), 8_000, "1/s"),
    "bulk up": (("up", "2048"), 2.147483648, "GB/s"),
    "bulk down": (("down", "2048"), 2.147483648, "GB/s"),
    "connect": (("conn", "4000", "16"), 4_000, "1/s"),
}


class Goal(NamedTuple):
    """What a figure of ours must be, as a multiple of the peer's: in the same case, unless another is named."""

    figure: str
    sense: str
    factor: float
    peer_case: str = ""


GOALS = {
    "ping 200 B x 50": (Goal("rate", ">=", 1.0), Goal("cpu", "<=", 0.95), Goal("p99", "<=", 0.6)),
    "ping 200 B x 1": (Goal("rate", ">=", 1.3),),
    "ping 64 KiB x 4": (Goal("rate", ">=", 1.0), Goal("cpu", "<=", 1.0)),
    # The peer loses the answer after half-close, and so has no rate of its own that means something.
    "bulk up": (Goal("rate", ">=", 1.0, "bulk down"), Goal("cpu", "<=", 1.0)),
    "bulk down": (Goal("rate", ">=", 1.0), Goal("cpu", "<=", 1.0)),
    "connect": (Goal("rate", ">=", 1.15), Goal("cpu", "<=", 0.65)),
}
IDLE_GOAL = 2.0  # KiB for each idle connection
#: The Go proxy holds two sockets and two pipes for each connection, and panics when it has no file descriptor left.
PEER_FILES = 6
#: What two runs of the same thing differ by on a machine with other work.
TOLERANCE = 0.05


class Proxy:
    """A proxy under test: where it listens, and the process whose cost is counted."""

    def __init__(self, name: str, port: int, pid: int) -> None:
        self.name, self.port, self.pid = name, port, pid

    def cpu(self) -> float:
        """Seconds of processor time so far."""
        words = Path(f"/proc/{self.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(words[11]) + int(words[12])) / TICK

    def resident(self) -> int:
        """KiB of memory."""
        return int(re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{self.pid}/status").read_text())[1])


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
def our_proxy(target: int) -> Iterator[Proxy]:
    words = [sys.executable, "-m", "gateway.proxy", "--address", "127.0.0.1:0", "--route", f"abc=127.0.0.1:{target}"]
    with process(*words, "--max-per-address", 20000, stdout=subprocess.PIPE, cwd=HERE.parent.parent) as running:
        port = int(re.search(r", (\d+)", running.stdout.readline())[1])
        yield Proxy("ours", port, running.pid)


def go_binary(work: Path) -> Path | None:
    """The peer, if it can be had."""
    if given := os.environ.get("GO_PROXY"):
        return Path(given)
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:", "--dest", str(work)]
    if subprocess.run([*pip, GO_WHEEL], capture_output=True, check=False).returncode:
        return None
    with zipfile.ZipFile(next(work.glob("dask_gateway_server*.whl"))) as wheel:
        path = Path(wheel.extract(GO_BINARY, work))
    path.chmod(0o755)
    return path


class RouteFeed(http.server.BaseHTTPRequestHandler):
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


def free_port() -> int:
    with http.server.HTTPServer(("127.0.0.1", 0), RouteFeed) as server:
        return server.server_port


@contextmanager
def go_proxy(binary: Path, target: int) -> Iterator[Proxy]:
    RouteFeed.routes = json.dumps(
        {"routes": [{"kind": "SNI", "sni": "abc", "target": f"127.0.0.1:{target}"}], "id": 0}
    ).encode()
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), RouteFeed) as feed:
        feed.daemon_threads = True
        threading.Thread(target=feed.serve_forever, daemon=True).start()
        port = free_port()
        words = [binary, "-address", f"127.0.0.1:{free_port()}", "-tcp-address", f"127.0.0.1:{port}"]
        words += ["-api-url", f"http://127.0.0.1:{feed.server_port}/api", "-log-level", "error"]
        environment = os.environ | {"DASK_GATEWAY_PROXY_TOKEN": "bench"}
        with process(*words, env=environment, stderr=subprocess.DEVNULL) as running:
            time.sleep(1)
            yield Proxy("go", port, running.pid)
        feed.shutdown()


def figures(load: Path, hello: Path, proxy: Proxy, words: tuple[str, ...], operations: float) -> dict[str, float]:
    """One run of one case."""
    before = proxy.cpu()
    done = subprocess.run(
        [load, str(proxy.port), hello, *words], capture_output=True, text=True, timeout=300, check=False
    )
    found = dict(word.split("=") for word in done.stdout.split())
    row = {key: float(value) for key, value in found.items() if key in ("rate", "p50", "p99")}
    row["cpu"] = (proxy.cpu() - before) / operations
    if found.get("answer", "kept") != "kept" or "failed" in found:
        row["lost"] = 1.0
    return row


def median(rows: list[dict[str, float]]) -> dict[str, float]:
    return {key: statistics.median(row.get(key, 0.0) for row in rows) for key in rows[0]}


def idle_cost(load: Path, hello: Path, proxy: Proxy, count: int) -> float:
    """KiB that each of `count` idle connections costs."""
    before = proxy.resident()
    with process(load, proxy.port, hello, "hold", count, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as held:
        line = held.stdout.readline()
        time.sleep(0.5)
        cost = (proxy.resident() - before) / count
    if "held" not in line:
        return float("nan")
    return cost


def show(case: str, name: str, row: dict[str, float], unit: str) -> None:
    cpu = f"{row['cpu']:.3f} s/GB" if unit == "GB/s" else f"{row['cpu'] * 1e6:.1f} us"
    tail = f"  p50 {row['p50']:.0f} us  p99 {row['p99']:.0f} us" if row.get("p99") else ""
    lost = "  ANSWER LOST" if row.get("lost") else ""
    print(f"{case:17}{name:6}{row.get('rate', 0):12.2f} {unit:5} CPU {cpu:12}{tail}{lost}")


def main() -> int:
    """Run, print, judge."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", default="", help="comma-separated words; cases whose name has one are run")
    parser.add_argument("--idle", type=int, default=5000, help="idle connections to hold")
    parser.add_argument("--check", action="store_true", help="exit with 1 when a goal is missed")
    options = parser.parse_args()
    wanted = [case for case in CASES if not options.only or any(word in case for word in options.only.split(","))]
    files = raise_file_limit(2 * PEER_FILES * options.idle)
    missed: list[str] = []
    with ExitStack() as stack:
        work = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        for tool in ("backend", "load"):
            subprocess.run(["gcc", "-O2", "-pthread", "-o", work / tool, HERE / f"{tool}.c"], check=True)
        load, hello = work / "load", work / "hello"
        hello.write_bytes(openssl_hello("daskgateway-abc"))
        backend = stack.enter_context(process(work / "backend", 0, hello.stat().st_size, stdout=subprocess.PIPE))
        target = int(backend.stdout.readline())
        proxies = [stack.enter_context(our_proxy(target))]
        if binary := go_binary(work):
            proxies.insert(0, stack.enter_context(go_proxy(binary, target)))
        else:
            print("no Go proxy to compare with: set GO_PROXY, or let pip reach an index")
        rows: dict[tuple[str, str], list[dict[str, float]]] = {}
        for _ in range(options.rounds):
            for case in wanted:
                words, operations, _unit = CASES[case]
                for proxy in proxies:
                    rows.setdefault((case, proxy.name), []).append(figures(load, hello, proxy, words, operations))
        peer = {case: median(rows[case, "go"]) for case in wanted if (case, "go") in rows}
        for case in wanted:
            result = {proxy.name: median(rows[case, proxy.name]) for proxy in proxies}
            for proxy in proxies:
                show(case, proxy.name, result[proxy.name], CASES[case][2])
            if result["ours"].get("lost"):
                missed.append(f"{case}: bytes were lost")
            missed += judge(case, result["ours"], peer)
        for proxy in proxies:
            held = options.idle if proxy.name == "ours" else min(options.idle, int(0.9 * files / PEER_FILES))
            cost = idle_cost(load, hello, proxy, held)
            print(f"{'idle':17}{proxy.name:6}{cost:12.2f} KiB for each of {held} connections")
            if proxy.name == "ours" and not cost <= IDLE_GOAL:
                missed.append(f"idle: {cost:.2f} KiB, goal {IDLE_GOAL}")
    print("\n".join(["", "goals missed:", *missed]) if missed else "\nall goals reached")
    return 1 if missed and options.check else 0


def judge(case: str, ours: dict[str, float], peer: dict[str, dict[str, float]]) -> Iterator[str]:
    """The goals that this result misses, beside the peer's figures of all cases."""
    for figure, sense, factor, peer_case in GOALS[case]:
        if not (theirs := peer.get(peer_case or case, {}).get(figure)):
            continue
        ratio = ours[figure] / theirs
        good = ratio >= factor * (1 - TOLERANCE) if sense == ">=" else ratio <= factor * (1 + TOLERANCE)
        what = (
            f"{figure} is {ratio:.2f} times the peer's{f' of {peer_case}' if peer_case else ''}; goal {sense} {factor}"
        )
        print(f"{'':17}{what}{'' if good else '  MISSED'}")
        if not good:
            yield f"{case}: {what}"


if __name__ == "__main__":
    sys.exit(main())
