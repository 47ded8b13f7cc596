"""What API requests feel of a relay that is as busy as it can be, in the same process.

    python -m tests.bench.api_beside_relay [--seconds 20] [--check]

Through the public port go bulk data both ways and fifty connections that
chat, each as fast as it can. Meanwhile a scheduler heartbeats ten times a
second, each time over a new connection, and users make fifty requests a
second. The same is measured with the load going past the gateway: what is
slow then is the machine, which has these processes to run as well. On few
cores that would hide everything else, so they run at the lowest priority, as
if they were on other machines. `--check`
fails when a heartbeat is lost or the 99th percentile of the requests is above
30 ms. gcc is needed.
"""

import argparse
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import orjson

from tests.bench.api_gateways import cpu_seconds, open_ours
from tests.bench.crowd import Latencies, probe, request_of, schedulers
from tests.bench.proxies import SATURATION, at_low_priority, compile_tools
from tests.support.hellos import openssl_hello

P99_LIMIT_MS = 30.0


def main() -> None:
    """Parse the arguments, measure, judge."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--check", action="store_true")
    arguments = parser.parse_args()
    good = True
    with ExitStack() as stack:
        work = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-api-")))
        compile_tools(work)
        gateway = stack.enter_context(open_ours(work / "this"))
        hello = work / "hello"
        hello.write_bytes(openssl_hello(f"daskgateway-{gateway.cluster}"))
        backend = stack.enter_context(at_low_priority(work / "backend", 0, hello.stat().st_size))
        assert backend.stdout
        target = int(backend.stdout.readline())
        address = {"scheduler_address": f"tls://127.0.0.1:{target}"}
        body = orjson.dumps(orjson.loads(gateway.heartbeat) | address)
        port = int(gateway.url.rpartition(":")[2])
        with schedulers(port, [request_of(gateway.cluster, gateway.token, body)], 0.1) as played:
            assert played.recv() == "all heard once"
            played.send("stop")
            played.recv()
        for case, where in (("quiet", None), ("load past us", target), ("load through us", port)):
            with ExitStack() as loads:
                running = [
                    loads.enter_context(at_low_priority(work / "load", where, hello, *words))
                    for words in SATURATION
                    if where
                ]
                played = loads.enter_context(schedulers(port, [request_of(gateway.cluster, gateway.token, body)], 0.1))
                assert played.recv() == "all heard once"
                before, begin = cpu_seconds(gateway.processes[0]), time.monotonic()
                latencies = probe(gateway.url, [("alice", gateway.cluster)], arguments.seconds, 0.02)
                cores = (cpu_seconds(gateway.processes[0]) - before) / (time.monotonic() - begin)
                assert all(load.poll() is None for load in running), "a load has ended early"
                played.send("stop")
                outcome = played.recv()
            lost = {kind: len(values) for kind, values in outcome.items() if kind != "answered"}
            print(f"{case}: gateway uses {cores:.2f} cores; heartbeats lost: {lost or 'none'}")
            for kind, latency in ({"heartbeat": Latencies.of(outcome["answered"])} | latencies).items():
                print(f"    {kind:12}{latency}")
                good &= kind == "heartbeat" or latency.p99 <= P99_LIMIT_MS
            good &= not lost
    if arguments.check and not good:
        sys.exit(1)


if __name__ == "__main__":
    main()
