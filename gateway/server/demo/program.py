"""`dask-gateway-server demo`: the whole thing on one machine, to be looked at.

A gateway on a free loopback port with local jobs, and the published client in
a process of its own (client.py), which makes a cluster, computes and
stops it. Everything is kept in a temporary directory and removed at the end.
"""

import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping
from functools import partial
from pathlib import Path
from types import MappingProxyType

import trio

from gateway.config.load import load
from gateway.errors import GatewayError
from gateway.proxy.listeners import Ports
from gateway.server.main import serve
from gateway.supervise import describe

_NOTEBOOK = """
The gateway stays up; Ctrl-C ends it. To paste into a notebook:

    from dask_gateway import Gateway
    gateway = Gateway("http://{name}")
    cluster = gateway.new_cluster()
    cluster.scale(2)
    client = cluster.get_client()
    print(cluster.dashboard_link)
"""


def run(keep: bool, options: Mapping[str, str] = MappingProxyType({})) -> int:
    """Run the demo; `keep` leaves the gateway running until a signal. Returns the process's exit code.

    `options` are further ones of the configuration, as on the command line (`Class.option`).
    """
    code = 1
    with tempfile.TemporaryDirectory(prefix="dask-gateway-demo-") as directory:
        try:
            code = trio.run(_demo, Path(directory), keep, options)
        except* GatewayError as group:
            _say(f"the gateway cannot go on: {describe(group)}")
    return code


async def _demo(directory: Path, keep: bool, options: Mapping[str, str]) -> int:
    overrides = {
        "Proxy.address": "127.0.0.1:0",
        "DaskGateway.backend_class": "gateway.backends.local.UnsafeLocalBackend",
        "LocalBackend.clusters_directory": str(directory / "clusters"),
        "DBBackendBase.db_url": f"sqlite:///{directory / 'gateway.sqlite'}",
        "ClusterConfig.worker_memory": "1 G",
        "ClusterConfig.cluster_max_workers": "4",
        **options,
    }
    config = load(None, [f"--{option}={value}" for option, value in overrides.items()])
    finished = trio.Event()
    code: int | None = None
    async with trio.open_nursery() as nursery:
        _say("starting a gateway with local jobs")
        ports: Ports = await nursery.start(partial(serve, config, wait_stop=finished.wait))
        _say(f"it serves API, dashboards and scheduler traffic at http://{ports.name}")
        with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:  # the client hears Ctrl-C too
            client = [sys.executable, "-m", "gateway.server.demo.client", f"http://{ports.name}"]
            async with trio.open_nursery() as running:
                running.start_soon(_cancel_at, signals, running.cancel_scope)
                code = (await trio.run_process(client, check=False)).returncode
                running.cancel_scope.cancel()
            if keep and code == 0:
                print(_NOTEBOOK.format(name=ports.name), flush=True)
                await anext(signals)
        _say("stopping")
        finished.set()
    _say("done" if not code else "the demo failed; what went wrong stands above")
    return 1 if code else 0


async def _cancel_at(signals: AsyncIterator[int], scope: trio.CancelScope) -> None:
    await anext(signals)
    scope.cancel()


def _say(text: str) -> None:
    print(f"[demo] {text}", flush=True)
