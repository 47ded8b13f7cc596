"""Whether this host reaches a port that a job has opened: the way of all traffic between clients and schedulers."""

from collections.abc import Awaitable, Callable

import trio

from gateway.config.load import Config
from gateway.doctor.finding import Finding, failed, ok, skipped
from gateway.proxy.destinations import Destinations
from gateway.proxy.this_host import is_this_host

#: Seconds in which the port has to answer.
PATIENCE = 10.0
_CHECK = "scheduler's port"


Connect = Callable[[str, int], Awaitable[trio.SocketStream]]


async def verdict(config: Config, host: str, port: str, connect: Connect = trio.open_tcp_stream) -> Finding:
    """Connect as the gateway would, to an address that the job has named; what the gateway refuses is not tried."""
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
        return skipped(_CHECK, "the job could not open one")
    remedy = (
        "let this host through the firewall to the compute nodes; c.JobQueueClusterConfig.scheduler_port = '9000:9100'"
    )
    destinations = Destinations(
        is_this_host, networks=config.proxy.scheduler_networks, jobs_here=lambda: config.backend.jobs_run_here
    )
    try:
        if why := destinations.refusal(host, int(port)):
            return failed(_CHECK, f"the gateway would not connect to it: {why}", "c.Proxy.scheduler_networks")
        with trio.fail_after(PATIENCE):
            stream = await connect(host, int(port))
            await stream.aclose()
    except ValueError:
        return failed(_CHECK, f"{host} is no address in digits", "c.JobQueueClusterConfig.scheduler_interface")
    except trio.TooSlowError:
        return failed(_CHECK, f"{host}:{port} does not answer within {PATIENCE:g} seconds from here", remedy)
    except OSError as error:
        return failed(_CHECK, f"{host}:{port} cannot be reached from here: {error.strerror or error}", remedy)
    return ok(_CHECK, f"{host}:{port} was reached from here")
