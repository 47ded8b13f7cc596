"""What of a URL says with whom one speaks: scheme, host and port; pure."""

import re
from collections.abc import Iterable
from urllib.parse import urlsplit

from gateway.addresses import EVERYWHERE

_PORTS = {"http": 80, "https": 443}
_NAME = re.compile(r"[A-Za-z0-9._-]+|[0-9A-Fa-f:.]+")
_LOOPBACK = ("127.0.0.1", "::1")


def origin_of(url: str) -> str:
    """`https://host:443` of a URL, whatever else is in it. Raises ValueError."""
    try:
        parts = urlsplit(url if url.isprintable() else "")
        host, port = parts.hostname or "", parts.port
    except ValueError:  # a port that is none, half an IPv6 address
        host = ""
    if not host or not _NAME.fullmatch(host) or parts.scheme not in _PORTS or "@" in parts.netloc:
        raise ValueError("must be a URL like https://gateway.example.org")
    return f"{parts.scheme}://{f'[{host}]' if ':' in host else host}:{port or _PORTS[parts.scheme]}"


def own_origins(hosts: Iterable[str], ports: Iterable[int], *, https: bool) -> tuple[str, ...]:
    """The origins of a server that goes by these names and listens at these ports."""
    names = [name for name in hosts if _NAME.fullmatch(name) and name not in EVERYWHERE]
    if not set(names).isdisjoint(_LOOPBACK):
        names.append("localhost")
    scheme = "https" if https else "http"
    urls = (f"{scheme}://{f'[{name}]' if ':' in name else name}:{port}" for port in sorted(ports) for name in names)
    return tuple(dict.fromkeys(map(origin_of, urls)))
