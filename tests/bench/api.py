"""Requests to the API per second, beside the original gateway on the same machine.

    python -m tests.bench.api [--rounds 5] [--seconds 3] [--connections 16] [--check]

By wrk (Debian's package `wrk`) over kept connections: what anybody may ask, a
user's list of clusters and one cluster, known by the cookie or by a password,
and the heartbeat of a running cluster with ten workers. Rounds are interleaved, so that a machine that slows
down does so for both; figures are medians. `--check` fails when this gateway
is below its share of the original's rate. api_gateways.py says how to get the
original; without it this gateway is measured alone.
"""

import argparse
import base64
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from attrs import frozen

from tests.bench.api_gateways import HOW_TO_GET, Gateway, open_original, open_ours

#: What this gateway must reach of the original's rate.
SHARES = {"health": 0.8, "version": 0.8, "list": 0.8, "list, no cookie": 0.8, "cluster": 0.8, "heartbeat": 1.0}
_GETS = {
    "health": "/api/health",
    "version": "/api/version",
    "list": "/api/v1/clusters/",
    "list, no cookie": "/api/v1/clusters/",
    "cluster": "/api/v1/clusters/{cluster}",
}


@frozen
class Measured:
    """What one run of wrk has shown."""

    rate: float
    cpu_us: float
    p99_ms: float


def script(gateway: Gateway, kind: str) -> str:
    """wrk's orders in Lua."""
    if kind in _GETS:
        basic = base64.b64encode(b"alice:").decode()
        who = (
            f'["Authorization"] = "Basic {basic}"' if kind == "list, no cookie" else f'["Cookie"] = "{gateway.cookie}"'
        )
        return f'wrk.path = "{_GETS[kind].format(cluster=gateway.cluster)}"\nwrk.headers{who}\n'
    return f"""
wrk.method = "POST"
wrk.path = "/api/v1/clusters/{gateway.cluster}/heartbeat"
wrk.headers["Authorization"] = "token {gateway.token}"
wrk.headers["Content-Type"] = "application/json"
wrk.body = [[{gateway.heartbeat}]]
"""


def measure(gateway: Gateway, kind: str, directory: Path, seconds: float, connections: int) -> Measured:
    """One run of wrk. Raises when a single request was not answered with success."""
    orders = directory / f"{gateway.name}.lua"
    orders.write_text(script(gateway, kind))
    before = gateway.cpu()
    done = subprocess.run(
        ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", "-s", str(orders), gateway.url],
        capture_output=True,
        text=True,
        check=True,
    )
    spent = gateway.cpu() - before
    if "Non-2xx" in done.stdout or "Socket errors" in done.stdout:
        raise AssertionError(done.stdout)
    requests = int(found(r"(\d+) requests in", done.stdout)[0])
    rate = float(found(r"Requests/sec:\s+([\d.]+)", done.stdout)[0])
    number, unit = found(r"99%\s+([\d.]+)(us|ms|s)", done.stdout)
    return Measured(rate, spent / requests * 1e6, float(number) * {"us": 1e-3, "ms": 1, "s": 1e3}[unit])


def found(pattern: str, text: str) -> tuple[str, ...]:
    """The groups of a pattern that must be there."""
    match = re.search(pattern, text)
    assert match, text
    return match.groups()


def report(runs: dict[tuple[str, str], list[Measured]], names: list[str]) -> bool:
    """Print the table; False when a share was missed."""
    reached = True
    print(f"{'':17}{'gateway':10}{'requests/s':>12}{'p99 ms':>9}{'CPU us each':>13}{'x original':>12}")
    for kind, share in SHARES.items():
        for name in names:
            rate, cpu, p99 = (
                statistics.median(getattr(run, field) for run in runs[name, kind])
                for field in ("rate", "cpu_us", "p99_ms")
            )
            row = f"{kind:17}{name:10}{rate:12.0f}{p99:9.1f}{cpu:13.0f}"
            if name == "this" and "original" in names:
                ratio = rate / statistics.median(run.rate for run in runs["original", kind])
                row += f"{ratio:12.2f}  (must reach {share})" + ("" if ratio >= share else "  MISSED")
                reached &= ratio >= share
            print(row)
    return reached


def main() -> None:
    """Parse the arguments, measure, judge."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=3)
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--check", action="store_true")
    arguments = parser.parse_args()
    if not shutil.which("wrk"):
        sys.exit("wrk is missing: apt-get install wrk")
    command = os.environ.get("ORIGINAL_GATEWAY", "")
    if not command:
        print(f"Without the original beside it. To have it:\n{HOW_TO_GET}")
        if arguments.check:
            sys.exit("--check compares with the original")
    with tempfile.TemporaryDirectory(prefix="bench-api-") as folder, ExitStack() as stack:
        directory = Path(folder)
        gateways = [stack.enter_context(open_ours(directory / "this"))]
        if command:
            gateways.append(stack.enter_context(open_original(command, directory / "original")))
        runs: dict[tuple[str, str], list[Measured]] = {}
        for number in range(arguments.rounds + 1):
            for kind in SHARES:
                for gateway in gateways:
                    run = measure(gateway, kind, directory, arguments.seconds, arguments.connections)
                    if number:  # the first round is for warming up
                        runs.setdefault((gateway.name, kind), []).append(run)
    reached = report(runs, [gateway.name for gateway in gateways])
    if arguments.check and not reached:
        sys.exit(1)


if __name__ == "__main__":
    main()
