"""Hosts of their own for dashboards: `<cluster>.dash.example`, one for each cluster; pure.

What a browser keeps apart is hosts. On one of its own a dashboard needs no
sandbox: it has cookies and storage as any site, and nothing of the gateway is
there to take. The gateway still is where people are known; its own host sends
those who may see a dashboard to that dashboard's, and gets back those whose
link has expired.
"""

import re

_HOST = re.compile(rb"([a-z0-9-]{1,63})\.([a-z0-9.-]+?)\.?((?::[0-9]{1,5})?)", re.IGNORECASE)
_PORT = re.compile(rb":[0-9]{1,5}$")


class Hosts:
    """The hosts that `pattern` (`*.dash.example`) stands for. `gateway` is the name by which people ask for us."""

    def __init__(self, pattern: str, gateway: str) -> None:
        self._domain = pattern.removeprefix("*.").lower().encode()
        self._gateway = gateway.encode()

    def cluster_at(self, host: bytes) -> str | None:
        """Return the cluster whose host this is (as the header has it, maybe with a port); None for any other."""
        match = _HOST.fullmatch(host.strip())
        if match is None or match[2].lower() != self._domain:
            return None
        return match[1].lower().decode()

    def of_cluster(self, cluster: str, asked: bytes) -> bytes:
        """Return host and port of a cluster's dashboard, for who has asked for `asked` (host, maybe with a port)."""
        return cluster.encode("ascii", "replace") + b"." + self._domain + _port(asked)

    def of_gateway(self, asked: bytes) -> bytes:
        """Return host and port of the gateway, for who has asked for `asked`."""
        return self._gateway + _port(asked)


def _port(asked: bytes) -> bytes:
    match = _PORT.search(asked.strip())
    return match[0] if match else b""
