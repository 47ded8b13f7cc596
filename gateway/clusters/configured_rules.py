"""What the configuration says of how clusters live, and where their jobs reach the gateway."""

import socket

from gateway.addresses import Address, parse_address
from gateway.clusters.rules import ClusterTimeouts, Rules
from gateway.config.load import Config
from gateway.errors import StartError
from gateway.proxy.listeners import Ports


def configured_rules(config: Config, ports: Ports) -> Rules:
    """The rules of all clusters. Raises `StartError` when jobs cannot reach the gateway."""
    backend = config.backend
    return Rules(
        api_url=backend.api_url or api_url(config, ports),
        host=backend.default_host or "0.0.0.0",  # noqa: S104 (schedulers are reached from other nodes)
        timeouts=ClusterTimeouts(
            queue=backend.queue_timeout,
            start=backend.cluster_start_timeout,
            heartbeat=backend.heartbeat_timeout,
            heartbeat_period=backend.cluster_heartbeat_period,
            worker_start=backend.worker_start_timeout,
            unreachable=backend.cluster_unreachable_timeout,
        ),
        worker_start_failure_limit=backend.worker_start_failure_limit,
        backoff_base_delay=backend.backoff_base_delay,
        backoff_max_delay=backend.backoff_max_delay,
    )


def api_url(config: Config, ports: Ports) -> str:
    """Return where jobs reach the API: at the private address when there is one, else at the public port.

    Plain HTTP even when the public port has TLS (web/router.py says why). Raises `StartError`.
    """
    for listeners, written, prefix in (
        (ports.private, config.gateway.address, ""),
        (ports.public, config.proxy.address, config.proxy.prefix),
    ):
        for name in (listener.getsockname() for listener in listeners if listener.family != socket.AF_UNIX):
            try:
                host = parse_address(written).host
            except ValueError:  # a socket that somebody else has opened (fd://, systemd)
                host = name[0]
            if host in ("", "0.0.0.0", "::"):  # noqa: S104
                host = config.backend.default_host or socket.gethostname()
            return f"http://{Address(host, name[1])}{prefix}/api"
    raise StartError("Jobs cannot reach a Unix socket: set c.Backend.api_url, so that they find the gateway")
