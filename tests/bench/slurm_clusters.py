"""How long users wait on a real Slurm, for this gateway and for the original one on the same machine.

    python tests/bench/slurm_clusters.py [--original PREFIX] [--rounds 5] [--workers 20 200] [--check]

Runs as root on a machine where tests/slurm/start.sh works. The gateway runs as
dask, the user is alice, jobs run the Python that runs this program. PREFIX is
a virtual environment that has `dask-gateway-server`; without it this gateway is
measured alone. Times are seconds; those of the queue are taken by asking squeue
every 20 ms. `--check` exits with 1 when a goal below is missed.
"""

import argparse
import asyncio
import contextlib
import os
import socket
import statistics
import subprocess
import sys
import time
from pathlib import Path

import dask
from dask_gateway import BasicAuth, Gateway

sys.path.insert(0, str(Path(__file__).parents[2]))
from tests.slurm.real import allow_dask, ensure_slurm, folder_of_dask, installation

CONFIG = """
c.DaskGateway.backend_class = "dask_gateway_server.backends.jobqueue.slurm.SlurmBackend"
c.Proxy.address = "127.0.0.1:{port}"
c.JobQueueBackend.dask_gateway_jobqueue_launcher = "{launcher}"
c.JobQueueBackend.submit_command = "{tools}/sbatch"
c.JobQueueBackend.cancel_command = "{tools}/scancel"
c.JobQueueBackend.worker_start_timeout = 300
c.JobQueueClusterConfig.scheduler_cmd = "{python}/dask scheduler"
c.JobQueueClusterConfig.worker_cmd = "{python}/dask worker"
c.JobQueueClusterConfig.worker_memory = "256 M"
c.JobQueueClusterConfig.scheduler_memory = "512 M"
from dask_gateway_server.options import Options, String
c.Backend.cluster_options = Options(
    String("partition", default=""),
    String("scheduler_setup", default=""),
    String("worker_setup", default=""),
    handler=lambda o: {{
        "partition": o.partition, "scheduler_setup": o.scheduler_setup, "worker_setup": o.worker_setup
    }},
)
"""

#: Stands before a batch command, notes that it was called, and when it had answered.
WRAPPER = """#!/bin/sh
echo "$(date +%s.%N) called" >> {folder}/{name}.calls
/usr/bin/{name} "$@"
code=$?
echo "$(date +%s.%N) answered" >> {folder}/{name}.calls
exit $code
"""


#: What each median must not exceed. Those of the second table are times the original's.
GOALS = {
    "scale(20): last job accepted": 0.5,
    "scale(20): calls of sbatch": 1,
    "scale(200): last job accepted": 1.0,
    "scale(200): calls of sbatch": 1,
    "shutdown of 20: queue empty": 3.0,
    "shutdown of 20: calls of scancel": 1,
    "scheduler script exits 1: user knows after": 6.0,
    "scheduler is killed: FAILED after": 10.0,
}
GOALS_BESIDE = {"new_cluster": 1.05, "scale(20): first worker connected": 1.05}

#: Where a job writes the time.
STAMP = "/home/alice/dask-gateway-stamp"


def stamp():
    """The time that a job has written, in seconds since the epoch."""
    return float(Path(STAMP).read_text())


class Calls:
    """The calls of batch commands since the last `reset`, from what the wrappers noted."""

    def __init__(self, folder):
        self.folder = folder
        for name in ("sbatch", "scancel"):
            (folder / name).write_text(WRAPPER.format(folder=folder, name=name))
            (folder / name).chmod(0o755)
        self.reset()

    def reset(self):
        for name in ("sbatch", "scancel"):
            (self.folder / f"{name}.calls").write_text("")
            (self.folder / f"{name}.calls").chmod(0o666)

    def of(self, name):
        """How often the command was called, and when the last call had answered."""
        lines = (self.folder / f"{name}.calls").read_text().split("\n")[:-1]
        times = [float(line.split()[0]) for line in lines if line.endswith("answered")]
        return len(times), max(times, default=0.0)


async def queue(*options):
    process = await asyncio.create_subprocess_exec(
        "squeue", "-h", "-r", "-u", "alice", "-o", "%i %T", *options, stdout=asyncio.subprocess.PIPE
    )
    return (await process.communicate())[0].decode().split("\n")[:-1]


async def clear_queue():
    """End what a gateway has left."""
    if await queue():
        await (await asyncio.create_subprocess_exec("scancel", "-u", "alice")).wait()


async def until(condition, seconds=180.0):
    """Seconds until the condition holds."""
    start = time.monotonic()
    while not await condition():
        if time.monotonic() - start > seconds:
            return float("nan")
        await asyncio.sleep(0.02)
    return time.monotonic() - start


async def queue_is_empty():
    return not await queue()


async def measure(address, arguments, calls):
    results = {}

    def note(name, value):
        results.setdefault(name, []).append(round(value, 2))
        print(f"  {name}: {value:.2f}", flush=True)

    async with Gateway(address, auth=BasicAuth("alice"), asynchronous=True) as gateway:
        for _ in range(arguments.rounds):
            await until(queue_is_empty)
            calls.reset()
            start = time.time()
            cluster = await gateway.new_cluster(scheduler_setup=f"date +%s.%N > {STAMP}")
            note("new_cluster", time.time() - start)
            note("  of it, until sbatch has answered", calls.of("sbatch")[1] - start)
            note("  of it, until the job's setup runs", stamp() - start)
            await cluster.shutdown()
        await until(queue_is_empty)
        for count in arguments.workers:
            cluster = await gateway.new_cluster()
            client = await cluster.get_client(set_as_default=False)
            calls.reset()
            start = time.time()
            await cluster.scale(count)

            async def all_listed(count=count):
                return len(await queue()) >= count + 1

            await until(all_listed)
            made, accepted = calls.of("sbatch")
            note(f"scale({count}): last job accepted", accepted - start)
            note(f"scale({count}): calls of sbatch", made)
            if count <= 20:
                await client.wait_for_workers(1, timeout=300)
                note(f"scale({count}): first worker connected", time.time() - start)
                await client.wait_for_workers(count, timeout=300)
                note(f"scale({count}): all workers connected", time.time() - start)
            await client.close()
            calls.reset()
            start = time.time()
            await cluster.shutdown()
            await until(queue_is_empty)
            note(f"shutdown of {count}: queue empty", time.time() - start)
            note(f"shutdown of {count}: calls of scancel", calls.of("scancel")[0])
            await clear_queue()  # a job that was forgotten would start by and by, and 200 of them keep a machine busy
        if not arguments.quick:
            await failures(gateway, note)
    return results


async def failures(gateway, note):
    """How soon a user learns of a scheduler that fails, and of one that is killed."""
    await until(queue_is_empty)
    try:
        await gateway.new_cluster(scheduler_setup=f"echo no luck; date +%s.%N > {STAMP}; exit 1")
    except Exception as error:
        note("scheduler script exits 1: user knows after", time.time() - stamp())
        print(f"    {error}")
    cluster = await gateway.new_cluster(shutdown_on_close=False)
    (job,) = [line.split()[0] for line in await queue()]
    killing = await asyncio.create_subprocess_exec("scancel", "--signal=KILL", "--full", job)
    await killing.wait()
    start = time.time()

    async def failed():
        return (await gateway.get_cluster(cluster.name)).status.name == "FAILED"

    await until(failed)
    note("scheduler is killed: FAILED after", time.time() - start)


@contextlib.contextmanager
def open_server(folder, prefix, arguments, calls_folder):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    values = {
        "port": port,
        "launcher": prefix / "bin" / "dask-gateway-jobqueue-launcher",
        "python": installation() / "bin",
        "tools": calls_folder,
    }
    (folder / "config.py").write_text(CONFIG.format(**values))
    with open(folder / "log", "w") as log:
        server = subprocess.Popen(
            [prefix / "bin" / "dask-gateway-server", "-f", folder / "config.py"],
            cwd=folder,
            user="dask",
            group="dask",
            extra_groups=[],
            env={"PATH": f"{prefix}/bin:/usr/bin:/bin", "HOME": "/home/dask", "USER": "dask"},
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        for _ in range(600):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                break
            time.sleep(0.05)
        time.sleep(1)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait(60)
        print((folder / "log").read_text()[-1500:] if arguments.verbose else "", end="")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--original", type=Path, metavar="PREFIX", help="measure the original beside this gateway")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--workers", type=int, nargs="*", default=[20, 200])
    parser.add_argument("--quick", action="store_true", help="leave out clusters that fail")
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--verbose", action="store_true")
    arguments = parser.parse_args()
    ensure_slurm()
    prefixes = {"this": installation()} | ({"original": arguments.original} if arguments.original else {})
    allow_dask(*prefixes.values())
    dask.config.set({"distributed.comm.timeouts.connect": "60s"})
    medians = {name: run(prefix, arguments) for name, prefix in prefixes.items()}
    missed = report(medians["this"], medians.get("original", {}))
    sys.exit(1 if missed and arguments.check else 0)


def run(prefix, arguments):
    """The medians of all that is measured of the gateway installed there."""
    print(f"{prefix}:")
    with folder_of_dask() as folder, folder_of_dask() as tools:
        os.chown(tools, 0, 0)  # the launcher of this gateway runs commands of root's only
        calls = Calls(tools)
        with open_server(folder, prefix, arguments, tools) as address:
            results = asyncio.run(measure(address, arguments, calls))
    return {name: statistics.median(values) for name, values in results.items()}


def report(ours, theirs):
    """Print the medians beside each other; True when a goal was missed."""
    missed = False
    print(f"{'medians':<55} {'this':>8} {'original':>8}")
    for name, value in ours.items():
        goal = GOALS.get(name)
        if goal is None and name in theirs and name in GOALS_BESIDE:
            goal = GOALS_BESIDE[name] * theirs[name]
        late = goal is not None and not value <= goal
        missed |= late
        other = f"{theirs[name]:8.2f}" if name in theirs else ""
        print(f"{name:<55} {value:8.2f} {other:>8}" + (f"  MISSED, goal {goal:.2f}" if late else ""))
    return missed


if __name__ == "__main__":
    main()
