"""What one look at PBS costs: the answers of qselect, the choice of what to ask further, and the judgement.

    python -m tests.bench.pbs_poll [--check | --simulated]

Without --simulated: 1,000 to 100,000 watched jobs in arrays of 500, half of
them waiting; --check fails when the parser needs too long for the most. With
--simulated (as root): 10,000 jobs wait in a simulated PBS beside three of
ours, and a whole look is timed, its commands included.
"""

import argparse
import subprocess
import sys
import time
from pathlib import Path

import trio

sys.path.insert(0, str(Path(__file__).parents[2]))
from gateway.backends.batch.evidence import Evidence, infer_states
from gateway.backends.batch.poller import Queue
from gateway.backends.commands import Answer
from gateway.backends.pbs.dialect import PBS
from gateway.models import JobId, JobReport, JobState
from tests.pbs.simulation import Simulation

#: Seconds that the parser may take for the answers about 100,000 jobs.
LIMIT = 0.5


def parse():
    """Print what each step takes; returns the parser's seconds for the most jobs."""
    pbs = PBS()
    print(f"{'jobs':>8} {'parse':>9} {'choose':>9} {'merge':>9} {'infer':>9}   jobs/s")
    for count in (1_000, 10_000, 100_000):
        jobs = [JobId(f"{number // 500}[{number % 500}].pbs01.example.org") for number in range(count)]
        half = ["".join(f"{job}\n" for job in jobs[start::2]) for start in (0, 1)]
        known = dict.fromkeys(jobs, JobReport(JobState.QUEUED, "Not Running: full"))
        users = dict.fromkeys(jobs, "alice")
        best = [float("inf")] * 4
        for _ in range(5):
            t0 = time.perf_counter()
            status = pbs.parse_status(users, [Answer(0, text, "") for text in half])
            t1 = time.perf_counter()
            pbs.follow_up(status, known, 7)
            t2 = time.perf_counter()
            status = pbs.parse_follow_up(status, known, [])
            t3 = time.perf_counter()
            infer_states(Evidence(), users, status, pbs.array_of, now=0.0)
            t4 = time.perf_counter()
            best = [min(pair) for pair in zip(best, (t1 - t0, t2 - t1, t3 - t2, t4 - t3), strict=True)]
        print(f"{count:>8}" + "".join(f" {1000 * value:6.1f} ms" for value in best) + f"   {count / sum(best):,.0f}")
    return best[0]


async def look(simulation, known):
    queue = Queue(dialect=PBS(folder=str(simulation.bin)), command_timeout=30)
    for number in range(5):
        start = time.perf_counter()
        status = await queue.status(dict.fromkeys(known, "root"))
        middle = time.perf_counter()
        await queue.follow_up(status, known, number)
        end = time.perf_counter()
        print(
            f"{len(status.reports)} jobs: qselect {1000 * (middle - start):.0f} ms, "
            f"then {1000 * (end - middle):.0f} ms for what is missing or waits"
        )


def simulated():
    with Simulation.start(root_may_submit=True) as simulation:
        for _ in range(20):
            subprocess.run([simulation.bin / "qsub", "-h", "-J", "0-499", "--", "/bin/true"], check=True)
        jobs = ("1[0].pbs", "1[1].pbs", "99[0].pbs")
        trio.run(look, simulation, dict.fromkeys(map(JobId, jobs), JobReport(JobState.QUEUED)))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--simulated", action="store_true", help="time whole looks on a simulated PBS (as root)")
    parser.add_argument("--check", action="store_true", help=f"fail when 100,000 jobs are parsed in {LIMIT} s or more")
    arguments = parser.parse_args()
    if arguments.simulated:
        simulated()
    elif parse() >= LIMIT and arguments.check:
        sys.exit(f"parsing took {LIMIT} s or more")
