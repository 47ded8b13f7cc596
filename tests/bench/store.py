"""How much group commit brings: saves one after another against saves at once.

    python -m tests.bench.store [URL] [--count N]

URL defaults to an SQLite database in a new directory under the working
directory, because /tmp is often in memory, where a commit costs nothing.
"""

import argparse
import tempfile
import time

import trio

from gateway.clusters.certificate import new_cluster_certificate
from gateway.models import ClusterRecord
from gateway.store.keys import new_key
from gateway.store.writer import Store, open_store


def records(count: int) -> list[ClusterRecord]:
    """Clusters as they are: with a real certificate, key, and configuration."""
    cert, key = new_cluster_certificate("daskgateway-bench")
    config = {f"option_{number}": number for number in range(30)}
    return [
        ClusterRecord(
            name=f"bench-{number}",
            username="bench",
            token="0123456789abcdef" * 2,
            tls_cert=cert,
            tls_key=key,
            options={},
            config=config,
            start_time=number,
        )
        for number in range(count)
    ]


async def one_by_one(store: Store, clusters: list[ClusterRecord]) -> None:
    """Save each when the one before is durable."""
    for cluster in clusters:
        await store.save(cluster)


async def at_once(store: Store, clusters: list[ClusterRecord]) -> None:
    """Save each in a task of its own."""
    async with trio.open_nursery() as nursery:
        for cluster in clusters:
            nursery.start_soon(store.save, cluster)


async def measure(url: str, count: int) -> None:
    """Print the rates of both, and their ratio."""
    rates = []
    async with open_store(url, keys=[new_key()]) as store:
        clusters = records(count)
        for save in (one_by_one, at_once):
            await store.forget_clusters(*(cluster.name for cluster in clusters))
            start = time.perf_counter()
            await save(store, clusters)
            rates.append(count / (time.perf_counter() - start))
            print(f"{save.__name__:>10}: {rates[-1]:8.0f} saves a second")
        await store.forget_clusters(*(cluster.name for cluster in clusters))
    print(f"{'ratio':>10}: {rates[1] / rates[0]:8.1f}")


def main() -> None:
    """Parse the arguments and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url", nargs="?")
    parser.add_argument("--count", type=int, default=2000)
    arguments = parser.parse_args()
    if arguments.url is not None:
        trio.run(measure, arguments.url, arguments.count)
        return
    with tempfile.TemporaryDirectory(dir=".", prefix="bench-store-") as directory:
        trio.run(measure, f"sqlite:///{directory}/bench.sqlite", arguments.count)


if __name__ == "__main__":
    main()
