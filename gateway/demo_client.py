"""What a user does, as a program: run by the demo with the gateway's address as its argument.

The asynchronous client is used: the synchronous one of dask-gateway 2026.3
complains on the screen when a closed gateway object is collected.
"""

import asyncio
import sys


async def main(address: str) -> None:
    """Make a cluster through the gateway, compute on it, show what came out, stop it."""
    # Imported here: the server itself needs neither.
    import dask.array
    from dask_gateway import Gateway

    async with Gateway(address, asynchronous=True) as gateway:
        _say("asking for a cluster: gateway.new_cluster()")
        async with await gateway.new_cluster() as cluster:
            _say(f"got {cluster.name}")
            _say(f"its dashboard, while it runs: {cluster.dashboard_link}")
            _say("scaling to 2 workers: cluster.scale(2)")
            await cluster.scale(2)
            async with cluster.get_client(set_as_default=False) as client:
                await client.wait_for_workers(2, timeout=120)
                _say("2 workers are connected; computing the mean of 100 million random numbers")
                numbers = dask.array.random.random((10_000, 10_000), chunks=(1000, 10_000))
                mean = float(await client.compute(numbers.mean()))
            _say(f"the mean is {mean:.6f}")
            _say("shutting the cluster down")


def _say(text: str) -> None:
    print(f"[client] {text}", flush=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
