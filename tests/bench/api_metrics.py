"""What counting for Prometheus costs the API: beside the same gateway while it counts nothing.

    python -m tests.bench.api_metrics [--rounds 8] [--seconds 2] [--connections 16] [--check]

One process, since two of them differ by more than what is looked for. Its
configuration, which is Python, has what counts and times replaced at a signal
by functions that do nothing, and put back at the next, and says how much was
counted so far. It answers what api.py asks, with and without in turns, and
what comes first changes with each round: a machine that slows down does so for
both. What is compared is processor time for each request, since the rate
depends on wrk's share of the machine as well; each round gives a ratio, and the
median of a kind's ratios is its cost. `--check` fails when the mean of all
kinds is above 2 %. It needs wrk (Debian's package).
"""

import argparse
import os
import shutil
import signal
import statistics
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

from attrs import define

from tests.bench.api import SHARES, Measured, measure
from tests.bench.api_gateways import PATIENCE, Gateway, open_ours

#: What counting may cost at most.
MOST = 0.02
#: In the configuration. The file has the number of signals that were heard, and of requests that were counted.
SWITCH = """
import contextlib, os, signal, sys
from prometheus_client import Counter, Histogram

@contextlib.contextmanager
def _untimed(*arguments, **named):
    yield [""]

def _uncounted(*arguments):
    pass

_signals = 0
_others = []  # (where, name, what is there by turns)

def _find():
    modules = [module for name, module in sys.modules.items() if name.startswith("gateway.")]
    wanted = {{"count_request": _uncounted, "count_login": _uncounted, "timed": _untimed}}
    for module in modules:
        for name, nothing in wanted.items():
            if getattr(getattr(module, name, None), "__module__", "") == "gateway.metrics":
                _others.append([module, name, nothing])
    _others.extend([[Counter, "inc", _uncounted], [Histogram, "observe", _uncounted], [Histogram, "time", _untimed]])

def _switch(*_):
    global _signals
    from gateway.metrics import REQUESTS
    if not _others:
        _find()
    for other in _others:
        where, name, nothing = other
        other[2] = getattr(where, name)
        setattr(where, name, nothing)
    _signals += 1
    counted = sum(sample.value for family in REQUESTS.collect() for sample in family.samples)
    with open({file!r} + ".part", "w") as file:
        file.write(f"{{_signals}} {{counted:.0f}}")
    os.replace({file!r} + ".part", {file!r})

signal.signal(signal.SIGUSR1, _switch)
"""


@define
class Switch:
    """What turns the counting of a gateway off and on."""

    gateway: Gateway
    file: Path
    counting: bool = True
    signals: int = 0
    counted: int = 0

    def turn(self) -> None:
        """Turn it. Raises when what was asked since the last time was counted and should not have been, or was not."""
        os.kill(self.gateway.processes[0], signal.SIGUSR1)
        self.signals += 1
        before, end = self.counted, time.monotonic() + PATIENCE
        while not self.file.exists() or int(self.file.read_text().split()[0]) < self.signals:
            assert time.monotonic() < end, "the gateway does not hear signals"
            time.sleep(0.01)
        self.counted = int(self.file.read_text().split()[1])
        assert (self.counted > before) == self.counting, "the switch does not work"
        self.counting = not self.counting


def report(turns: dict[str, list[tuple[Measured, Measured]]]) -> bool:
    """Print the table; False when the cost is too high."""
    print(
        f"{'':17}{'requests/s':>12}{'without':>9}{'CPU us each':>13}{'without':>9}{'cost':>8}{'half of the turns':>20}"
    )
    costs = []
    for kind, pairs in turns.items():
        rates = [statistics.median(pair[which].rate for pair in pairs) for which in (0, 1)]
        spent = [statistics.median(pair[which].cpu_us for pair in pairs) for which in (0, 1)]
        ratios = [counting.cpu_us / without.cpu_us - 1 for counting, without in pairs]
        low, cost, high = statistics.quantiles(ratios, n=4)
        costs.append(cost)
        row = f"{kind:17}{rates[0]:12.0f}{rates[1]:9.0f}{spent[0]:13.1f}{spent[1]:9.1f}{cost:8.1%}"
        print(f"{row}{f'{low:+.1%} … {high:+.1%}':>20}")
    mean = statistics.mean(costs)
    print(f"all: {mean:.1%} (may be {MOST:.0%})" + ("" if mean <= MOST else "  MISSED"))
    return mean <= MOST


def main() -> None:
    """Parse the arguments, measure, judge."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--seconds", type=int, default=2)
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--check", action="store_true")
    arguments = parser.parse_args()
    if not shutil.which("wrk"):
        sys.exit("wrk is missing: apt-get install wrk")
    turns: dict[str, list[tuple[Measured, Measured]]] = {kind: [] for kind in SHARES}
    with tempfile.TemporaryDirectory(prefix="bench-metrics-") as folder:
        directory, said = Path(folder), Path(folder) / "counted"
        with open_ours(directory / "this", config=SWITCH.format(file=str(said))) as gateway:
            switch = Switch(gateway, said)
            ask = partial(
                measure, gateway, directory=directory, seconds=arguments.seconds, connections=arguments.connections
            )
            for number in range(arguments.rounds + 1):
                for kind, pairs in turns.items():
                    first = ask(kind)
                    switch.turn()
                    second = ask(kind)
                    if number:  # the first round is for warming up
                        pairs.append((second, first) if switch.counting else (first, second))
                switch.turn()
    reached = report(turns)
    if arguments.check and not reached:
        sys.exit(1)


if __name__ == "__main__":
    main()
