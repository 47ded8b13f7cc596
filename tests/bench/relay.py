"""Measure the public port's relay, beside the Go proxy of dask-gateway-server where there is one.

    python -m tests.bench.relay [--rounds 9] [--only ping,conn] [--check] [--idle 5000]

The same load goes through each proxy in one run, interleaved, so that a busy
machine hurts both alike; figures are medians over the rounds. What counts are
the ratios within each round: `--check` compares them with the goals below, and
exits with 1 when one is missed, which is when three of four rounds miss it. (One
proxy's own rounds differ by a fifth, for whose cores the kernel gives to whom.)
Without the peer (proxies.py says where it comes from) only our own figures are
printed. gcc is needed.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from tests.bench.proxies import (
    Proxy,
    at_low_priority,
    compile_tools,
    go_binary,
    go_proxy,
    our_proxy,
    process,
    raise_file_limit,
)
from tests.support.hellos import openssl_hello


class Case(NamedTuple):
    """What goes through a proxy: arguments of `load`, what they do, in which unit, and what else is under way."""

    load: tuple[str, ...]
    operations: float
    unit: str = "1/s"
    beside: tuple[tuple[str, ...], ...] = ()


#: As if at other machines: of low priority, and without an end.
FOUR_STREAMS = (("up", "1000000"), ("down", "1000000")) * 2

CASES = {
    "ping 200 B x 50": Case(("ping", "1000", "200", "50"), 50_000),
    "ping 200 B x 1": Case(("ping", "5000", "200", "1"), 5_000),
    "ping 64 KiB x 4": Case(("ping", "2000", "65536", "4"), 8_000),
    "bulk up": Case(("up", "2048"), 2.147483648, "GB/s"),
    "bulk down": Case(("down", "2048"), 2.147483648, "GB/s"),
    "connect": Case(("conn", "4000", "16"), 4_000),
    "beside 4 streams": Case(("ping", "200", "200", "50"), 10_000, beside=FOUR_STREAMS),
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
    # The pings of the first case: whoever chats does not wait for streams. Processor time is that of the streams.
    "beside 4 streams": (Goal("p99", "<=", 1.0),),
}
IDLE_GOAL = 2.0  # KiB for each idle connection
#: The Go proxy holds two sockets and two pipes for each connection, and panics when it has no file descriptor left.
PEER_FILES = 6


def figures(load: Path, hello: Path, proxy: Proxy, case: Case) -> dict[str, float]:
    """One run of one case."""
    command = [load, str(proxy.port), hello]
    with ExitStack() as others:
        for words in case.beside:
            others.enter_context(at_low_priority(*command, *words, niceness=10))
        time.sleep(0.3 if case.beside else 0)
        before = proxy.cpu()
        done = subprocess.run([*command, *case.load], capture_output=True, text=True, timeout=300, check=False)
        took = proxy.cpu() - before
    found = dict(word.split("=") for word in done.stdout.split())
    row = {key: float(value) for key, value in found.items() if key in ("rate", "p50", "p99")}
    row["cpu"] = took / case.operations
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
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--only", default="", help="comma-separated words; cases whose name has one are run")
    parser.add_argument("--idle", type=int, default=5000, help="idle connections to hold")
    parser.add_argument("--check", action="store_true", help="exit with 1 when a goal is missed")
    options = parser.parse_args()
    wanted = [case for case in CASES if not options.only or any(word in case for word in options.only.split(","))]
    files = raise_file_limit(2 * PEER_FILES * options.idle)
    missed: list[str] = []
    with ExitStack() as stack:
        work = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        compile_tools(work)
        load, hello = work / "load", work / "hello"
        hello.write_bytes(openssl_hello("daskgateway-abc"))
        backend = stack.enter_context(process(work / "backend", 0, hello.stat().st_size, stdout=subprocess.PIPE))
        target = int(backend.stdout.readline())
        proxies = [stack.enter_context(our_proxy({"abc": target}))]
        if binary := go_binary(work):
            proxies.insert(0, stack.enter_context(go_proxy(binary, {"abc": target})))
        rows: dict[tuple[str, str], list[dict[str, float]]] = {}
        for _ in range(options.rounds):
            for case in wanted:
                for proxy in proxies:
                    rows.setdefault((case, proxy.name), []).append(figures(load, hello, proxy, CASES[case]))
        for case in wanted:
            result = {proxy.name: median(rows[case, proxy.name]) for proxy in proxies}
            for proxy in proxies:
                show(case, proxy.name, result[proxy.name], CASES[case].unit)
            if result["ours"].get("lost"):
                missed.append(f"{case}: bytes were lost")
            missed += missed_goals(case, rows)
        for proxy in proxies:
            held = options.idle if proxy.name == "ours" else min(options.idle, int(0.9 * files / PEER_FILES))
            cost = idle_cost(load, hello, proxy, held)
            print(f"{'idle':17}{proxy.name:6}{cost:12.2f} KiB for each of {held} connections")
            if proxy.name == "ours" and not cost <= IDLE_GOAL:
                missed.append(f"idle: {cost:.2f} KiB, goal {IDLE_GOAL}")
    print("\n".join(["", "goals missed:", *missed]) if missed else "\nall goals reached")
    return 1 if missed and options.check else 0


def missed_goals(case: str, rows: dict[tuple[str, str], list[dict[str, float]]]) -> Iterator[str]:
    """The goals that are missed in this case; `rows` has the figures of all rounds, by case and proxy."""
    for figure, sense, factor, peer_case in GOALS[case]:
        theirs = rows.get((peer_case or case, "go"), ())
        ratios = [our[figure] / their[figure] for our, their in zip(rows[case, "ours"], theirs, strict=False)]
        if len(ratios) < 2:
            continue
        low, middle, high = statistics.quantiles(ratios, n=4)
        good = high >= factor if sense == ">=" else low <= factor
        of = f" of {peer_case}" if peer_case else ""
        what = f"{figure} is {middle:.2f} ({low:.2f}-{high:.2f}) times the peer's{of}; goal {sense} {factor}"
        print(f"{'':17}{what}{'' if good else '  MISSED'}")
        if not good:
            yield f"{case}: {what}"


if __name__ == "__main__":
    sys.exit(main())
