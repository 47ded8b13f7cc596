"""What one tick costs: parsing squeue's answer, and on a real Slurm the answer itself.

    python tests/bench/slurm_poll.py [--slurm] [--check]

Without --slurm: lines as recorded, 1,000 to 100,000 of them, parsed and judged
for as many watched jobs. With --slurm (as root): 1,000 jobs of 50 clusters are
held in a parked partition, a driver watches them for some ticks, and every
call of squeue is counted. `--check` fails when a tick takes half a second, or
more than one squeue.
"""

import argparse
import resource
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import trio

sys.path.insert(0, str(Path(__file__).parents[2]))
from gateway.backends.base import ClusterRef, JobSpec
from gateway.backends.batch.evidence import Evidence, infer_states
from gateway.backends.batch.poller import Queue
from gateway.backends.commands import Answer
from gateway.backends.slurm.backend import SlurmBackend, SlurmClusterConfig
from gateway.backends.slurm.dialect import Slurm
from gateway.backends.watch import WatchBoard
from gateway.models import JobId, JobState, Role
from tests.slurm.real import ensure_slurm

RECORDED = (Path(__file__).parents[1] / "data" / "slurm" / "squeue_states.txt").read_text().splitlines()


def lines(count):
    """As many lines as recorded ones, each with an id of its own in an array of 500."""
    states = [line.partition("|")[2] for line in RECORDED if "|PENDING|" in line or "|RUNNING|" in line]
    return "".join(f"{number // 500}_{number % 500}|{states[number % len(states)]}\n" for number in range(count))


def parse():
    """Seconds that the longest answer took."""
    slurm = Slurm()
    print(f"{'lines':>8} {'parse':>9} {'infer':>9} {'board':>9}   lines/s")
    for count in (1_000, 10_000, 100_000):
        text = lines(count)
        jobs = {JobId(line.partition("|")[0]): "alice" for line in text.splitlines()}
        board = WatchBoard()
        with board.open(ClusterRef(name="c", username="alice", config=SlurmClusterConfig())) as watch:
            best = [float("inf")] * 3
            for _ in range(5):
                t0 = time.perf_counter()
                status = slurm.parse_status(jobs, [Answer(0, text, "")])
                t1 = time.perf_counter()
                reports, _evidence = infer_states(Evidence(), jobs, status, slurm.array_of, now=0.0)
                t2 = time.perf_counter()
                watch.add(*(job for job in jobs if job not in watch.jobs))
                board.deliver(reports)
                t3 = time.perf_counter()
                best = [min(pair) for pair in zip(best, (t1 - t0, t2 - t1, t3 - t2), strict=True)]
        print(f"{count:>8}" + "".join(f" {1000 * value:6.1f} ms" for value in best) + f"   {count / sum(best):,.0f}")
    return sum(best)


async def hold(clusters=50, workers=20, seconds=20):
    config = SlurmClusterConfig(partition="parked", worker_memory=2**27)
    calls = []
    status = Queue.status

    async def counted(queue, users):
        before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        result = await status(queue, users)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        calls.append((time.perf_counter() - start, cpu))
        return result

    Queue.status = counted
    refs = [ClusterRef(name=f"bench{number}", username="alice", config=config) for number in range(clusters)]
    async with SlurmBackend().open_driver() as driver:
        with ExitStack() as stack:
            watches = {ref: stack.enter_context(driver.watch(ref)) for ref in refs}
            start = time.perf_counter()
            for ref, watch in watches.items():
                spec = JobSpec(
                    cluster=ref,
                    role=Role.WORKER,
                    group="w1",
                    count=workers,
                    command=("true",),
                    environment={},
                    secrets={},
                )
                watch.add(*await driver.submit(spec))
                watch.eager = True
            print(f"{clusters * workers} jobs submitted in {time.perf_counter() - start:.2f} s")
            calls.clear()
            cpu = time.process_time()
            await trio.sleep(seconds)
            cpu = time.process_time() - cpu
            queued = sum(
                report.state is JobState.QUEUED for watch in watches.values() for report in watch.jobs.values()
            )
            print(f"{queued} of them are seen to wait; eager, so a tick every 2 s: {len(calls)} squeue in {seconds} s")
            print(f"each squeue: {1000 * max(c[0] for c in calls):.0f} ms at most,")
            print(f"  {1000 * sum(c[1] for c in calls) / len(calls):.1f} ms of CPU on average")
            print(f"the gateway's own CPU: {1000 * cpu / len(calls):.1f} ms a tick")
            good = queued == clusters * workers and len(calls) <= seconds / 2 + 1
            for ref, watch in watches.items():
                await driver.cancel(ref, tuple(watch.jobs))
                await driver.clean(ref, keep_logs=False)
    return good


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--slurm", action="store_true")
    parser.add_argument("--check", action="store_true")
    arguments = parser.parse_args()
    good = parse() < 0.5
    if arguments.slurm:
        ensure_slurm()
        good &= trio.run(hold)
    if arguments.check and not good:
        sys.exit(1)


if __name__ == "__main__":
    main()
