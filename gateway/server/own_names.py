"""By which names and URLs this gateway is reached."""

import socket
from collections.abc import Iterator
from contextlib import suppress
from urllib.parse import urlsplit

from gateway.addresses import Address, parse_address
from gateway.config.load import Config
from gateway.errors import StartError
from gateway.proxy.listeners import Ports


def known_host_names(config: Config) -> Iterator[str]:
    """The names of this gateway that the configuration knows, and the one that jobs are told."""
    yield from config.proxy.host_names
    yield socket.gethostname()
    yield urlsplit(config.backend.api_url).hostname or ""
    for listener in (config.proxy.address, config.gateway.address):
        with suppress(ValueError):  # a Unix socket has no name, and some have no address
            yield parse_address(listener).host


def jobs_api_url(config: Config, ports: Ports) -> str:
    """Where jobs reach the API: at the private address when there is one, else at the public port.

    Plain HTTP even when the public port has TLS (web/router.py says why). Raises `StartError` where jobs
    can reach no listener.
    """
    backend = config.backend
    if backend.api_url:
        return backend.api_url
    for listeners, written, prefix in (
        (ports.private, config.gateway.address, ""),
        (ports.public, config.proxy.address, config.proxy.prefix),
    ):
        for name in (listener.getsockname() for listener in listeners if listener.family != socket.AF_UNIX):
            try:
                host = parse_address(written).host
            except ValueError:  # a socket that somebody else has opened (fd://, systemd)
                host = name[0]
            place = Address(host, name[1]).reached_at(backend.default_host or socket.gethostname())
            return f"http://{place}{prefix}/api"
    raise StartError("Jobs cannot reach a Unix socket: set c.Backend.api_url, so that they find the gateway")
