"""What a user does, as a program: run by the demo with the gateway's address as its argument.

The asynchronous client is used: the synchronous one of dask-gateway 2026.3
complains on the screen when a closed gateway object is collected.

When the cluster fails, its reason and its events are shown, and the program
ends with exit code 1. The published client knows nothing of events, so they
are asked for as docs/operations.md has it.
"""

import asyncio
import json
import logging
import sys
import time
import urllib.request
from collections.abc import Awaitable
from typing import Any

#: Seconds for the workers to connect.
PATIENCE = 120
#: Seconds between two looks at whether the cluster still lives while its workers are waited for.
LOOK = 0.5


async def main(address: str) -> int:
    """Make a cluster through the gateway, compute on it, show what came out, stop it. Returns the exit code."""
    # Imported here: the server itself needs neither.
    from dask_gateway import Gateway
    from dask_gateway.client import GatewayClusterError

    # It logs the traceback of each attempt to reach a scheduler that is gone; the reason is shown below.
    logging.getLogger("distributed.client").setLevel(logging.CRITICAL)
    async with Gateway(address, asynchronous=True) as gateway:
        _say("asking for a cluster: gateway.new_cluster()")
        cluster = gateway.new_cluster()
        try:
            async with cluster:
                await _use(gateway, cluster)
        except (GatewayClusterError, TimeoutError) as error:
            _say(f"that did not work: {error or type(error).__name__}")
            await _show_events(gateway, cluster.name)
            return 1
    return 0


async def _use(gateway: Any, cluster: Any) -> None:
    import dask.array

    _say(f"got {cluster.name}")
    _say(f"its dashboard, while it runs: {cluster.dashboard_link}")
    _say("scaling to 2 workers: cluster.scale(2)")
    await cluster.scale(2)
    try:
        async with cluster.get_client(set_as_default=False) as client:
            await _while_it_lives(gateway, cluster.name, client.wait_for_workers(2, timeout=PATIENCE))
            _say("2 workers are connected; computing the mean of 100 million random numbers")
            numbers = dask.array.random.random((10_000, 10_000), chunks=(1000, 10_000))
            mean = float(await _while_it_lives(gateway, cluster.name, client.compute(numbers.mean())))
    except Exception:
        # A client whose scheduler goes raises whatever it was just about; why the cluster went says more.
        await _raise_if_ended(gateway, cluster.name)
        raise
    _say(f"the mean is {mean:.6f}")
    _say("shutting the cluster down")


async def _while_it_lives(gateway: Any, name: str, work: Awaitable[Any]) -> Any:
    """The result of `work`; raises GatewayClusterError with the reason as soon as the cluster does not run any more."""
    working = asyncio.ensure_future(work)
    try:
        while not working.done():
            await asyncio.wait([working], timeout=LOOK)
            if not working.done():
                await _raise_if_ended(gateway, name)
        return await working
    finally:
        working.cancel()


async def _raise_if_ended(gateway: Any, name: str) -> None:
    """Raise GatewayClusterError with the reason when the cluster does not run any more."""
    if (await gateway.get_cluster(name)).status.name != "RUNNING":
        await gateway.connect(name)  # which says why that is impossible


async def _show_events(gateway: Any, name: str | None) -> None:
    """What happened to the cluster, in the gateway's sentences."""
    if name is None:
        return
    headers, _ = gateway.auth.pre_request(None)
    request = urllib.request.Request(  # noqa: S310 (the address is the demo's own)
        f"{gateway.address}/api/v1/clusters/{name}/events", headers=headers
    )
    try:
        events = json.loads(await asyncio.to_thread(_read, request))["events"]
    except OSError as error:
        _say(f"its events cannot be read: {error}")
        return
    _say("what happened to the cluster:")
    for event in events:
        when = time.strftime("%H:%M:%S", time.localtime(event["time"] / 1000))
        _say(f"  {when}  " + event["message"].replace("\n", "\n                      "))


def _read(request: urllib.request.Request) -> bytes:
    with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
        return bytes(answer.read())


def _say(text: str) -> None:
    print(f"[client] {text}", flush=True)


if __name__ == "__main__":
    sys.exit(asyncio.run(main(sys.argv[1])))
