"""Addresses to listen at, as people write them.

`host:port`, `:port` for all interfaces and `[v6]:port` are addresses in the
narrow sense. A listener may also be a Unix socket (`unix:/path`), a file
descriptor (`fd://3`) or what systemd hands over (`systemd`, `systemd:NAME`).
"""

import re
from ipaddress import ip_address

from attrs import frozen

_ADDRESS = re.compile(r"(?:\[(?P<v6>[0-9A-Fa-f:.]+(?:%[\w.-]+)?)\]|(?P<host>[A-Za-z0-9._-]*)):(?P<port>[0-9]{1,5})")
_OTHER = re.compile(r"unix:/[^\0]{1,106}|fd://[0-9]{1,9}|systemd(:[^\s:]+)?")  # unix(7): 108 bytes, one is a NUL


@frozen
class Address:
    """Where to listen. `host` is a name or an address without brackets, empty for all interfaces; port 0: any."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_address(text: str) -> Address:
    """The address that a text means. Raises ValueError with what it must be."""
    match = _ADDRESS.fullmatch(text)
    if match is None or (port := int(match["port"])) > 65535:
        raise ValueError("must be HOST:PORT, :PORT for all interfaces, or [IPV6]:PORT, with a port up to 65535")
    return Address(match["v6"] or match["host"], port)


def is_loopback(text: str) -> bool:
    """Whether only processes of this machine can reach what listens at an address, as far as the text tells.

    A Unix socket is for a server in front, which may serve anybody, and what another program hands over may be any.
    """
    try:
        host = parse_address(text).host
    except ValueError:
        return False
    try:
        return ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        return host.lower().rstrip(".") == "localhost"


def check_listener(text: str) -> None:
    """Raises ValueError for what no listener can be made of."""
    if not _OTHER.fullmatch(text):
        try:
            parse_address(text)
        except ValueError as error:
            raise ValueError(f"{error}; or unix:/PATH, fd://NUMBER, systemd or systemd:NAME") from None
