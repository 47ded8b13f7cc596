"""What counting for Prometheus costs the API: beside the same gateway while it counts nothing.

    python -m tests.bench.api_metrics [--seconds 20] [--connections 16] [--check]

One process, since two of them differ by more than what is looked for, and in
turns of 50 ms, since what a request costs changes by a tenth from one second to
the next. The gateway's configuration, which is Python, has what counts and times
replaced at each turn by functions that do nothing, or put back, and writes down
how many requests the turn had and the processor time that they took (the rate
depends on wrk's share of the machine as well). Of two turns that follow each
other the one that counts is compared with the one that does not; the median of
all pairs is what counting costs a kind of request that api.py asks. `--check`
fails when the mean of all kinds is above 2 %. It needs wrk (Debian's package).
"""

import argparse
import json
import os
import shutil
import signal
import statistics
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path

from attrs import frozen

from tests.bench.api import SHARES, measure
from tests.bench.api_gateways import PATIENCE, Gateway, open_ours

#: What counting may cost at most.
MOST = 0.02
#: In the configuration. SIGUSR1 begins the turns, and ends them: then the file has them all.
TURNS = """
import contextlib, json, os, signal, sys, time
from prometheus_client import Counter, Histogram

@contextlib.contextmanager
def _untimed(*arguments, **named):
    yield [""]

def _uncounted(*arguments):
    pass

class _Turns:
    length, requests, counting, turns, others = 0.05, 0, True, [], []

    def find(self):
        # (where, name, what is there by turns)
        from gateway.metrics import count_request
        tallies = (self.tally(count_request), self.tally(_uncounted))
        wanted = {{"count_login": _uncounted, "timed": _untimed}}
        for module in [module for name, module in sys.modules.items() if name.startswith("gateway.")]:
            if getattr(module, "count_request", None) is count_request:
                module.count_request = tallies[0]
                self.others.append([module, "count_request", tallies[1]])
            for name, nothing in wanted.items():
                if getattr(getattr(module, name, None), "__module__", "") == "gateway.metrics":
                    self.others.append([module, name, nothing])
        self.others += [[Counter, "inc", _uncounted], [Histogram, "observe", _uncounted], [Histogram, "time", _untimed]]

    def tally(self, function):
        def tallied(*arguments):
            self.requests += 1
            function(*arguments)
        return tallied

    def counted(self):
        from gateway.metrics import REQUESTS
        return sum(sample.value for family in REQUESTS.collect() for sample in family.samples)

    def take(self):
        for other in self.others:
            where, name, nothing = other
            other[2] = getattr(where, name)
            setattr(where, name, nothing)
        self.counting = not self.counting
        self.begin()

    def begin(self):
        self.before, self.requests, self.began = self.counted(), 0, time.process_time()

    def end(self, *_):
        spent = time.process_time() - self.began
        self.turns.append([self.counting, self.requests, self.counted() - self.before, spent])
        self.take()

    def start_or_stop(self, *_):
        if not self.others:
            self.find()
        if signal.setitimer(signal.ITIMER_REAL, 0)[1]:
            if not self.counting:
                self.take()
            with open({file!r} + ".part", "w") as file:
                json.dump(self.turns, file)
            os.replace({file!r} + ".part", {file!r})
        else:
            self.turns.clear()
            self.begin()
            signal.setitimer(signal.ITIMER_REAL, self.length, self.length)

_turns = _Turns()
signal.signal(signal.SIGALRM, _turns.end)
signal.signal(signal.SIGUSR1, _turns.start_or_stop)
"""
#: Requests without which a turn is left out: those at both ends of a run.
FEWEST = 50


@frozen
class Turn:
    """What the gateway did in a turn: whether it counted, the requests it answered and counted, and seconds of CPU."""

    counting: bool
    requests: int
    counted: float
    spent: float

    @property
    def cpu_us(self) -> float:
        """Processor time for each request."""
        return self.spent / self.requests * 1e6


def turns_of(gateway: Gateway, kind: str, file: Path, seconds: int, connections: int) -> list[Turn]:
    """Ask the gateway for some time, by turns. Raises when a turn counted what it should not have, or did not."""
    file.unlink(missing_ok=True)
    os.kill(gateway.processes[0], signal.SIGUSR1)
    measure(gateway, kind, file.parent, seconds, connections)
    os.kill(gateway.processes[0], signal.SIGUSR1)
    end = time.monotonic() + PATIENCE
    while not file.exists():
        assert time.monotonic() < end, "the gateway does not hear signals"
        time.sleep(0.01)
    turns = [Turn(*row) for row in json.loads(file.read_text())]
    for turn in turns:
        amiss = turn.counted - (turn.requests if turn.counting else 0)
        assert abs(amiss) <= 1, f"the switch does not work: {turn}"  # a turn may end in the middle of counting
    return [turn for turn in turns if turn.requests >= FEWEST]


def report(kinds: dict[str, list[Turn]]) -> bool:
    """Print the table; False when the cost is too high."""
    print(f"{'':17}{'turns':>8}{'CPU us each':>13}{'without':>9}{'cost':>8}{'half of the pairs':>20}")
    costs = []
    for kind, turns in kinds.items():
        spent = [statistics.median(turn.cpu_us for turn in turns if turn.counting == which) for which in (True, False)]
        ratios = [
            (one.cpu_us / other.cpu_us if one.counting else other.cpu_us / one.cpu_us) - 1
            for one, other in pairwise(turns)
            if one.counting != other.counting
        ]
        low, cost, high = statistics.quantiles(ratios, n=4)
        costs.append(cost)
        row = f"{kind:17}{len(turns):8}{spent[0]:13.1f}{spent[1]:9.1f}{cost:8.1%}"
        print(f"{row}{f'{low:+.1%} … {high:+.1%}':>20}")
    mean = statistics.mean(costs)
    print(f"all: {mean:.1%} (may be {MOST:.0%})" + ("" if mean <= MOST else "  MISSED"))
    return mean <= MOST


def main() -> None:
    """Parse the arguments, measure, judge."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=20)
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--check", action="store_true")
    arguments = parser.parse_args()
    if not shutil.which("wrk"):
        sys.exit("wrk is missing: apt-get install wrk")
    with tempfile.TemporaryDirectory(prefix="bench-metrics-") as folder:
        directory, file = Path(folder), Path(folder) / "turns"
        with open_ours(directory / "this", config=TURNS.format(file=str(file))) as gateway:
            kinds = {
                kind: turns_of(gateway, kind, file, seconds, arguments.connections)
                for seconds in (1, arguments.seconds)  # the first second is for warming up
                for kind in SHARES
            }
    reached = report(kinds)
    if arguments.check and not reached:
        sys.exit(1)


if __name__ == "__main__":
    main()
